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
# First-level data caches to simulate: bytes, ways, bytes of a line.  cachegrind
# would take this machine's, and the figures would be those of the machine.
CACHES = {"48 KiB, 12 ways": "49152,12,64", "32 KiB, 8 ways": "32768,8,64"}


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
    """[{mode, text, misses by cache}]: the same field of 64 slabs is read."""
    colour = os.path.join(build, "bench", "colour")
    valgrind = shutil.which("valgrind")
    found = []
    for mode in ("off", "on"):
        found.append({"mode": mode, "misses": {
            name: _misses(valgrind, cache, [colour, mode]) if valgrind else None
            for name, cache in CACHES.items()},
                      "text": _run([colour, mode], "stdout").strip()})
    return found


def _misses(valgrind, cache, command):
    """Misses a read, as cachegrind simulates this cache."""
    out = _run([valgrind, "--tool=cachegrind", "--cache-sim=yes",
                f"--D1={cache}", "--cachegrind-out-file=/dev/null", *command],
               "stderr")
    match = re.search(r"D1 *misses: *([\d,]+)", out)
    return int(match.group(1).replace(",", "")) / READS if match else None


def _run(argv, stream):
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{argv[0]}: {done.stderr.strip()[-200:]}")
    return getattr(done, stream)


def _colour_row(row):
    return [row["mode"], row["text"], *(
        "–" if misses is None else f"{misses:.3f}"
        for misses in row["misses"].values())]


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
              "Reads of the same field in 64 slabs; misses a read of first-level "
              "caches of two kinds, as cachegrind simulates them.", "",
              *table(["colours", "what", *CACHES],
                     map(_colour_row, results.get("colouring", [])))]
    return "\n".join(lines) + "\n"
