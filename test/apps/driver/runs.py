"""One run of a program, from its start to its end: natively, or under stint in one or more stints.

A run has a working directory with fresh inputs, a standard output (a file, a pipe or a terminal) that goes on through all
its stints, and a log of what stint itself said.
"""

import fcntl
import os
import shutil
import subprocess
import termios
import threading
import time

import process_tree
from driver import outputs
from driver.terminal import Person


class TimedOut(Exception):
    """Something took too long; what was running has been ended."""


class Run:
    def __init__(self, stage, program, size, limit):
        self.stage, self.program, self.limit = stage, program, limit
        base = stage.path / program.name
        self.work, self.out, self.state = base / "work", base / "out", base / "state"
        for folder in (self.work, self.out, self.state):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(base / "input", self.work, symlinks=True)
        self._give(self.work)
        stage.folder(program.name, "out")
        stage.folder(program.name, "state")
        variables = {"APP": base / "app", "NPM": stage.npm, "SIZE": size}
        self.argv = program.argv(variables)
        self.environment = stage.environment(self.state) | {name: str(value) for name, value in variables.items()}
        self.stdout, self.messages = self.out / "stdout", self.out / "stderr"
        self.person = self._person() if program.terminal else None
        self.readers = []
        self.process = None

    def _give(self, tree):
        account = self.stage.account
        for folder, _, names in os.walk(tree):
            os.chown(folder, account.uid, account.gid)
            for name in names:
                os.chown(os.path.join(folder, name), account.uid, account.gid, follow_symlinks=False)

    def _person(self):
        return Person(self.program.terminal["questions"], self.program.terminal["pause"], self.stdout)

    def start(self, argv):
        """Starts a process that has the run's standard streams: the program itself, `stint run` or `stint restart`."""
        with open(self.messages, "ab") as messages:
            os.chown(self.messages, self.stage.account.uid, self.stage.account.gid)
            stdin, stdout, ours = self._streams()
            terminal = self.person is not None
            try:
                self.process = subprocess.Popen(argv, cwd=self.work, env=self.environment, stdin=stdin, stdout=stdout,
                                                stderr=messages, start_new_session=True, umask=0o022,
                                                preexec_fn=_take_terminal if terminal else None,
                                                **self.stage.account.identity())
            finally:
                for fd in ours:
                    os.close(fd)

    def _streams(self):
        if self.person:
            slave = self.person.sit_down()
            os.fchown(slave, self.stage.account.uid, self.stage.account.gid)
            return slave, slave, [slave]
        if self.program.stdout == "pipe":
            read, write = os.pipe()
            reader = threading.Thread(target=_drain, args=(read, self.stdout), daemon=True)
            reader.start()
            self.readers.append(reader)
            return subprocess.DEVNULL, write, [write]
        # The first stint makes the file; stint puts it back as it was for those that follow.
        flags = os.O_WRONLY | os.O_CREAT if self.process is None else os.O_WRONLY | os.O_APPEND
        fd = os.open(self.stdout, flags, 0o644)
        os.fchown(fd, self.stage.account.uid, self.stage.account.gid)
        return subprocess.DEVNULL, fd, [fd]

    def ask(self, argv):
        """Runs a command such as `stint checkpoint` to its end. Returns its status and what it said."""
        try:
            done = subprocess.run(argv, env=self.environment, cwd=self.stage.home, stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=self.limit,
                                  **self.stage.account.identity())
        except subprocess.TimeoutExpired as error:
            raise TimedOut(f"{' '.join(argv[1:])}: not done after {self.limit:.0f} s") from error
        with open(self.messages, "a") as messages:
            messages.write(done.stdout)
        return done.returncode, done.stdout.strip()

    def ended_within(self, seconds):
        try:
            self.process.wait(timeout=seconds)
            return True
        except subprocess.TimeoutExpired:
            return False

    def finish(self):
        """Waits for the process's end and everything it has printed. Returns its status, as a shell would say it."""
        if not self.ended_within(self.limit):
            raise TimedOut(f"{' '.join(map(str, self.process.args))[:100]}: not done after {self.limit:.0f} s")
        if self.person:
            self.person.stand_up()
        for reader in self.readers:
            reader.join(timeout=self.limit)
            if reader.is_alive():
                raise TimedOut("standard output is still held open after the end of the process")
        self.readers.clear()
        status = self.process.returncode
        return status if status >= 0 else 128 - status

    def outputs(self, status):
        if self.person:
            self.person.close()
        return outputs.collect(self.program, status, self.work, self.stdout)

    def last_messages(self, count=15):
        if not self.messages.exists():
            return []
        with open(self.messages, errors="replace") as messages:
            return [line.rstrip()[:300] for line in messages.readlines()[-count:]]


def _drain(fd, path):
    with open(path, "ab", buffering=0) as file:
        while data := os.read(fd, 1 << 16):
            file.write(data)
    os.close(fd)


def _take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def native(stage, program, size, limit):
    """An uncut run. Returns its outputs and how long it took."""
    run = Run(stage, program, size, limit)
    began = time.monotonic()
    run.start(run.argv)
    status = run.finish()
    return run.outputs(status), time.monotonic() - began


def leftovers(seconds):
    """Processes that are still there though their run has ended; they are ended and named."""
    if process_tree.wait_until_none_are_left(seconds):
        return []
    return [f"left behind: {entry}" for entry in process_tree.end_all()]


