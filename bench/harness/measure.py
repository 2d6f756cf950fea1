# SPDX-License-Identifier: MIT
"""Runs one workload under one configuration once, in a world of its own.

Nothing is left behind: each run gets an empty directory for what a tracer
writes and one for segments, and its process group is ended if it hangs.
"""
import dataclasses
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TIME_LIMIT_S = 600
REFUSALS = re.compile(r"ERROR: ld\.so|Invalid conf|Abort.*conf|ignoring '")


class Failed(Exception):
    """A run that gives no figures: why."""


@dataclasses.dataclass
class Command:
    """argv: absolute program and arguments.  times: how often in one run.
    figures: its output has lines "NAME NUMBER" to collect.
    enough: rounds that suffice, of what is nearly the same in each.
    client: run beside it once `ready` (a socket) answers; wall is then the
    client's time, all else the server's."""
    argv: list
    env: dict = dataclasses.field(default_factory=dict)
    times: int = 1
    figures: bool = False
    enough: int = None
    client: list = None
    ready: str = None


def find_program(name):
    """The ELF program of this name in PATH: a shim of a version manager is a
    script whose shell would be measured as well."""
    if os.path.isabs(name):
        return name if os.access(name, os.X_OK) else None
    for folder in os.environ.get("PATH", os.defpath).split(":"):
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as f:
                if f.read(4) == b"\x7fELF" and os.access(path, os.X_OK):
                    return path
        except OSError:
            continue
    return None


def busy_ticks():
    """All processors' ticks that were not idle, stolen ones included."""
    with open("/proc/stat", encoding="ascii") as f:
        user, nice, system, _idle, _wait, irq, soft, steal = map(
            int, f.readline().split()[1:9])
    return user + nice + system + irq + soft + steal


def tail(path):
    """The last line that says something, for messages."""
    with open(path, encoding="utf-8", errors="replace") as f:
        lines = [l.strip() for l in f if l.strip()]
    return lines[-1][:200] if lines else ""


def parse_figures(path):
    """Lines "NAME NUMBER" as a dictionary."""
    found = {}
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            match = re.fullmatch(r"(\w+) (-?\d+(?:\.\d+)?)\n?", line)
            if match:
                found[match.group(1)] = float(match.group(2))
    return found


