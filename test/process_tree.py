"""The processes that a test suite has started, however they were orphaned since.

A job under stint leaves its first parent: a supervisor may be killed while the job goes on. The suite is therefore a
child subreaper, so that every orphan comes back to it, and can be waited for, counted and ended. Nobody else's processes
are ever touched: only what descends from this process by /proc.
"""

import ctypes
import os
import signal
import time

PR_SET_CHILD_SUBREAPER = 36


def become_subreaper():
    """Orphans of our descendants become our children, not those of a pid 1 that may reap slowly."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def _parent_and_state(pid):
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            fields = stat.read().rsplit(b")", 1)[1].split()
    except (OSError, IndexError):
        return None
    return int(fields[1]), fields[0].decode()


def descendants():
    """Pids of all living processes below this one; zombies are left out."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _parent_and_state(int(name))):
            parents[int(name)] = stat
    found, grew = {os.getpid()}, True
    while grew:
        grew = False
        for pid, (parent, _) in parents.items():
            if parent in found and pid not in found:
                found.add(pid)
                grew = True
    found.discard(os.getpid())
    return sorted(pid for pid in found if parents[pid][1] not in "ZX")


def command_of(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as cmdline:
            words = cmdline.read().rstrip(b"\0").split(b"\0")
        return " ".join(word.decode(errors="replace") for word in words)[:100] or f"[{pid}]"
    except OSError:
        return f"[{pid}]"


def describe(pid):
    """The process, its parent, and where in the kernel it waits."""
    parent, state = _parent_and_state(pid) or (0, "gone")
    try:
        with open(f"/proc/{pid}/wchan") as wchan:
            waits = wchan.read()
    except OSError:
        waits = "?"
    return f"{pid} (child of {parent}, {state}, {waits}): {command_of(pid)}"


def reap_orphans():
    """Collects dead children. Call it only while no child is awaited by anyone else."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def wait_until_none_are_left(seconds):
    """True when nothing that we started is alive any more within the time given."""
    end = time.monotonic() + seconds
    while True:
        reap_orphans()
        if not descendants():
            return True
        if time.monotonic() > end:
            return False
        time.sleep(0.02)


def end_all():
    """Kills everything below this process, and says what it was."""
    ended = []
    for _ in range(50):
        alive = descendants()
        if not alive:
            break
        for pid in alive:
            entry = f"{pid} {command_of(pid)}"
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            if entry not in ended:
                ended.append(entry)
        time.sleep(0.02)
        reap_orphans()
    return ended
