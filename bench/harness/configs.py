# SPDX-License-Identifier: MIT
"""Configurations: which library is preloaded, with which environment."""
import dataclasses
import os
import re
import subprocess


class BadInput(Exception):
    """What the user gave cannot be: one line, exit status 2."""


@dataclasses.dataclass
class Config:
    """name: in tables.  preload: a path, or "" for the program as it is.
    env: {work} in a value is a directory that is emptied after each run.
    base: the configuration without tracing that a tracing one is compared to.
    """
    name: str
    preload: str = ""
    env: dict = dataclasses.field(default_factory=dict)
    base: str = None
    missing: str = ""  # why it cannot run; "" if it can
    control: bool = False  # the reference once more: shows the noise

    def variables(self, work):
        """What is set in the environment of the program."""
        found = {k: v.replace("{work}", work) for k, v in self.env.items()}
        if self.preload:
            found["LD_PRELOAD"] = self.preload
        return found

    def describe(self):
        """For JSON and the report's list."""
        return {"name": self.name, "preload": self.preload, "env": self.env,
                "base": self.base, "missing": self.missing,
                "control": self.control}


def shared_libraries():
    """soname -> path, as the dynamic linker finds them."""
    for ldconfig in ("/sbin/ldconfig", "/usr/sbin/ldconfig", "ldconfig"):
        try:
            out = subprocess.run([ldconfig, "-p"], capture_output=True,
                                 text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            continue
        found = {}
        for line in out.splitlines():
            match = re.match(r"\s+(\S+) \(.*\) => (\S+)", line)
            if match:
                found.setdefault(match.group(1), match.group(2))
        return found
    return {}


def first_library(names):
    """(path, "") of the first that is installed, else ("", why not)."""
    known = shared_libraries()
    for name in names:
        if name in known:
            return known[name], ""
        if os.path.exists(name):
            return name, ""
    return "", f"{os.path.basename(names[0])} is not installed"


def _library(name, names, base=None, **env):
    path, missing = first_library(names)
    return Config(name, path, env, base, missing)


def _buddyscope(name, library, trace, base=None):
    return Config(name, library, {"BUDDYSCOPE": f"trace={trace}"}, base,
                  "" if os.path.exists(library) else f"no {library}")


JEMALLOC = ["libjemalloc.so.2"]
TCMALLOC_MINIMAL = ["libtcmalloc_minimal.so.4"]
TCMALLOC = ["libtcmalloc.so.4"]
MIMALLOC = ["libmimalloc.so.2", "libmimalloc.so.2.0", "libmimalloc.so.3"]
HEAPTRACK = ["/usr/lib/heaptrack/libheaptrack_preload.so",
             "/usr/lib64/heaptrack/libheaptrack_preload.so",
             "/usr/local/lib/heaptrack/libheaptrack_preload.so"]


def known(library):
    """All configurations with a name of their own, by name."""
    return {c.name: c for c in (
        Config("glibc"),
        Config("again", control=True),
        _buddyscope("off", library, "off"),
        _buddyscope("sample:524288", library, "sample:524288", base="off"),
        _buddyscope("auto", library, "auto", base="off"),
        _buddyscope("exact", library, "exact", base="off"),
        _library("jemalloc", JEMALLOC),
        _library("mimalloc", MIMALLOC),
        _library("tcmalloc", TCMALLOC_MINIMAL),
        _library("heaptrack", HEAPTRACK, base="glibc",
                 DUMP_HEAPTRACK_OUTPUT="{work}/heaptrack.$$"),
        _library("jemalloc:19", JEMALLOC, base="jemalloc",
                 MALLOC_CONF="prof:true,lg_prof_sample:19"),
        _library("jemalloc:0", JEMALLOC, base="jemalloc",
                 MALLOC_CONF="prof:true,lg_prof_sample:0"),
        _library("gperftools-off", TCMALLOC),
        _library("gperftools", TCMALLOC, base="gperftools-off",
                 HEAPPROFILE="{work}/heap"),
    )}


SUITES = {
    "allocator": ["glibc", "again", "off", "auto", "exact", "jemalloc",
                  "mimalloc", "tcmalloc"],
    "trace": ["glibc", "again", "off", "sample:524288", "auto", "exact",
              "heaptrack", "jemalloc", "jemalloc:19", "jemalloc:0",
              "gperftools-off", "gperftools"],
}


def parse(text, library):
    """NAME of a known one, or NAME[@BASE]=PRELOAD[,ENV=VALUE]...

    A comma starts a new variable only in front of an upper-case name and '=',
    so that MALLOC_CONF=a:b,c:d is one value."""
    if "=" not in text:
        table = known(library)
        if text not in table:
            raise BadInput(f"unknown configuration '{text}': known are "
                           f"{', '.join(table)}; or NAME=PRELOAD[,ENV=VALUE]")
        return table[text]
    name, rest = text.split("=", 1)
    name, _, base = name.partition("@")
    preload, *settings = re.split(r",(?=[A-Z_][A-Z0-9_]*=)", rest)
    if not re.fullmatch(r"[\w.:+-]+", name):
        raise BadInput(f"bad name of a configuration in '{text}'")
    if preload and not os.path.isfile(preload):
        raise BadInput(f"configuration '{name}': no file '{preload}'")
    env = dict(s.split("=", 1) for s in settings)
    return Config(name, os.path.abspath(preload) if preload else "", env,
                  base or None)


def select(suite, texts, library):
    """The list to run: those named, or the suite's own."""
    found = [parse(t, library) for t in texts or SUITES[suite]]
    names = [c.name for c in found]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"two configurations are named '{name}'")
    return found
