"""overlap="skip": a time is skipped while a message of the schedule lives, however that message was made."""

from __future__ import annotations

import threading

import pytest
from django.db import connection

from django_letsgo_worker import enqueue, messages, schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.schedules import attending, overlap
from tests.conformance.schedule_support import MINUTE, SECOND, T0, add, fire, occurrences, raw, row
from tests.conformance.test_schedules_races import at_once
from tests.support import PATIENCE

RULE = {"schedule": "rate(5 minutes)", "overlap": "skip"}


def finish(*pks: int) -> None:
    for pk in pks or list(Message.objects.values_list("pk", flat=True)):
        messages.cancel(pk)


@pytest.fixture
def dead_run(worker):
    """Fire the schedule at T0 + 5 minutes and give its message up: the id of the dead letter."""

    def make() -> int:
        [message] = schedules.fire_due(T0 + 5 * MINUTE)
        claimed = worker.claim_one(now=T0 + 6 * MINUTE)
        assert claimed.id == message.pk
        assert worker.settle(claimed, "dead", now=T0 + 6 * MINUTE) == "dead"
        return message.pk

    return make


@pytest.mark.django_db
class TestATimeIsSkippedWhile:
    def test_a_run_by_hand_lives(self):
        add(**RULE)
        by_hand = schedules.run_now("report", now=T0)
        assert fire(T0 + 5 * MINUTE) == []
        assert occurrences() == [(T0 + 5 * MINUTE, "overlap", 1)]
        finish(by_hand.pk)
        assert fire(T0 + 10 * MINUTE) == [T0 + 10 * MINUTE]

    def test_a_redriven_dead_letter_lives_though_a_later_run_went_well(self, dead_run):
        add(type="job", **RULE)
        dead = dead_run()
        assert fire(T0 + 10 * MINUTE) == [T0 + 10 * MINUTE]
        finish()
        messages.redrive(dead)
        assert fire(T0 + 15 * MINUTE) == []

    def test_a_run_from_before_overlap_was_changed_lives(self):
        add()
        [older] = schedules.fire_due(T0 + 5 * MINUTE)
        [newer] = schedules.fire_due(T0 + 10 * MINUTE)
        raw(overlap="skip")
        finish(newer.pk)
        assert fire(T0 + 15 * MINUTE) == []
        finish(older.pk)
        assert fire(T0 + 20 * MINUTE) == [T0 + 20 * MINUTE]

    def test_a_run_lives_whose_occurrence_was_pruned(self):
        add(**RULE)
        fire(T0 + 5 * MINUTE)
        Occurrence.objects.all().delete()
        assert fire(T0 + 10 * MINUTE) == []

    def test_a_run_of_another_type_or_queue_lives(self):
        add(**RULE)
        fire(T0 + 5 * MINUTE)
        schedules.update("report", type="report:other", queue="other", now=T0 + 6 * MINUTE)
        assert fire(T0 + 10 * MINUTE) == []

    def test_a_run_that_was_put_off_by_its_spread_lives(self):
        add(spread=600, **RULE)
        assert fire(T0 + 5 * MINUTE)
        assert fire(T0 + 10 * MINUTE) == []

    def test_what_had_come_before_an_edit_lives(self):
        add(**RULE)
        schedules.update("report", schedule="* * * * *", now=T0 + 5 * MINUTE)
        assert fire(T0 + 5 * MINUTE + 40 * SECOND) == [T0 + 5 * MINUTE]
        assert [why for _moment, why, _count in occurrences()] == ["", "overlap"]


@pytest.mark.django_db
class TestATimeIsNotSkippedFor:
    def test_a_message_of_another_schedule_or_of_none(self):
        add(**RULE)
        add("other")
        fire(T0 + 5 * MINUTE)
        finish(Message.objects.get(scheduled_job_id=row().pk).pk)
        enqueue("report:new")
        assert T0 + 10 * MINUTE in {
            m.planned_at for m in schedules.fire_due(T0 + 10 * MINUTE) if m.scheduled_job_id == row().pk
        }

    def test_a_schedule_that_allows_it(self):
        add()
        schedules.run_now("report", now=T0)
        assert fire(T0 + 5 * MINUTE) == [T0 + 5 * MINUTE]


