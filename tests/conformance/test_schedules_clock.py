"""A database's clock that was ahead and is put right: its plans are made again, and nothing doubles."""

from __future__ import annotations

import logging
import random
from datetime import timedelta

import pytest
from django.db import connection

from django_letsgo_worker import processes, schedules
from django_letsgo_worker import scheduler as scheduling
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.maintenance import Maintenance
from django_letsgo_worker.models import CLOCK_SQL, Housekeeping, Message, ScheduledJob, clock
from django_letsgo_worker.scheduler import Scheduler
from django_letsgo_worker.schedules import firing
from tests.conformance.schedule_support import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    fire,
    occurrences,
    raw,
    row,
    snapshot,
)

pytestmark = pytest.mark.django_db

# What the clock showed while it was wrong, when it should have shown T0.
AHEAD = T0 + 8 * HOUR


def add(schedule: str = "* * * * *", name: str = "report", **fields) -> ScheduledJob:
    return schedules.add(name, schedule, "report:new", now=fields.pop("now", T0), **fields)


def mend(now=T0) -> None:
    assert schedules.mend_plans(now=now) is None


class TestAPlanThatAClockAheadHasMade:
    @pytest.mark.parametrize(
        "schedule", ["* * * * *", "*/5 * * * *", "@every 1m", "rate(5 minutes)", "@hourly"]
    )
    def test_by_firing_is_made_again_on_the_same_grid(self, schedule):
        right = add(schedule).next_run_at
        fire(AHEAD)
        assert row().next_run_at > AHEAD
        mend()
        assert row().next_run_at == right
        assert fire(right) == [right]

    @pytest.mark.parametrize("schedule", ["* * * * *", "@every 1m", "rate(5 minutes)"])
    def test_of_a_new_or_an_edited_row_is_made_again(self, schedule):
        add(schedule, now=AHEAD)
        add("0 3 * * *", "edited")
        raw("edited", schedule=schedule)
        fire(AHEAD)
        mend(T0)
        for name in ("report", "edited"):
            assert T0 < row(name).next_run_at <= T0 + 5 * MINUTE, name

    def test_as_over_though_its_end_is_to_come_is_made_again(self):
        add(ends_at=T0 + HOUR, misfire="skip")
        fire(AHEAD)
        assert row().state == "completed"
        mend()
        assert (row().state, fire(row().next_run_at)) == (
            "on",
            [T0.replace(minute=1, second=0, microsecond=0)],
        )

    def test_behind_its_start_is_made_again(self):
        add("@every 1m", starts_at=T0 + HOUR)
        fire(AHEAD)
        mend()
        assert row().next_run_at == row().anchor == T0 + HOUR

    def test_is_said_to_have_been_made_so(self, caplog):
        add()
        fire(AHEAD)
        with caplog.at_level(logging.WARNING, "django_letsgo_worker.schedules"):
            mend()
        assert "'report' had been planned by a clock that was ahead" in caplog.text

    def test_is_made_again_a_part_at_a_time(self, monkeypatch):
        monkeypatch.setattr(firing, "MENDED_AT_ONCE", 2)
        jobs = [add(name=f"r{n}", now=AHEAD) for n in range(5)]
        after, calls = schedules.mend_plans(now=T0), 1
        while after is not None:
            assert ScheduledJob.objects.filter(next_run_at__lt=AHEAD).count() == 2 * calls
            after, calls = schedules.mend_plans(after, now=T0), calls + 1
        assert ScheduledJob.objects.filter(next_run_at__lt=AHEAD).count() == len(jobs)

    def test_is_made_again_beside_a_row_that_cannot_be_read(self):
        add(name="bad", now=AHEAD)
        raw("bad", timezone="Mars/Base", planned_from=row("bad").planned_from.replace("UTC", "Mars/Base"))
        add(now=AHEAD)
        mend()
        assert row().next_run_at < AHEAD

    def test_fires_nothing_twice(self):
        add(misfire="all", misfire_grace=0)
        fire(T0 + 3 * MINUTE + 40 * SECOND)
        mend()
        for n in range(5):
            fire(T0 + n * MINUTE)
        times = [moment for moment, _why, _count in occurrences()]
        assert len(times) == len(set(times)) == 4
        assert Message.objects.count() == 4

    def test_of_a_moment_that_was_run_runs_it_no_second_time(self):
        add("at(2027-03-01T12:00:00)")
        assert len(fire(AHEAD)) == 1
        mend()
        assert fire(T0 + DAY) == []
        assert row().state == "completed"


