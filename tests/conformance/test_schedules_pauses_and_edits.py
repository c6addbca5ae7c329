"""Pauses of all schedules, edits and backfills together: nothing paused runs, nothing goes unrecorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob

pytestmark = pytest.mark.django_db(transaction=True)


def s(n: int) -> datetime:
    return datetime(2027, 3, 1, 12, tzinfo=UTC) + timedelta(seconds=n)


def add(**fields):
    schedules.add("a", "@every 10s", "tick", now=s(0), **{"misfire_grace": timedelta(hours=1), **fields})


def recorded():
    times = set()
    for one in Occurrence.objects.all():
        times |= {one.planned_at - timedelta(seconds=10) * n for n in range(max(1, one.skipped_count))}
    return sorted((t - s(0)).total_seconds() for t in times)


@pytest.mark.parametrize("edit", ["in SQL", "by a verb"])
def test_an_edit_while_all_are_paused_runs_nothing(edit):
    add()
    schedules.pause_all(now=s(5))
    if edit == "in SQL":
        ScheduledJob.objects.update(schedule="@every 1h")
    else:
        schedules.update("a", schedule="@every 1h", now=s(32))
    schedules.fire_due(now=s(33))
    assert not Message.objects.exists()


def test_an_edit_after_the_pause_runs_nothing_of_the_pause():
    add()
    schedules.pause_all(now=s(5))
    schedules.resume_all(now=s(31))
    schedules.update("a", schedule="@every 1h", now=s(32))
    schedules.fire_due(now=s(33))
    assert not Message.objects.exists()


def test_a_backfill_of_the_end_of_a_pause_leaves_the_rest_of_it_on_record():
    add()
    schedules.pause_all(now=s(5))
    schedules.backfill("a", s(25), s(36), now=s(37))
    schedules.resume_all(now=s(38))
    schedules.fire_due(now=s(45))
    assert recorded() == [10, 20, 30, 40]


def test_a_backfill_of_late_times_leaves_the_others_on_record():
    add(misfire_grace=timedelta(seconds=1))
    schedules.backfill("a", s(25), s(36), now=s(37))
    schedules.fire_due(now=s(45))  # late: 10, 20, 30, 40
    assert recorded() == [10, 20, 30, 40]
