"""A program whose being untouched shows: it counts aloud, and dies when anything in it is not as it must be."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "cli"))
from harness import Failed, equal, eventually, expect, output_file

NAMES = itertools.count()

# It must not see EINTR (no signal is ever sent to it), nor a descriptor that it did not open, nor another number of its own.
PROGRAM = r"""
$| = 1;
my @kept = map { $_ * 7 } 1 .. 1000;
my ($pid, $free) = ($$, fileno_of_next());
sub fileno_of_next { open(my $f, '<', '/dev/null') or die; return fileno($f); }
my $ballast = '';
if (@ARGV) { open(my $r, '<', '/dev/urandom') or die; read($r, $ballast, $ARGV[0] << 20); close($r); }
my $log; if (@ARGV > 1) { open($log, '>>', $ARGV[1]) or die; $free = fileno_of_next(); }
my $sum = unpack('%32C*', substr($ballast, 0, 100000));
for (my $i = 1; ; $i++) {
  print "$i\n" or die "print: $!";
  if ($log) { defined syswrite($log, "$i\n") or die "log: $!"; }
  die "select: $!" if select(undef, undef, undef, 0.004) < 0;
  die "memory" if $kept[$i % 1000] != ($i % 1000 + 1) * 7 or $sum != unpack('%32C*', substr($ballast, 0, 100000));
  die "number" if getppid() < 0 or $$ != $pid;
  die "descriptor" if fileno_of_next() != $free;
  if (@ARGV > 2 and -e $ARGV[2]) { my $read = join('', <STDIN>); print length($read), "\n"; exit 0; }
}
"""


# Becomes the program by a call that the agent does not see, in an environment without it.
WITHOUT_AGENT = r"""
my @strings = ('/usr/bin/perl', '-e', @ARGV);
my $arguments = pack('p' x @strings . 'Q', @strings, 0);
my $environment = pack('Q', 0);
syscall(59, $strings[0], $arguments, $environment);
die "execve: $!";
"""


def command(megabytes=0, log=None, read_when=None, perl="/usr/bin/perl"):
    """`log`: a file that it writes as well; `read_when`: when this file is there, it reads all of its input and says how much."""
    words = [str(megabytes), str(log) if log else "/dev/null", str(read_when) if read_when else ""]
    return [str(perl), "-e", PROGRAM, *(words if read_when else words[:2] if log else words[:1] if megabytes else [])]


class Counting:
    """`stint run` or `stint restart` of that program, and somebody who listens."""

    def __init__(self, place, *arguments, **more):
        self.place = place
        self.lines = []
        self.words = output_file(place, f"words-{next(NAMES)}")
        self.process = place.start(place.binary, *arguments, stdout=subprocess.PIPE, stderr=open(self.words, "ab"), **more)
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        for line in self.process.stdout:
            self.lines.append(int(line))

    def count(self):
        return len(self.lines)

    def must_go_on(self, what, lines=3):
        before = self.count()
        try:
            eventually(lambda: self.count() >= before + lines, "it counts")
        except Failed as error:
            raise Failed(f"{what}: the program does not go on: {self.said()}") from error
        found = list(self.lines)
        equal(found, list(range(found[0], found[0] + len(found))), f"{what}: it counts without a gap")

    def said(self):
        return f"{self.process.poll()} {self.words.read_bytes()}"

    def end(self):
        """Waits for the supervisor and for whoever else has the pipe."""
        status = self.process.wait(30)
        self.thread.join(30)
        return status


def start(place, name, *options, megabytes=0, log=None, read_when=None, perl="/usr/bin/perl", agent=True, **more):
    words = command(megabytes, log, read_when, perl)
    if not agent:
        words[2:2] = [WITHOUT_AGENT]
    job = Counting(place, "run", "--name", name, *options, "--", *words, **more)
    eventually(lambda: job.count() >= 2 or job.process.poll() is not None, "it counts")
    expect(job.process.poll() is None, f"{name} has ended: {job.said()}")
    eventually(lambda: place.state(name) == "running", "it is listed")
    return job


def kill(place, name, job=None):
    done = place.stint("kill", "-s", "KILL", name)
    equal(done.returncode, 0, str(done.stderr))
    if job:
        equal(job.end(), 137, name)
    else:
        place.stint("wait", name)


def folder(place, name):
    return pathlib.Path(place.home) / "jobs" / name


def numbers(place, name):
    """The checkpoints that there are; and nothing half-written beside them."""
    path = folder(place, name) / "checkpoints"
    names = os.listdir(path) if path.exists() else []
    return sorted(int(entry) for entry in names if entry.isdigit())


def remains(place, name):
    path = folder(place, name) / "checkpoints"
    return [entry for entry in (os.listdir(path) if path.exists() else []) if not entry.isdigit()]


def must_restart(place, name, number, what=""):
    """A checkpoint that is whole goes on as a job of its own, and counts on."""
    equal(place.stint("verify", f"{name}@{number}").returncode, 0, f"{what}: verify {name}@{number}")
    copy = Counting(place, "restart", f"{name}@{number}", "--name", "copy")
    eventually(lambda: copy.count() >= 3 or copy.process.poll() is not None, f"{what}: the copy counts")
    expect(copy.process.poll() is None, f"{what}: {name}@{number} does not restart: {copy.said()}")
    copy.must_go_on(f"{what}: restarted")
    kill(place, "copy", copy)


def process_of(place, name):
    return place.jobs()[name]["pid"]
