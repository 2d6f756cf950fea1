#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Decodes a profile of `buddyscope sites --pprof` and checks it.

Written from the format's description, not from our .proto file, so that both do
not err in the same way.  As a program: profile.py FILE prints the sums of the
sample types as JSON, or says what is wrong; --head: period and comments instead.
"""
import gzip
import json
import sys


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7f) << shift
        shift += 7
        if byte < 0x80:
            return value & (1 << 64) - 1, at


def fields(data):
    """(number, value) of a message: integers, or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        kind, number = key & 7, key >> 3
        if kind == 0:
            value, at = varint(data, at)
        elif kind == 2:
            size, at = varint(data, at)
            value = data[at:at + size]
            assert len(value) == size, "a field is cut"
            at += size
        else:
            raise AssertionError("wire type %d" % kind)
        yield number, value


def message(data):
    """All fields by number, in lists."""
    found = {}
    for number, value in fields(data):
        found.setdefault(number, []).append(value)
    return found


def numbers(values):
    """A repeated integer, packed or not."""
    found = []
    for value in values:
        if isinstance(value, int):
            found.append(value)
            continue
        at = 0
        while at < len(value):
            number, at = varint(value, at)
            found.append(number)
    return found


def one(found, number):
    return found.get(number, [0])[-1]


class Profile:
    def __init__(self, packed):
        root = message(gzip.decompress(packed))
        self.strings = [text.decode("utf-8") for text in root[6]]
        assert self.strings[0] == ""
        text = self.strings.__getitem__
        pair = lambda data: tuple(text(one(message(data), n)) for n in (1, 2))
        self.types = [pair(data) for data in root[1]]
        self.default = text(one(root, 14))
        self.period = pair(root[11][0]), one(root, 12)
        self.time_ns = one(root, 9)
        self.duration_ns = one(root, 10)
        self.comments = [text(n) for n in numbers(root.get(13, []))]
        self.mappings = self.by_id(root.get(3, []), lambda m: {
            "start": one(m, 2), "limit": one(m, 3), "offset": one(m, 4),
            "file": text(one(m, 5)), "build_id": text(one(m, 6)),
            "functions": one(m, 7)})
        self.first_mapping = one(message(root[3][0]), 1) if 3 in root else 0
        self.functions = self.by_id(root.get(5, []), lambda m: {
            "name": text(one(m, 2)), "symbol": text(one(m, 3)),
            "file": text(one(m, 4))})
        self.locations = self.by_id(root.get(4, []), self.location)
        self.samples = [self.sample(message(data)) for data in root.get(2, [])]
        # By number of the sample: texts and numbers by key.
        self.labels = [self.label(message(data)) for data in root.get(2, [])]
        for mapping in self.mappings.values():
            assert mapping["start"] < mapping["limit"], mapping

    @staticmethod
    def by_id(list_, make):
        found = {}
        for data in list_:
            fields_ = message(data)
            id_ = one(fields_, 1)
            assert id_ and id_ not in found, "id %d" % id_
            found[id_] = make(fields_)
        return found

    def location(self, m):
        mapping = one(m, 2)
        address = one(m, 3)
        if mapping:
            where = self.mappings[mapping]
            assert where["start"] <= address < where["limit"], hex(address)
        lines = []
        for data in m.get(4, []):
            line = message(data)
            lines.append((self.functions[one(line, 1)], one(line, 2)))
        return {"mapping": mapping, "address": address, "lines": lines}

    def sample(self, m):
        stack = numbers(m[1])
        values = numbers(m[2])
        assert stack and all(id_ in self.locations for id_ in stack)
        assert len(values) == len(self.types)
        return stack, values

    def label(self, m):
        found = {}
        for data in m.get(3, []):
            label = message(data)
            found[self.strings[one(label, 1)]] = \
                self.strings[one(label, 2)] or one(label, 3)
        return found

    def totals(self):
        return {self.types[i][0]: sum(values[i] for _, values in self.samples)
                for i in range(len(self.types))}

    def names(self, stack):
        """Functions of a stack, innermost first; None for an address."""
        return [line[0]["name"] if line else None
                for id_ in stack
                for line in self.locations[id_]["lines"] or [None]]


if __name__ == "__main__":
    with open(sys.argv[-1], "rb") as packed_file:
        profile = Profile(packed_file.read())
    if "--head" in sys.argv:
        print(json.dumps({"period": profile.period,
                          "comments": profile.comments}))
    else:
        print(json.dumps(profile.totals(), sort_keys=True))
