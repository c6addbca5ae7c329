"""enqueue(): one INSERT in the caller's transaction, and a message that holds what the row holds."""

from __future__ import annotations

import copy
import inspect
from datetime import UTC, datetime, timedelta, timezone

import pytest
from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.db.models.signals import post_init

from django_letsgo_worker import aenqueue, enqueue
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.messages.arguments import Given
from django_letsgo_worker.messages.enqueueing import EnqueueOptions
from django_letsgo_worker.models import Message
from django_letsgo_worker.signals import message_enqueued

from .conftest import COLUMNS

pytestmark = pytest.mark.django_db

NEXT_YEAR = datetime(datetime.now(UTC).year + 1, 5, 17, 3, 4, 5, 678901, tzinfo=UTC)
OPTIONS = {
    "nothing": {},
    "payload": {"payload": {"b": [1, 2.5, None, True, "ü🙂"], "a": {}}},
    "delay in seconds": {"delay": 120},
    "delay in fractions": {"delay": 0.25},
    "delay as timedelta": {"delay": timedelta(days=400)},
    "delay as text": {"delay": "1h30m"},
    "no delay": {"delay": 0},
    "visible_at": {"visible_at": NEXT_YEAR},
    "visible_at elsewhere": {"visible_at": NEXT_YEAR.astimezone(timezone(timedelta(hours=-9, minutes=-30)))},
    "queue": {"queue": "q" * 64},
    "highest priority": {"priority": 100},
    "lowest priority": {"priority": -100},
    "max_attempts": {"max_attempts": 32_000},
    "deadline": {"deadline": NEXT_YEAR},
    "deadline from now": {"deadline": timedelta(hours=3)},
    "deadline from now as text": {"deadline": "3h"},
    "deadline at visible_at": {"deadline": NEXT_YEAR, "visible_at": NEXT_YEAR},
    "unique key": {"unique_key": "🙂" * 200},
    "headers": {"headers": {"trace": "00-ab", "n": [1]}},
    "no headers": {"headers": {}},
    "alias": {"using": "default"},
}


def values(message):
    return {name: getattr(message, name) for name in COLUMNS}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_the_returned_message_holds_what_the_row_holds(row, options):
    message = enqueue("job", **options)

    assert values(message) == row(message.pk)
    assert message.created is True


@pytest.mark.django_db(transaction=True)
def test_outside_a_transaction_it_holds_that_too(row):
    for options in OPTIONS.values():
        message = enqueue("job", **options)
        assert values(message) == row(message.pk)


@pytest.mark.parametrize("is_listened_to", [False, True])
def test_the_returned_message_is_a_whole_object_of_its_model(row, is_listened_to):
    told = []

    def note(sender, **kwargs):
        told.append(sender)

    if is_listened_to:
        post_init.connect(note, sender=Message)
    try:
        message = enqueue("job", {"a": 1}, headers={"b": 2}, delay=60)
    finally:
        post_init.disconnect(note, sender=Message)

    # By the way that pickle goes, too.
    twin = copy.deepcopy(message)
    assert told == [Message] * is_listened_to
    assert (message._state.adding, message._state.db) == (False, "default")
    assert values(twin) == values(message) == row(message.pk)
    assert twin == message == Message.objects.get(pk=message.pk)
    twin.queue = "other"
    twin.save()
    assert row(message.pk) == values(message) | {"queue": "other"}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_is_one_insert(statements, options):
    with statements() as sent:
        enqueue("job", **options)

    assert len(sent) == 1
    assert "INSERT" in sent[0][0]


def test_what_is_not_said_has_its_default(row):
    message = enqueue("job")

    assert row(message.pk) | {"id": 0, "enqueued_at": 0, "visible_at": 0} == {
        "id": 0, "type": "job", "payload": None, "headers": {}, "queue": "default", "priority": 0,
        "visible_at": 0, "enqueued_at": 0, "deadline": None, "attempts": 0, "max_attempts": 10, "receipt": 0,
        "leased_by": None, "leased_at": None, "deaths": 0, "first_started_at": None, "unique_key": None,
        "scheduled_job_id": None, "planned_at": None, "errors": [], "error_fingerprint": None,
    }  # fmt: skip
    assert message.visible_at == message.enqueued_at


def test_its_times_are_the_databases():
    before = engine_for("default").clock()
    message = enqueue("job")
    after = engine_for("default").clock()

    assert before <= message.enqueued_at <= after


@pytest.mark.parametrize(
    "delay", [0.001, 1, 59.999, 3600.5, timedelta(milliseconds=7), timedelta(days=36_525)], ids=str
)
def test_a_delay_is_exact(delay):
    message = enqueue("job", delay=delay)

    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    assert message.visible_at - message.enqueued_at == timedelta(seconds=seconds)


def test_a_delay_finer_than_the_clock_is_never_early():
    message = enqueue("job", delay=0.0000001)

    assert message.visible_at > message.enqueued_at


