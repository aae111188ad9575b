"""The fault sweep: `stint checkpoint` again and again, with its 1st, 2nd, 3rd ... system call failing, or killed in its place.

After each: the program runs untouched, and either no checkpoint has appeared, or one that is whole and restarts.
"""

import errno
import json
import os
import pathlib
import random
import sys

import counter
import process_tree
from counter import kill, must_restart, numbers, remains, start
from harness import equal, eventually, expect, output_file

ERRORS = [errno.ENOSPC, errno.EIO, errno.ENOMEM, errno.EPERM, errno.ESRCH]
RANDOM = random.Random()
LONG = False
POSITIONS = 40  # of each sweep, unless it is long


def begin(seed, long):
    global LONG
    RANDOM.seed(seed)
    LONG = long


def checkpoint(place, fault, *options):
    place.environment["STINT_FAULT"] = fault
    try:
        return place.stint("checkpoint", *options, "swept")
    finally:
        del place.environment["STINT_FAULT"]


def calls_of_a_checkpoint(place):
    path = place.base / "calls"
    place.environment["STINT_FAULT_COUNT"] = str(path)
    try:
        equal(place.stint("checkpoint", "swept").returncode, 0)
    finally:
        del place.environment["STINT_FAULT_COUNT"]
    return int(path.read_text())


def positions(calls):
    """The Nth calls to hit: all, or the first and last ones and a choice of those between."""
    everything = range(1, calls + 10)
    if LONG or len(everything) <= POSITIONS:
        return list(everything)
    return sorted({*everything[:4], *everything[-4:], *RANDOM.sample(everything, POSITIONS - 8)})


def errors(place):
    job = start(place, "swept", "--contained")
    calls = calls_of_a_checkpoint(place)
    have = numbers(place, "swept")
    outcomes = {"refused": 0, "whole": 0}
    for position in positions(calls):
        fault = f"{position}:{RANDOM.choice(ERRORS)}"
        done = checkpoint(place, fault)
        job.must_go_on(f"STINT_FAULT={fault}")
        now = numbers(place, "swept")
        if done.returncode == 0:
            equal(len(now), len(have) + 1, f"{fault}: a new checkpoint")
            must_restart(place, "swept", now[-1], fault)
            outcomes["whole"] += 1
        else:
            equal(now, have, f"{fault}: no new checkpoint: {done.stderr}")
            expect(done.returncode in (1, 2, 3) and len(done.stderr) > 10, f"{fault}: {done}")
            outcomes["refused"] += 1
        have = now
    equal(place.stint("checkpoint", "swept").returncode, 0, "afterwards")
    job.must_go_on("afterwards")
    equal(remains(place, "swept"), [], "what failed checkpoints left")
    must_restart(place, "swept", numbers(place, "swept")[-1], "afterwards")
    print(f"  {calls} calls: {outcomes}")
    expect(min(outcomes.values()) > 0, f"{outcomes} of {calls} calls")
    kill(place, "swept", job)


def kills(place, **program):
    """Of a program with an agent, or (agent=False) of one without, into which the first call has to find its own way."""
    job = start(place, "swept", "--contained", **program)
    calls = calls_of_a_checkpoint(place)
    for position in positions(calls):
        fault = f"{position}:kill"
        have = numbers(place, "swept")
        done = checkpoint(place, fault)
        job.must_go_on(f"STINT_FAULT={fault}")
        now = numbers(place, "swept")
        # The one that was killed may be a helper of the checkpoint, which then says so.
        expect(done.returncode in (0, -9) or (done.returncode == 1 and now == have and b"ended" in done.stderr), f"{fault}: {done}")
        expect(now[:len(have)] == have and len(now) <= len(have) + 1, f"{fault}: {have} became {now}")
        if len(now) > len(have):
            equal(place.stint("verify", f"swept@{now[-1]}").returncode, 0, fault)
    print(f"  {calls} calls")
    if numbers(place, "swept"):
        must_restart(place, "swept", numbers(place, "swept")[-1], "the last good one")
    equal(place.stint("checkpoint", "swept").returncode, 0, "the next one")
    equal(remains(place, "swept"), [], "what killed checkpoints left")
    job.must_go_on("afterwards")
    must_restart(place, "swept", numbers(place, "swept")[-1], "the next one")
    kill(place, "swept", job)


def restart(place, **environment):
    place.environment.update(environment)
    try:
        return counter.Counting(place, "restart", "swept@1")
    finally:
        for name in environment:
            del place.environment[name]


def calls_of_a_restart(place):
    path = place.base / "calls"
    job = restart(place, STINT_FAULT_COUNT=str(path))
    job.must_go_on("restarted")
    kill(place, "swept", job)
    return int(path.read_text())


