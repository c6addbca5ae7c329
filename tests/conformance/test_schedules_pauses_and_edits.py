"""Pauses of all schedules, edits and backfills together: nothing paused runs, nothing goes unrecorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob, SchedulesPause
from django_letsgo_worker.schedules import firing, pausing

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


# -- a resume in the middle of a round -----------------------------------------------------------------------


class ResumesAfter:
    """Resumes all schedules after one of the statements that a round runs before it has locked rows."""

    def __init__(self, number: int) -> None:
        self.left, self.is_done = number, False

    def __call__(self, execute, sql, params, many, context):
        answer = execute(sql, params, many, context)
        if not self.is_done and not connection.in_atomic_block:
            self.left -= 1
            if self.left < 0:
                self.is_done = True
                assert schedules.resume_all(now=s(34))
        return answer


def fire_while_all_are_resumed(after: int) -> bool:
    """Fire at the end of a pause that is over after so many statements; return whether there were as many."""
    ScheduledJob.objects.all().delete()
    SchedulesPause.objects.all().delete()
    add()
    schedules.pause_all(now=s(5))
    with connection.execute_wrapper(resuming := ResumesAfter(after)):
        schedules.fire_due(now=s(33))
    schedules.resume_all(now=s(34))
    schedules.fire_due(now=s(35))
    return resuming.is_done


def test_a_resume_in_the_middle_of_a_round_runs_nothing_of_the_pause():
    number = 0
    while fire_while_all_are_resumed(after=number):
        assert not Message.objects.exists(), f"resumed after statement {number}"
        number += 1
    assert number >= 3


def test_control_a_round_that_asks_in_two_statements_runs_what_was_paused(monkeypatch):
    def in_two_statements(now, using):
        past = pausing.pauses_at(now, using).past
        return pausing.Pauses(past, pausing.present_pause(using, now) is not None)

    monkeypatch.setattr(firing, "pauses_at", in_two_statements)
    number = 0
    while fire_while_all_are_resumed(after=number):
        number += 1
    assert Message.objects.exists()
