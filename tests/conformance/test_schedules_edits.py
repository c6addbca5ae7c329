"""Edits past the verbs, rows that need repair, broken rows: noticed in a round, and stopping no other."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from django.db import DatabaseError, OperationalError, connection, connections
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_letsgo_worker import messages, planning, schedules
from django_letsgo_worker.models import Message, ScheduledJob
from django_letsgo_worker.recurrence import zones
from django_letsgo_worker.schedules import attending
from django_letsgo_worker.schedules import occurrences as recording
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, SECOND, T0, add, fire, occurrences, raw, row

pytestmark = pytest.mark.django_db


class TestARawEdit:
    def test_of_a_rate_counts_from_the_moment_it_is_noticed(self):
        add("hourly", schedule="rate(1 hour)")
        raw("hourly", schedule="rate(7 minutes)")
        now = T0 + HOUR - SECOND
        assert fire(now) == []
        assert (row("hourly").anchor, row("hourly").next_run_at) == (now, now + 7 * MINUTE)

    @pytest.mark.parametrize(
        ("columns", "next_run_at"),
        [
            ({"schedule": "0 12 * * *"}, datetime(2027, 3, 1, 12)),
            ({"timezone": "Asia/Tokyo"}, datetime(2027, 3, 2, 0)),
            ({"starts_at": T0 + 10 * DAY}, datetime(2027, 3, 12, 9)),
            ({"ends_at": T0}, None),
            ({"enabled": False}, None),
            ({"next_run_at": None}, datetime(2027, 3, 2, 9)),
            ({"anchor": None}, datetime(2027, 3, 2, 9)),
            ({"planned_from": ""}, datetime(2027, 3, 2, 9)),
        ],
        ids=str,
    )
    def test_of_every_column_that_bears_on_the_plan_is_noticed(self, columns, next_run_at):
        add(schedule="0 9 * * *")
        raw(**columns)
        assert fire(T0 + SECOND) == []
        expected = next_run_at and next_run_at.replace(tzinfo=T0.tzinfo)
        assert row().next_run_at == expected
        assert planning.is_planned(row())
        assert row().anchor is not None

    def test_of_the_case_of_a_zone_is_noticed(self):
        add()
        raw(timezone="utc")
        fire(T0)
        assert "'utc' is not an IANA time zone" in row().problem

    def test_that_switches_off_clears_the_next_run_so_that_no_backlog_builds(self):
        add()
        raw(enabled=False)
        fire(T0 + MINUTE)
        assert row().next_run_at is None
        raw(enabled=True)
        assert fire(T0 + DAY + MINUTE) == []
        assert row().next_run_at == T0 + DAY + 5 * MINUTE
        assert occurrences() == []

    def test_of_what_bears_on_nothing_moves_nothing(self):
        add()
        before = row().version
        raw(payload={"new": 1}, queue="low", misfire="all", spread=3)
        fire(T0 + MINUTE)
        assert (row().version, row().next_run_at) == (before, T0 + 5 * MINUTE)

    def test_of_next_run_at_is_honoured_as_the_next_planned_time(self):
        add()
        raw(next_run_at=T0 + SECOND)
        assert fire(T0 + 2 * SECOND) == [T0 + SECOND]
        assert row().next_run_at == T0 + 5 * MINUTE

    def test_of_next_run_at_is_honoured_on_a_completed_row(self):
        add(ends_at=T0 + 5 * MINUTE)
        fire(T0 + 5 * MINUTE)
        raw(next_run_at=T0 + 4 * MINUTE)
        assert fire(T0 + 4 * MINUTE + SECOND) == [T0 + 4 * MINUTE]
        fire(T0 + HOUR)
        assert row().state == "completed"
        assert len(occurrences()) == 2

    def test_of_next_run_at_is_cleared_on_a_row_that_is_off(self):
        add(enabled=False)
        raw(next_run_at=T0)
        assert fire(T0 + SECOND) == []
        assert row().next_run_at is None

    def test_costs_nothing_more_once_it_was_noticed(self, django_assert_num_queries):
        add()
        raw(schedule="0 9 * * *")
        fire(T0)
        with django_assert_num_queries(3):
            fire(T0)


class TestAMassEdit:
    EDITED = 250

    @pytest.fixture
    def due_behind_many_edited(self):
        rows = [
            ScheduledJob(name=f"r{n}", schedule="0 3 * * *", type="x", created_at=T0, updated_at=T0)
            for n in range(self.EDITED)
        ]
        ScheduledJob.objects.bulk_create(rows)
        add()
        return T0 + 5 * MINUTE

    def planned(self) -> int:
        return ScheduledJob.objects.filter(name__startswith="r", next_run_at__hour=3).count()

    def test_does_not_hold_up_what_is_due(self, due_behind_many_edited):
        assert [m.planned_at for m in schedules.fire_due(due_behind_many_edited, limit=1)] == [
            T0 + 5 * MINUTE
        ]

    def test_is_planned_a_hundred_at_each_look_until_none_is_left(self, due_behind_many_edited):
        planned = []
        for n in range(4):
            fire(T0 + n * SECOND)
            planned.append(self.planned())
        assert planned == [100, 200, 250, 250]

    def test_waits_for_a_look_at_edits(self, due_behind_many_edited):
        assert len(schedules.fire_due(due_behind_many_edited, edits=False)) == 1
        assert self.planned() == 0

    def test_that_only_looks_like_one_does_not_hold_up_a_real_one(self, due_behind_many_edited, engine):
        if engine != "sqlite":
            pytest.skip("only SQLite keeps moments as somebody wrote them, which look edited at each look")
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE django_letsgo_worker_scheduledjob SET ends_at = '2099-03-01 09:00:30' "
                "WHERE name LIKE 'r%' AND name <> 'report'"
            )
        for _ in range(30):
            fire(T0)
        assert ScheduledJob.objects.needing_a_look(T0).count() == self.EDITED
        raw(schedule="0 9 * * *")
        for _ in range(30):
            fire(T0)
        assert row().next_run_at.minute == 0


def plan_text_agrees() -> bool:
    return not ScheduledJob.objects.needing_a_look(datetime(1970, 1, 1, tzinfo=T0.tzinfo)).exists()


class TestWhatTheDatabaseCompares:
    @settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        starts=st.one_of(st.none(), st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1))),
        ends=st.one_of(st.none(), st.datetimes(datetime(2100, 1, 1), datetime(9000, 1, 1))),
        hours=st.integers(-12, 12),
        enabled=st.booleans(),
        zone=st.sampled_from(["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires"]),
    )
    def test_is_to_the_letter_what_planning_writes(self, starts, ends, hours, enabled, zone):
        ScheduledJob.objects.all().delete()
        offset = timezone(timedelta(hours=hours))
        add(
            starts_at=starts and starts.replace(tzinfo=offset),
            ends_at=ends and ends.replace(tzinfo=offset),
            enabled=enabled,
            timezone=zone,
        )
        assert plan_text_agrees()

    @pytest.mark.parametrize("microsecond", [0, 1, 10, 123_000, 999_999])
    def test_knows_each_microsecond(self, microsecond):
        starts_at = T0.replace(microsecond=microsecond)
        add(starts_at=starts_at)
        assert plan_text_agrees()
        raw(starts_at=starts_at + timedelta(microseconds=1))
        assert not plan_text_agrees()

    @pytest.mark.parametrize(
        "columns",
        [
            {"schedule": "Rate(5 minutes)"},
            {"schedule": "rate(5 minutes) "},
            {"timezone": "utc"},
            {"timezone": "UTC "},
        ],
        ids=str,
    )
    def test_tells_texts_apart_byte_for_byte(self, columns):
        add()
        raw(**columns)
        assert not plan_text_agrees()

    def test_written_otherwise_by_another_program_is_no_edit(self, engine):
        if engine != "sqlite":
            pytest.skip("only SQLite keeps moments as somebody wrote them")
        add(starts_at=T0.replace(microsecond=0))
        before = row().version
        with connection.cursor() as cursor:
            cursor.execute("UPDATE django_letsgo_worker_scheduledjob SET starts_at = '2027-03-01 09:00:30'")
        fire(T0)
        assert row().version == before


class TestARowMadePastSave:
    def test_is_planned_by_the_next_round(self):
        ScheduledJob.objects.bulk_create(
            [
                ScheduledJob(
                    name=f"r{n}", schedule="rate(5 minutes)", type="report:new", created_at=T0, updated_at=T0
                )
                for n in range(3)
            ]
        )
        assert fire(T0 + HOUR) == []
        assert {job.next_run_at for job in ScheduledJob.objects.all()} == {T0 + HOUR + 5 * MINUTE}
        assert len(fire(T0 + HOUR + 5 * MINUTE)) == 3

    def test_with_a_moment_that_is_past_is_broken_and_says_so(self):
        ScheduledJob.objects.bulk_create(
            [
                ScheduledJob(
                    name="report", schedule="at(2020-01-01T00:00:00)", type="x", created_at=T0, updated_at=T0
                )
            ]
        )
        fire(T0)
        assert row().state == "broken"
        assert "is past" in row().problem


class TestABrokenRow:
    def break_it(self, **columns):
        add("bad")
        add("good")
        if columns:
            raw("bad", **columns)

    @pytest.mark.parametrize(
        "columns",
        [{"schedule": "nonsense"}, {"schedule": ""}, {"timezone": "Mars/Base"}, {"schedule": "0 0 30 2 *"}],
        ids=str,
    )
    def test_that_cannot_be_planned_says_why_and_stops_no_other(self, columns):
        self.break_it(**columns)
        assert len(fire(T0 + 5 * MINUTE)) == 1
        bad = row("bad")
        assert bad.problem and "\n" not in bad.problem
        assert (bad.state, bad.next_run_at) == ("broken", None)

    @pytest.mark.parametrize(
        "columns",
        [
            {"type": "letsgo:unheard-of"},
            {"type": "two words"},
            {"queue": "ü"},
            {"priority": 100, "payload": "x" * 300_000},
        ],
        ids=["reserved", "type", "queue", "payload"],
    )
    def test_that_cannot_become_a_message_says_why_and_stops_no_other(self, columns):
        self.break_it(**columns)
        assert len(fire(T0 + 5 * MINUTE)) == 1
        assert row("bad").state == "broken"
        assert occurrences("bad") == []
        assert len(fire(T0 + 10 * MINUTE)) == 1

    def test_that_was_mended_works_again_without_its_problem(self):
        self.break_it(schedule="nonsense")
        fire(T0 + MINUTE)
        raw("bad", schedule="rate(5 minutes)")
        fire(T0 + HOUR)
        assert (row("bad").problem, row("bad").next_run_at) == ("", T0 + HOUR + 5 * MINUTE)

    def test_that_was_mended_while_due_fires_by_its_policy(self):
        self.break_it(type="letsgo:unheard-of")
        fire(T0 + 5 * MINUTE)
        raw("bad", type="report:new")
        assert T0 + 5 * MINUTE in fire(T0 + 5 * MINUTE + 30 * SECOND)
        assert row("bad").problem == ""

    def test_whose_run_was_put_off_has_no_problem_until_then(self):
        self.break_it(type="two words")
        fire(T0 + 5 * MINUTE)
        raw("bad", next_run_at=T0 + HOUR)
        fire(T0 + 6 * MINUTE)
        assert row("bad").problem == ""
        fire(T0 + HOUR)
        assert row("bad").state == "broken"

    def test_whose_zone_disappeared_mends_when_it_is_back(self, monkeypatch):
        add("bad", schedule="*/5 * * * *", timezone="Europe/Berlin")
        with monkeypatch.context() as patched:
            patched.setattr(zones, "names", lambda: frozenset({"UTC"}))
            fire(T0 + 5 * MINUTE)
            assert "Europe/Berlin" in row("bad").problem
        assert len(fire(T0 + 5 * MINUTE)) == 1
        assert row("bad").problem == ""

    def test_is_not_written_again_while_nothing_changes(self):
        self.break_it(schedule="nonsense")
        fire(T0)
        before = row("bad").version
        for n in range(3):
            fire(T0 + n * SECOND)
        assert row("bad").version == before

    def test_whatever_the_error_it_stops_no_other(self, monkeypatch):
        self.break_it()
        payload_of = recording.payload_of

        def fails(job, planned_at):
            if job.name == "bad":
                raise ZeroDivisionError("first\nsecond: secret")
            return payload_of(job, planned_at)

        monkeypatch.setattr(recording, "payload_of", fails)
        assert len(fire(T0 + 5 * MINUTE)) == 1
        assert row("bad").problem == "ZeroDivisionError: first"
        monkeypatch.setattr(recording, "payload_of", payload_of)
        assert len(fire(T0 + 5 * MINUTE)) == 1

    def test_with_an_error_of_the_database_leaves_the_transaction_usable(self, monkeypatch):
        self.break_it()
        enqueue, bad = messages.enqueue_occurrences, row("bad").pk

        def fails(rows, *args):
            if bad in {one.scheduled_job_id for one in rows}:
                with connection.cursor() as cursor:
                    cursor.execute("SELECT no_such_column FROM no_such_table")
            return enqueue(rows, *args)

        monkeypatch.setattr(messages, "enqueue_occurrences", fails)
        assert len(fire(T0 + 5 * MINUTE)) == 1
        assert row("bad").problem
        assert Message.objects.count() == 1

    def test_a_crowd_of_them_does_not_hold_up_the_others(self):
        for n in range(60):
            add(f"bad{n:02}")
        add("good")
        ScheduledJob.objects.filter(name__startswith="bad").update(type="two words", next_run_at=T0)
        schedules.fire_due(T0 + MINUTE, limit=100)
        assert ScheduledJob.objects.exclude(problem="").count() == 60
        assert len(schedules.fire_due(T0 + 5 * MINUTE, limit=1)) == 1

    def test_an_outage_is_no_problem_of_the_row(self, monkeypatch):
        self.break_it()

        def fails(*args, **kwargs):
            raise OperationalError("gone away")

        with monkeypatch.context() as patched:
            patched.setattr(attending, "lock_free", fails)
            patched.setattr(connections["default"], "is_usable", lambda: False)
            with pytest.raises(DatabaseError):
                fire(T0 + 5 * MINUTE)
        assert not ScheduledJob.objects.exclude(problem="").exists()
        assert len(fire(T0 + 5 * MINUTE)) == 2
