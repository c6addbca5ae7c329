"""Each problem made once, and mended: what its tests, and those of the doors, begin with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

from django.db.migrations.recorder import MigrationRecorder

from django_letsgo_worker import enqueue, enqueue_many, handler, messages, queues, schedules
from django_letsgo_worker import schedule as declare
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.engines.upkeep import Bloat, Session
from django_letsgo_worker.models import (
    ArchivedMessage,
    Failure,
    Message,
    Occurrence,
    PausedType,
    Process,
    ScheduledJob,
    Statistic,
)
from tests.browser.rows import archived

MINUTE = timedelta(minutes=1)
Trouble = Callable[[], "contextlib.AbstractContextManager[None]"]

# By code: a context in which there is this problem, which it mends at its end; and what that is about.
TROUBLES: dict[str, tuple[Trouble, str]] = {}


def now() -> datetime:
    return engine_for("default").clock()


def process(name: str = "web-1", *, kind: str = "worker", age: float = 0, **fields: Any) -> Process:
    """Write the row of a process whose heartbeat is so many seconds old."""
    at = now() - timedelta(seconds=age)
    facts = {"name": name, "host": "host", "pid": 7, "started_at": at, "heartbeat_at": at, "types": ["t:x"]}
    return Process.objects.create(kind=kind, **{**facts, **fields})


def all_is_well() -> None:
    """A worker that handles t:x from the queue default, and a scheduler."""
    process("web-1", queues=["default"])
    process("clock-1", kind="scheduler", types=[])


def due(type: str, *, queue: str = "default", age: timedelta = timedelta(seconds=30), count: int = 1) -> None:
    """Enqueue messages that became due a while ago."""
    ids = enqueue_many([(type, n) for n in range(count)], queue=queue)
    Message.objects.filter(pk__in=ids).update(visible_at=now() - age, enqueued_at=now() - age)


def tries(
    type: str, *, failed: int, succeeded: int = 0, age: timedelta = 3 * MINUTE, queue: str = "default"
) -> None:
    """Write what workers count in a minute."""
    at = (now() - age).replace(second=0, microsecond=0)
    Statistic.objects.create(at=at, queue=queue, type=type, failed=failed, succeeded=succeeded)


def _trouble(code: str, about: str) -> Callable[[Callable[[], Iterator[None]]], Trouble]:
    def note(function: Callable[[], Iterator[None]]) -> Trouble:
        TROUBLES[code] = contextlib.contextmanager(function), about
        return TROUBLES[code][0]

    return note


@_trouble("not_migrated", "")
def not_migrated() -> Iterator[None]:
    newest = MigrationRecorder.Migration.objects.filter(app="django_letsgo_worker").latest("name")
    newest.delete()
    yield
    newest.save(force_insert=True)


@_trouble("no_worker", "")
def no_worker() -> Iterator[None]:
    due("t:x", queue="mails")
    due("t:strange")
    Process.objects.filter(kind="worker").update(state="stopped")
    yield
    Process.objects.filter(kind="worker").update(
        state="running", queues=None, types=["t:x", "t:strange"], heartbeat_at=now()
    )


@_trouble("no_scheduler", "")
def no_scheduler() -> Iterator[None]:
    schedules.add("nightly", "@daily", "t:x")
    Process.objects.filter(kind="scheduler").update(heartbeat_at=now() - 5 * MINUTE)
    yield
    Process.objects.filter(kind="scheduler").update(heartbeat_at=now())


@_trouble("process_silent", "web-2")
def process_silent() -> Iterator[None]:
    silent = process("web-2", age=300, queues=["default", "videos"])
    ids = enqueue_many([("t:x", n) for n in range(3)], queue="videos")
    lease = now() + MINUTE
    Message.objects.filter(pk__in=ids).update(leased_by=silent.pk, visible_at=lease, attempts=1)
    yield
    process("web-2", queues=["default", "videos"])


@_trouble("type_failing", "t:x")
def type_failing() -> Iterator[None]:
    tries("t:x", failed=40)
    error = {"error_class": "shop.errors.ProviderDown", "message": "payments.example.com: connect timeout"}
    Failure.objects.create(type="t:x", fingerprint="f", first_at=now() - 9 * MINUTE, last_at=now(), **error)
    yield
    Statistic.objects.update(at=now() - 16 * MINUTE)


@_trouble("type_unknown", "t:y")
def type_unknown() -> Iterator[None]:
    due("t:y", count=3)
    yield
    Process.objects.filter(kind="worker").update(types=["t:x", "t:y"])


@_trouble("queue_unserved", "mails")
def queue_unserved() -> Iterator[None]:
    due("t:x", queue="mails", count=3)
    yield
    process("web-9", queues=["mails"])


@_trouble("backlog_growing", "t:x")
def backlog_growing() -> Iterator[None]:
    due("t:x", age=8 * MINUTE, count=2)
    begun = now() - 4 * MINUTE
    archived(type="t:x", enqueued_at=begun - 3 * MINUTE, first_started_at=begun, finished_at=begun)
    yield
    ArchivedMessage.objects.update(enqueued_at=begun - 9 * MINUTE)


@_trouble("dead_letters", "")
def dead_letters() -> Iterator[None]:
    for n in range(3):
        archived(outcome="dead", error_fingerprint=f"f{n % 2}", finished_at=now() - 90 * MINUTE)
    yield
    ArchivedMessage.objects.all().delete()


@_trouble("type_paused", "t:x")
def type_paused() -> Iterator[None]:
    due("t:x")
    facts = {"paused_by": "anna", "pause_reason": "ticket 4711", "resume_at": now() + 30 * MINUTE}
    PausedType.objects.create(name="t:x", paused_at=now() - 8 * MINUTE, **facts)
    yield
    PausedType.objects.all().delete()


@_trouble("queue_paused", "mails")
def queue_paused() -> Iterator[None]:
    due("t:x", queue="mails")
    queues.pause("mails", by="ada", reason="the move")
    yield
    Message.objects.all().delete()
    queues.resume("mails")


@_trouble("schedules_paused", "schedules")
def schedules_paused() -> Iterator[None]:
    schedules.add("nightly", "@daily", "t:x")
    schedules.pause_all(by="anna", reason="the move", until=now() + 30 * MINUTE)
    yield
    schedules.resume_all()


@_trouble("schedule_broken", "nightly")
def schedule_broken() -> Iterator[None]:
    schedules.add("nightly", "@daily", "t:x")
    ScheduledJob.objects.update(problem="'Asia/Nowhere' is no IANA time zone.")
    yield
    ScheduledJob.objects.update(problem="")


@_trouble("schedule_failing", "nightly")
def schedule_failing() -> Iterator[None]:
    job = schedules.add("nightly", "@daily", "t:x")
    for days in range(1, 4):
        at = now() - timedelta(days=days)
        letter = archived(
            type="t:x", outcome="dead", error_fingerprint="f", scheduled_job_id=job.pk, finished_at=at
        )
        Occurrence.objects.create(scheduled_job=job, planned_at=at, fired_at=at, message_id=letter.pk)
    yield
    letter = archived(type="t:x", scheduled_job_id=job.pk)
    at = now()
    Occurrence.objects.create(scheduled_job=job, planned_at=at, fired_at=at, message_id=letter.pk)


@_trouble("schedule_of_unknown_type", "nightly")
def schedule_of_unknown_type() -> Iterator[None]:
    schedules.add("nightly", "@daily", "t:y")
    yield
    Process.objects.filter(kind="worker").update(types=["t:x", "t:y"])


@_trouble("schedule_missing", "letters")
def schedule_missing() -> Iterator[None]:
    Process.objects.filter(kind="scheduler").update(state="stopped")
    declare("@daily", name="letters")(handler("t:letters")(len))
    yield
    Process.objects.filter(kind="scheduler").update(state="running")


@_trouble("schedule_late", "nightly")
def schedule_late() -> Iterator[None]:
    schedules.add("nightly", "@daily", "t:x")
    ScheduledJob.objects.update(next_run_at=now() - timedelta(seconds=61))
    yield
    ScheduledJob.objects.update(next_run_at=now() + MINUTE)


@_trouble("schedule_never_fires", "never")
def schedule_never_fires() -> Iterator[None]:
    schedules.add("never", "at(2099-01-01T00:00:00)", "t:x", ends_at=datetime(2098, 1, 1, tzinfo=UTC))
    yield
    ScheduledJob.objects.update(last_run_at=now())


@_trouble("clock_skew", "")
def clock_skew() -> Iterator[None]:
    engine = type(engine_for("default"))
    true_clock = engine.clock
    with mock.patch.object(engine, "clock", lambda self: true_clock(self) + timedelta(seconds=9.5)):
        yield


@_trouble("old_snapshot", "pg_dump")
def old_snapshot() -> Iterator[None]:
    session = Session(4711, "pg_dump", now() - 60 * MINUTE)
    with mock.patch.object(type(engine_for("default")), "old_snapshots", lambda self, before: [session]):
        yield


@_trouble("table_bloat", "django_letsgo_worker_message")
def table_bloat() -> Iterator[None]:
    bloat = Bloat("django_letsgo_worker_message", 12, 200_000)
    with mock.patch.object(type(engine_for("default")), "bloated_tables", lambda self: [bloat]):
        yield


def write_all_kinds(stack: contextlib.ExitStack) -> None:
    """Write rows of all kinds but processes, and problems that last until the stack is closed."""
    for code in ("queue_unserved", "dead_letters", "type_paused", "schedule_broken", "type_failing"):
        stack.enter_context(TROUBLES[code][0]())
    enqueue("mail.send", delay=60)
    messages.operate("redrive", type="mail.send", reason="it is mended")
    archived()
