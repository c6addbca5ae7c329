"""A crowd of schedulers, one of which is killed several times a second: manage("shell", "-c", ...).

They are forked from a process that has loaded Django already, so that the next one is there at once. Where
each loaded it anew, most would be killed while they do, and hardly any while it fires.
"""

from __future__ import annotations

import os
import random
import signal
import time
import traceback
from collections.abc import Callable
from mmap import mmap
from typing import Any
from unittest import mock

from django.core.management import execute_from_command_line

from django_letsgo_worker.schedules import attending
from tests.support import wait_until

OVER = "The killing is over"
# So many of the deaths wait for one that fires, for so many seconds at the most: planned times come each.
AIMED, LONGEST_AIM = 0.25, 1.0


def run(seed: int, seconds: float, *, size: int = 6, pace: float = 0.2) -> None:
    """Kill one of `size` schedulers every `pace` seconds and replace it; then let all work until SIGTERM."""
    chance = random.Random(seed)
    # A byte for each, which all processes share: whether it is in the middle of firing.
    firing = mmap(-1, size)
    pids = [_fork(place, firing) for place in range(size)]
    end, kills, kills_in_the_middle = time.monotonic() + seconds, 0, 0
    while time.monotonic() < end:
        victim = _victim(chance, firing, pace)
        os.kill(pids[victim], signal.SIGKILL)
        assert _end_of(pids[victim]) == -signal.SIGKILL, "A scheduler had ended by itself."
        kills, kills_in_the_middle = kills + 1, kills_in_the_middle + firing[victim]
        pids[victim] = _fork(victim, firing)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(f"{OVER}: {kills} were killed, {kills_in_the_middle} while they fired.", flush=True)
    signal.sigwait({signal.SIGTERM})
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    codes = {_end_of(pid) for pid in pids}
    # The last one may not have come to where it listens to the signal.
    assert codes <= {0, -signal.SIGTERM}, codes


def _victim(chance: random.Random, firing: mmap, pace: float) -> int:
    """Wait for the next death and return whose it is: now and then of one that fires."""
    moment = time.monotonic() + pace * chance.uniform(0.5, 1.5)
    wait_until(lambda: time.monotonic() >= moment, step=0.005, what="the next death")
    if chance.random() >= AIMED:
        return chance.randrange(len(firing))
    # One that fires, at whatever point; they are asked so seldom that many are missed.
    step, give_up = chance.uniform(0.001, 0.1), moment + LONGEST_AIM
    wait_until(lambda: any(firing[:]) or time.monotonic() >= give_up, step=step)
    return chance.choice([place for place, fires in enumerate(firing[:]) if fires] or range(len(firing)))


def _fork(place: int, firing: mmap) -> int:
    """Start `manage.py runscheduler` in a child; return its process id."""
    firing[place] = 0
    if pid := os.fork():
        return pid
    code = 1
    try:
        with mock.patch.object(attending, "_attend", _told(attending._attend, place, firing)):
            execute_from_command_line(["manage.py", "runscheduler", f"s{place}"])
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _told(attend: Callable[..., Any], place: int, firing: mmap) -> Callable[..., Any]:
    """Return what fires a group, and tells that it does."""

    def attend_and_tell(*arguments: Any) -> Any:
        firing[place] = 1
        try:
            return attend(*arguments)
        finally:
            firing[place] = 0

    return attend_and_tell


def _end_of(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
