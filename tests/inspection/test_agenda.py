"""The agenda: what the schedules plan for the next day, by hours on somebody's clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from django_letsgo_worker.inspection import MOST_JOBS, agenda_of, jobs_of_next_day
from django_letsgo_worker.models import ScheduledJob
from django_letsgo_worker.schedules import add

NOW = datetime(2026, 11, 22, 13, 50, tzinfo=UTC)
HOUR = timedelta(hours=1)


def job(schedule, first, name="a", **fields):
    """Return a schedule as a scheduler has planned it, without a database."""
    return ScheduledJob(name=name, schedule=schedule, anchor=first, next_run_at=first, **fields)


def clocks(hour):
    return [f"{run.at:%H:%M}" for run in hour.runs]


def test_hours_are_those_of_the_clock_and_a_whole_day_is_covered():
    found = agenda_of([job("30 13 * * *", datetime(2026, 11, 23, 13, 30, tzinfo=UTC))], NOW, UTC)
    assert found.hours[0].since == datetime(2026, 11, 22, 13, tzinfo=UTC)
    assert len(found.hours) == 25
    assert clocks(found.hours[-1]) == ["13:30"]


def test_a_zone_half_an_hour_off_has_its_own_hours():
    found = agenda_of([job("0 * * * *", NOW.replace(hour=14, minute=0))], NOW, ZoneInfo("Asia/Kolkata"))
    assert found.hours[0].since == datetime(2026, 11, 22, 13, 30, tzinfo=UTC)
    assert [len(quarter) for quarter in found.hours[0].quarters] == [0, 0, 1, 0]


def test_runs_stand_in_their_quarter_in_order():
    first = datetime(2026, 11, 23, 1, tzinfo=UTC)
    jobs = [
        job(f"{5 * n} 1 * * *", first + timedelta(minutes=5 * n), f"t{n:02}") for n in reversed(range(12))
    ]
    found = agenda_of(jobs, NOW, UTC)
    assert found.fullest.since == first
    assert [len(quarter) for quarter in found.fullest.quarters] == [3, 3, 3, 3]
    assert clocks(found.fullest) == [f"01:{5 * n:02}" for n in range(12)]


@pytest.mark.parametrize(
    ("rule", "frequent"), [("*/15 * * * *", []), ("*/10 * * * *", [144]), ("@every 1m", [1440])]
)
def test_a_schedule_with_more_than_four_runs_an_hour_is_told_in_one_line(rule, frequent):
    found = agenda_of([job(rule, NOW + timedelta(minutes=10))], NOW, UTC)
    assert [one.count for one in found.frequent] == [pytest.approx(count, abs=10) for count in frequent]
    assert sum(len(hour.runs) for hour in found.hours) == (0 if frequent else 96)


def test_what_is_late_stands_in_this_quarter_and_is_marked():
    found = agenda_of([job("@daily", NOW - 2 * HOUR)], NOW, UTC)
    [run] = found.hours[0].quarters[3]
    assert run.is_late


def test_nothing_is_planned_after_the_end_of_a_schedule():
    ends = NOW.replace(hour=16, minute=0)
    found = agenda_of([job("0 * * * *", NOW.replace(hour=14, minute=0), ends_at=ends)], NOW, UTC)
    assert [clock for hour in found.hours for clock in clocks(hour)] == ["14:00", "15:00", "16:00"]
    often = agenda_of([job("* * * * *", NOW.replace(hour=14, minute=0), ends_at=ends)], NOW, UTC)
    assert [one.count for one in often.frequent] == [121]


def test_of_a_schedule_that_was_edited_into_nonsense_stands_what_was_planned():
    found = agenda_of([job("nonsense", NOW + HOUR)], NOW, UTC)
    assert sum(len(hour.runs) for hour in found.hours) == 1


@pytest.mark.django_db
def test_schedules_that_are_off_broken_or_far_away_are_left_out():
    add("a", "@hourly", "t:x")
    add("off", "@hourly", "t:x", enabled=False)
    add("far", "at(2099-01-01T00:00:00)", "t:x")
    add("broken", "@hourly", "t:x")
    ScheduledJob.objects.filter(name="broken").update(problem="It cannot be planned.")
    now = ScheduledJob.objects.get(name="a").next_run_at - HOUR
    assert [job.name for job in jobs_of_next_day(now, using="default")] == ["a"]


@pytest.mark.django_db
def test_one_schedule_more_than_is_looked_at_is_read():
    at = datetime(2026, 11, 23, tzinfo=UTC)
    ScheduledJob.objects.bulk_create(
        ScheduledJob(name=f"job {n}", schedule="@daily", type="t:x", next_run_at=at)
        for n in range(MOST_JOBS + 5)
    )
    assert len(jobs_of_next_day(NOW, using="default")) == MOST_JOBS + 1
