"""Schedulers that are killed at any moment: no planned time is lost, none fires twice.

Three `runscheduler` processes; every half second one of them, chosen by a printed seed, is killed with
SIGKILL and another is started in its place. Afterwards, for each of five schedules:

1. every planned time from the first to the last recorded one has exactly one occurrence;
2. each occurrence has exactly one message, with the same planned time;
3. the plan goes on from the last recorded time;
4. no row says that it is broken.

CHAOS_SECONDS says how long (10 by default), CHAOS_SEED repeats a run's choices.
"""

from __future__ import annotations

import os
import random
import time
from datetime import timedelta
from itertools import takewhile

import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from tests.support import wait_until

SECONDS = float(os.environ.get("CHAOS_SECONDS", "10"))
EXPRESSIONS = {
    "every second": "@every 1s",
    "every two": "@every 2s",
    "every three": "@every 3s",
    "every five": "@every 5s",
    "each minute": "* * * * *",
}


def one_more_occurrence_each(known: dict[int, int]) -> bool:
    """Whether every schedule of seconds has fired since `known` was counted."""
    return all(Occurrence.objects.filter(scheduled_job=pk).count() > count for pk, count in known.items())


@pytest.mark.timeout(SECONDS * 3 + 90)
@pytest.mark.django_db(transaction=True)
def test_schedulers_killed_every_half_second_lose_nothing_and_repeat_nothing(manage):
    seed = int(os.environ.get("CHAOS_SEED", random.randrange(10**6)))
    print(f"CHAOS_SEED={seed} CHAOS_SECONDS={SECONDS:g}")
    chance = random.Random(seed)
    env = {"LETSGO_WORKER_SCHEDULE": ""}
    for name, expression in EXPRESSIONS.items():
        # Schedulers that are killed while they start may leave nobody to fire for a while; what is late
        # must fire all the same.
        schedules.add(name, expression, "tick", misfire_grace=timedelta(minutes=5))
    living = [manage("runscheduler", f"s{n}", env=env) for n in range(3)]
    for process in living:
        process.wait_for_line("Scheduler s")

    end, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        moment = time.monotonic() + 0.5
        wait_until(lambda moment=moment: time.monotonic() >= moment, what="half a second")
        victim = chance.randrange(3)
        living[victim].kill()
        kills += 1
        living[victim] = manage("runscheduler", f"s{victim}", env=env)
    known = {job.pk: job.occurrences.count() for job in ScheduledJob.objects.exclude(schedule="* * * * *")}
    wait_until(lambda: one_more_occurrence_each(known), timeout=60, what="one more occurrence of each")
    for process in living:
        process.wait_for_line("Scheduler s")
        assert process.stop() == 0

    assert kills >= SECONDS
    for job in ScheduledJob.objects.all():
        times = list(job.occurrences.order_by("planned_at").values_list("planned_at", flat=True))
        planned = job.recurrence.occurrences_after(job.created_at)
        expected = list(takewhile(lambda moment, job=job: moment < job.next_run_at, planned))
        assert times == expected, f"{job.name}: lost or made up"  # invariants 1 and 3
        messages = Message.objects.filter(scheduled_job_id=job.pk).order_by("planned_at")
        assert list(messages.values_list("planned_at", flat=True)) == times, f"{job.name}: lost or double"
        ids = set(messages.values_list("pk", flat=True))
        assert set(job.occurrences.values_list("message_id", flat=True)) == ids
        assert job.problem == ""
    assert Occurrence.objects.count() > SECONDS


# Where a scheduler kills itself: just before or just after these functions, in the middle of one firing.
POINTS = {
    "before the row moves": ("django_letsgo_worker.schedules.attending._write", "before"),
    "after the row moved": ("django_letsgo_worker.schedules.attending._write", "after"),
    "after the message": ("django_letsgo_worker.messages.enqueue_occurrences", "after"),
    "after the occurrence": ("django_letsgo_worker.schedules.occurrences.write", "after"),
    "after the commit": ("django_letsgo_worker.schedules.attending._attend_alone", "after"),
}
SUICIDE = """
import os, pkgutil, signal
from unittest import mock
from django_letsgo_worker import schedules

path, when = {path!r}, {when!r}
real = pkgutil.resolve_name(path)

def deadly(*args, **kwargs):
    if when == "after":
        real(*args, **kwargs)
    os.kill(os.getpid(), signal.SIGKILL)

with mock.patch(path, deadly):
    schedules.fire_due()
"""


# What was done to the row while it was due.
EDITS = {
    "not edited": lambda: None,
    "edited in SQL": lambda: ScheduledJob.objects.update(schedule="rate(2 hours)"),
    "saved": lambda: schedules.update("tick", schedule="rate(2 hours)"),
}


@pytest.mark.parametrize("edit", EDITS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.django_db(transaction=True)
def test_a_scheduler_killed_in_the_middle_of_firing_leaves_all_or_nothing(manage, point, edit):
    job = schedules.add("tick", "rate(1 hour)", "tick")
    ScheduledJob.objects.update(next_run_at=job.created_at)
    EDITS[edit]()

    path, when = POINTS[point]
    assert manage("shell", "-c", SUICIDE.format(path=path, when=when)).wait() == -9

    left = (Message.objects.count(), Occurrence.objects.count())
    assert left == ((1, 1) if point == "after the commit" else (0, 0))
    # Until the server notices that a process is gone, its lock lives on, and the row is passed over.
    wait_until(lambda: schedules.fire_due() or Message.objects.exists(), what="the run that was due")
    assert Message.objects.get().planned_at == Occurrence.objects.get().planned_at == job.created_at
    assert not schedules.fire_due()
    row = ScheduledJob.objects.get()
    hours = 1 if edit == "not edited" else 2
    assert row.next_run_at == row.anchor + timedelta(hours=hours)
    assert row.unsettled is None
