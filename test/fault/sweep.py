"""The fault sweep: `stint checkpoint` again and again, with its 1st, 2nd, 3rd ... system call failing, or killed in its place.

After each: the program runs untouched, and either no checkpoint has appeared, or one that is whole and restarts.
"""

import errno
import os
import pathlib
import random
import shutil
import sys

import counter
from counter import kill, must_restart, numbers, remains, start
from harness import Failed, equal, expect

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


def settled(place, job, fault, done, told):
    """The job as it must be after the fault; or a new one, if it was lost in the way that is documented."""
    if b"inside an injected call" in done.stderr:
        told["inside an injected call"] = told.get("inside an injected call", 0) + 1
        try:
            job.must_go_on(f"STINT_FAULT={fault}")
        except Failed:
            told["lost there (doc/failure-model.md)"] = told.get("lost there (doc/failure-model.md)", 0) + 1
            job.end()
            shutil.rmtree(counter.folder(place, "swept"), ignore_errors=True)  # Without a checkpoint it is gone by itself.
            return start(place, "swept", "--contained")
        return job
    job.must_go_on(f"STINT_FAULT={fault}")
    return job


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
    outcomes, told = {"refused": 0, "whole": 0}, {}
    for position in positions(calls):
        fault = f"{position}:{RANDOM.choice(ERRORS)}"
        done = checkpoint(place, fault)
        if (after := settled(place, job, fault, done, told)) is not job:
            job, have = after, []
            continue
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
    print(f"  {calls} calls: {outcomes} {told}")
    expect(min(outcomes.values()) > 0, f"{outcomes} of {calls} calls")
    kill(place, "swept", job)


def kills(place):
    job = start(place, "swept", "--contained")
    calls = calls_of_a_checkpoint(place)
    told = {}
    for position in positions(calls):
        fault = f"{position}:kill"
        have = numbers(place, "swept")
        done = checkpoint(place, fault)
        if (after := settled(place, job, fault, done, told)) is not job:
            job, have = after, []
            continue
        now = numbers(place, "swept")
        expect(done.returncode in (0, -9), f"{fault}: {done}")
        expect(now[:len(have)] == have and len(now) <= len(have) + 1, f"{fault}: {have} became {now}")
        if len(now) > len(have):
            equal(place.stint("verify", f"swept@{now[-1]}").returncode, 0, fault)
    print(f"  {calls} calls: {told}")
    if numbers(place, "swept"):
        must_restart(place, "swept", numbers(place, "swept")[-1], "the last good one")
    equal(place.stint("checkpoint", "swept").returncode, 0, "the next one")
    equal(remains(place, "swept"), [], "what killed checkpoints left")
    job.must_go_on("afterwards")
    must_restart(place, "swept", numbers(place, "swept")[-1], "the next one")
    kill(place, "swept", job)
