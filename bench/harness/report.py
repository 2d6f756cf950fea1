# SPDX-License-Identifier: MIT
"""Results as Markdown and JSON.  The JSON holds each single figure of each
round, the Markdown medians of paired ratios with their intervals."""
import os
import platform
import re
import subprocess

from . import stats

FORMAT = 1
OURS = "libbuddyscope.so"

# key, title, what it is
METRICS = [
    ("cpu_s", "CPU", "user + system time of the program and its children"),
    ("wall_s", "Wall", "time by the clock"),
    ("rss_kib", "Peak RSS",
     "most resident memory of the largest process (VmHWM)"),
    ("faults", "Page faults", "minor and major, the program and its children"),
]
# title, ends of the names of figures that synthetic programs print
OWN_FIGURES = [
    ("Time of the synthetic programs", ("ns_per_op",)),
    ("Fragmentation: memory held, and per byte requested",
     ("held_mib", "held_per_requested")),
]
UNITS = {"cpu_s": ("s", 1, 3), "wall_s": ("s", 1, 3),
         "rss_kib": ("MiB", 1 / 1024, 1), "faults": ("", 1, 0)}


def _first_line(path, pattern):
    try:
        with open(path, encoding="utf-8", errors="replace") as f:
            match = re.search(pattern, f.read())
        return match.group(1).strip() if match else None
    except OSError:
        return None


def _output(*argv):
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def machine(source):
    """What the figures depend on besides the programs."""
    return {
        "processor": _first_line("/proc/cpuinfo", r"model name\s*:\s*(.*)")
        or platform.machine(),
        "processors": os.cpu_count(),
        "memory_kib": int(_first_line("/proc/meminfo", r"MemTotal:\s*(\d+)")
                          or 0),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "huge_pages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled",
                                  r"\[(\w+)\]"),
        "governor": _first_line(
            "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", r"(\w+)"),
        "load": os.getloadavg()[0],
        "source": _output("git", "-C", source, "describe", "--always",
                          "--dirty"),
    }


def evaluate(samples, reference):
    """Per metric the comparison with the reference's rounds."""
    found = {}
    for key, *_ in METRICS:
        found[key] = stats.compare([s and s[key] for s in samples],
                                   [r and r[key] for r in reference])
    for name in (samples[0] or {}).get("own", {}):
        found[f"own.{name}"] = stats.compare(
            [s and s["own"].get(name) for s in samples],
            [r and r["own"].get(name) for r in reference])
    return found


def spread_cell(spread, digits, digits_of_bounds):
    """1.02 (1.00–1.05) with an interval, 1.02 [0.99–1.10] with a range."""
    if not spread:
        return "–"
    text = f"{spread['median']:.{digits}f}"
    bounds = "low", "high"
    if spread["low"] is None:
        bounds = "min", "max"
    if spread["rounds"] > 1:
        low, high = (f"{spread[b]:.{digits_of_bounds}f}" for b in bounds)
        text += (f" ({low}–{high})" if bounds[0] == "low"
                 else f" [{low}–{high}]")
    return text


def ratio(comparison):
    """Of a cell in the tables of ratios."""
    return spread_cell(comparison, 3, 2)


