# SPDX-License-Identifier: MIT
"""The sections of a report that only one suite has."""
from . import stats
from .report import spread_cell, table


def ran(results):
    """Workloads that have figures."""
    return {n: r for n, r in results["workloads"].items()
            if not r.get("skipped")}


def names_of(results, control=False):
    """Configurations that could run."""
    return [c["name"] for c in results["configs"]
            if not c["missing"] and (control or not c["control"])]


def system_calls(results):
    """Calls about memory, and all calls."""
    names = names_of(results)
    rows = []
    for workload, result in ran(results).items():
        counts = result.get("system_calls", {})
        if counts:
            rows.append([workload] + [
                f"{counts[n]['memory']} / {counts[n]['all']}"
                if counts.get(n) else "–" for n in names])
    if rows:
        yield ("One run under `strace -f -c`: mmap, munmap, mremap, madvise, "
               "mprotect and brk / all. The rest is the program's own and "
               "differs a little from run to run.")
        yield ""
        yield from table(["", *names], rows)


def instructions(results):
    """Of the fast path."""
    counts = results.get("instructions_per_pair", {})
    if any(counts.values()):
        yield ("malloc + free of 64 bytes, loop included, counted by "
               "callgrind. Valgrind has no restartable sequences (rseq): an "
               "allocator that uses them takes its other path here, so "
               "buddyscope's figure is that of its locked path.")
        yield ""
        names = [n for n in names_of(results) if counts.get(n)]
        yield from table(["", *names], [
            ["instructions a pair", *(f"{counts[n]:.0f}" for n in names)]])


def tracing_cost(results):
    """Nanoseconds an allocation, by workload and tracer."""
    bases = {c["name"]: c["base"] for c in results["configs"]
             if c["base"] and not c["missing"]}
    rows = []
    for workload, result in ran(results).items():
        counts = result.get("counts")
        if not counts:
            continue
        row = [workload, f"{counts['allocations']:,}"]
        for name, base in bases.items():
            cost = cost_of(result, name, base)
            row.append(spread_cell(cost, 0, 0))
        rows.append(row)
    yield ("(CPU of the program traced − CPU untraced with the same allocator) "
           "/ allocations, in ns: medians over the rounds and their intervals. "
           "Allocations are counted by buddyscope's call sites in "
           "one run of its own. Compared: " +
           ", ".join(f"{n} with {b}" for n, b in bases.items()) + ".")
    yield ""
    yield from table(["", "allocations", *bases], rows)


def cost_of(result, name, base):
    """Comparison of differences in ns an allocation, or None."""
    traced = result["samples"].get(name, [])
    plain = result["samples"].get(base, [])
    allocations = result["counts"]["allocations"]
    if not traced or not plain or not allocations:
        return None
    return stats.differences([s["cpu_s"] for s in traced],
                             [s["cpu_s"] for s in plain], 1e9 / allocations)


def backtraces(results):
    """How often a backtrace was found and not taken."""
    rows = []
    for workload, result in ran(results).items():
        if not result.get("counts"):
            continue
        walks = result["counts"]["vmstat"].get("unwinds")
        allocations = result["counts"]["allocations"]
        rate = "n/a"
        if walks is not None and allocations:
            rate = f"{100 * max(0, 1 - walks / allocations):.1f} %"
        rows.append([workload, f"{allocations:,}", f"{walks or 0:,}", rate])
    if rows:
        yield ("Of buddyscope with exact tracing: stacks that were new or walked "
               "to the outermost frame (`unwinds`); all others were recognised, "
               "by the memo or as the thread's last walk.")
        yield ""
        yield from table(["", "allocations", "walked", "memo hit rate"], rows)


SECTIONS = {
    "allocator": [("System calls", system_calls),
                  ("Instructions", instructions)],
    "trace": [("Cost of tracing", tracing_cost),
              ("Backtraces", backtraces)],
}


def of(results):
    """(title, lines) of this suite's sections that have something to say."""
    found = [(title, list(make(results)))
             for title, make in SECTIONS[results["suite"]]]
    return [(title, lines) for title, lines in found if lines]
