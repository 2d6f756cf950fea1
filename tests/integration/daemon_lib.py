# SPDX-License-Identifier: MIT
"""What the daemon's integration tests share.

Everything lives in a directory of its own; programs are ended by their pid;
conditions are waited for, with one generous limit for all.
"""
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

LIMIT_S = 90
TOP = os.environ["top_srcdir"]
BUILD = os.environ["top_builddir"]
LIBRARY = os.environ["BUDDYSCOPE_LIB"]
DAEMON = os.environ["BUDDYSCOPED"]
LEAKY = os.path.join(BUILD, "tests/integration/daemon-leaky")
LEAKY_C = os.path.join(TOP, "tests/integration/daemon-leaky.c")


def wait_for(condition, what):
    """Waits until condition() is true; returns what it returned."""
    end = time.monotonic() + LIMIT_S
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("waited in vain for: " + what)
        time.sleep(0.05)


def line_of(marker, path=LEAKY_C):
    """The line of a source file that carries a marker."""
    with open(path, encoding="utf-8") as source:
        for number, text in enumerate(source, 1):
            if marker in text:
                return number
    raise AssertionError("no %s in %s" % (marker, path))


class World:
    """A directory, its daemon, and programs under buddyscope."""

    def __init__(self):
        self.top = tempfile.mkdtemp(prefix="bs-daemon-")
        self.seg = os.path.join(self.top, "seg")
        self.state = os.path.join(self.top, "state")
        self.log = os.path.join(self.top, "log")
        self.sock = os.path.join(self.seg, "buddyscoped.sock")
        os.mkdir(self.seg, 0o700)
        self.daemon = None
        self.programs = []
        self.env = dict(os.environ, BUDDYSCOPE_DIR=self.seg,
                        XDG_STATE_HOME=self.state)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        for program in self.programs:
            if program.poll() is None:
                program.kill()
            program.wait()
        if self.daemon and self.daemon.poll() is None:
            self.daemon.kill()
            self.daemon.wait()
        if kind:
            print("--- log:")
            for line in self.lines()[-40:]:
                print("    " + line[:300])
        shutil.rmtree(self.top)

    # ---- the daemon

    def start(self, *options):
        """Starts the daemon; returns when it answers."""
        self.daemon = subprocess.Popen(
            [DAEMON, "--foreground", "--log", self.log, "--interval", "1s",
             *options], env=self.env, stdin=subprocess.DEVNULL)
        wait_for(self.answers, "the daemon's socket")

    def answers(self):
        assert self.daemon.poll() is None, "the daemon ended"
        try:
            return self.ask("version")[0] == 0
        except OSError:
            return False

    def stop(self):
        self.daemon.terminate()
        status = self.daemon.wait(LIMIT_S)
        assert status == 0, "the daemon ended with %d" % status

    def kill9(self):
        self.daemon.kill()
        assert self.daemon.wait(LIMIT_S) == -signal.SIGKILL

    def connect(self):
        conn = socket.socket(socket.AF_UNIX)
        conn.connect(self.sock)
        conn.settimeout(LIMIT_S)
        return conn

    def ask(self, request):
        """A text request: (code, body, message)."""
        with self.connect() as conn:
            conn.sendall(request.encode() + b"\n")
            return read_reply(conn.makefile("rb"))

    def ask_json(self, request):
        with self.connect() as conn:
            conn.sendall(request.encode() + b" --json\n")
            return json.loads(conn.makefile("rb").readline())

    # ---- programs

    def run(self, *argv, options="leak_window=300ms", **kwargs):
        """A program under the library."""
        env = dict(self.env, LD_PRELOAD=LIBRARY, BUDDYSCOPE=options)
        program = subprocess.Popen(argv, env=env, stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, **kwargs)
        self.programs.append(program)
        if self.daemon and self.daemon.poll() is None:
            wait_for(lambda: self.ask("summary %d" % program.pid)[0] == 0,
                     "the daemon's knowledge of the program")
        return program

    def leaky(self, ticks=0, ballast=0, **kwargs):
        return self.run(LEAKY, str(ticks), str(ballast), **kwargs)

    def sites(self, pid, command="sites"):
        return {frames(site)[0]: site
                for site in self.ask_json("%s %d" % (command, pid))["sites"]}

    # ---- the log

    def lines(self):
        text = ""
        for path in (self.log + ".1", self.log):
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as log:
                    text += log.read()
        return text.splitlines()

    def events(self, event, pid=None):
        """The log's lines of an event, as dictionaries."""
        found = [parse_line(line) for line in self.lines()]
        return [line for line in found if line.get("event") == event and
                (pid is None or line.get("pid") == str(pid))]


def read_reply(stream):
    body = []
    while True:
        line = stream.readline().decode()
        assert line, "the reply has no end"
        end = re.fullmatch(r"\. (\d+) ?(.*)\n", line)
        if end:
            return int(end[1]), "".join(body), end[2]
        body.append(line[1:] if line.startswith("..") else line)


def parse_line(line):
    if line.startswith("{"):
        return {key: str(value) for key, value in json.loads(line).items()}
    return {key: (value[1:-1] if value.startswith('"') else value)
            for key, value in
            re.findall(r'(\S+?)=("(?:[^"\\]|\\.)*"|\S*)', line)}


def frames(site):
    """Functions of a site's stack, those inlined too; never empty."""
    return [frame["function"] for frame in site["stack"]] or [None]


def main(tests):
    """Runs the tests that are named, or all; the status is for make check."""
    names = sys.argv[1:]
    failed = 0
    for test in tests:
        if names and test.__name__ not in names:
            continue
        start = time.monotonic()
        try:
            with World() as world:
                test(world)
            result = "ok  "
        except Exception as error:  # noqa: every failure is told, then counted
            import traceback
            traceback.print_exc()
            print(error)
            failed += 1
            result = "FAIL"
        print("%s %s (%.1f s)" % (result, test.__name__,
                                  time.monotonic() - start), flush=True)
    return 1 if failed else 0