class Runner:
    """Owns the scratch directories; a context manager."""

    def __init__(self, build, aslr=True):
        self.build = build
        self.helper = os.path.join(build, "bench", "measure")
        self.micro = os.path.join(build, "bench", "micro")
        self.prefix = [] if aslr else ["setarch", "-R"]
        self.own_allocator = {}

    def __enter__(self):
        shm = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.inputs = tempfile.mkdtemp(prefix="buddyscope-bench.")
        self.scratch = tempfile.mkdtemp(prefix="buddyscope-bench.", dir=shm)
        self.work = os.path.join(self.scratch, "work")
        self.segments = os.path.join(self.scratch, "seg")
        self.out = os.path.join(self.inputs, "stdout")
        self.err = os.path.join(self.inputs, "stderr")
        self.clean()
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.inputs, ignore_errors=True)
        shutil.rmtree(self.scratch, ignore_errors=True)

    def clean(self):
        """Empty directories for the next run."""
        for folder in (self.work, self.segments):
            shutil.rmtree(folder, ignore_errors=True)
            os.mkdir(folder, 0o700)

    def variables(self, command, config):
        """Environment that this configuration gives this program."""
        env = dict(command.env, BUDDYSCOPE_DIR=self.segments)
        env.update(config.variables(self.work))
        if not config.preload and self.brings_allocator(command.argv[0]):
            env["LD_PRELOAD"] = self.brings_allocator(command.argv[0])
        return env

    def brings_allocator(self, program):
        """Path of libc if the program is linked with another allocator, which
        libc must then be put in front of; else "".  (Debian's redis-server
        comes with jemalloc.)"""
        if program not in self.own_allocator:
            out = subprocess.run(["ldd", program], capture_output=True,
                                 text=True, check=False).stdout
            libc = re.search(r"libc\.so\.6 => (\S+)", out)
            other = re.search(r"lib(jemalloc|tcmalloc|mimalloc)", out)
            self.own_allocator[program] = (libc.group(1) if libc and other
                                           else "")
        return self.own_allocator[program]

    def run(self, command, config, tool=None):
        """One run: a dictionary of figures.  tool(env) gives the arguments of
        a program that runs the command in place of the environment."""
        self.clean()
        result = os.path.join(self.scratch, "result")
        env = self.variables(command, config)
        argv = self.prefix + [self.helper]
        if tool:
            argv += [result] + tool(env) + command.argv
        else:
            argv += ["-n", str(command.times)]
            for key, value in env.items():
                argv += ["-e", f"{key}={value}"]
            argv += [result] + command.argv
        ticks = busy_ticks()
        start = time.monotonic()
        client_s = self.execute(argv, command)
        elapsed = time.monotonic() - start
        ticks = busy_ticks() - ticks
        figures = self.figures(result, command)
        if client_s is not None:
            figures["wall_s"] = client_s
        own = figures["cpu_s"]
        others = ticks / os.sysconf("SC_CLK_TCK") - own
        # Ticks are coarse: of a short run the share may pass its bounds.
        figures["others"] = min(1, max(0, others / elapsed / os.cpu_count()))
        return figures

    def execute(self, argv, command):
        """Until it ends; with a client that one's seconds."""
        clean = {k: v for k, v in os.environ.items()
                 if k not in ("LD_PRELOAD", "BUDDYSCOPE", "BUDDYSCOPE_DIR",
                              "MALLOC_CONF", "HEAPPROFILE", "DISPLAY")}
        clean["LC_ALL"] = "C.UTF-8"
        with open(self.out, "wb") as out, open(self.err, "wb") as err:
            with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=out,
                                  stderr=err, env=clean, cwd=self.inputs,
                                  start_new_session=True) as process:
                try:
                    seconds = None
                    if command.client:
                        seconds = self.serve(command, process, clean)
                    process.wait(TIME_LIMIT_S)
                    return seconds
                except subprocess.TimeoutExpired:
                    raise Failed(f"more than {TIME_LIMIT_S} s") from None
                finally:
                    if process.poll() is None:
                        os.killpg(process.pid, signal.SIGKILL)

    def serve(self, command, process, env):
        """Waits for the server, runs the client, ends the server."""
        end = time.monotonic() + 30
        while not answers(command.ready):
            if time.monotonic() > end or process.poll() is not None:
                raise Failed(f"server does not start: {tail(self.err)}")
            time.sleep(0.01)
        start = time.monotonic()
        done = subprocess.run(command.client, stdin=subprocess.DEVNULL,
                              capture_output=True, env=env, check=False,
                              timeout=TIME_LIMIT_S)
        seconds = time.monotonic() - start
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(command.ready)
            s.sendall(b"SHUTDOWN NOSAVE\r\n")
            s.recv(1)
        if done.returncode:
            raise Failed(f"client ended with status {done.returncode}")
        return seconds

    def figures(self, result, command):
        """What the helper wrote, and what the program itself printed."""
        try:
            with open(result, encoding="ascii") as f:
                wall, user, system, peak, minor, major, status = map(
                    int, f.read().split())
        except (OSError, ValueError):
            raise Failed(tail(self.err) or "no result") from None
        finally:
            if os.path.exists(result):
                os.unlink(result)
        if status:
            raise Failed(f"status {status}: {tail(self.err)}")
        n = command.times
        found = {"wall_s": wall / 1e9 / n, "user_s": user / 1e6 / n,
                 "sys_s": system / 1e6 / n, "cpu_s": (user + system) / 1e6 / n,
                 "rss_kib": peak, "faults": (minor + major) / n}
        if command.figures:
            found["own"] = parse_figures(self.out)
        return found

    def probe(self, config):
        """Why this configuration would not measure what it says; "" if it
        would: a library that cannot be loaded or an option that is not known
        is only a line on stderr to the program."""
        try:
            self.run(Command([self.micro, "where"]), config)
        except Failed as failure:
            return str(failure)
        with open(self.err, encoding="utf-8", errors="replace") as f:
            for line in f:
                if REFUSALS.search(line):
                    return line.strip()[:200]
        got = os.path.realpath(tail(self.out))
        if config.preload and got != os.path.realpath(config.preload):
            return f"malloc comes from {got}"
        if not config.preload and not os.path.basename(got).startswith("libc"):
            return f"malloc comes from {got}"
        return ""


def answers(path):
    """Somebody accepts connections at this socket."""
    try:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path)
            return True
    except OSError:
        return False
