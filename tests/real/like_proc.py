# SPDX-License-Identifier: MIT
"""One parser for the kernel's files and ours.

usage: like_proc.py VIEW FILE...

Each line is taken apart, printed again in the kernel's printf notation, and must
come out byte for byte.  zoneinfo's rows differ by kernel configuration: there the
order of rows and their columns are compared.  Prints, for each file, what its
rows are called; the caller compares those of two files.
"""
import re
import sys


class Bad(Exception):
    pass


def again(line, text):
    if line != text:
        raise Bad(f"{line!r} is not {text!r}")


def take(pattern, line):
    m = re.fullmatch(pattern, line)
    if not m:
        raise Bad(f"not understood: {line!r}")
    return m


def numbers(text):
    return [int(n) for n in text.split()]


ZONE = r"Node +(\d+), zone +(\S+)"


def buddyinfo(lines):
    for line in lines:
        m = take(ZONE + r" ([ \d]+)", line)
        n = numbers(m[3])
        again(line, "Node %d, zone %8s " % (int(m[1]), m[2]) + "".join("%6d " % x for x in n))
        yield f"{len(n)} orders"


def pagetypeinfo(lines):
    for i, line in enumerate(lines):
        if i == 0:
            again(line, "Page block order: %d" % int(take(r"Page block order: (\d+)", line)[1]))
        elif i == 1:
            again(line, "Pages per block:  %d" % int(take(r"Pages per block:  (\d+)", line)[1]))
        elif line == "":
            yield "empty"
        elif line.startswith("Free pages"):
            m = take(r"Free pages count per migrate type at order *([ \d]+)", line)
            n = numbers(m[1])
            again(line, "%-43s " % "Free pages count per migrate type at order"
                  + "".join("%6d " % x for x in n))
            yield f"head {len(n)}"
        elif ", type" in line:
            m = take(ZONE + r", type +(\S+) ([ >\d]+)", line)
            # The kernel stops counting at 100,000 and says so with '>'.
            n = m[4].split()
            again(line, "Node %4d, zone %8s, type %12s " % (int(m[1]), m[2], m[3])
                  + "".join("%s%6s " % (">" * (x[0] == ">"), x.lstrip(">")) for x in n))
            yield f"type {m[3]} {len(n)}"
        elif line.startswith("Number of blocks"):
            names = line.split()[4:]
            again(line, "%-23s" % "Number of blocks type " + "".join("%12s " % x for x in names))
            yield "blocks " + " ".join(names)
        else:
            m = take(ZONE + r" ([ \d]+)", line)
            n = numbers(m[3])
            again(line, "Node %d, zone %8s " % (int(m[1]), m[2]) + "".join("%12d " % x for x in n))
            yield f"counts {len(n)}"


def slabinfo(lines):
    for i, line in enumerate(lines):
        if i == 0:
            again(line, "slabinfo - version: 2.1")
            continue
        if i == 1:
            yield line
            continue
        w = line.split()
        if len(w) != 16:
            raise Bad(f"{len(w)} words: {line!r}")
        n = [int(x) for x in w[1:6] + w[8:11] + w[13:16]]
        again(line, "%-17s %6d %6d %6d %4d %4d" % (w[0], *n[:5])
              + " : tunables %4d %4d %4d" % tuple(n[5:8])
              + " : slabdata %6d %6d %6d" % tuple(n[8:]))
        yield "row"


def vmallocinfo(lines):
    for line in lines:
        m = take(r"(0x[0-9a-f]+)-(0x[0-9a-f]+) +(\d+)(.*)", line)
        text = "%s-%s %7d" % (m[1], m[2], int(m[3]))
        rest = take(r"( [^ =]+\+0x[0-9a-f]+/0x[0-9a-f]+(?: \[[^\]]+\])?| 0x[0-9a-f]+)?"
                    r"( pages=\d+)?( phys=[0-9a-fx]+)?( unpurged vm_area| vm_map_ram)?"
                    r"( ioremap)?( sparse)?( vmalloc)?( dma-coherent)?( vmap)?( user)?( vpages)?"
                    r"((?: N\d+=\d+)*)", m[4])
        again(line, text + "".join(g or "" for g in rest.groups()))
        if int(m[3]) % 4096:
            raise Bad(f"size is no number of pages: {line!r}")
        yield "area"


# Rows of a populated zone, in their order; counters (nr_*, numa_*) vary.
ZONE_ROWS = ["pages free", "boost", "min", "low", "high", "promo", "spanned", "present",
             "managed", "cma", "protection:"]


def zoneinfo(lines):
    rows = []
    for line in lines:
        if line.startswith("Node"):
            m = take(ZONE, line)
            again(line, "Node %d, zone %8s" % (int(m[1]), m[2]))
            rows = []
            continue
        if line == "  per-node stats" or line == "  pagesets":
            yield line
            continue
        m = re.fullmatch(r"      (\w+) +(\d+)", line)
        if m:
            again(line, "      %-12s %s" % (m[1], m[2]))
            continue
        m = re.fullmatch(r"  pages free     (\d+)", line)
        if m:
            rows = ["pages free"]
            continue
        m = re.fullmatch(r"        (\w+) +(\d+)", line)
        if m:
            again(line, "        %-8s %s" % (m[1], m[2]))
            rows.append(m[1])
            continue
        m = re.fullmatch(r"        protection: \((\d+(?:, \d+)*)\)", line)
        if m:
            rows.append("protection:")
            if rows != ZONE_ROWS:
                raise Bad(f"rows are {rows}")
            yield "rows " + " ".join(rows)
            continue
        m = re.fullmatch(r"    cpu: (\d+)", line)
        if m:
            yield "cpu"
            continue
        m = re.fullmatch(r"              (count|high|batch|high_min|high_max):( +)(\d+)", line)
        if m:
            again(line, "              %-9s %s" % (m[1] + ":", m[3]))
            yield m[1]
            continue
        if re.fullmatch(r"  vm stats threshold: \d+", line):
            continue # only kernels for several CPUs have it
        m = re.fullmatch(r"  (node_unreclaimable|start_pfn):( +)(\d+)", line)
        if not m:
            raise Bad(f"not understood: {line!r}")
        again(line, "  %-20s %s" % (m[1] + ":", m[3]))
        yield m[1]


def extfrag_index(lines):
    for line in lines:
        m = take(ZONE + r" ([-. \d]+)", line)
        n = m[3].split()
        again(line, "Node %d, zone %8s " % (int(m[1]), m[2]) + "".join("%s " % x for x in n))
        for x in n:
            take(r"-?\d+\.\d{3}", x)
        yield f"{len(n)} orders"


unusable_index = extfrag_index


def main():
    view = sys.argv[1]
    seen = []
    for path in sys.argv[2:]:
        with open(path, encoding="utf-8") as f:
            text = f.read()
        try:
            if not text.endswith("\n"):
                raise Bad("the last line has no end")
            names = list(dict.fromkeys(globals()[view](text[:-1].split("\n"))))
        except Bad as bad:
            sys.exit(f"{path}: {bad}")
        seen.append(names)
    if any(names != seen[0] for names in seen[1:]):
        sys.exit(f"rows differ: {seen}")
    print(f"{len(seen[0])} kinds of rows")


main()
