"""A scheduler between its rounds: how often it asks the database, what wakes it, since when it is awake."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import OperationalError, connection

from django_letsgo_worker import processes, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.maintenance import EVERY
from django_letsgo_worker.models import Housekeeping, Message, ScheduledJob
from django_letsgo_worker.scheduler import LOOK_SECONDS, Scheduler
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
# MariaDB cannot answer from an UPDATE: a heartbeat is a statement of its own there.
MOST, MOST_OF_MARIADB = 65, 71


@pytest.fixture
def counted():
    """Return how many statements a call runs."""
    seen = []

    def note(execute, sql, params, many, context):
        seen.append(sql)
        return execute(sql, params, many, context)

    def count(call) -> int:
        seen.clear()
        with connection.execute_wrapper(note):
            call()
        return len(seen)

    return count


@pytest.fixture
def scheduler(settings):
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    schedules.add("nightly", "@daily", "t:nightly")
    return at_rest(Scheduler("resting"))


def at_rest(scheduler: Scheduler) -> Scheduler:
    while scheduler._round() < LOOK_SECONDS / 2:
        pass
    return scheduler


def turn(scheduler: Scheduler) -> None:
    """Have it take a turn of the housekeeping."""
    scheduler._housekeeper._asked_at = float("-inf")
    Housekeeping.objects.update(taken_at="2020-01-01T00:00:00Z")
    while scheduler._housekeeper.step(scheduler._clock):
        pass


def a_minute_of(scheduler: Scheduler, counted) -> float:
    """Return how many statements a minute has: of rounds, of those with a heartbeat, and of one turn."""
    scheduler._beats_again_at = float("inf")
    plain = counted(scheduler._round)
    scheduler._beats_again_at = float("-inf")
    beating = counted(scheduler._round)
    beats = EVERY / processes.scheduler_beats_every()
    looks = max(EVERY / scheduler.look_seconds, beats)
    return (looks - beats) * plain + beats * beating + counted(lambda: turn(scheduler))


def test_asks_once_a_second(scheduler, counted, engine):
    most = MOST_OF_MARIADB if engine == "mariadb" else MOST
    assert a_minute_of(scheduler, counted) <= most


def test_asks_ten_times_a_minute_when_told_to_poll_rarely(settings, counted, engine):
    settings.LETSGO_WORKER = {"SCHEDULE": "", "POLL_SECONDS": 60}
    schedules.add("nightly", "@daily", "t:nightly")
    scheduler = at_rest(Scheduler("quiet"))
    most = 16 if engine == "mariadb" else 10
    assert a_minute_of(scheduler, counted) <= most


def test_a_round_with_something_due_asks_more(scheduler, counted):
    """The control: the counter counts."""
    ScheduledJob.objects.update(next_run_at=engine_for("default").clock())
    assert counted(scheduler._round) > 5


@pytest.fixture
def resting(settings, engine, monkeypatch):
    """A scheduler on a thread that looks once in an hour, and has looked."""
    if engine != "postgres":
        pytest.skip("only PostgreSQL tells")
    settings.LETSGO_WORKER = {"SCHEDULE": "", "POLL_SECONDS": 3600}
    # No heartbeat ends its rest either.
    monkeypatch.setattr(processes, "SCHEDULER_BEATS_EVERY", 3600.0)
    scheduler = Scheduler("resting")
    thread = threading.Thread(target=scheduler.run)
    thread.start()
    wait_until(lambda: scheduler._pause > timedelta(minutes=1), what="its rest")
    yield scheduler
    scheduler.stop.set()
    thread.join(30)


@pytest.mark.parametrize("way", ["verb", "save"])
def test_a_schedule_that_is_saved_wakes_one_that_polls_rarely(resting, way):
    job = schedules.add("soon", "@every 1s", "t:soon")
    if way == "save":
        job.refresh_from_db()
        job.payload = {"saved": True}
        job.save()
    wait_until(lambda: Message.objects.filter(type="t:soon").exists(), what="its first run")


class TestAwakeSince:
    """What is due since then is no misfire, however late it is."""

    @pytest.fixture
    def since(self, scheduler):
        return scheduler.process.awake_since

    def test_stays_while_it_looks(self, scheduler, since):
        scheduler._beats_again_at = float("-inf")
        scheduler._round()
        assert scheduler.process.awake_since == since
        scheduler._beats_again_at = float("-inf")
        scheduler._round()
        assert processes.Process.objects.get(name="resting").awake_since == since

    def test_begins_anew_after_a_break(self, scheduler, since):
        scheduler._clock -= timedelta(minutes=1)
        scheduler._round()
        assert scheduler.process.awake_since > since

    def test_stays_after_a_long_round(self, scheduler, since):
        scheduler._clock -= timedelta(minutes=1)
        scheduler._pause = timedelta(minutes=1)
        scheduler._round()
        assert scheduler.process.awake_since == since

    @pytest.mark.parametrize(("error", "is_new"), [(OperationalError("gone"), True), (KeyError("x"), False)])
    def test_begins_anew_after_an_outage_alone(self, scheduler, since, monkeypatch, error, is_new):
        def fails():
            raise error

        with monkeypatch.context() as patched:
            patched.setattr(connection, "is_usable", lambda: False)
            scheduler._survive(fails)
        scheduler._round()
        assert (scheduler.process.awake_since > since) == is_new

    def test_lets_a_crowd_with_no_patience_run(self, scheduler):
        first = schedules.add("r0", "@daily", "t:crowd", misfire="skip", misfire_grace=0)
        columns = [f.attname for f in ScheduledJob._meta.concrete_fields if f.attname not in ("id", "name")]
        facts = {name: getattr(first, name) for name in columns}
        ScheduledJob.objects.bulk_create(ScheduledJob(name=f"r{n}", **facts) for n in range(1, 1200))
        due = engine_for("default").clock()
        ScheduledJob.objects.filter(type="t:crowd").update(next_run_at=due)
        while scheduler._round() < LOOK_SECONDS / 2:
            pass
        assert Message.objects.filter(type="t:crowd").count() == 1200
