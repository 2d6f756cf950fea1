# SPDX-License-Identifier: MIT
"""count-libc.py - for gdb -x: how often is the allocator of libc called?

Owns:   a breakpoint at the address of each allocating function inside
        libc.so.6, set the moment libc is mapped, before anything of it ran.
        COUNT_OUT gets a line "NAME HITS" for each.
Source: the offsets in COUNT_AT, "NAME:HEX,..." (readelf's, not symbol names:
        those would also match the preloaded library's).
"""
import os

import gdb

NEVER = 2 ** 31 - 1
placed = {}


def base_of_libc(pid):
    with open("/proc/%d/maps" % pid) as maps:
        for line in maps:
            fields = line.split()
            if len(fields) == 6 and fields[5].endswith("/libc.so.6") and \
                    int(fields[2], 16) == 0:
                return int(fields[0].split("-")[0], 16)
    return None


def place(event):
    if placed or not event.new_objfile.filename.endswith("/libc.so.6"):
        return
    base = base_of_libc(gdb.selected_inferior().pid)
    for entry in os.environ["COUNT_AT"].split(","):
        name, offset = entry.split(":")
        point = gdb.Breakpoint("*%#x" % (base + int(offset, 16)))
        point.silent = True
        point.ignore_count = NEVER
        placed[name] = point


def tell(event):
    with open(os.environ["COUNT_OUT"], "w") as out:
        for name, point in placed.items():
            out.write("%s %d\n" % (name, point.hit_count))
        out.write("status %d\n" % getattr(event, "exit_code", -1))


gdb.events.new_objfile.connect(place)
gdb.events.exited.connect(tell)
for setting in ("pagination off", "confirm off", "startup-with-shell off",
                "debuginfod enabled off", "print thread-events off",
                "print inferior-events off"):
    gdb.execute("set " + setting)
for signal in ("SIGPIPE", "SIGALRM", "SIGUSR1", "SIGUSR2", "SIG32", "SIG33"):
    gdb.execute("handle %s nostop noprint pass" % signal, to_string=True)
gdb.execute("run")
