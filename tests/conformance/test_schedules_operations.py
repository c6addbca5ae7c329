"""Verbs on schedules: what each promises, and that a refusal changes nothing."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, transaction

from django_letsgo_worker import messages, schedules
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule, ScheduleNotFound
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from tests.conformance.schedule_support import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    T0,
    add,
    fire,
    occurrences,
    raw,
    row,
    snapshot,
)

pytestmark = pytest.mark.django_db


class TestAdd:
    def test_plans_the_first_run_one_interval_from_now(self):
        job = add()

        job.refresh_from_db()
        assert (job.anchor, job.next_run_at, job.created_at) == (T0, T0 + 5 * MINUTE, T0)
        assert job.state == "on"

    def test_keeps_every_field(self):
        fields = {
            "payload": {"b": 1, "a": [1.50, None, "ü"]},
            "timezone": "Europe/Berlin",
            "queue": "low",
            "priority": -7,
            "max_attempts": 3,
            "deadline": timedelta(minutes=3),
            "enabled": False,
            "starts_at": T0 + HOUR,
            "ends_at": T0 + DAY,
            "misfire": "all",
            "misfire_grace": timedelta(seconds=5),
            "overlap": "skip",
            "spread": 10,
        }
        add("Bericht für Köln", "0 9 * * *", **fields)

        job = schedules.find("Bericht für Köln")
        assert {name: getattr(job, name) for name in fields} == fields
        assert list(job.payload) == ["b", "a"]

    def test_takes_lengths_of_time_in_seconds_too(self):
        job = add(deadline=90, misfire_grace=1.5)
        assert (job.deadline, job.misfire_grace) == (timedelta(seconds=90), timedelta(seconds=1.5))

    def test_uses_the_database_clock_when_not_told_the_time(self):
        job = schedules.add("report", "rate(5 minutes)", "report:new")
        assert job.next_run_at == job.created_at + 5 * MINUTE
        assert schedules.fire_due() == []

    def test_refuses_a_name_that_exists_and_leaves_the_transaction_usable(self):
        add()
        with transaction.atomic(), pytest.raises(InvalidSchedule, match="exists already") as refused:
            add()
        assert refused.value.field == "name"
        assert ScheduledJob.objects.count() == 1

    def test_names_differ_by_case_and_accent(self):
        for name in ("report", "Report", "repört"):
            add(name)
        assert ScheduledJob.objects.count() == 3

    def test_is_undone_with_the_transaction_around_it(self):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            add()
            raise ZeroDivisionError
        assert not ScheduledJob.objects.exists()


BAD = [
    ({"schedule": "every day"}, InvalidSchedule),
    ({"schedule": "*/90 * * * *"}, InvalidSchedule),
    ({"schedule": "at(2027-01-01T00:00:00)"}, InvalidSchedule),
    ({"schedule": "x" * 10_000}, InvalidSchedule),
    ({"schedule": "rate(5 minutes)\0"}, InvalidSchedule),
    ({"timezone": "Mars/Base"}, InvalidSchedule),
    ({"type": "letsgo:unheard-of"}, InvalidMessage),
    ({"type": "two words"}, InvalidMessage),
    ({"payload": {"when": T0}}, InvalidMessage),
    ({"payload": "nul\0"}, InvalidMessage),
    ({"payload": "\ud800"}, InvalidMessage),
    ({"queue": "ü"}, InvalidMessage),
    ({"priority": 101}, InvalidMessage),
    ({"max_attempts": 0}, InvalidMessage),
    ({"deadline": 0}, InvalidMessage),
    ({"deadline": float("nan")}, InvalidMessage),
    ({"deadline": "1h"}, InvalidMessage),
    ({"misfire": "sometimes"}, InvalidSchedule),
    ({"misfire_grace": -1}, InvalidMessage),
    ({"overlap": "wait"}, InvalidSchedule),
    ({"spread": 1441}, InvalidSchedule),
    ({"starts_at": datetime(2027, 5, 1)}, InvalidMessage),
    ({"starts_at": T0 + DAY, "ends_at": T0}, InvalidSchedule),
    ({"enabled": "yes"}, InvalidSchedule),
]


class TestBadInput:
    @pytest.mark.parametrize(("fields", "error"), BAD, ids=[str(fields)[:60] for fields, _error in BAD])
    def test_is_one_sentence_and_nothing_changes(self, fields, error):
        add()
        before = snapshot()

        with transaction.atomic():
            with pytest.raises(error) as refused:
                add("other", **fields)
            with pytest.raises(error):
                schedules.update("report", **fields, now=T0 + HOUR)
            assert ScheduledJob.objects.count() == 1  # the caller's transaction is usable

        assert isinstance(refused.value, (InvalidSchedule, InvalidMessage))
        assert isinstance(refused.value, ValueError)
        assert "\n" not in str(refused.value)
        assert len(str(refused.value)) < 400
        assert snapshot() == before

    def test_save_and_create_refuse_what_cannot_be_planned(self):
        with transaction.atomic(), pytest.raises(InvalidSchedule) as refused:
            ScheduledJob.objects.create(name="other", schedule="nonsense", type="report:new")
        assert refused.value.field == "schedule"
        job = add()
        job.timezone = "Mars/Base"
        with pytest.raises(InvalidSchedule) as refused:
            job.save()
        assert refused.value.field == "timezone"
        assert row().timezone == "UTC"

    def test_full_clean_says_everything_at_its_field(self):
        job = ScheduledJob(
            name=" x",
            schedule="nonsense",
            timezone="UTC",
            type="two words",
            queue="ü",
            payload={1},
            spread=2000,
        )
        with pytest.raises(ValidationError) as refused:
            job.full_clean()
        assert set(refused.value.message_dict) == {"name", "schedule", "type", "queue", "payload", "spread"}

    def test_full_clean_leaves_out_the_fields_it_is_told_to(self):
        job = ScheduledJob(name="x", schedule="nonsense", type="two words")
        with pytest.raises(ValidationError) as refused:
            job.full_clean(exclude=["type"])
        assert set(refused.value.message_dict) == {"schedule"}

    def test_full_clean_passes_what_is_good_new_or_old(self):
        ScheduledJob(name="new", schedule="rate(1 hour)", type="report:new").full_clean()
        add("once", "at(2027-03-01T09:00:00)").full_clean()

    def test_full_clean_refuses_a_name_that_exists(self):
        add()
        with pytest.raises(ValidationError) as refused:
            ScheduledJob(name="report", schedule="rate(1 hour)", type="report:new").full_clean()
        assert set(refused.value.message_dict) == {"name"}

    @pytest.mark.parametrize(
        "columns",
        [
            {"spread": 1441},
            {"priority": 101},
            {"max_attempts": 0},
            {"misfire": "never"},
            {"overlap": "wait"},
            {"misfire_grace": -SECOND},
            {"deadline": timedelta(0)},
            {"starts_at": T0, "ends_at": T0 - SECOND},
        ],
        ids=str,
    )
    def test_the_database_refuses_what_went_past_python(self, columns):
        add()
        # MariaDB calls a broken CHECK an OperationalError.
        with pytest.raises(DatabaseError), transaction.atomic():
            raw(**columns)
        assert {name: getattr(row(), name) for name in columns} != columns


class TestUpdate:
    def test_an_edit_of_the_expression_counts_from_now(self):
        add()
        job = schedules.update("report", schedule="rate(7 minutes)", now=T0 + HOUR)
        assert (job.anchor, job.next_run_at) == (T0 + HOUR, T0 + HOUR + 7 * MINUTE)
        assert row().next_run_at == job.next_run_at

    def test_an_edit_of_the_payload_moves_nothing_and_changes_no_message_sent(self):
        add(payload="old")
        fire(T0 + 5 * MINUTE)
        next_run_at = row().next_run_at

        schedules.update("report", payload="new", now=T0 + 6 * MINUTE)

        assert row().next_run_at == next_run_at
        assert Message.objects.get().payload == "old"
        fire(T0 + 10 * MINUTE)
        assert [m.payload for m in Message.objects.order_by("planned_at")] == ["old", "new"]

    def test_never_fires_twice(self):
        add()
        fire(T0 + 5 * MINUTE)
        schedules.update("report", schedule="rate(5 minutes)", payload=1, now=T0 + 5 * MINUTE)
        assert fire(T0 + 5 * MINUTE) == []

    def test_a_field_that_does_not_exist_is_refused_with_a_suggestion(self):
        add()
        with pytest.raises(InvalidSchedule, match="did you mean 'schedule'"):
            schedules.update("report", shedule="rate(1 hour)")
        with pytest.raises(InvalidSchedule):
            schedules.update("report", next_run_at=T0)

    def test_all_fields_change_or_none(self):
        add()
        with pytest.raises(InvalidSchedule):
            schedules.update("report", payload=1, spread=-1)
        assert row().payload is None

    def test_mends_a_broken_row(self):
        add()
        raw(schedule="nonsense")
        fire(T0)
        assert row().state == "broken"
        schedules.update("report", schedule="rate(1 hour)", now=T0)
        assert (row().state, row().problem, row().next_run_at) == ("on", "", T0 + HOUR)


class TestRemove:
    def test_deletes_the_schedule_and_its_occurrences_but_no_message(self):
        add()
        fire(T0 + 5 * MINUTE)
        schedules.remove("report")
        assert not ScheduledJob.objects.exists()
        assert not Occurrence.objects.exists()
        assert Message.objects.count() == 1


class TestSwitch:
    def test_off_makes_no_message_and_on_again_makes_nothing_up(self):
        add()
        schedules.disable("report", by="ada", reason="holiday", now=T0 + MINUTE)
        off = row()
        assert (off.state, off.next_run_at) == ("off", None)
        assert (off.switched_at, off.switched_by, off.switch_reason) == (T0 + MINUTE, "ada", "holiday")
        assert fire(T0 + DAY) == []

        schedules.enable("report", by="bob", now=T0 + DAY + MINUTE)

        on = row()
        assert (on.state, on.switched_at, on.switched_by, on.switch_reason) == (
            "on",
            T0 + DAY + MINUTE,
            "bob",
            "",
        )
        assert on.next_run_at == T0 + DAY + 5 * MINUTE  # the phase is kept
        assert fire(T0 + DAY + MINUTE) == []
        assert occurrences() == []

    def test_on_when_it_is_on_changes_nothing(self):
        add()
        before = snapshot()
        schedules.enable("report", by="ada", now=T0 + HOUR)
        assert snapshot() == before

    def test_off_until_a_time_comes_back_by_itself(self):
        add()
        schedules.disable("report", resume_at=T0 + HOUR, now=T0)
        assert fire(T0 + HOUR - SECOND) == []
        assert row().state == "off"

        assert fire(T0 + HOUR) == []

        assert (row().state, row().resume_at, row().next_run_at) == ("on", None, T0 + HOUR + 5 * MINUTE)

    def test_resume_due_switches_on_what_is_due(self):
        add()
        schedules.disable("report", resume_at=T0 + HOUR, now=T0)
        assert schedules.resume_due(T0 + MINUTE) == 0
        assert schedules.resume_due(T0 + HOUR) == 1
        assert row().enabled

    def test_a_resume_at_that_is_past_is_refused(self):
        add()
        with pytest.raises(InvalidSchedule) as refused:
            schedules.disable("report", resume_at=T0 - SECOND, now=T0)
        assert refused.value.field == "resume_at"
        assert row().enabled

    @pytest.mark.parametrize(
        "words", [{"by": "x" * 151}, {"reason": "x" * 256}, {"reason": "nul\0"}, {"by": None}]
    )
    def test_words_that_a_column_cannot_hold_are_refused(self, words):
        add()
        with pytest.raises((InvalidSchedule, InvalidMessage)):
            schedules.disable("report", **words)
        assert row().enabled

    def test_a_broken_row_can_be_switched_off(self):
        add()
        raw(schedule="nonsense")
        fire(T0)
        schedules.disable("report", now=T0)
        assert row().state == "off"
        with pytest.raises(InvalidSchedule):
            schedules.enable("report", now=T0)
        assert row().state == "off"

    def test_saving_a_switch_says_when(self):
        job = add()
        job.enabled = False
        job.save(now=T0 + HOUR)
        assert (row().switched_at, row().next_run_at) == (T0 + HOUR, None)


class TestRunNow:
    def test_makes_a_message_at_once_and_moves_no_plan(self):
        add(payload={"a": 1}, queue="low", priority=3, max_attempts=2, deadline=MINUTE, spread=60)

        message = schedules.run_now("report", by="ada", now=T0 + MINUTE)

        found = Message.objects.get()
        assert (found.pk, found.payload, found.queue, found.priority) == (message.pk, {"a": 1}, "low", 3)
        assert (found.max_attempts, found.planned_at, found.scheduled_job_id) == (2, T0 + MINUTE, row().pk)
        assert (found.visible_at, found.deadline) == (T0 + MINUTE, T0 + 2 * MINUTE)
        assert (row().next_run_at, row().last_run_at) == (T0 + 5 * MINUTE, T0 + MINUTE)
        assert occurrences() == []

    def test_runs_what_is_switched_off_or_unfinished(self):
        add(overlap="skip", enabled=False)
        schedules.run_now("report")
        schedules.run_now("report")
        assert Message.objects.count() == 2

    def test_is_undone_with_the_transaction_around_it(self):
        add()
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            schedules.run_now("report")
            raise ZeroDivisionError
        assert not Message.objects.exists()


@pytest.mark.parametrize("name", ["nobody", "", "nul\0", None, "\ud800"])
@pytest.mark.parametrize(
    "verb",
    [
        schedules.find,
        schedules.remove,
        schedules.enable,
        schedules.disable,
        schedules.run_now,
        lambda name: schedules.update(name, payload=1),
    ],
)
def test_every_verb_refuses_a_name_that_no_schedule_has(verb, name):
    with pytest.raises(ScheduleNotFound):
        verb(name)
    assert not ScheduledJob.objects.exists()


def test_verbs_say_in_the_log_what_changed(caplog):
    with caplog.at_level(logging.INFO, "django_letsgo_worker.schedules"):
        add()
        schedules.update("report", payload=1)
        schedules.disable("report", by="ada")
        schedules.enable("report")
        schedules.remove("report")
    assert [record.schedule for record in caplog.records] == ["report"] * 5
    assert all("report" in record.getMessage() for record in caplog.records)


class TestSave:
    def test_does_not_undo_a_round_that_came_between(self):
        job = ScheduledJob.objects.get(pk=add().pk)
        fire(T0 + 5 * MINUTE)

        job.payload = "new"
        job.save(now=T0 + 6 * MINUTE)

        assert (row().payload, row().next_run_at, row().last_run_at) == (
            "new",
            T0 + 10 * MINUTE,
            T0 + 5 * MINUTE,
        )
        assert fire(T0 + 6 * MINUTE) == []

    def test_keeps_a_next_run_that_was_set_by_hand(self):
        job = add()
        job.next_run_at = T0 + SECOND
        job.save(now=T0)
        assert fire(T0 + SECOND) == [T0 + SECOND]
        assert row().next_run_at == T0 + 5 * MINUTE

    def test_creates_with_a_next_run_given_by_hand(self):
        ScheduledJob.objects.create(name="report", schedule="0 9 * * *", type="report:new", next_run_at=T0)
        assert row().anchor is not None
        assert fire(T0 + SECOND) == [T0]
        assert row().next_run_at.hour == 9

    def test_with_update_fields_plans_as_well(self):
        job = add()
        job.schedule = "rate(7 minutes)"
        job.save(update_fields=["schedule"], now=T0 + HOUR)
        assert (row().next_run_at, row().updated_at) == (T0 + HOUR + 7 * MINUTE, T0 + HOUR)

    def test_update_or_create_plans_as_well(self):
        add()
        ScheduledJob.objects.update_or_create(name="report", defaults={"schedule": "0 9 * * *"})
        assert row().next_run_at.minute == 0

    def test_of_a_row_that_was_read_in_part_leaves_the_rest(self):
        add(payload="kept")
        job = ScheduledJob.objects.only("name").get()
        job.name = "renamed"
        job.save()
        assert (row("renamed").payload, row("renamed").next_run_at) == ("kept", T0 + 5 * MINUTE)

    def test_of_a_deleted_row_does_not_bring_it_back(self):
        job = ScheduledJob.objects.get(pk=add().pk)
        schedules.remove("report")
        with pytest.raises(Exception, match="did not affect any rows"), transaction.atomic():
            job.save()
        assert not ScheduledJob.objects.exists()


class TestNextRuns:
    def test_are_those_that_will_fire(self):
        add(ends_at=T0 + 16 * MINUTE)
        assert row().next_runs(2) == [T0 + 5 * MINUTE, T0 + 10 * MINUTE]
        assert row().next_runs(5) == [T0 + 5 * MINUTE, T0 + 10 * MINUTE, T0 + 15 * MINUTE]

    def test_begin_with_a_time_set_by_hand(self):
        add()
        raw(next_run_at=T0 + SECOND)
        assert row().next_runs(2) == [T0 + SECOND, T0 + 5 * MINUTE]

    def test_are_none_of_what_is_off_or_completed(self):
        assert add("off", enabled=False).next_runs() == []
        assert add("done", ends_at=T0).next_runs() == []
        assert row("done").state == "completed"

    def test_of_a_row_not_yet_planned_are_what_would_be_planned(self):
        add()
        raw(schedule="0 9 * * *")
        assert row().next_runs(1)[0].minute == 0


def test_messages_of_a_removed_schedule_are_found_all_the_same():
    add()
    [message] = schedules.fire_due(T0 + 5 * MINUTE)
    schedules.remove("report")
    assert messages.find(message.pk).pk == message.pk