def counted(log):
    """Whether the file holds what a run writes that was cut nowhere, or at a checkpoint and at its end."""
    return log.read_bytes() == b"".join(b"%d\n" % number for number in range(1, log.read_bytes().count(b"\n") + 1))


def ending(place):
    job = place.jobs()["swept"]
    return job["state"], job.get("signal"), job.get("exit_status"), job["started"]


def grow(place, log):
    job = restart(place)
    job.must_go_on("restarted")
    kill(place, "swept", job)
    expect(counted(log), log.read_bytes())


def restarts(place, action):
    """`stint restart` of a job whose file has grown since: it counts on from the checkpoint, or all is as it was before."""
    log = place.base / "log"
    job = start(place, "swept", "--contained", log=log)
    equal(place.stint("checkpoint", "swept").returncode, 0)
    job.must_go_on("checkpointed")
    kill(place, "swept", job)
    calls = calls_of_a_restart(place)
    outcomes = {"refused": 0, "runs": 0, "ended": 0}
    for position in positions(calls):
        fault = f"{position}:{action()}"
        before, names, state = log.read_bytes(), sorted(os.listdir(place.base)), ending(place)
        job = restart(place, STINT_FAULT=fault)
        eventually(lambda: job.count() >= 3 or (job.process.poll() is not None and not place.state("swept").startswith("running")),
                   f"{fault}: it counts or ends")
        if place.state("swept").startswith("running"):  # Its supervisor may have been hit later.
            outcomes["runs"] += 1
            job.must_go_on(fault)
            equal(place.stint("kill", "-s", "KILL", "swept").returncode, 0, fault)
            place.stint("wait", "swept")
            job.end()
            expect(counted(log), f"{fault}: {log.read_bytes()}")
            continue
        expect(job.process.wait(30) != 0, f"{fault}: it says that it has failed")
        expect(process_tree.wait_until_none_are_left(20), f"{fault}: left behind: {process_tree.end_all()}")
        if job.process.returncode == -9:
            outcomes["ended"] += 1
            expect(place.state("swept") in ("ended", "lost"), f"{fault}: {place.state('swept')}")
            grow(place, log)
            continue
        outcomes["refused"] += 1
        equal(ending(place), state, f"{fault}: {job.said()}")
        equal(log.read_bytes() == before, True, f"{fault}: the file is as it was: {job.said()}")
        equal(sorted(set(os.listdir(place.base)) - {job.words.name}), names, f"{fault}: files beside it: {job.said()}")
    print(f"  {calls} calls: {outcomes}")
    expect(outcomes["refused"] + outcomes["ended"] > 0, f"{outcomes} of {calls} calls")
    must_restart(place, "swept", 1, "afterwards")


class Fed:
    """The job of stops(): 5000 bytes wait in its input, and it reads them when it is told to."""

    SIZE = 5000

    def __init__(self, place):
        self.place = place
        self.finish = place.base / "finish"
        self.theirs, self.ours = os.pipe()
        os.write(self.ours, b"x" * self.SIZE)
        self.job = start(place, "swept", "--contained", read_when=self.finish, stdin=self.theirs)

    def restart(self):
        self.job = counter.Counting(self.place, "restart", "swept", stdin=self.theirs)

    def goes_on(self):
        """False when it has ended."""
        before = self.job.count()
        eventually(lambda: self.job.count() >= before + 3 or self.job.process.poll() is not None, "it goes on or has ended")
        return self.job.process.poll() is None

    def close(self):
        os.close(self.ours), os.close(self.theirs)

    def read_all(self):
        self.close()
        self.finish.touch()
        equal(self.job.end(), 0, self.job.said())
        equal(self.job.lines[-1], self.SIZE, "bytes that were read in the end")


def stops(place):
    """`stint checkpoint --stop` of a job with unread input: it runs on, or is stopped; no byte is lost, and none comes twice."""
    fed = Fed(place)
    path = place.base / "calls"
    place.environment["STINT_FAULT_COUNT"] = str(path)
    equal(place.stint("checkpoint", "--stop", "swept").returncode, 0)
    del place.environment["STINT_FAULT_COUNT"]
    equal(fed.job.end(), 85)
    calls = int(path.read_text())
    fed.restart()
    outcomes, stopped_with = {"runs on": 0, "stopped": 0}, "nothing"
    for position in positions(calls):
        fault = f"{position}:{RANDOM.choice(ERRORS)}"
        fed.job.must_go_on(f"stopped with {stopped_with}, before {fault}")
        done = checkpoint(place, fault, "--stop")
        if done.returncode != 0 and fed.goes_on():
            outcomes["runs on"] += 1
            continue
        equal(fed.job.end(), 85, f"{fault}: {done.stderr}")
        outcomes["stopped"] += 1
        stopped_with = fault
        fed.restart()
    print(f"  {calls} calls: {outcomes}")
    expect(outcomes["runs on"] > 0 and outcomes["stopped"] > 0, outcomes)
    fed.job.must_go_on("afterwards")
    fed.read_all()


