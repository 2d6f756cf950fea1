# SPDX-License-Identifier: MIT
"""What is counted and not timed, so that once is enough: system calls,
instructions, allocations."""
import json
import os
import re
import shutil
import subprocess

from .measure import Command, Failed

MEMORY_CALLS = ("mmap", "munmap", "mremap", "madvise", "mprotect", "brk")
PAIRS = 100000


def system_calls(runner, command, config):
    """{"all": N, "memory": N, name: N…} of the whole tree, or None."""
    strace = shutil.which("strace")
    if not strace:
        return None
    counts = os.path.join(runner.scratch, "strace")

    def tool(env):
        return [strace, "-f", "-c", "-o", counts] + [
            word for k, v in env.items() for word in ("-E", f"{k}={v}")]

    runner.run(command, config, tool)
    with open(counts, encoding="utf-8") as f:
        found = parse_strace(f.read())
    os.unlink(counts)
    return found


def parse_strace(text):
    """The table of strace -c: calls is the fourth column, errors may lack."""
    found = {}
    for line in text.splitlines():
        words = line.split()
        if len(words) < 5 or not words[3].isdigit() or words[-1] == "total":
            continue
        found[words[-1]] = int(words[3])
    found["all"] = sum(found.values())
    found["memory"] = sum(found.get(name, 0) for name in MEMORY_CALLS)
    return found


def instructions_per_pair(runner, config):
    """Instructions of one malloc + free of 64 bytes, its loop included: the
    difference of two runs, so without start-up.  None without valgrind."""
    valgrind = shutil.which("valgrind")
    if not valgrind:
        return None
    totals = []
    for pairs in (PAIRS, 2 * PAIRS):
        out = os.path.join(runner.scratch, "callgrind")

        def tool(env, out=out):
            return ["env", *(f"{k}={v}" for k, v in env.items()), valgrind,
                    "--tool=callgrind", f"--callgrind-out-file={out}"]

        runner.run(Command([runner.micro, "pair", str(pairs)]), config, tool)
        with open(out, encoding="utf-8", errors="replace") as f:
            totals.append(int(re.search(r"^totals: (\d+)", f.read(),
                                        re.MULTILINE).group(1)))
        os.unlink(out)
    return (totals[1] - totals[0]) / PAIRS


def peaks(runner, command, config):
    """What bench/peak tells of each process that made a segment: comm,
    requested, taken, dedicated, allocs, path."""
    peak = os.path.join(runner.build, "bench", "peak")

    def tool(env):
        return [peak, runner.segments,
                "env", *(f"{k}={v}" for k, v in env.items())]

    runner.run(command, config, tool)
    found = []
    with open(runner.out, encoding="utf-8", errors="replace") as f:
        for line in f:
            match = re.fullmatch(
                r"(\S.*) (\d+) (\d+) (\d+) (\d+) (\S+\.seg)\n", line)
            if match:
                comm, *numbers, name = match.groups()
                found.append(dict(zip(
                    ("requested", "taken", "dedicated", "allocs"),
                    map(int, numbers)), comm=comm,
                    path=os.path.join(runner.segments, name)))
    if not found:
        raise Failed("no segment was made")
    return found


def counters(tool, paths):
    """vmstat counters summed over segments, through the command."""
    found = {}
    for path in paths:
        done = subprocess.run([tool, "vmstat", path, "--json"], text=True,
                              capture_output=True, check=False)
        if done.returncode:
            raise Failed(f"buddyscope vmstat: {done.stderr.strip()[:200]}")
        for key, value in json.loads(done.stdout)["vmstat"].items():
            found[key] = found.get(key, 0) + value
    return found


def traced_counts(runner, command, config):
    """Allocations of a run with exact tracing, and the tracer's counters."""
    found = peaks(runner, command, config)
    tool = os.environ.get("BUDDYSCOPE_TOOL") or os.path.join(runner.build,
                                                             "buddyscope")
    return {"allocations": sum(p["allocs"] for p in found),
            "vmstat": counters(tool, [p["path"] for p in found])}
