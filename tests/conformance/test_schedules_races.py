"""Races between schedulers: each guard alone lets a planned time fire once; without any it fires twice."""

from __future__ import annotations

import copy
import threading
from datetime import timedelta

import pytest
from django.db import connections, transaction

from django_letsgo_worker import schedules
from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.schedules import Declared, attending, firing, occurrences
from tests.conformance.schedule_support import HOUR, MINUTE, SECOND, T0, add, row

pytestmark = pytest.mark.django_db(transaction=True)

THREADS = 6


def at_once(work, threads: int = THREADS) -> list:
    """Run `work(n)` on threads that start together; return the results, and raise what one raised."""
    barrier, results, errors = threading.Barrier(threads), [], []

    def run(n: int) -> None:
        try:
            barrier.wait(20)
            results.append(work(n))
        except BaseException as error:
            errors.append(error)
        finally:
            connections.close_all()

    started = [threading.Thread(target=run, args=(n,)) for n in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join(60)
    if errors:
        raise errors[0]
    return results


def planned_times(pk: int | None = None) -> list:
    rows = Message.objects.filter(**({"scheduled_job_id": pk} if pk else {}))
    return list(rows.order_by("planned_at").values_list("planned_at", flat=True))


class TestManySchedulers:
    def test_fire_each_planned_time_once(self):
        for n in range(10):
            add(f"r{n}", "rate(1 minute)", misfire_grace=HOUR)

        for minute in range(1, 6):
            at_once(lambda n, now=T0 + minute * MINUTE: schedules.fire_due(now))

        every = [T0 + minute * MINUTE for minute in range(1, 6)]
        for job in ScheduledJob.objects.all():
            assert planned_times(job.pk) == every
            assert job.occurrences.count() == 5
            assert job.next_run_at == T0 + 6 * MINUTE
            assert job.problem == ""

    def test_plan_an_edited_row_once(self):
        add()
        before = row().version
        ScheduledJob.objects.update(schedule="rate(7 minutes)")
        at_once(lambda n: schedules.fire_due(T0 + n * SECOND))
        assert row().version == before + 1
        assert row().next_run_at == row().anchor + 7 * MINUTE

    @pytest.mark.parametrize("way", ["in SQL", "by save"])
    def test_settle_what_an_edit_replaced_once(self, way):
        add(misfire="all")
        if way == "in SQL":
            ScheduledJob.objects.update(schedule="0 3 * * *")
        else:
            schedules.update("report", schedule="0 3 * * *", now=T0 + 11 * MINUTE)
        at_once(lambda n: schedules.fire_due(T0 + 11 * MINUTE))
        assert planned_times() == [T0 + 5 * MINUTE, T0 + 10 * MINUTE]
        assert Occurrence.objects.count() == 2
        assert (row().next_run_at.hour, row().unsettled) == (3, None)

    def test_mend_a_plan_once(self):
        schedules.add("report", "rate(5 minutes)", "report:new", now=T0 + HOUR)
        before = row().version
        at_once(lambda n: schedules.mend_plans(now=T0))
        assert row().version == before + 1
        assert row().next_run_at == row().anchor + 5 * MINUTE

    def test_that_start_together_add_a_declared_schedule_once(self):
        declared = Declared(name="nightly", schedule="0 3 * * *", type="report:new")
        at_once(lambda n: schedules.sync_declared([declared], now=T0))
        assert row("nightly").version == 1


class TestPeopleAndSchedulers:
    def test_two_who_add_the_same_name_get_one_schedule_and_one_refusal_each(self):
        def try_to_add(n):
            try:
                add()
            except InvalidSchedule as error:
                return str(error)
            return ""

        answers = at_once(try_to_add)
        assert sorted(answers)[:2] == ["", "A schedule named 'report' exists already."]
        assert ScheduledJob.objects.count() == 1

    def test_an_update_while_it_fires_never_fires_twice_nor_stops_it(self):
        add(schedule="rate(1 minute)")

        def work(n):
            now = T0 + MINUTE
            if n % 2:
                schedules.update("report", payload=n, now=now)
            else:
                schedules.fire_due(now)

        at_once(work)
        schedules.fire_due(T0 + MINUTE)
        assert planned_times() == [T0 + MINUTE]
        assert row().next_run_at == T0 + 2 * MINUTE

    def test_an_edit_while_it_fires_neither_loses_nor_doubles_what_had_come(self):
        add(schedule="*/5 * * * *", misfire="all")
        now = T0 + 11 * MINUTE
        came = [(T0 + n * 5 * MINUTE).replace(second=0, microsecond=0) for n in (1, 2)]

        def work(n):
            if n % 2:
                schedules.update("report", schedule=f"{n} 3 * * *", now=now)
            else:
                schedules.fire_due(now)

        at_once(work)
        schedules.fire_due(now)
        assert planned_times() == came
        assert Occurrence.objects.count() == 2
        assert row().next_run_at.hour == 3

    def test_switching_while_it_fires_leaves_a_row_that_is_planned(self):
        add(schedule="rate(1 minute)")

        def work(n):
            verb = (schedules.enable, schedules.disable)[n % 2] if n else None
            if verb:
                verb("report", now=T0 + MINUTE)
            else:
                schedules.fire_due(T0 + MINUTE)

        at_once(work)
        job = row()
        assert (job.next_run_at is None) == (not job.enabled)
        assert len(planned_times()) <= 1

    def test_removing_while_it_fires_leaves_no_occurrence_behind(self):
        add()
        at_once(lambda n: schedules.remove("report") if n == 0 else schedules.fire_due(T0 + 5 * MINUTE))
        assert not ScheduledJob.objects.exists()
        assert not Occurrence.objects.exists()
        assert len(planned_times()) <= 1


class TestEachGuardAlone:
    """Every round here works on the row as it was read before anybody fired: the lock is taken away."""

    @pytest.fixture(params=["not edited", "edited while it was due"])
    def without_lock(self, monkeypatch, request):
        add()
        if request.param != "not edited":
            ScheduledJob.objects.update(schedule="0 3 * * *")
        stale = row()
        monkeypatch.setattr(attending, "lock_free", lambda using, ids: [copy.deepcopy(stale)])
        found = [(stale.pk, stale.next_run_at, stale.misfire_grace)]
        monkeypatch.setattr(firing, "_due", lambda *args: found)
        # They all look for known planned times before anybody has written one, too.
        monkeypatch.setattr(occurrences, "read_known", lambda *args: occurrences.Known(set(), {}))

    @pytest.fixture
    def without_compare_and_set(self, monkeypatch):
        def write(changes, using):
            for change in changes:
                rows = ScheduledJob.objects.using(using).filter(pk=change.job.pk)
                rows.update(**change.columns, version=change.version + 1)

        monkeypatch.setattr(attending, "_write", write)

    @pytest.fixture
    def without_uniqueness(self, monkeypatch):
        """Each occurrence is written a little beside its planned time, so that none equals another."""
        values_of, numbers = occurrences._values, iter(range(1, 1000))

        def beside(record, clock):
            job_id, planned_at, *rest = values_of(record, clock)
            return job_id, planned_at + timedelta(microseconds=next(numbers)), *rest

        monkeypatch.setattr(occurrences, "_values", beside)

    def test_the_compare_and_set_is_enough(self, without_lock, without_uniqueness):
        at_once(lambda n: schedules.fire_due(T0 + 5 * MINUTE))
        assert planned_times() == [T0 + 5 * MINUTE]

    def test_the_unique_occurrence_is_enough_and_breaks_nothing(self, without_lock, without_compare_and_set):
        at_once(lambda n: schedules.fire_due(T0 + 5 * MINUTE))
        assert planned_times() == [T0 + 5 * MINUTE]
        assert Occurrence.objects.count() == 1

    def test_without_any_guard_it_fires_more_than_once(
        self, without_lock, without_compare_and_set, without_uniqueness
    ):
        at_once(lambda n: schedules.fire_due(T0 + 5 * MINUTE))
        assert len(planned_times()) > 1


def test_a_row_that_somebody_holds_is_passed_over(engine):
    if engine == "sqlite":
        pytest.skip("SQLite has no row locks: the whole file waits its turn")
    add("held")
    add("free")
    done = threading.Event()
    held = threading.Event()

    def hold() -> None:
        with transaction.atomic():
            ScheduledJob.objects.select_for_update().get(name="held")
            held.set()
            assert done.wait(30)
        connections.close_all()

    holder = threading.Thread(target=hold)
    holder.start()
    try:
        assert held.wait(30)
        assert [m.scheduled_job_id for m in schedules.fire_due(T0 + 5 * MINUTE)] == [row("free").pk]
    finally:
        done.set()
        holder.join(30)
    assert [m.scheduled_job_id for m in schedules.fire_due(T0 + 5 * MINUTE)] == [row("held").pk]