def table(header, rows):
    """Lines of a Markdown table; all columns but the first to the right."""
    yield "| " + " | ".join(header) + " |"
    yield "|---" + "|---:" * (len(header) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(str(cell) for cell in row) + " |"


def absolute(result, config, key):
    """Median of the rounds with its unit."""
    values = [s[key] for s in result["samples"].get(config, []) if s]
    if not values:
        return "–"
    unit, factor, digits = UNITS[key]
    return f"{stats.median(values) * factor:.{digits}f} {unit}".strip()


def best_others(results, found):
    """(ratio, name): ours divided by the best allocator without tracing, the
    reference's 1 among them; None if one of the two is not there."""
    ours = first_ours(results)
    others = {c["name"]: found[c["name"]] for c in results["configs"]
              if not (c["control"] or c["base"]) and c["name"] in found
              and os.path.basename(c["preload"]) != OURS}
    others[results["reference"]] = 1.0
    best = min(others, key=others.get)
    if ours not in found or len(others) < 2 or not others[best]:
        return None
    return found[ours] / others[best], best


def first_ours(results):
    """Name of the first configuration with our library, not the reference."""
    return next((c["name"] for c in results["configs"][1:]
                 if os.path.basename(c["preload"]) == OURS), None)


def best_cell(results, found):
    """1.070 (tcmalloc)"""
    best = best_others(results, found)
    return f"{best[0]:.3f} ({best[1]})" if best else "–"


def medians_of(result, names, key):
    """name -> median ratio, of those that have one."""
    found = {n: result["ratios"].get(n, {}).get(key) for n in names}
    return {n: c["median"] for n, c in found.items() if c}


def means_row(results, names, rows_medians):
    """Geometric means over the workloads that all configurations have."""
    complete = [m for m in rows_medians if len(m) == len(names)]
    means = {n: stats.geometric_mean([m[n] for m in complete]) for n in names}
    means = {n: m for n, m in means.items() if m}
    return [f"**geometric mean of {len(complete)}**", "",
            *(f"**{means[n]:.3f}**" if n in means else "–" for n in names),
            best_cell(results, means)]


def ratio_table(results, key):
    """Workloads by configurations, geometric means below."""
    names = [c["name"] for c in results["configs"] if not c["missing"]][1:]
    reference = results["reference"]
    rows, rows_medians = [], []
    for name, result in results["workloads"].items():
        if result.get("skipped"):
            continue
        medians = medians_of(result, names, key)
        rows_medians.append(medians)
        rows.append([name, absolute(result, reference, key), *(
            "failed" if n in result["failed"]
            else ratio(result["ratios"].get(n, {}).get(key)) for n in names),
            best_cell(results, medians)])
    rows.append(means_row(results, names, rows_medians))
    header = ["", reference, *names,
              f"{first_ours(results) or 'ours'} / best other"]
    if not first_ours(results):
        header, rows = header[:-1], [row[:-1] for row in rows]
    yield from table(header, rows)


def own_figures(results, wanted):
    """Medians of what the synthetic programs print themselves: figures whose
    name ends in one of these."""
    names = [c["name"] for c in results["configs"] if not c["missing"]]
    rows = []
    for workload, result in results["workloads"].items():
        if result.get("skipped"):
            continue
        samples = result["samples"]
        first = next((s for s in samples.get(names[0], []) if s), {})
        for figure in first.get("own", {}):
            if not figure.endswith(wanted):
                continue
            row = [f"{workload}: {figure.replace('_', ' ')}"]
            for config in names:
                values = [s["own"][figure] for s in samples.get(config, [])
                          if s and figure in s["own"]]
                row.append(f"{stats.median(values):.2f}" if values else "–")
            rows.append(row)
    if rows:
        yield from table(["", *names], rows)


def method(results):
    """How the figures came about."""
    s = results["settings"]
    text = (f"{s['rounds']} rounds"
            f"{', inputs a tenth (--quick)' if s['quick'] else ''}, address "
            f"space randomisation {'on' if s['aslr'] else 'off'}")
    if "reference" not in results:
        yield f"{text}; medians."
        return
    yield (f"{text}, after one round that is not counted; order shuffled in "
           f"each (seed {s['seed']}). Cells: median of the ratios to "
           f"{results['reference']} of the same round, with its 95 % bootstrap "
           f"interval (in brackets, of fewer than {stats.FEWEST} rounds: the "
           "range); the first column is absolute.")


def heading(results):
    """What was run, where, how noisy it was."""
    m = results["machine"]
    others = [x["others"] for r in results["workloads"].values()
              for rounds in r.get("samples", {}).values() for x in rounds if x]
    yield f"# bench {results['suite']}"
    yield ""
    yield (f"{m['processor']}, {m['processors']} processors, "
           f"{m['memory_kib'] / 1048576:.1f} GiB; Linux {m['kernel']}, "
           f"{m['libc']}; huge pages {m['huge_pages']}; "
           f"source {m['source'] or 'unknown'}.")
    yield ""
    yield from method(results)
    if others:
        yield ""
        yield (f"Processor time that others took meanwhile: median "
               f"{100 * stats.median(others):.0f} %, at most "
               f"{100 * max(others):.0f} % of the machine.")
    if any(c["control"] for c in results["configs"]):
        yield (f"“again” is {results['reference']} once more: how far it is "
               "from 1 is noise.")
    yield ""


def notes(results):
    """Configurations that could not run, workloads left out, failures."""
    if results["interrupted"]:
        yield "- interrupted: what was to come after is not here"
    for c in results["configs"]:
        if c["missing"]:
            yield f"- {c['name']} is unavailable: {c['missing']}"
    for name, result in results["workloads"].items():
        if result.get("skipped"):
            yield f"- {name} is left out: {result['skipped']}"
        for config, why in result.get("failed", {}).items():
            yield f"- **{name} failed under {config}**: {why}"
        if result.get("counts_failed"):
            yield f"- {name}: nothing counted: {result['counts_failed']}"


def configurations(results):
    """What each name stands for."""
    yield "## Configurations"
    yield ""
    for c in results["configs"]:
        env = " ".join(f"{k}={v}" for k, v in c["env"].items())
        what = f"{os.path.basename(c['preload']) or 'nothing preloaded'} {env}"
        yield f"- {c['name']}: {what.strip()}"
    yield ""
    yield "## Workloads"
    yield ""
    for name, result in results["workloads"].items():
        yield f"- {name}: {result['what']}"


def markdown(results, sections=()):
    """The whole report as text; sections are (title, lines) of a suite."""
    lines = list(heading(results))
    lines += [*notes(results), ""]
    for key, title, what in METRICS:
        lines += [f"## {title}", "", what[0].upper() + what[1:] + ".", "",
                  *ratio_table(results, key), ""]
    for title, wanted in OWN_FIGURES:
        own = list(own_figures(results, wanted))
        if own:
            lines += [f"## {title}", "", *own, ""]
    for title, text in sections:
        lines += [f"## {title}", "", *text, ""]
    lines += configurations(results)
    return "\n".join(lines) + "\n"