def starts(place):
    """`stint run` killed at each of its calls: the job is listed and goes on, or nothing of it is there."""
    log, path = output_file(place, "log"), place.base / "calls"
    place.environment["STINT_FAULT_COUNT"] = str(path)
    equal(place.stint("run", "--name", "counted", "--contained", "true").returncode, 0)
    del place.environment["STINT_FAULT_COUNT"]
    outcomes = {"listed": 0, "none": 0}
    for position in positions(int(path.read_text())):
        fault, name = f"{position}:kill", f"born-{position}"
        place.environment["STINT_FAULT"] = fault
        with open(log, "ab") as output:
            job = place.start(place.binary, "run", "--name", name, "--contained", "--", "sleep", "1000", stdout=output)
        del place.environment["STINT_FAULT"]
        eventually(lambda: job.poll() is not None or place.state(name) == "running", fault)
        job.kill()  # Where the position was never reached.
        job.wait()
        eventually(lambda: place.state(name) == "running, no supervisor" or process_tree.wait_until_none_are_left(0), fault)
        if place.state(name) == "running, no supervisor":
            outcomes["listed"] += 1
            kill(place, name)
        else:
            outcomes["none"] += 1
        expect(process_tree.wait_until_none_are_left(20), f"{fault}: left behind: {process_tree.end_all()}")
        equal(place.stint("run", "--name", f"{name}-again", "true").returncode, 0, fault)
    print(f"  {outcomes}")
    expect(outcomes["none"] > 0, outcomes)


def run_with(place, variable, value, *command):
    place.environment[variable] = value
    try:
        return place.stint(*command)
    finally:
        del place.environment[variable]


# What the sweeps of forget and prune begin with: four checkpoints, the newer two of which lean on the second.
KEPT = [3, 4]
FOUR = 'rm -rf "$0" && cp -a "$1" "$0"'
# As after a forget that was killed before it removed anything, and a checkpoint that was killed.
GARBAGE = FOUR + ' && cd "$0" && mv 1 1.pages && mv 2 2.pages && cp -a 4 9.partial'


def removals(place, command, begin):
    """A command that removes something, killed at each call: what is kept is whole, and a prune leaves nothing that nobody needs."""
    checkpoints, template = counter.folder(place, "swept") / "checkpoints", place.base / "template"
    equal(place.run("sh", "-ec", begin, checkpoints, template).returncode, 0)
    path = place.base / "calls"
    equal(run_with(place, "STINT_FAULT_COUNT", str(path), *command).returncode, 0)
    tidy, calls, met = remains(place, "swept"), int(path.read_text()), 0
    for position in positions(calls):
        equal(place.run("sh", "-ec", begin, checkpoints, template).returncode, 0)
        done = run_with(place, "STINT_FAULT", f"{position}:kill", *command)
        expect(done.returncode in (0, -9), f"{position}: {done}")
        met += done.returncode == -9
        expect(set(KEPT) <= set(numbers(place, "swept")), f"{position}: {numbers(place, 'swept')} are left")
        for number in numbers(place, "swept"):
            equal(place.stint("verify", f"swept@{number}").returncode, 0, f"{position}: {number}")
        equal(place.stint("prune", "swept").returncode, 0, f"{position}: prune")
        equal(json.loads(place.stint("prune", "--json", "-n", "swept").stdout)["jobs"][0]["removed"], [], f"{position}")
        for number in KEPT:
            equal(place.stint("verify", f"swept@{number}").returncode, 0, f"{position}: {number} after a prune")
        if numbers(place, "swept") == KEPT:
            equal(remains(place, "swept"), tidy, f"{position}: beside the checkpoints")
    print(f"  {calls} calls, {met} killed")
    expect(met > 0, f"killed at {met} of {calls} calls")
    must_restart(place, "swept", KEPT[-1], "afterwards")


def four_checkpoints(place):
    job = start(place, "swept", "--contained")
    for options in ([], ["--full"], [], []):
        equal(place.stint("checkpoint", *options, "swept").returncode, 0)
    kill(place, "swept", job)
    equal(place.run("cp", "-a", counter.folder(place, "swept") / "checkpoints", place.base / "template").returncode, 0)


def forgets(place):
    four_checkpoints(place)
    removals(place, ["forget", "--keep-last", str(len(KEPT)), "swept"], FOUR)


def prunes(place):
    four_checkpoints(place)
    removals(place, ["prune", "swept"], GARBAGE)


def restart_errors(place):
    restarts(place, lambda: RANDOM.choice(ERRORS))


def restart_kills(place):
    restarts(place, lambda: "kill")