class TestANextRunSetByHand:
    def set_by_hand(self):
        return row().next_run_at == T0 + DAY

    def test_in_sql_stays(self):
        add()
        raw(next_run_at=T0 + DAY)
        fire(T0)
        mend()
        assert self.set_by_hand()

    def test_by_save_stays(self):
        job = add()
        job.next_run_at = T0 + DAY
        job.save(now=T0)
        mend()
        assert self.set_by_hand()

    def test_with_an_edit_stays(self):
        job = add()
        job.schedule, job.next_run_at = "*/7 * * * *", T0 + DAY
        job.save(now=T0)
        fire(T0)
        mend()
        assert self.set_by_hand()

    def test_of_a_respelled_rule_stays(self):
        add()
        raw(next_run_at=T0 + DAY, schedule="cron(* * * * *)")
        fire(T0)
        mend()
        assert self.set_by_hand()

    def test_on_a_row_that_is_over_stays(self):
        add(ends_at=T0 + MINUTE)
        fire(T0 + MINUTE)
        raw(next_run_at=T0 + DAY)
        fire(T0 + MINUTE)
        mend(T0 + MINUTE)
        assert self.set_by_hand()

    def test_beside_an_anchor_to_come_stays(self):
        add("rate(1 hour)")
        raw(anchor=T0 + DAY, next_run_at=T0 + DAY, next_planned_at=T0 + DAY)
        mend()
        assert (row().anchor, row().next_run_at) == (T0 + DAY, T0 + DAY)


def test_a_plan_that_a_right_clock_made_is_left_alone():
    """Whatever was added, fired, edited or switched: of all plans none is written."""
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    rules = [
        "* * * * *",
        "rate(5 minutes)",
        "@every 90s",
        "0 12 * * *",
        "at(2027-03-01T21:00:00)",
        "@monthly",
    ]
    bounds = [{}, {}, {"ends_at": T0 + HOUR}, {"starts_at": T0 + HOUR}, {"ends_at": T0}, {"enabled": False}]
    for n in range(30):
        add(
            chance.choice(rules),
            f"r{n}",
            timezone=chance.choice(["UTC", "Asia/Tokyo"]),
            **chance.choice(bounds),
        )
    now = T0
    for n in range(20):
        now += chance.randrange(1, 600) * SECOND
        if n % 3:
            fire(now)
        else:
            name = f"r{chance.randrange(30)}"
            chance.choice([schedules.disable, schedules.enable])(name, now=now)
            raw(f"r{chance.randrange(30)}", schedule=chance.choice(rules[:4]))
        before = snapshot()
        mend(now)
        assert snapshot() == before


SHIFTED = {
    "postgresql": "(STATEMENT_TIMESTAMP() + INTERVAL '8 hours')",
    "mysql": "(UTC_TIMESTAMP(6) + INTERVAL 8 HOUR)",
}


@pytest.mark.django_db(transaction=True)
class TestAScheduler:
    @pytest.fixture
    def clock_ahead(self, monkeypatch):
        """The database's clock is 8 hours ahead until this is called."""
        with monkeypatch.context() as patched:
            if connection.vendor == "sqlite":
                # Its clock is the machine's.
                patched.setattr(clock, "EPOCH", clock.EPOCH + timedelta(hours=8))
            else:
                patched.setitem(CLOCK_SQL, connection.vendor, SHIFTED[connection.vendor])
            yield patched.undo

    @pytest.fixture
    def scheduler(self, monkeypatch, settings):
        settings.LETSGO_WORKER = {"SCHEDULE": ""}
        monkeypatch.setattr(processes, "SCHEDULER_BEATS_EVERY", 0.0)
        return Scheduler("loop")

    def seconds_to_wait(self) -> float:
        return (row().next_run_at - engine_for("default").clock()).total_seconds()

    def test_that_starts_mends_what_a_wrong_clock_planned(self, clock_ahead, scheduler):
        schedules.add("report", "* * * * *", "report:new")
        clock_ahead()
        assert self.seconds_to_wait() > 7 * 3600
        scheduler._round()
        assert self.seconds_to_wait() <= 60

    def test_that_sees_the_clock_go_back_mends_what_it_planned(self, clock_ahead, scheduler, caplog):
        schedules.add("report", "* * * * *", "report:new")
        scheduler._round()
        clock_ahead()
        assert self.seconds_to_wait() > 7 * 3600
        scheduler._round()
        assert self.seconds_to_wait() <= 60
        assert "The database's clock went back by 28800 seconds" in caplog.text

    def test_that_does_not_look_at_the_clock_leaves_it_for_eight_hours(
        self, clock_ahead, scheduler, monkeypatch
    ):
        monkeypatch.setattr(scheduling, "STEP_SECONDS", float("inf"))
        schedules.add("report", "* * * * *", "report:new")
        scheduler._round()
        clock_ahead()
        scheduler._round()
        assert self.seconds_to_wait() > 7 * 3600

    def test_looks_at_no_plan_while_the_clock_goes_on(self, scheduler, monkeypatch):
        asked = []
        monkeypatch.setattr(schedules, "mend_plans", lambda *args, **kwargs: asked.append(args))
        for _ in range(5):
            scheduler._round()
        assert len(asked) == 1  # the start

    def test_works_off_the_plans_before_it_rests(self, scheduler, monkeypatch):
        monkeypatch.setattr(firing, "MENDED_AT_ONCE", 1)
        schedules.add("report", "0 3 * * *", "report:new")
        assert scheduler._round() == scheduling.SHORTEST_PAUSE


def test_the_housekeeping_does_not_wait_for_a_moment_that_a_wrong_clock_wrote():
    clock = engine_for("default").clock()
    maintenance = Maintenance("default")
    assert maintenance._take_turn(clock + 8 * HOUR)
    assert maintenance._take_turn(clock)
    assert not Maintenance("default")._take_turn(clock + timedelta(seconds=30))
    assert Housekeeping.objects.get().taken_at == clock
