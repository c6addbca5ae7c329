"""A round: each planned time becomes exactly one message, or is recorded as skipped, and why."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction

from django_letsgo_worker import messages, registry, schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.planning import spread_delay
from django_letsgo_worker.signals import occurrence_fired
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, SECOND, T0, add, fire, occurrences, raw, row

pytestmark = pytest.mark.django_db


class TestARound:
    def test_does_nothing_before_the_planned_time(self):
        add()
        assert fire(T0 + 5 * MINUTE - timedelta(microseconds=1)) == []
        assert occurrences() == []

    def test_makes_one_message_with_its_planned_time(self):
        add(payload={"a": 1}, queue="low", priority=3, max_attempts=2)

        [made] = schedules.fire_due(T0 + 5 * MINUTE + SECOND)

        message = Message.objects.get()
        assert message.pk == made.pk
        assert (message.type, message.payload, message.queue) == ("report:new", {"a": 1}, "low")
        assert (message.priority, message.max_attempts, message.deadline) == (3, 2, None)
        assert (message.planned_at, message.scheduled_job_id) == (T0 + 5 * MINUTE, row().pk)
        assert message.visible_at == T0 + 5 * MINUTE + SECOND
        occurrence = Occurrence.objects.get()
        assert (occurrence.message_id, occurrence.skipped_because) == (message.pk, "")
        assert (occurrence.planned_at, occurrence.fired_at) == (T0 + 5 * MINUTE, T0 + 5 * MINUTE + SECOND)
        assert row().next_run_at == T0 + 10 * MINUTE

    def test_makes_none_twice(self):
        add()
        assert fire(T0 + 5 * MINUTE) == [T0 + 5 * MINUTE]
        assert fire(T0 + 5 * MINUTE) == []
        assert fire(T0 + 6 * MINUTE) == []

    def test_counts_from_the_planned_time_however_late_it_is(self):
        add()
        for n in range(1, 6):
            assert fire(T0 + n * 5 * MINUTE + 40 * SECOND) == [T0 + n * 5 * MINUTE]

    def test_uses_the_database_clock_when_not_told_the_time(self):
        add(schedule="0 9 * * *")
        raw(next_run_at=datetime(2020, 1, 1, tzinfo=T0.tzinfo), misfire="once")
        [message] = schedules.fire_due()
        assert message.visible_at == message.enqueued_at
        assert row().next_run_at > row().last_run_at

    def test_takes_what_the_handler_says_where_the_row_says_nothing(self):
        registry.handler("report:new", queue="reports", priority=5, max_attempts=4)(lambda delivery: None)
        try:
            add()
            schedules.fire_due(T0 + 5 * MINUTE)
        finally:
            registry.remove("report:new")
        message = Message.objects.get()
        assert (message.queue, message.priority, message.max_attempts) == ("reports", 5, 4)

    def test_fires_at_most_the_limit_the_earliest_first(self):
        for n in (3, 1, 2):
            add(f"r{n}", f"rate({n} minutes)")
        made = schedules.fire_due(T0 + 3 * MINUTE, limit=2)
        assert {m.scheduled_job_id for m in made} == {row("r1").pk, row("r2").pk}

    def test_fires_a_hundred_and_more_on_time_in_one_call(self):
        add(schedule="@every 1s", misfire_grace=HOUR)
        made = fire(T0 + 250 * SECOND)
        assert made == [T0 + n * SECOND for n in range(1, 251)]
        assert occurrences() == [(moment, "", 0) for moment in made]

    def test_inside_a_transaction_is_part_of_it(self):
        add()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            assert fire(T0 + 5 * MINUTE)
            raise ZeroDivisionError
        assert occurrences() == []
        assert not Message.objects.exists()
        assert fire(T0 + 5 * MINUTE) == [T0 + 5 * MINUTE]

    def test_where_nothing_is_due_costs_four_statements_at_any_number_of_rows(
        self, django_assert_num_queries, engine
    ):
        for n in range(30):
            add(f"r{n}")
        # SQLite's clock is the machine's: no statement reads it.
        clock = 0 if engine == "sqlite" else 1
        with django_assert_num_queries(3 + clock):
            assert schedules.fire_due() == []
        with django_assert_num_queries(1 + clock):
            assert schedules.fire_due(edits=False) == []


class TestMisfire:
    def test_once_runs_the_newest_and_records_the_rest_as_one(self):
        add(misfire="once")
        assert fire(T0 + 27 * MINUTE) == [T0 + 25 * MINUTE]
        assert occurrences() == [(T0 + 20 * MINUTE, "misfire", 4), (T0 + 25 * MINUTE, "", 0)]
        assert row().next_run_at == T0 + 30 * MINUTE

    def test_skip_runs_none(self):
        add(misfire="skip")
        assert fire(T0 + 27 * MINUTE) == []
        assert occurrences() == [(T0 + 25 * MINUTE, "misfire", 5)]
        assert Occurrence.objects.get().message_id is None
        assert (row().next_run_at, row().last_run_at) == (T0 + 30 * MINUTE, None)

    def test_all_runs_each_oldest_first(self):
        add(misfire="all")
        assert fire(T0 + 27 * MINUTE) == [T0 + n * MINUTE for n in (5, 10, 15, 20, 25)]
        ids = list(Message.objects.order_by("planned_at").values_list("pk", flat=True))
        assert ids == sorted(ids)

    def test_all_runs_the_newest_hundred(self):
        add(schedule="rate(1 minute)", misfire="all")
        made = fire(T0 + 300 * MINUTE + 59 * SECOND)
        assert made == [T0 + n * MINUTE for n in range(200, 301)]  # and the one that is on time
        assert occurrences()[0] == (T0 + 199 * MINUTE, "misfire", 199)
        assert len(occurrences()) == 102

    @pytest.mark.parametrize("misfire", ["once", "skip", "all"])
    def test_late_by_less_than_the_grace_is_on_time(self, misfire):
        add(misfire=misfire, misfire_grace=HOUR)
        assert fire(T0 + 5 * MINUTE + 59 * MINUTE + 59 * SECOND)[0] == T0 + 5 * MINUTE
        assert not [o for o in occurrences() if o[1]]

    @pytest.mark.parametrize("misfire", ["once", "skip", "all"])
    def test_a_month_off_leaves_a_hundred_rows_at_the_most(self, misfire):
        add(schedule="@every 1s", misfire=misfire, misfire_grace=0)
        made = fire(T0 + 30 * DAY)
        rows = occurrences()
        assert len(rows) <= 102
        assert len(made) + sum(count for _moment, _why, count in rows) == 30 * 86_400


class TestOverlap:
    def finish(self) -> None:
        for pk in Message.objects.values_list("pk", flat=True):
            messages.cancel(pk)

    def test_allow_runs_all_the_same(self):
        add()
        assert fire(T0 + 5 * MINUTE) and fire(T0 + 10 * MINUTE)

    def test_skip_waits_until_the_earlier_message_is_finished(self):
        add(overlap="skip")
        assert fire(T0 + 5 * MINUTE)
        assert fire(T0 + 10 * MINUTE) == []
        assert fire(T0 + 15 * MINUTE) == []  # the newest occurrence was skipped, but its message lives

        self.finish()

        assert fire(T0 + 20 * MINUTE) == [T0 + 20 * MINUTE]
        assert [why for _moment, why, _count in occurrences()] == ["", "overlap", "overlap", ""]
        assert [count for _moment, _why, count in occurrences()] == [0, 1, 1, 0]

    def test_skip_holds_within_one_round_too(self):
        add(schedule="@every 10s", overlap="skip")
        assert fire(T0 + 35 * SECOND) == [T0 + 10 * SECOND]
        assert [why for _moment, why, _count in occurrences()] == ["", "overlap", "overlap"]

    def test_another_schedule_of_the_same_type_is_no_overlap(self):
        add(overlap="skip")
        add("other", overlap="skip")
        assert len(fire(T0 + 5 * MINUTE)) == 2


class TestSpread:
    def test_moves_the_message_and_never_the_planned_time(self):
        job = add(schedule="rate(1 hour)", spread=30)
        delays = set()
        for n in range(1, 6):
            [message] = schedules.fire_due(T0 + n * HOUR)
            message.refresh_from_db()
            assert message.planned_at == T0 + n * HOUR
            assert message.visible_at == message.planned_at + spread_delay(job.pk, message.planned_at, 30)
            delays.add(message.visible_at - message.planned_at)
        assert len(delays) > 1

    def test_of_the_past_does_not_make_the_message_older_than_now(self):
        add(schedule="rate(1 hour)", spread=1, misfire_grace=DAY)
        [message] = schedules.fire_due(T0 + HOUR + 2 * MINUTE)
        message.refresh_from_db()
        assert message.visible_at == T0 + HOUR + 2 * MINUTE


class TestDeadline:
    def test_counts_from_the_planned_time(self):
        add(deadline=2 * MINUTE)
        [message] = schedules.fire_due(T0 + 6 * MINUTE)
        message.refresh_from_db()
        assert message.deadline == T0 + 7 * MINUTE

    def test_counts_from_the_spread_time(self):
        job = add(deadline=2 * MINUTE, spread=60)
        [message] = schedules.fire_due(T0 + 5 * MINUTE)
        message.refresh_from_db()
        assert message.deadline == T0 + 7 * MINUTE + spread_delay(job.pk, T0 + 5 * MINUTE, 60)
        assert message.deadline == message.visible_at + 2 * MINUTE

    def test_that_has_passed_makes_no_message(self):
        add(deadline=30)
        assert fire(T0 + 5 * MINUTE + 31 * SECOND) == []
        assert occurrences() == [(T0 + 5 * MINUTE, "deadline", 1)]
        assert not Message.objects.exists()
        assert row().next_run_at == T0 + 10 * MINUTE

    def test_that_has_passed_counts_for_the_newest_missed_one_too(self):
        add(deadline=30)
        assert fire(T0 + 12 * MINUTE) == []
        assert occurrences() == [(T0 + 5 * MINUTE, "misfire", 1), (T0 + 10 * MINUTE, "deadline", 1)]


class TestBounds:
    def test_are_inclusive(self):
        add(schedule="rate(1 hour)", starts_at=T0 + DAY, ends_at=T0 + DAY + 2 * HOUR)
        assert fire(T0 + DAY - SECOND) == []
        for n in range(3):
            assert fire(T0 + DAY + n * HOUR) == [T0 + DAY + n * HOUR]
        assert (row().state, row().next_run_at) == ("completed", None)
        assert fire(T0 + 2 * DAY) == []

    def test_an_end_that_passed_unnoticed_still_fires_what_came_before(self):
        add(schedule="rate(1 hour)", ends_at=T0 + 2 * HOUR)
        assert fire(T0 + DAY) == [T0 + 2 * HOUR]
        assert occurrences() == [(T0 + HOUR, "misfire", 1), (T0 + 2 * HOUR, "", 0)]
        assert row().state == "completed"

    def test_at_runs_in_its_zone_then_completes(self):
        add("once", "at(2027-03-01T11:00:00)", timezone="Europe/Berlin")
        assert fire(T0 + HOUR) == [datetime(2027, 3, 1, 10, tzinfo=T0.tzinfo)]
        assert row("once").state == "completed"
        assert fire(T0 + DAY) == []
        schedules.disable("once", now=T0 + DAY)
        schedules.enable("once", now=T0 + DAY)
        assert row("once").state == "completed"


class TestClocks:
    def test_one_that_steps_back_fires_nothing_twice(self):
        add()
        assert fire(T0 + 5 * MINUTE)
        assert fire(T0) == []
        assert fire(T0 + 5 * MINUTE) == []
        assert fire(T0 + 10 * MINUTE) == [T0 + 10 * MINUTE]

    def test_not_even_when_the_row_is_planned_again_meanwhile(self):
        add(schedule="*/5 * * * *")
        assert len(fire(T0 + 5 * MINUTE)) == 1
        schedules.disable("report", now=T0)
        schedules.enable("report", now=T0)
        assert fire(T0 + 5 * MINUTE) == []
        assert Occurrence.objects.count() == 1
        assert len(fire(T0 + 10 * MINUTE)) == 1

    def test_a_next_run_set_back_by_hand_fires_nothing_twice(self):
        add()
        assert fire(T0 + 5 * MINUTE)
        raw(next_run_at=T0 + 5 * MINUTE)
        with transaction.atomic():
            assert fire(T0 + 6 * MINUTE) == []
            assert ScheduledJob.objects.exists()
        assert row().next_run_at == T0 + 10 * MINUTE


class TestTheSignal:
    @pytest.fixture
    def heard(self):
        calls: list[dict[str, Any]] = []

        def receiver(**kwargs):
            calls.append(kwargs)

        occurrence_fired.connect(receiver)
        yield calls
        occurrence_fired.disconnect(receiver)

    def test_is_sent_after_the_commit_for_what_fired_and_what_was_skipped(
        self, heard, django_capture_on_commit_callbacks
    ):
        add()
        with django_capture_on_commit_callbacks(execute=True):
            [message] = schedules.fire_due(T0 + 12 * MINUTE)
            assert heard == []
        skipped, fired = heard
        assert (skipped["message"], skipped["occurrence"].skipped_count) == (None, 1)
        assert (fired["message"], fired["occurrence"].message_id) == (message, message.pk)
        assert fired["sender"] is ScheduledJob
        assert fired["schedule"].name == "report"
        assert fired["occurrence"].pk

    def test_a_broken_receiver_breaks_nothing(self, django_capture_on_commit_callbacks):
        def receiver(**kwargs):
            raise ZeroDivisionError

        occurrence_fired.connect(receiver)
        try:
            add()
            with django_capture_on_commit_callbacks(execute=True):
                assert fire(T0 + 5 * MINUTE)
        finally:
            occurrence_fired.disconnect(receiver)
        assert row().next_run_at == T0 + 10 * MINUTE


class TestScheduledEvents:
    def test_carry_an_id_the_planned_time_and_the_name(self):
        add("tick", "rate(1 hour)", type="letsgo:scheduled")
        add("tock", "rate(1 hour)", type="letsgo:scheduled")
        made = schedules.fire_due(T0 + HOUR) + schedules.fire_due(T0 + 2 * HOUR)
        payloads = [Message.objects.get(pk=message.pk).payload for message in made]
        assert [set(payload) for payload in payloads] == [{"id", "time", "schedule"}] * 4
        assert {datetime.fromisoformat(payload["time"]) for payload in payloads} == {T0 + HOUR, T0 + 2 * HOUR}
        assert {payload["schedule"] for payload in payloads} == {"tick", "tock"}
        assert len({payload["id"] for payload in payloads}) == 4

    def test_carry_the_row_s_own_payload_if_it_has_one(self):
        add(type="letsgo:scheduled", payload={"mine": True})
        schedules.fire_due(T0 + 5 * MINUTE)
        assert Message.objects.get().payload == {"mine": True}


def test_a_look_tells_the_next_run_of_those_that_work():
    assert schedules.look().next_run_at is None
    add()
    add("later", "rate(1 hour)")
    assert schedules.look().next_run_at == T0 + 5 * MINUTE
    raw(problem="broken")
    assert schedules.look().next_run_at == T0 + HOUR


def test_the_plan_of_the_round_s_due_rows_uses_the_index(engine):
    if engine == "mariadb":
        pytest.skip("its optimiser prefers the table while it is this small")
    add()
    query = ScheduledJob.objects.due(T0).filter(problem="").order_by("next_run_at", "pk")
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
    assert "letsgo_schedule_next_run" in query.explain()
