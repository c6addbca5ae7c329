"""Messages are enqueued with the types that the verbs ask for, and found with those that they return."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import assert_type

from django_letsgo_worker import LetsGoError, aenqueue, enqueue, enqueue_many, messages, queues, schedules
from django_letsgo_worker import dequeue as dequeue  # type: ignore[attr-defined]
from django_letsgo_worker.errors import DuplicateMessage, InvalidMessage
from django_letsgo_worker.models import ArchivedMessage, Message, Queue, ScheduledJob
from django_letsgo_worker.recurrence import Recurrence


def enqueue_all() -> None:
    message = enqueue("order:new", {"order": 7}, delay=120, queue="orders", priority=5, max_attempts=3)
    assert_type(message, Message)
    assert_type(message.created, bool | None)
    enqueue({"type": "order:new", "payload": [1, None, {"a": 2.5}]}, deadline=timedelta(hours=1))
    enqueue("order:new", visible_at=datetime.now(UTC), unique_key="7", on_conflict="replace", using="default")
    enqueue("order:new", headers={"trace": "a"}, delay=timedelta(days=30))
    assert_type(enqueue_many([("order:new", 1), {"type": "order:new", "delay": 5}], queue="a"), list[int])
    enqueue("order:new", delay="5m", deadline="2d")
    enqueue("order:new", delay=["soon"])  # type: ignore[arg-type]
    enqueue("order:new", dely=5)  # type: ignore[call-arg]
    enqueue("order:new", on_conflict="retrun")  # type: ignore[arg-type]
    enqueue(7)  # type: ignore[arg-type]
    enqueue_many("order:new", using=1)  # type: ignore[arg-type]


async def enqueue_in_async_code() -> None:
    assert_type(await aenqueue("order:new", {"order": 7}, delay=120), Message)
    await aenqueue("order:new", dely=120)  # type: ignore[call-arg]


def look_and_change() -> None:
    found = messages.find(7)
    assert_type(found, Message | ArchivedMessage)
    assert_type(messages.cancel(7), ArchivedMessage)
    assert_type(messages.redrive(7), Message)
    assert_type(messages.prune(), int)
    assert_type(queues.pause("mails", by="ada", seconds=1800), Queue)
    assert_type(queues.paused(), set[str])
    messages.find("seven")  # type: ignore[arg-type]


def schedule_all() -> None:
    job = schedules.add("nightly", "30 2 * * *", "report:sales", {"days": 1}, timezone="Europe/Berlin")
    assert_type(job, ScheduledJob)
    assert_type(job.next_runs(3), list[datetime])
    assert_type(schedules.run_now("nightly"), Message)
    recurrence = Recurrence.parse("rate(5 minutes)", "UTC", anchor=datetime.now(UTC))
    assert_type(recurrence.occurrences_after(datetime.now(UTC)), Iterator[datetime])
    assert_type(recurrence.describe(), str)
    schedules.add("nightly", "30 2 * * *", "report:sales", sprad=5)  # type: ignore[call-arg]


def refusals() -> str:
    try:
        enqueue("order:new", unique_key="7", on_conflict="raise")
    except DuplicateMessage as error:
        assert_type(error.message_id, int | None)
        return error.unique_key
    except (InvalidMessage, LetsGoError) as error:
        return str(error)
    return ""