def test_a_deadline_from_now_counts_from_the_databases_clock():
    message = enqueue("job", deadline=timedelta(minutes=5))

    assert message.deadline - message.enqueued_at == timedelta(minutes=5)


@pytest.mark.parametrize("year", [1, 999, 1000, 1969, 2000])
def test_a_moment_long_ago_means_due_now(worker, year):
    moment = datetime(year, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
    message = enqueue("job", visible_at=moment)

    assert Message.objects.get(pk=message.pk).visible_at == moment
    assert [claimed.id for claimed in worker.claim()] == [message.pk]


def test_a_mapping_of_type_and_payload_is_a_message(row):
    message = enqueue({"type": "job", "payload": {"a": 1}}, queue="orders")

    assert row(message.pk) | values(message) == values(message)
    assert (message.type, message.payload, message.queue) == ("job", {"a": 1}, "orders")


def test_a_mapping_may_leave_the_payload_out():
    assert enqueue({"type": "job"}).payload is None


def test_the_payload_is_read_when_it_is_enqueued():
    payload = {"list": (1, 2)}
    message = enqueue("job", payload)
    payload["later"] = True

    assert message.payload == {"list": [1, 2]}


class TestTheHandlersOptions:
    def test_they_are_frozen_into_the_row(self, handled):
        handled("job", queue="orders", priority=7, max_attempts=3)
        message = Message.objects.get(pk=enqueue("job").pk)

        assert (message.queue, message.priority, message.max_attempts) == ("orders", 7, 3)

    def test_the_call_wins_even_with_a_zero(self, handled):
        handled("job", queue="orders", priority=7, max_attempts=3)
        message = enqueue("job", queue="mail", priority=0, max_attempts=1)

        assert (message.queue, message.priority, message.max_attempts) == ("mail", 0, 1)

    def test_without_them_the_settings_count(self, handled, settings):
        settings.LETSGO_WORKER = {"MAX_ATTEMPTS": 4}
        handled("job", priority=0)

        assert enqueue("job").max_attempts == 4

    def test_the_app_s_own_types_may_be_enqueued(self):
        assert enqueue("letsgo:scheduled").pk


class TestTheCallersTransaction:
    def test_rolling_it_back_leaves_nothing(self):
        with transaction.atomic():
            enqueue("job")
            enqueue("job", unique_key="a")
            transaction.set_rollback(True)

        assert not Message.objects.exists()

    def test_rolling_back_a_savepoint_leaves_what_was_before(self):
        with transaction.atomic():
            kept = enqueue("job")
            with transaction.atomic():
                enqueue("job")
                transaction.set_rollback(True)

        assert Message.objects.get().pk == kept.pk

    @pytest.mark.django_db(transaction=True)
    def test_nobody_sees_it_before_the_commit(self, begin):
        with transaction.atomic():
            enqueue("job")
            seen = begin(Message.objects.count).result()

        assert (seen, begin(Message.objects.count).result()) == (0, 1)

    @pytest.mark.django_db(transaction=True)
    @pytest.mark.parametrize("unique_key", [None, "a"])
    def test_in_autocommit_it_is_one_statement_and_there_at_once(self, begin, statements, unique_key):
        with statements() as sent:
            enqueue("job", unique_key=unique_key)

        assert len(sent) == 1
        assert begin(Message.objects.count).result() == 1
        assert not connection.in_atomic_block

    @pytest.mark.django_db(transaction=True)
    def test_with_autocommit_off_it_is_the_callers_to_commit(self, begin):
        connection.ensure_connection()
        transaction.set_autocommit(False)
        try:
            enqueue("job")
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)

        assert not Message.objects.exists()


def test_each_new_message_is_announced_once():
    heard = []

    def receiver(message, **rest):
        heard.append(message.pk)

    message_enqueued.connect(receiver)
    try:
        message = enqueue("job", unique_key="a")
        enqueue("job", unique_key="a")
    finally:
        message_enqueued.disconnect(receiver)
    assert heard == [message.pk]


def test_a_broken_receiver_breaks_nothing():
    def receiver(**rest):
        raise RuntimeError("no")

    message_enqueued.connect(receiver)
    try:
        assert enqueue("job").pk
    finally:
        message_enqueued.disconnect(receiver)


def test_the_options_are_the_same_wherever_a_message_is_enqueued():
    options = set(inspect.signature(enqueue).parameters) - {"type", "payload"}

    assert set(EnqueueOptions.__annotations__) == options
    assert set(Given.__slots__) == options - {"on_conflict", "using"} | {"type", "payload"}


@pytest.mark.django_db(transaction=True)
def test_async_code_enqueues_with_the_same_options(row):
    message = async_to_sync(aenqueue)("job", {"a": 1}, queue="orders", unique_key="k")

    assert values(message) == row(message.pk)
    assert (message.queue, message.unique_key) == ("orders", "k")
