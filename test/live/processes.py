"""The processes below this one: which there are, where they stand, and how they are ended."""

import os
import signal
import time

# Children that somebody here will wait for; any other child that has ended was left to us.
awaited = set()


def processes():
    """Every process as (pid, parent, state, name)."""
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        name, rest = text[text.index("(") + 1 : text.rindex(")")], text[text.rindex(")") + 2 :].split()
        yield int(entry), int(rest[1]), rest[0], name


def descendants():
    """The live processes below this one as {pid: name}; reaps orphans that ended and were left to us."""
    found, below = {}, {os.getpid()}
    table = list(processes())
    grown = True
    while grown:
        grown = False
        for pid, parent, state, name in table:
            if parent in below and pid not in below:
                below.add(pid)
                grown = True
                if state == "Z":
                    if parent == os.getpid() and pid not in awaited:
                        os.waitpid(pid, os.WNOHANG)
                else:
                    found[pid] = name
    return found


def described(pid):
    """Where each thread of a process stands: for the message of a time-out."""
    lines = []
    for tid in sorted(os.listdir(f"/proc/{pid}/task"), key=int)[:8]:
        facts = []
        for name in ("comm", "wchan", "syscall"):
            try:
                with open(f"/proc/{pid}/task/{tid}/{name}", encoding="utf-8", errors="replace") as file:
                    facts.append(f"{name} {file.read().strip()[:80]}")
            except OSError as error:
                facts.append(f"{name} ({error.strerror})")
        with open(f"/proc/{pid}/task/{tid}/stat", encoding="utf-8", errors="replace") as file:
            facts.append("state " + file.read().rpartition(")")[2].split()[0])
        lines.append(f"  pid {pid} tid {tid}: " + ", ".join(facts))
    return lines


def state_of_all():
    lines = []
    for pid in descendants():
        try:
            lines += described(pid)
        except OSError:
            lines.append(f"  pid {pid}: gone")
    return "\n".join(lines)


def end_descendants():
    for _ in range(200):
        left = descendants()
        if not left:
            return
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
        time.sleep(0.01)
