"""What the tests of the command line stand on: an account with a directory of its own, and a terminal to sit at."""

import contextlib
import fcntl
import itertools
import json
import os
import pathlib
import pty
import pwd
import re
import select
import struct
import subprocess
import termios
import time

TESTS = []


def test(function):
    TESTS.append(function)
    return function


class Failed(Exception):
    pass


def expect(condition, what):
    if not condition:
        raise Failed(what)


def equal(found, wanted, what=""):
    expect(found == wanted, f"{what}: found {found!r}, wanted {wanted!r}")


def succeeded(done):
    equal(done.returncode, 0, done.stderr.decode(errors="replace"))


def eventually(question, what, seconds=20):
    """Waits for something that must come to pass; only a hang runs into the limit."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.02)
    raise Failed(f"did not come to pass within {seconds} s: {what}")


class Place:
    """A directory, an account and a binary: where the tests of one round run."""

    def __init__(self, binary, account, base):
        self.account = account
        self.base = pathlib.Path(base)
        self.binary = str(binary)
        self.home = str(self.base / "state")
        self.numbers = itertools.count()
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(self.base), "STINT_HOME": self.home,
                            "LC_ALL": "C", "TERM": "xterm"}

    def is_root(self):
        return self.account is None and os.geteuid() == 0

    def identity(self):
        if self.account is None:
            return {}
        entry = pwd.getpwnam(self.account)
        return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}

    def options(self, more):
        return {"env": self.environment, "cwd": self.base, **self.identity(), **more}

    def run(self, *command, timeout=60, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        return subprocess.run([str(part) for part in command], capture_output=True, timeout=timeout, **self.options(more))

    def start(self, *command, **more):
        """What it says on stderr goes to a file of the account's own: ours may be one that a restart cannot open again."""
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.DEVNULL)
        with contextlib.ExitStack() as files:
            if "stderr" not in more:
                more["stderr"] = files.enter_context(open(output_file(self, f"said-{next(self.numbers)}"), "ab"))
            return subprocess.Popen([str(part) for part in command], **self.options(more))

    def said(self):
        """What was said by all that was started."""
        return b"".join(path.read_bytes() for path in sorted(self.base.glob("said-*"))).decode(errors="replace")

    def stint(self, *arguments, **more):
        return self.run(self.binary, *arguments, **more)

    def jobs(self):
        return {job["name"]: job for job in json.loads(self.stint("ps", "--json").stdout)["jobs"]}

    def state(self, name):
        return self.jobs().get(name, {}).get("state", "")

    def kinds(self):
        """The ways in which this account may start a job."""
        return [["--contained"], ["--plain"]]


COUNT = """import os, sys, time
for i in range(1, 41):
    print(i, flush=True)
    time.sleep(0.02)
    while i == 30 and not os.path.exists(sys.argv[1]):
        time.sleep(0.02)
sys.exit(7)
"""
COUNTED = b"".join(b"%d\n" % i for i in range(1, 41))


def count(place):
    """A program of one process that counts to 40, and from 30 on only when the file `finish` is there."""
    script = place.base / "count.py"
    script.write_text(COUNT)
    return ["/usr/bin/python3", str(script), str(place.base / "finish")]


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def output_file(place, name):
    """A file for a job's output, which has to be the account's own."""
    path = place.base / name
    path.touch()
    if place.account:
        os.chown(path, pwd.getpwnam(place.account).pw_uid, -1)
    return path


class Terminal:
    """A process with a controlling terminal of its own, and we in front of it."""

    def __init__(self, place, *command, rows=31, columns=97):
        self.text = b""
        self.pid, self.master = pty.fork()
        if self.pid == 0:
            identity = place.identity()
            if identity:
                os.setgroups([])
                os.setgid(identity["group"])
                os.setuid(identity["user"])
            os.chdir(place.base)
            os.execvpe(command[0], list(command), place.environment)
        self.resize(rows, columns)
        self.modes = termios.tcgetattr(self.master)

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys):
        os.write(self.master, keys)

    def read(self, seconds):
        if select.select([self.master], [], [], seconds)[0]:
            try:
                self.text += os.read(self.master, 65536)
            except OSError:
                return False
        return True

    def wait_for(self, pattern, seconds=30):
        """Waits for the pattern and takes it and all before it away."""
        end = time.monotonic() + seconds
        while True:
            found = re.search(pattern, self.text)
            if found:
                self.text = self.text[found.end():]
                return found
            if time.monotonic() > end or not self.read(0.1):
                raise Failed(f"no {pattern!r} on the terminal, but {self.text!r}")

    def end(self):
        end = time.monotonic() + 30
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                os.close(self.master)
                return os.waitstatus_to_exitcode(status)
            self.read(0.02)
        raise Failed(f"it does not end; on the terminal: {self.text!r}")


def bash(place):
    shell = Terminal(place, "bash", "--norc", "--noprofile", "-i")
    shell.type(b"bind 'set enable-bracketed-paste off'; PS1='$?READY> '; stty -echo\n")
    shell.wait_for(rb"\d+READY> $")
    return shell
