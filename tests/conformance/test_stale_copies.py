"""Saving a copy that was read a while ago: what came between stays, in every column of every row."""

from __future__ import annotations

import copy
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction

from django_letsgo_worker import enqueue, messages, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import ArchivedMessage, Message, Process, Queue, ScheduledJob
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, T0, add, fire, raw, row

pytestmark = pytest.mark.django_db

# By kind of column, something that no row of these tests holds.
OTHERS = {
    "DateTimeField": datetime(2031, 1, 1, tzinfo=UTC),
    "DurationField": timedelta(minutes=77),
    "JSONField": {"by": "another"},
    "SmallIntegerField": 42,
    "PositiveIntegerField": 42,
    "PositiveSmallIntegerField": 42,
    "IntegerField": 42,
    "BigIntegerField": 42,
    "FloatField": 4.2,
    "CharField": "another",
    "TextField": "another",
}
ALLOWED = {"misfire": "all", "overlap": "skip", "schedule": "0 5 * * *", "timezone": "Asia/Tokyo",
           "outcome": "dead", "kind": "scheduler", "state": "draining"}  # fmt: skip


def schedule() -> ScheduledJob:
    return add()


def message() -> Message:
    return enqueue("job", {"a": 1})


def archived() -> ArchivedMessage:
    return messages.cancel(enqueue("job", {"a": 1}).pk)


def queue() -> Queue:
    return queues.pause("orders", by="ada", reason="stocktaking")


def process() -> Process:
    now = engine_for("default").clock()
    return Process.objects.create(kind="worker", name="w", host="h", pid=1, started_at=now, heartbeat_at=now)


# What makes a row, and the column that the holder of the copy changes.
ROWS = {schedule: "priority", message: "priority", archived: "seconds", queue: "paused_by", process: "busy"}
COLUMNS = [
    (make, field.name)
    for make, model in zip(ROWS, (ScheduledJob, Message, ArchivedMessage, Queue, Process), strict=True)
    for field in model._meta.concrete_fields
    if not field.primary_key and field.name not in (ROWS[make], "updated_at")
]


def another_value(copy, column: str):
    field, present = copy._meta.get_field(column), getattr(copy, column)
    if isinstance(present, bool):
        return not present
    kind = field.get_internal_type()
    return ALLOWED.get(column) or (uuid4() if kind == "UUIDField" else OTHERS[kind])


@pytest.mark.parametrize(("make", "column"), COLUMNS, ids=lambda one: getattr(one, "__name__", one))
def test_a_column_that_another_wrote_stays_as_he_wrote_it(make, column):
    model = type(make())
    held = model.objects.get()
    written = another_value(held, column)
    assert model.objects.update(**{column: written}) == 1

    changed = ROWS[make]
    setattr(held, changed, "me" if changed == "paused_by" else 5)
    held.save()

    now = model.objects.get()
    assert (getattr(now, changed), getattr(now, column)) == (getattr(held, changed), written)


class TestOfASchedule:
    def test_switched_off_it_stays_off_with_who_and_why(self):
        add()
        held = row()
        schedules.disable("report", by="ada", reason="the mail service is down", resume_at=T0 + DAY, now=T0)
        held.payload = {"list": "all"}
        held.save()

        now = row()
        assert (now.payload, now.enabled, now.next_run_at) == ({"list": "all"}, False, None)
        assert (now.switched_by, now.switch_reason, now.resume_at) == (
            "ada", "the mail service is down", T0 + DAY,
        )  # fmt: skip

    def test_what_follows_from_a_switch_is_written_with_it(self):
        add(enabled=False)
        held = row()
        raw(resume_at=T0 + DAY, switched_by="bob", switch_reason="a test")
        held.enabled = True
        held.save(now=T0 + MINUTE)
        now = row()
        assert (now.enabled, now.resume_at, now.switched_by, now.switch_reason) == (True, None, "", "")
        assert now.switched_at == T0 + MINUTE

    def test_what_follows_from_a_rule_is_written_with_it(self):
        add()
        held = row()
        raw(problem="said by a scheduler")
        held.schedule = "rate(7 minutes)"
        held.save(now=T0 + MINUTE)
        assert (row().problem, row().next_run_at) == ("", T0 + 8 * MINUTE)

    def test_the_run_that_came_between_is_not_undone_by_any_column(self):
        add()
        held = row()
        fire(T0 + 5 * MINUTE)
        held.name = "renamed"
        held.save()
        assert (row("renamed").next_run_at, row("renamed").last_run_at) == (
            T0 + 10 * MINUTE, T0 + 5 * MINUTE,
        )  # fmt: skip

    def test_what_was_changed_in_place_is_written(self):
        add(payload={"list": ["a"]})
        held = row()
        held.payload["list"].append("b")
        held.save()
        assert row().payload == {"list": ["a", "b"]}

    @pytest.mark.parametrize(("old", "new"), [({"a": 1}, {"a": True}), ({"a": 1, "b": 2}, {"b": 2, "a": 1})])
    def test_a_payload_that_only_python_takes_for_the_same_is_written(self, old, new):
        add(payload=old)
        held = row()
        held.payload = new
        held.save()
        assert repr(row().payload) == repr(new)

    def test_reading_a_deferred_column_forgets_no_change(self):
        add(payload={"a": 1})
        held = ScheduledJob.objects.defer("type").get()
        held.payload = {"a": 2}
        assert held.type == "report:new"
        held.save()
        assert row().payload == {"a": 2}

    def test_refreshing_one_column_forgets_no_change_of_another(self):
        add()
        held = row()
        held.payload = {"a": 2}
        schedules.disable("report", now=T0)
        held.refresh_from_db(fields=["enabled"])
        held.save()
        assert (row().payload, row().enabled) == ({"a": 2}, False)

    def test_update_fields_writes_those_and_the_next_save_the_rest(self):
        add(priority=1)
        held = row()
        held.payload, held.priority = {"a": 2}, 2
        held.save(update_fields=["priority"], now=T0 + HOUR)
        assert (row().payload, row().priority, row().updated_at) == (None, 2, T0 + HOUR)
        raw(priority=3)
        held.save()
        assert (row().payload, row().priority) == ({"a": 2}, 3)

    def test_update_fields_of_nothing_writes_nothing(self):
        add()
        row().save(update_fields=[], now=T0 + HOUR)
        assert row().updated_at == T0

    def test_a_copy_of_a_copy_knows_what_it_read_itself(self):
        add()
        held = row()
        older = copy.copy(held)
        held.payload = {"a": 2}
        held.save()
        older.priority = 5
        older.save()
        assert (row().payload, row().priority) == ({"a": 2}, 5)

    def test_made_or_changed_in_bulk_it_is_known_what_was_written(self):
        job = ScheduledJob(name="report", schedule="rate(5 minutes)", type="report:new")
        ScheduledJob.objects.bulk_create([job])
        schedules.disable("report", by="ada", now=T0)
        job.payload = {"a": 1}
        ScheduledJob.objects.bulk_update([job], ["payload"])
        raw(payload={"a": 2})
        job.type = "report:other"
        job.save()
        assert (row().enabled, row().switched_by) == (False, "ada")
        assert (row().payload, row().type) == ({"a": 2}, "report:other")

    def test_update_or_create_writes_its_defaults_only(self):
        add()
        held = row()
        schedules.disable("report", by="ada", now=T0)
        ScheduledJob.objects.update_or_create(name="report", defaults={"payload": {"a": 1}})
        assert (row().enabled, row().switched_by, row().payload) == (False, "ada", {"a": 1})
        assert held.enabled


