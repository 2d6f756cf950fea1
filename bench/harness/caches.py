# SPDX-License-Identifier: MIT
"""The suite "caches": what dedicated caches and colouring are good for.

Dedicated caches: bytes taken per byte requested, at the peak, with and without.
Requested comes from a traced run, sampled each millisecond; taken are the frames
of all zones without tracing, the library's tables included, the program's own
mappings left out.  Of a program with several processes the one that took most.
"""
import os
import re
import shutil
import subprocess

from . import once, stats
from .configs import Config
from .measure import Failed
from .report import heading, notes, table

WORKLOADS = ["mpv", "g++", "python3", "sqlite3", "jq", "xmllint", "redis"]
READS = 200000 * 64  # of one run of bench/colour


def _config(library, options):
    return Config(options, library, {"BUDDYSCOPE": f"mmap=record {options}"})


def _largest(runner, command, config):
    return max(once.peaks(runner, command, config), key=lambda p: p["taken"])


def dedicated(runner, command, library, rounds):
    """Medians over rounds for one program."""
    rows = []
    for _ in range(rounds):
        traced = _largest(runner, command, _config(library, "trace=exact"))
        off = _largest(runner, command,
                       _config(library, "trace=off dedicated=off"))
        on = _largest(runner, command,
                      _config(library, "trace=off dedicated=on"))
        if not traced["requested"]:
            raise Failed("nothing was requested")
        rows.append((traced["requested"], off["taken"] / traced["requested"],
                     on["taken"] / traced["requested"], on["dedicated"]))
    return dict(zip(("requested_bytes", "off", "on", "caches"),
                    map(stats.median, zip(*rows))))


def colouring(build):
    """[{mode, text, misses}]: reads of the same field in 64 slabs."""
    colour = os.path.join(build, "bench", "colour")
    valgrind = shutil.which("valgrind")
    found = []
    for mode in ("off", "on"):
        row = {"mode": mode, "misses": None,
               "text": _run([colour, mode], "stdout").strip()}
        if valgrind:
            out = _run([valgrind, "--tool=cachegrind", "--cache-sim=yes",
                        "--cachegrind-out-file=/dev/null", colour, mode],
                       "stderr")
            match = re.search(r"D1 *misses: *([\d,]+)", out)
            if match:
                row["misses"] = int(match.group(1).replace(",", "")) / READS
        found.append(row)
    return found


def _run(argv, stream):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{argv[0]}: {done.stderr.strip()[-200:]}")
    return getattr(done, stream)


def _colour_row(row):
    misses = row["misses"]
    return [row["mode"], row["text"],
            "–" if misses is None else f"{misses:.3f}"]


def markdown(results):
    """The report."""
    rows = [[name, f"{r['requested_bytes'] / 1e6:.1f} MB", f"{r['off']:.3f}",
             f"{r['on']:.3f}", f"{r['caches']:.0f}"]
            for name, r in results["workloads"].items() if "off" in r]
    lines = list(heading(results)) + list(notes(results))
    lines += ["", "## Dedicated caches", "",
              "Bytes taken per byte requested at the peak, everything included,"
              " without and with dedicated caches.", "",
              *table(["", "requested", "off", "on", "caches made"], rows)]
    lines += ["", "## Colouring", "",
              "Reads of the same field in 64 slabs; misses of the first-level "
              "cache as cachegrind simulates it.", "",
              *table(["colours", "what", "misses a read"],
                     map(_colour_row, results.get("colouring", [])))]
    return "\n".join(lines) + "\n"
