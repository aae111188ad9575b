"""Cutting a run: checkpoint --stop at a random instant, restart, again, and on to its end.

`checkpoint --stop` kills the job before it is thawed, so whatever the checkpoint does not hold is lost, and shows as a
difference. A program that ended before its cut is run again with earlier instants; at least one cut must have happened.
"""

import dataclasses
import time

from driver import outputs
from driver.runs import Run, leftovers

STOPPED = 85  # What `stint run` and `stint restart` end with when their job was checkpointed and stopped.
TRIES = 4
WANTED_CUTS = 2


@dataclasses.dataclass
class Verdict:
    passed: bool
    seconds: float = 0.0
    cuts: list[float] = dataclasses.field(default_factory=list)  # How long into its stint each cut was made.
    said: list[str] = dataclasses.field(default_factory=list)  # The closing lines of the checkpoints.
    problems: list[str] = dataclasses.field(default_factory=list)

    def fail(self, *problems):
        self.passed = False
        self.problems += problems
        return self


def cut_run(stage, program, size, limit, uncut, natural, random):
    """Runs the program under stint, cut twice, and holds its outputs against those of the uncut run."""
    for attempt in range(TRIES):
        run = Run(stage, program, size, limit)
        began = time.monotonic()
        verdict = _one_attempt(run, natural * 0.6**attempt, random)
        verdict.seconds = time.monotonic() - began
        if verdict.passed:
            verdict.problems += outputs.differences(uncut, run.outputs(run.process.returncode))
        verdict.problems += leftovers(2)
        if verdict.problems:
            return verdict.fail(*run.last_messages())
        if len(verdict.cuts) == WANTED_CUTS or (verdict.cuts and attempt == TRIES - 1):
            return verdict
    return verdict.fail(f"the program ended before its first cut in each of {TRIES} runs: a longer input is needed")


def uncut_run(stage, program, size, limit, uncut):
    """Runs the program under stint from start to end: what differs then is not a matter of checkpoints."""
    run = Run(stage, program, size, limit)
    began = time.monotonic()
    run.start([str(stage.stint), "run", "--name", program.name, "--", *run.argv])
    found = run.outputs(run.finish())
    problems = outputs.differences(uncut, found) + leftovers(2)
    verdict = Verdict(not problems, time.monotonic() - began, problems=problems)
    return verdict.fail(*run.last_messages()) if problems else verdict


def _one_attempt(run, natural, random):
    """One run with up to two cuts. It passes when every step went as it should; outputs are not yet looked at."""
    verdict = Verdict(True)
    name = run.program.name
    stint = str(run.stage.stint)
    run.start([stint, "run", "--name", name, "--", *run.argv])
    share = 1 / (WANTED_CUTS + 1)
    for _ in range(WANTED_CUTS):
        instant = random.uniform(0.3, 1.2) * share * natural
        if run.ended_within(instant):
            break
        if run.person and not run.person.keep_waiting(run.limit):
            break
        status, said = run.ask([stint, "checkpoint", "--stop", name])
        if status != 0:
            if run.ended_within(0.5):
                break  # It ended while it was asked; the status and outputs tell whether that was its own end.
            return verdict.fail(f"checkpoint --stop: status {status}", said)
        stopped = run.finish()
        if stopped != STOPPED:
            return verdict.fail(f"after checkpoint --stop: status {stopped}, not {STOPPED}")
        if alive := leftovers(2):
            return verdict.fail("after checkpoint --stop", *alive)
        verdict.cuts.append(instant)
        verdict.said.append(said.splitlines()[-1] if said else "")
        run.start([stint, "restart", name])
    run.finish()
    return verdict