class TestACopyThatIsANewSchedule:
    @pytest.fixture
    def original(self) -> ScheduledJob:
        add(payload={"a": 1}, spread=3)
        fire(T0 + 5 * MINUTE)
        raw(declared_in_code=True)
        return row()

    @pytest.mark.parametrize("is_told", [True, False], ids=["said to Django", "only without its key"])
    def test_has_the_rule_and_runs_of_its_own(self, original, is_told):
        twin = row()
        twin.pk, twin.name = None, "twin"
        if is_told:
            twin._state.adding = True
        twin.save(now=T0 + HOUR)

        twin = row("twin")
        assert (twin.schedule, twin.payload, twin.spread) == ("rate(5 minutes)", {"a": 1}, 3)
        assert (twin.anchor, twin.next_run_at) == (T0 + HOUR, T0 + HOUR + 5 * MINUTE)
        assert (twin.last_run_at, twin.declared_in_code, twin.created_at) == (None, False, T0 + HOUR)
        assert row().next_run_at == original.next_run_at
        assert ScheduledJob.objects.count() == 2

    def test_keeps_what_was_chosen_for_it(self, original):
        twin = row()
        twin.pk, twin.name, twin.next_run_at = None, "twin", T0 + 2 * DAY
        twin.save(now=T0 + HOUR)
        assert row("twin").next_run_at == T0 + 2 * DAY


class TestOfAMessage:
    def test_takes_no_lease_away(self, worker):
        held = enqueue("job")
        claimed = worker.claim_one()
        held.priority = 7
        held.save()
        assert Message.objects.get().priority == 7
        assert worker.settle(claimed) == "succeeded"

    @pytest.mark.parametrize(
        "get", [lambda id: Message.objects.get(pk=id), messages.find], ids=["get", "find"]
    )
    def test_that_is_finished_does_not_bring_it_back(self, worker, get):
        id = enqueue("job", {"a": 1}).pk
        held = get(id)
        assert worker.settle(worker.claim_one()) == "succeeded"

        held.save()  # it changed nothing
        held.payload["a"] = 2
        with pytest.raises(DatabaseError), transaction.atomic():
            held.save()

        assert not Message.objects.exists()
        assert ArchivedMessage.objects.get().payload == {"a": 1}

    def test_that_was_redriven_does_not_archive_it_once_more(self, dead_letter):
        held = ArchivedMessage.objects.get(pk=dead_letter())
        messages.redrive(held.pk)
        held.seconds = 1.0
        with pytest.raises(DatabaseError), transaction.atomic():
            held.save()
        assert not ArchivedMessage.objects.exists()

    def test_made_in_bulk_takes_no_lease_away(self, worker):
        held = Message(type="job")
        Message.objects.bulk_create([held])
        claimed = worker.claim_one()
        held.priority = 7
        held.save()
        assert worker.settle(claimed) == "succeeded"


def test_of_a_queue_that_was_resumed_does_not_pause_it():
    held = queue()
    queues.resume("orders")
    held.pause_reason = "more stocktaking"
    held.save()
    assert not Queue.objects.get().is_paused


def test_a_row_without_change_is_not_written(django_assert_num_queries):
    held = Queue.objects.get(pk=queue().pk)
    with django_assert_num_queries(0):
        held.save()
