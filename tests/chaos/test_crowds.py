"""A crowd of schedules of one moment, and schedulers that are killed while people edit, pause and backfill.

Six `runscheduler` processes; every fifth of a second one of them is killed with SIGKILL and another is
started in its place. Meanwhile rows are edited in SQL and by the verbs, switched off and on, all are paused
for a while, and the past of one schedule is backfilled by several at once, one of them killed. Afterwards:

1. no planned time of a schedule has two occurrences, and none has two messages;
2. each occurrence that ran has its message, and each message its occurrence;
3. of a schedule that nobody touched, each planned time until the last has run or is counted as skipped;
4. each planned time of the backfilled range has one message;
5. no row says that it is broken.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from tests.support import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

CROWD = {"postgres": 500, "mariadb": 300, "sqlite": 150}
SCHEDULERS, KILLED_EVERY = 6, 0.2
ENV = {"LETSGO_WORKER_SCHEDULE": ""}
HOURS = 40


def crowd(count: int) -> None:
    """Add schedules of one moment: copies of one that is planned."""
    first = schedules.add("crowd 0", "@every 2s", "tick", misfire_grace=timedelta(hours=1))
    columns = [field.attname for field in ScheduledJob._meta.concrete_fields]
    facts = {name: getattr(first, name) for name in columns if name not in ("id", "name")}
    ScheduledJob.objects.bulk_create(ScheduledJob(name=f"crowd {n}", **facts) for n in range(1, count))


def edit(chance: random.Random, names: list[str]) -> None:
    """Change a few of the schedules that may be touched, in one of the ways that people have."""
    few = chance.sample(names, 5)
    way = chance.randrange(3)
    if way == 0:
        ScheduledJob.objects.filter(name__in=few).update(schedule=f"@every {chance.randrange(2, 5)}s")
    elif way == 1:
        schedules.update(few[0], schedule="@every 3s", payload={"edited": True})
    else:
        schedules.disable(few[0], by="chaos")
        schedules.enable(few[0], by="chaos")


def backfill(start, end) -> int:
    try:
        return schedules.backfill("hourly", start, end)
    finally:
        connections.close_all()


def faults(untouched: list[str]) -> list[str]:
    """Return what is lost, doubled or broken."""
    found = [f"{job.name}: {job.problem}" for job in ScheduledJob.objects.exclude(problem="")]
    messages = Message.objects.filter(scheduled_job_id__isnull=False)
    times = messages.values_list("scheduled_job_id", "planned_at")
    found += [f"{time} has {count} messages" for time, count in Counter(times).items() if count > 1]
    facts = ("scheduled_job_id", "planned_at", "message_id", "skipped_count")
    recorded = list(Occurrence.objects.values_list(*facts))
    ran = {message_id for *_, message_id, _ in recorded if message_id is not None}
    made = set(messages.values_list("pk", flat=True))
    found += [f"occurrences without a message: {ran - made}"] if ran - made else []
    found += [f"messages without an occurrence: {made - ran}"] if made - ran else []
    for job in ScheduledJob.objects.filter(name__in=untouched):
        own = [one for one in recorded if one[0] == job.pk]
        last = max(planned_at for _, planned_at, *_ in own)
        planned = job.recurrence.newest_between(job.anchor, last, 0).total
        told = sum(count or 1 for *_, count in own)
        if told != planned:
            found.append(f"{job.name}: {planned} planned times, {told} recorded")
    return found


def test_schedulers_killed_over_a_crowd_lose_nothing_and_repeat_nothing(manage, seed, chaos_seconds, engine):
    chance = random.Random(seed)
    crowd(CROWD[engine])
    hourly = schedules.add("hourly", "0 * * * *", "hour")
    start = hourly.created_at - timedelta(hours=HOURS)
    names = [f"crowd {n}" for n in range(CROWD[engine])]
    touched, untouched = names[::5], [name for n, name in enumerate(names) if n % 5]
    living = [manage("runscheduler", f"s{n}", env=ENV) for n in range(SCHEDULERS)]
    for process in living:
        process.wait_for_line("Scheduler s")
    span = (start.isoformat(), hourly.created_at.isoformat())
    doomed = manage("letsgo", "schedule", "backfill", "hourly", *span)
    with ThreadPoolExecutor(2) as pool:
        filled = [pool.submit(backfill, start, hourly.created_at) for _ in range(2)]
        end, turn = time.monotonic() + chaos_seconds, 0
        while time.monotonic() < end:
            moment = time.monotonic() + KILLED_EVERY
            wait_until(lambda moment=moment: time.monotonic() >= moment, what="a fifth of a second")
            turn += 1
            victim = chance.randrange(SCHEDULERS)
            living[victim].kill()
            living[victim] = manage("runscheduler", f"s{victim}", env=ENV)
            edit(chance, touched)
            if turn == 2:
                doomed.kill()
            if turn in (10, 15):
                (schedules.pause_all if turn == 10 else schedules.resume_all)(by="chaos")
        assert all(one.result() >= 0 for one in filled)
    schedules.resume_all()
    schedules.backfill("hourly", start, hourly.created_at)

    now = engine_for("default").clock()
    behind = ScheduledJob.objects.filter(name__in=untouched, next_run_at__lte=now)
    wait_until(lambda: not behind.exists(), timeout=60, what="the crowd to be fired")
    for process in living:
        process.wait_for_line("Scheduler s")
        assert process.stop() == 0

    assert faults(untouched) == []
    assert (
        Message.objects.filter(scheduled_job_id=hourly.pk, planned_at__lte=hourly.created_at).count() == HOURS
    )


# -- controls ----------------------------------------------------------------------------------------------


@pytest.fixture
def fired():
    job = schedules.add("one", "@every 2s", "tick", misfire="all")
    schedules.fire_due(job.created_at + timedelta(seconds=7))
    assert faults(["one"]) == []
    return job


def test_a_lost_planned_time_is_found(fired):
    Occurrence.objects.earliest("planned_at").delete()
    assert len(faults(["one"])) == 2


def test_a_doubled_message_is_found(fired):
    first = Message.objects.earliest("planned_at")
    double = enqueue("tick")
    Message.objects.filter(pk=double.pk).update(scheduled_job_id=fired.pk, planned_at=first.planned_at)
    assert any("has 2 messages" in fault for fault in faults(["one"]))


def test_a_lost_message_is_found(fired):
    Message.objects.earliest("planned_at").delete()
    assert any("without a message" in fault for fault in faults(["one"]))
