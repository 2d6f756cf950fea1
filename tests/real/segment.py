# SPDX-License-Identifier: MIT
"""segment.py - read a segment as docs/segment.md says, and nothing else.

Owns:   a second reader, independent of shared/snapshot.c: what the tests
        compare with must not share the bugs of what they test.
Source: docs/segment.md (shared/abi.h).
"""
import glob
import mmap
import os
import struct
import time

MAGIC = 0x45504F4353594442
VERSION = 5  # whose zones and caches this reader knows
USES = ("slab", "large", "vmalloc", "mmap", "pcp", "table", "dma")
ORDERS, TYPES = 11, 5
CONTROL, ZONES, CACHES, AREAS, NODES, SITES, MODULES = range(7)


class Torn(Exception):
    pass


def text(raw):
    return raw.split(b"\0", 1)[0].decode("ascii", "replace")


class Segment:
    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            self.map = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
        magic, version, compat = struct.unpack_from("<QII", self.map, 0)
        if magic != MAGIC or compat > VERSION:
            raise ValueError("%s: not a segment for readers of version %d" % (
                path, VERSION))
        self.pid, = struct.unpack_from("<i", self.map, 40)
        self.comm = text(self.map[256:272])

    def section(self, number):
        """(offset, capacity, count, dropped, elem_bytes)"""
        return struct.unpack_from("<QQQQI", self.map, 1552 + 48 * number)

    def stable(self, number, index, tries=1000000):
        """A record that has a seq at its start, or Torn."""
        offset, _, count, _, size = self.section(number)
        assert index < count
        at = offset + index * size
        for _ in range(tries):
            before, = struct.unpack_from("<I", self.map, at)
            if not before & 1:
                raw = self.map[at:at + size]
                after, = struct.unpack_from("<I", self.map, at)
                if before == after == struct.unpack_from("<I", raw)[0]:
                    return raw
            time.sleep(0)
        raise Torn("record %d of section %d stays odd" % (index, number))

    def zones(self):
        found = []
        for i in range(self.section(ZONES)[2]):
            raw = self.stable(ZONES, i)
            pages = struct.unpack_from("<5Q", raw, 32)
            used = struct.unpack_from("<7Q", raw, 224)
            free = struct.unpack_from("<55Q", raw, 288)
            found.append({
                "name": text(raw[8:24]),
                "start_pfn": pages[0], "spanned_pages": pages[1],
                "present_pages": pages[2], "managed_pages": pages[3],
                "free_pages": pages[4],
                "used": dict(zip(USES, used)),
                "free": [sum(free[t * ORDERS + o] for t in range(TYPES))
                         for o in range(ORDERS)],
            })
        return found

    def caches(self):
        found = {}
        for i in range(self.section(CACHES)[2]):
            raw = self.stable(CACHES, i)
            if not struct.unpack_from("<I", raw, 4)[0]:
                continue
            size, _, per_slab, pages = struct.unpack_from("<4I", raw, 40)
            active, num, active_slabs, slabs = struct.unpack_from("<4Q", raw, 72)
            found[text(raw[8:40])] = {
                "active_objs": active, "num_objs": num, "object_bytes": size,
                "objs_per_slab": per_slab, "pages_per_slab": pages,
                "active_slabs": active_slabs, "num_slabs": slabs,
            }
        return found


def wrong(zone):
    """What does not add up in a zone, or None."""
    used = sum(zone["used"].values())
    blocks = sum(n << o for o, n in enumerate(zone["free"]))
    if zone["managed_pages"] != zone["free_pages"] + used:
        return "%s: managed %d, free %d + used %d" % (
            zone["name"], zone["managed_pages"], zone["free_pages"], used)
    if zone["free_pages"] != blocks:
        return "%s: free %d, in blocks %d" % (
            zone["name"], zone["free_pages"], blocks)
    if zone["managed_pages"] > zone["present_pages"] or \
            zone["present_pages"] > zone["spanned_pages"]:
        return "%s: managed %d, present %d, spanned %d" % (
            zone["name"], zone["managed_pages"], zone["present_pages"],
            zone["spanned_pages"])
    return None


def of_pid(pid, directory=None):
    """The newest segment of a process, or None."""
    directory = directory or os.environ["BUDDYSCOPE_DIR"]
    paths = glob.glob(os.path.join(directory, "%d-*.seg" % pid))
    return max(paths, key=os.path.getmtime) if paths else None