def index_sql() -> str:
    query = {
        "sqlite": "SELECT sql FROM sqlite_master WHERE name = %s",
        "postgresql": "SELECT indexdef FROM pg_indexes WHERE indexname = %s",
    }[connection.vendor]
    with connection.cursor() as cursor:
        cursor.execute(query, ["letsgo_message_schedule"])
        return cursor.fetchone()[0].replace('"', "").replace("(", "").replace(")", "")


@pytest.mark.django_db
class TestTheIndex:
    def test_holds_only_messages_of_schedules(self):
        if connection.vendor == "mysql":
            pytest.skip("it has no partial indexes")
        assert index_sql().endswith("WHERE scheduled_job_id IS NOT NULL")

    def test_answers_whether_a_message_of_a_schedule_lives(self, engine):
        if engine == "mariadb":
            pytest.skip("its optimiser prefers the table while it is this small")
        job = add(**RULE)
        if connection.vendor == "postgresql":
            with connection.cursor() as cursor:
                cursor.execute("SET LOCAL enable_seqscan = off")
        explained = Message.objects.filter(scheduled_job_id=job.pk).explain()
        assert "letsgo_message_schedule" in explained


@pytest.mark.django_db(transaction=True)
class TestSchedulersAtOnce:
    """Six of them, each with another clock and so another planned time to fire."""

    @pytest.fixture
    def without_guard(self, monkeypatch):
        """All work on the row as it was before anybody fired, and none looks whether another was first."""

        def lock_free(using, ids):
            return list(ScheduledJob.objects.using(using).filter(pk__in=ids))

        line, ask = threading.Barrier(6), overlap.earlier_messages

        def earlier_messages(jobs, using):
            found = ask(jobs, using)
            line.wait(PATIENCE)
            return found

        def write(changes, using):
            for change in changes:
                rows = ScheduledJob.objects.using(using).filter(pk=change.job.pk)
                rows.update(**change.columns)

        monkeypatch.setattr(attending, "lock_free", lock_free)
        monkeypatch.setattr(attending, "_write", write)
        monkeypatch.setattr(overlap, "earlier_messages", earlier_messages)

    def together(self):
        # Each finds other times late than its neighbours: no two want to record the same one.
        add("report", "@every 1s", overlap="skip", misfire_grace=0)
        at_once(lambda n: schedules.fire_due(T0 + (3 * n + 3.5) * SECOND))
        return Message.objects.count()

    def test_leave_one_message_of_a_schedule_that_skips(self):
        assert self.together() == 1

    def test_without_the_row_s_lock_leave_more(self, without_guard, engine):
        if engine == "sqlite":
            pytest.skip("SQLite has one writer: its transactions cannot meet")
        assert self.together() > 1


@pytest.mark.django_db(transaction=True)
class TestARedriveWhileASchedulerFires:
    """It commits when the scheduler has locked its row, and has not asked yet what lives."""

    @pytest.fixture
    def fire_beside_a_redrive(self, engine, dead_run, begin, monkeypatch):
        if engine == "sqlite":
            pytest.skip("SQLite has one writer: its transactions cannot meet")
        lock = attending.lock_free

        def fire_beside() -> int:
            add(type="job", **RULE)
            dead = dead_run()

            def lock_and_redrive(using, ids):
                jobs = lock(using, ids)
                begin(lambda: messages.redrive(dead)).result()
                return jobs

            monkeypatch.setattr(attending, "lock_free", lock_and_redrive)
            fire(T0 + 10 * MINUTE)
            return Message.objects.count()

        return fire_beside

    def test_is_seen(self, fire_beside_a_redrive):
        assert fire_beside_a_redrive() == 1

    def test_is_not_seen_by_one_that_asks_before_it_has_the_row(self, fire_beside_a_redrive, monkeypatch):
        monkeypatch.setattr(overlap, "earlier_messages", lambda jobs, using: {})
        assert fire_beside_a_redrive() == 2
