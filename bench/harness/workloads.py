# SPDX-License-Identifier: MIT
"""Workloads: real programs and small synthetic ones.

A workload is a function that gets a World and returns a Command.  What it needs
as input it makes itself, the same each time.  MissingProgram leaves it out.
"""
import json
import os
import random
import subprocess

from .measure import Command, find_program


class MissingProgram(Exception):
    """The line that is printed in place of figures."""


class World:
    """Where inputs lie, how large they are, where our own programs are."""

    def __init__(self, inputs, build, source, scale, operations=1):
        self.inputs = inputs
        self.build = build
        self.source = source
        self.scale = scale
        self.operations = operations  # factor for the synthetic ones alone

    def program(self, name):
        """Path of an installed program."""
        path = find_program(name)
        if not path:
            raise MissingProgram(f"{name} is not installed")
        return path

    def scaled(self, number):
        """Smaller with --quick."""
        return max(1, round(number * self.scale))

    def file(self, name, make):
        """Path of an input; make(file) writes it once."""
        path = os.path.join(self.inputs, name)
        if not os.path.exists(path):
            with open(path + ".part", "w", encoding="utf-8") as f:
                make(f)
            os.rename(path + ".part", path)
        return path

    def clip(self, seconds):
        """H.264 and AAC, made by tests/clip."""
        path = os.path.join(self.inputs, f"clip{seconds}.mp4")
        if not os.path.exists(path):
            self.program("ffmpeg")
            done = subprocess.run(
                [os.path.join(self.source, "tests", "clip"), path,
                 str(seconds), "640x360"],
                capture_output=True, text=True, check=False)
            if done.returncode:
                raise MissingProgram("ffmpeg makes no clip: "
                                     f"{done.stderr.strip()[-200:]}")
        return path


MPV = ["--no-config", "--vo=null", "--ao=null", "--untimed",
       "--ao-null-untimed", "--really-quiet"]


def mpv(world):
    """mpv playing 20 s of 640x360 H.264 as fast as it can"""
    return Command([world.program("mpv"), *MPV,
                    world.clip(world.scaled(20))])


def mpv_loop(world):
    """mpv playing 4 s of H.264 six times"""
    return Command([world.program("mpv"), *MPV, "--loop-file=5",
                    world.clip(world.scaled(4))])


def ffmpeg(world):
    """ffmpeg decoding 20 s of 640x360 H.264"""
    return Command([world.program("ffmpeg"), "-nostdin", "-loglevel", "error",
                    "-i", world.clip(world.scaled(20)), "-f", "null", "-"])


HEADERS = ("algorithm any array chrono deque fstream functional iomanip "
           "iostream list map memory mutex numeric optional random set sstream "
           "string thread tuple unordered_map unordered_set variant "
           "vector").split()


def write_cxx(f):
    """Standard headers, and templates of them instantiated."""
    for header in HEADERS:
        f.write(f"#include <{header}>\n")
    for i in range(4):
        f.write(f"struct key{i} {{ int v; auto operator<(const key{i} &o) "
                "const { return v < o.v; } };\n"
                f"std::size_t use{i}(std::map<key{i}, std::vector<std::set"
                f"<std::string>>> &m) {{\n\tm[key{i}{{{i}}}].push_back("
                f"{{\"{i}\"}});\n\tstd::vector<key{i}> k;\n\tfor (auto &[a, b]"
                " : m)\n\t\tk.push_back(a);\n\tstd::sort(k.begin(), k.end());"
                "\n\treturn k.size();\n}\n")


def _compile(world, compiler):
    return Command([world.program(compiler), "-std=c++17", "-c",
                    world.file("many.cc", write_cxx), "-o", "/dev/null"])


def gxx(world):
    """g++ compiling a file with 25 standard headers"""
    return _compile(world, "g++")


def clangxx(world):
    """clang++ compiling the same file"""
    return _compile(world, "clang++")


PYTHON = """
import sys
class Node:
    def __init__(self, key):
        self.key, self.left, self.right, self.name = key, None, None, str(key)
def insert(root, key):
    while True:
        side = "left" if key < root.key else "right"
        below = getattr(root, side)
        if below is None:
            setattr(root, side, Node(key))
            return
        root = below
total, x = 0, 1
for turn in range(int(sys.argv[1])):
    root = Node(1 << 30)
    for i in range(4000):
        x = (x * 1103515245 + 12345) % (1 << 31)
        insert(root, x)
    words = {}
    for i in range(8000):
        words.setdefault("w%d" % (i % 1000), []).append((i, str(i)))
    total += sum(len(w) for w in words.values())
    total += len(",".join(sorted("%x" % i for i in range(4000))))
print(total)
"""


