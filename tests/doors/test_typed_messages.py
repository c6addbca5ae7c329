"""Typed messages through the queue: enqueued as objects, kept as JSON, handled as objects."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command

from django_letsgo_worker import aenqueue, enqueue, enqueue_many, handler, message_type, registry, typed
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import Message
from django_letsgo_worker.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass
class Order:
    order: int
    gift: bool = False


@dataclass
class Stamped:
    id: UUID
    at: datetime


@pytest.fixture(autouse=True)
def own_registries(monkeypatch):
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(typed, "_by_type", {})
    monkeypatch.setattr(typed, "_by_class", {})


@pytest.fixture(params=["pydantic", "ours"])
def order(request, monkeypatch):
    if request.param == "ours":
        monkeypatch.setitem(sys.modules, "pydantic", None)
    return message_type("order:new")(Order)


def work():
    call_command("runworker", until_empty=True, concurrency=2)


def seen_by(type, **options):
    seen = []

    @handler(type, **options)
    def see(delivery):
        seen.append(delivery.payload)

    return seen


class TestEnqueue:
    def test_an_object_is_its_type_and_its_payload(self, order):
        handler(order, queue="orders", priority=5)(print)
        message = enqueue(Order(7), delay=60, headers={"by": "ada"})
        assert (message.type, message.payload) == ("order:new", {"order": 7, "gift": False})
        assert (message.queue, message.priority, message.headers) == ("orders", 5, {"by": "ada"})
        assert async_to_sync(aenqueue)(Order(8)).payload["order"] == 8
        assert enqueue({"type": Order(9)}).payload["order"] == 9

    def test_enqueue_many_takes_objects_among_others(self, order):
        messages = [Order(1), ("order:new", {"order": 2}), {"type": Order(3), "queue": "late"}, Order(4)]
        rows = [find(pk) for pk in enqueue_many(messages)]
        assert [(row.payload["order"], row.queue) for row in rows] == [
            (1, "default"), (2, "default"), (3, "late"), (4, "default"),
        ]  # fmt: skip
        assert {find(pk).queue for pk in enqueue_many([Order(5)], queue="bulk")} == {"bulk"}

    def test_what_does_not_fit_is_refused_before_anything_is_written(self, order):
        sentence = r"payload\.order does not fit Order: "
        with pytest.raises(InvalidMessage, match=rf"^{sentence}"):
            enqueue(Order("seven"))
        with pytest.raises(InvalidMessage, match=rf"^Message 1: {sentence}"):
            enqueue_many([Order(1), Order(None)])
        with pytest.raises(InvalidMessage, match=r"^An object of Order is the payload: give no other\.$"):
            enqueue(Order(1), {"order": 1})
        assert not Message.objects.exists()

    def test_an_object_of_another_class_is_refused(self):
        with pytest.raises(InvalidMessage, match=r"^A type is text, not Order\.$"):
            enqueue(Order(1))
        with pytest.raises(InvalidMessage, match=r"^Message 0: a message is a mapping, a pair of"):
            enqueue_many([Order(1)])


class TestAWorker:
    def test_a_handler_of_the_class_is_given_the_object(self, order):
        seen = seen_by(order)
        enqueue(Order(7))
        enqueue("order:new", {"order": 8, "from": "elsewhere"})
        work()
        assert sorted(one.order for one in seen) == [7, 8]
        assert all(isinstance(one, Order) for one in seen)

    def test_a_handler_of_the_text_is_given_the_plain_payload(self, order):
        seen = seen_by("order:new")
        enqueue(Order(7))
        work()
        assert seen == [{"order": 7, "gift": False}]

    def test_an_async_one_and_an_atomic_one_are_given_it_too(self, order):
        seen = seen_by(order, atomic=True)

        @handler(order, where={"gift": True})
        async def give(delivery):
            seen.append(delivery.payload)

        enqueue_many([Order(7), Order(8, gift=True)])
        work()
        assert sorted(seen, key=lambda one: one.order) == [Order(7), Order(8, gift=True)]

    def test_a_payload_that_does_not_fit_fails_its_attempts_and_is_kept(self, order):
        seen = seen_by(order, max_attempts=2, backoff=[0])
        message = enqueue("order:new", {"order": "seven"})
        work()
        letter = find(message.pk)
        assert (letter.outcome, seen) == ("dead", [])
        assert [entry["attempt"] for entry in letter.errors] == [1, 2]
        assert letter.error_class == "django_letsgo_worker.errors.InvalidMessage"
        assert letter.errors[0]["message"].startswith("payload.order does not fit Order: ")
        assert "seven" not in letter.errors[0]["traceback"]

    def test_drain_gives_the_object_too(self, order):
        seen = seen_by(order)
        enqueue(Order(7))
        assert drain() == 1
        assert seen == [Order(7)]

    def test_datetimes_and_uuids_come_back_as_they_went(self):
        seen = seen_by(message_type("stamp:set")(Stamped))
        stamped = Stamped(UUID(int=7), datetime(2030, 1, 1, 12, tzinfo=UTC))
        enqueue(stamped)
        work()
        assert seen == [stamped]
