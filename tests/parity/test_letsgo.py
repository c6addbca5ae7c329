"""LetsGo's worker: messages, handlers, failures and limits (rows L1 to L7, L9 to L12, and L24)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import contextlib
import dataclasses
import math
import threading
from datetime import datetime, timedelta

import pytest
from django.db import transaction

from django_letsgo_worker import Reject, Retry, Snooze, enqueue, messages, registry
from django_letsgo_worker.errors import DuplicateHandler, InvalidMessage
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from testproject.shop.models import Invoice, Order
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

DAY = timedelta(days=1)
ORDER = {"article": "tea", "customer": "ada@example.com"}


def test_L1_an_order_is_answered_at_once_and_its_work_is_done_later(client, work_off):
    assert client.post("/", ORDER).status_code == 302
    assert not Invoice.objects.exists()

    work_off()

    assert Invoice.objects.get().order == Order.objects.get()


def test_L1_what_is_rolled_back_never_existed(client, work_off):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        client.post("/", ORDER)
        1 / 0  # noqa: B018

    work_off()

    assert not (Order.objects.exists() or Message.objects.exists() or ArchivedMessage.objects.exists())


@pytest.mark.parametrize(
    "payload",
    [None, [], [1, [None, {}]], "text", "", 0, 1.5, False, {"z": 1, "a": "é\n☃"}, 12345678901234567890],
)
def test_L2_a_payload_is_any_json_and_arrives_as_it_was(handle, work_off, payload):
    arrived = []
    handle("t:any")(lambda delivery: arrived.append(delivery.payload))

    enqueue("t:any", payload)
    enqueue({"type": "t:any", "payload": payload})
    work_off()

    assert [repr(one) for one in arrived] == [repr(payload)] * 2


@pytest.mark.parametrize("payload", [{1, 2}, math.nan, {"a": ["\ud800"]}, {1: 2}, datetime.now(), b"bytes"])
def test_L2_what_is_not_json_is_refused_before_any_sql(django_assert_num_queries, payload):
    with django_assert_num_queries(0), pytest.raises(InvalidMessage, match="payload"):
        enqueue("t:any", payload)


def test_L3_the_types_of_letsgo_are_reserved_and_the_sentence_names_the_rule(handle):
    for refused in (lambda: enqueue("letsgo:foo"), lambda: handle("letsgo:foo")):
        with pytest.raises(InvalidMessage, match="types that begin with 'letsgo:' are reserved"):
            refused()
    handle("letsgox:fine")(lambda delivery: None)
    assert enqueue("letsgox:fine").created


def test_L3_a_project_may_put_its_own_handler_in_the_place_of_a_built_in_one(handle, ended):
    handle("letsgo:scheduled")(lambda delivery: "ours")

    assert ended(enqueue("letsgo:scheduled")).result == "ours"


def test_L4_messages_are_routed_by_their_type(handle, work_off):
    seen = []
    for type in ("t:one", "t:two"):
        handle(type)(lambda delivery, type=type: seen.append((type, delivery.payload)))

    enqueue("t:two", 2)
    enqueue("t:one", 1)
    work_off()

    assert sorted(seen) == [("t:one", 1), ("t:two", 2)]


def test_L4_two_handlers_of_one_type_are_an_error_that_names_both_places(handle):
    def first(delivery): ...
    def second(delivery): ...

    handle("t:one")(first)
    with pytest.raises(DuplicateHandler) as caught:
        handle("t:one")(second)

    assert "first (line" in str(caught.value) and "second (line" in str(caught.value)


def test_L4_an_error_in_a_module_of_handlers_is_shown(tmp_path, monkeypatch):
    (tmp_path / "broken_handlers.py").write_text("import a_module_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_there"):
        registry.autodiscover(["broken_handlers"])


def test_L5_an_unknown_type_is_kept_for_whoever_knows_it(handle, work_off, caplog):
    message = enqueue("t:new", 1)

    work_off()

    assert Message.objects.get(pk=message.pk).attempts == 0
    assert "Messages of the unknown type t:new wait in the queue default." in caplog.text
    done = []
    handle("t:new")(lambda delivery: done.append(delivery.payload))
    work_off()
    assert done == [1]


def test_L5_an_unknown_type_is_a_dead_letter_after_a_day(work_off):
    message = enqueue("t:never")
    work_off()

    assert messages.give_up_unknown_types(now=message.visible_at + DAY - timedelta(seconds=1)) == 0
    Process.objects.update(heartbeat_at=message.visible_at + DAY)
    assert messages.give_up_unknown_types(now=message.visible_at + DAY) == 1
    assert ArchivedMessage.objects.get(pk=message.pk).errors[0]["class"].endswith("UnknownType")


def test_L6_one_frozen_delivery_has_message_event_and_context(handle, ended):
    given = []

    @handle("t:it")
    def change_all(delivery):
        given.append(delivery)
        delivery.payload["n"] = 2
        delivery.headers["trace"] = "changed"
        with pytest.raises(dataclasses.FrozenInstanceError):
            delivery.payload = {}

    message = enqueue("t:it", {"n": 1}, headers={"trace": "x"})

    row = ended(message)

    assert (row.outcome, row.payload, row.headers) == ("succeeded", {"n": 1}, {"trace": "x"})
    assert (given[0].message_id, given[0].type, given[0].attempt) == (message.pk, "t:it", 1)
    assert given[0].enqueued_at == message.enqueued_at


@pytest.mark.parametrize("error", [ValueError("no \x00 \ud800"), SystemExit(3), KeyboardInterrupt()])
def test_L7_a_thrown_error_is_retried_then_dead_lettered(handle, ended, work_off, error):
    def fail(delivery):
        with transaction.atomic():
            Order.objects.create(**ORDER)
            raise error

    handle("t:fails", max_attempts=3, backoff=[0])(fail)

    row = ended(enqueue("t:fails"))

    assert (row.outcome, row.attempts) == ("dead", 3)
    assert [entry["attempt"] for entry in row.errors] == [1, 2, 3]
    assert all("in fail" in entry["traceback"] for entry in row.errors)
    assert not Order.objects.exists()
    registry.remove("t:fails")
    handle("t:fails")(lambda delivery: "repaired")
    messages.redrive(row.pk)
    work_off()
    again = ArchivedMessage.objects.get(pk=row.pk)
    assert (again.outcome, again.result) == ("succeeded", "repaired")
    assert again.errors[:3] == row.errors and again.errors[3]["redrive"]


def test_L9_one_slow_message_stalls_no_other(handle, work_off):
    others_are_done = threading.Event()
    done = []

    @handle("t:slow", priority=10)
    def slow(delivery):
        assert others_are_done.wait(20)

    @handle("t:quick")
    def quick(delivery):
        done.append(delivery.payload)
        if len(done) == 20:
            others_are_done.set()

    message = enqueue("t:slow")
    for n in range(20):
        enqueue("t:quick", n)
    work_off(concurrency=2)

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
    assert sorted(done) == list(range(20))


@pytest.mark.parametrize("delay", [901, timedelta(days=30), 0.5])
def test_L10_a_delay_may_be_of_any_length_and_is_never_cut_short(handle, work_off, delay):
    handle("t:later")(lambda delivery: None)
    message = enqueue("t:later", delay=delay)

    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    assert message.visible_at - message.enqueued_at == timedelta(seconds=seconds)
    wait_until(lambda: work_off() or seconds > 1 or not Message.objects.exists())
    if seconds > 1:
        assert Message.objects.get().attempts == 0
    else:
        assert ArchivedMessage.objects.get().first_started_at >= message.visible_at


@pytest.mark.parametrize(
    "when", [{"delay": -1}, {"delay": math.nan}, {"visible_at": datetime(2030, 1, 1)}, {"delay": "1"}]
)
def test_L10_a_time_that_makes_no_sense_is_refused(when):
    with pytest.raises(InvalidMessage, match=next(iter(when))):
        enqueue("t:later", **when)


def test_L11_a_message_may_be_as_large_as_the_setting_says(handle, ended, settings):
    with pytest.raises(InvalidMessage, match="262144"):
        enqueue("t:large", "x" * 262_144)

    settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": None}
    large = "x" * 5_000_000
    handle("t:large")(lambda delivery: delivery.payload == large)

    assert ended(enqueue("t:large", large)).result is True


def test_L12_a_handler_that_is_throttled_asks_for_another_time_under_the_same_id(handle, ended):
    attempts = []

    @handle("t:throttled", backoff=[3600], max_attempts=3)
    def throttled(delivery):
        attempts.append(delivery.attempt)
        if len(attempts) == 1:
            raise Retry(delay=0, reason="slow down")
        if len(attempts) == 2:
            raise Snooze(delay=0)

    row = ended(enqueue("t:throttled"))

    # The retry used an attempt, the snooze did not.
    assert (row.outcome, attempts, len(row.errors)) == ("succeeded", [1, 2, 2], 1)


@pytest.mark.parametrize("again", [Retry, Snooze])
def test_L12_another_time_beyond_the_deadline_ends_the_message(handle, ended, again):
    @handle("t:throttled")
    def throttled(delivery):
        raise again(delay=3600)

    assert ended(enqueue("t:throttled", deadline=timedelta(minutes=1))).outcome == "expired"


def test_L12_a_handler_may_enqueue_for_later_instead(handle, ended):
    handle("t:throttled")(lambda delivery: enqueue("t:throttled", delay=3600).pk)

    row = ended(enqueue("t:throttled"))

    assert Message.objects.get(pk=row.result).attempts == 0


def test_L24_messages_are_kept_by_their_outcome_and_unprocessed_ones_for_ever(handle, ended, settings):
    @handle("t:it", max_attempts=1)
    def it(delivery):
        if delivery.payload == "dead":
            raise Reject("no")

    settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 4, "KEEP_DEAD_FOR": 8}
    waits = enqueue("t:unknown")
    succeeded, dead = ended(enqueue("t:it")), ended(enqueue("t:it", "dead"))

    def left(days):
        messages.prune(now=max(succeeded.finished_at, dead.finished_at) + days * DAY)
        return ArchivedMessage.objects.count()

    assert [left(days) for days in (3, 5, 9, 4000)] == [2, 1, 0, 0]
    assert messages.find(waits.pk).attempts == 0