def python3(world):
    """python3 with PYTHONMALLOC=malloc: trees, dictionaries, strings"""
    return Command([world.program("python3"), "-S",
                    world.file("objects.py", lambda f: f.write(PYTHON)),
                    str(world.scaled(30))], {"PYTHONMALLOC": "malloc"})


SQL = """create table t(a, b, c);
with recursive n(x) as (select 1 union all select x + 1 from n where x < {0})
insert into t select x, hex(x * 7919), x % 100 from n;
create index i on t(b);
select count(*), sum(a) from t where b like '3%' group by c;
update t set b = b || 'x' where a % 3 = 0;
delete from t where a % 5 = 0;
select count(distinct b) from t;
"""


def sqlite3(world):
    """sqlite3 with a table and an index in memory"""
    path = world.file("table.sql",
                      lambda f: f.write(SQL.format(world.scaled(200000))))
    return Command([world.program("sqlite3"), ":memory:", f".read {path}"])


def write_json(f, records):
    """A list of records of several shapes."""
    rng = random.Random(1)
    json.dump([{"id": i, "name": "n%x" % rng.getrandbits(40),
                "tags": ["t%d" % rng.randrange(50) for _ in range(i % 5)],
                "at": {"x": rng.random(), "y": rng.random(), "ok": i % 3 == 0}}
               for i in range(records)], f)


def jq(world):
    """jq grouping and sorting 50,000 records"""
    records = world.scaled(50000)
    path = world.file("records.json", lambda f: write_json(f, records))
    return Command([world.program("jq"), "-c",
                    "map(select(.at.ok)) | group_by(.tags) | "
                    "map({n: length, names: (map(.name) | sort)}) | length",
                    path])


def write_xml(f, records):
    """Elements with attributes and text, three deep."""
    rng = random.Random(1)
    f.write("<?xml version='1.0'?>\n<all>\n")
    for i in range(records):
        f.write(f"<r id='{i}' name='n{rng.getrandbits(40):x}'>"
                f"<x>{rng.random()}</x><t><a k='v{i % 50}'/>"
                f"<b>{'text ' * (i % 9)}</b></t></r>\n")
    f.write("</all>\n")


def xmllint(world):
    """xmllint building the tree of 150,000 records and asking it"""
    records = world.scaled(150000)
    path = world.file("records.xml", lambda f: write_xml(f, records))
    return Command([world.program("xmllint"), "--xpath", "count(//r[x > 0.5])",
                    path])


def redis(world):
    """redis-server; wall is redis-benchmark's, all else the server's"""
    socket = os.path.join(world.inputs, "redis.sock")
    client = [world.program("redis-benchmark"), "-s", socket, "-q", "-n",
              str(world.scaled(100000)), "-r", "50000", "-d", "200", "-P", "16",
              "-c", "20", "-t", "set,get,incr,lpush,sadd,hset,zadd"]
    return Command([world.program("redis-server"), "--port", "0",
                    "--unixsocket", socket, "--save", "", "--daemonize", "no",
                    "--logfile", "/dev/null"], client=client, ready=socket)


def start(world):
    """/bin/true, 200 times: figures are of one"""
    return Command([world.program("true")], times=world.scaled(200))


def _micro(pattern, ops, text):
    def command(world):
        return Command([os.path.join(world.build, "bench", "micro"), pattern,
                        str(world.scaled(ops * world.operations))],
                       figures=True)
    command.__doc__ = text
    return command


def lifetime(world):
    """300,000 objects: filled, 90 % freed, refilled, freed, 4 s pass"""
    return Command([os.path.join(world.build, "bench", "lifetime"),
                    str(world.scaled(300000))], figures=True, enough=3)


REAL = {
    "mpv": mpv, "mpv-loop": mpv_loop, "ffmpeg": ffmpeg, "g++": gxx,
    "clang++": clangxx, "python3": python3, "sqlite3": sqlite3, "jq": jq,
    "xmllint": xmllint, "redis": redis,
}
SYNTHETIC = {
    "pair": _micro("pair", 30000000, "malloc and free of 64 bytes"),
    "live64": _micro("live64", 20000000, "64 live blocks of 1 to 512 bytes"),
    "small": _micro("small", 8000000, "100,000 small objects made, then freed"),
    "random": _micro("random", 4000000, "random lifetimes, 20,000 live"),
    "producer": _micro("producer", 4000000,
                       "two threads allocate, two others free"),
    "churn": _micro("churn", 2000000, "threads that come and go"),
    "large": _micro("large", 3000, "blocks of 1 to 8 MiB in turn"),
    "realloc": _micro("realloc", 60000, "buffers that grow to 256 KiB"),
    "calloc": _micro("calloc", 500000, "calloc of 16 bytes to 64 KiB"),
    "lifetime": lifetime,
    "start": start,
}
ALL = {**REAL, **SYNTHETIC}
TRACED = [*REAL, "pair", "live64", "random", "producer"]
