"""Results of tasks: messages read as Django's TaskResult.

Rows are only read here, through the verbs of messages; discovery.py finds the Task that a row belongs to.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.signing import BadSignature, Signer, b62_decode, b62_encode

from .. import messages
from ..conf import settings
from ..delivery import Delivery
from ..engines import engine_for
from ..errors import InvalidMessage, MessageNotFound
from ..models import ArchivedMessage, Message, Process
from ..outcomes import attempts_of, error_entry
from ..validation import show
from .compat import TASK_REFRESH_ATTRS, Task, TaskError, TaskResult, TaskResultStatus
from .tasks import PREFIX, copy_of

AnyMessage = Message | ArchivedMessage

# The header of a message that holds what no column says about its task.
HEADER = "task"
UNKNOWN_WORKER = "unknown"
# Constant, since a user's results outlive releases. Another form of ids would need another salt.
SALT = "django_letsgo_worker.backend.result"
# Django promises that ids are shorter than 64 characters; the id of the largest number has 55.
LONGEST_ID = 63
# A return value that is not JSON ends a task at once, by an error of ours; Django's tasks know it as this.
READ_AS = {"django_letsgo_worker.backend.handlers.UnfitReturnValue": "builtins.TypeError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class LetsGoTaskResult(TaskResult):  # type: ignore[type-arg, misc]
    """Django's result of a task, and how far a running one is, as its function last said it.

    `progress` is from 0 to 1, None where it was not said in this attempt; both are as old as the worker's
    last heartbeat.
    """

    progress: float | None = None
    progress_text: str = ""

    def refresh(self) -> None:
        """Read it again."""
        self._take(self.task.get_backend().get_result(self.id))

    async def arefresh(self) -> None:
        """Read it again."""
        self._take(await self.task.get_backend().aget_result(self.id))

    def _take(self, newer: TaskResult[..., Any]) -> None:
        for name in (*TASK_REFRESH_ATTRS, "progress", "progress_text"):
            object.__setattr__(self, name, getattr(newer, name))


def headers_of(task: Task[..., Any], alias: str) -> dict[str, Any]:
    """Return the headers from which _as_enqueued() makes the task again."""
    run_after: Any = task.run_after
    if isinstance(run_after, timedelta):
        run_after = run_after.total_seconds()
    elif run_after is not None:
        run_after = run_after.isoformat()
    return {HEADER: {"backend": alias, "run_after": run_after}}


def arguments_of(payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments in a task's payload; a schedule may leave out what is empty."""
    given = {} if payload is None else payload
    args, kwargs = (
        (given.get("args", []), given.get("kwargs", {})) if isinstance(given, dict) else (None, None)
    )
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidMessage(
            f'The payload of a task is {{"args": [...], "kwargs": {{...}}}}, not {show(payload)}.'
        )
    return args, kwargs


# -- from rows ------------------------------------------------------------------------------------------


def id_of(message_id: int) -> str:
    """Return the id of a task's result: the message's number, signed, so that nobody can guess another."""
    return _signer().sign(b62_encode(message_id))


def number_in(result_id: Any) -> int:
    """Return the number of the message that a result's id names; MessageNotFound if we never signed it."""
    # Text that cannot be ours is not worth checking, and a lone surrogate cannot be signed.
    if not isinstance(result_id, str) or len(result_id) > LONGEST_ID or not result_id.isascii():
        raise MessageNotFound(result_id, "task")
    try:
        return b62_decode(_signer().unsign(result_id))
    except BadSignature:
        raise MessageNotFound(result_id, "task") from None


def _signer() -> Signer:
    # Made for each id: SECRET_KEY and SECRET_KEY_FALLBACKS may be others by now.
    return Signer(sep=".", salt=SALT)


def find(message_id: int) -> AnyMessage:
    """Return the message of a task; MessageNotFound for any other."""
    message = messages.find(message_id)
    if not message.type.startswith(PREFIX):
        raise MessageNotFound(message_id, "task")
    return message


def result_of(
    message: AnyMessage,
    task: Task[..., Any],
    *,
    id: str | None = None,
    status: TaskResultStatus | None = None,
    worker: str | None = None,
) -> TaskResult[..., Any]:
    """Return the result of a task as its message stands.

    A caller that knows the `status`, or the `worker` of the last attempt, saves a look-up. An `id` that was
    asked for stays as it is, even if a former SECRET_KEY signed it.
    """
    args, kwargs = arguments_of(message.payload)
    facts = message.headers.get(HEADER) or {}
    started_at, is_over = _started_at(message), isinstance(message, ArchivedMessage)
    holder = _holder_of(message) if worker is None else None
    progress = holder.progress_of(message.pk, message.receipt) if holder and not is_over else None
    result: TaskResult[..., Any] = LetsGoTaskResult(
        progress=progress.fraction if progress is not None else None,
        progress_text=progress.text if progress is not None else "",
        task=_as_enqueued(message, task, facts),
        id=id or id_of(message.pk),
        status=status or _status(message),
        enqueued_at=message.enqueued_at,
        started_at=started_at,
        finished_at=getattr(message, "finished_at", None),
        last_attempted_at=_last_attempted_at(message, started_at),
        args=args,
        kwargs=kwargs,
        backend=facts.get("backend", task.backend),
        errors=[_error_of(entry) for entry in attempts_of(message.errors)],
        worker_ids=_worker_ids(message, worker or _name_of(message, holder)),
    )
    object.__setattr__(result, "_return_value", getattr(message, "result", None))
    return result


def _as_enqueued(message: AnyMessage, task: Task[..., Any], facts: dict[str, Any]) -> Task[..., Any]:
    run_after = facts.get("run_after")
    if isinstance(run_after, str):
        run_after = datetime.fromisoformat(run_after)
    elif run_after is not None:
        # A length of time, counted from then: for Django it is the moment at its end.
        run_after = message.enqueued_at + timedelta(seconds=run_after)
    return copy_of(
        task,
        priority=message.priority,
        queue_name=message.queue,
        backend=facts.get("backend", task.backend),
        run_after=run_after,
        unique_key=message.unique_key,
    )


def _status(message: AnyMessage) -> TaskResultStatus:
    if isinstance(message, ArchivedMessage):
        # Dead, cancelled and expired are all the same to Django.
        return TaskResultStatus.SUCCESSFUL if message.outcome == "succeeded" else TaskResultStatus.FAILED
    if message.leased_by is not None and message.state_at(engine_for(_alias()).clock()) == "running":
        return TaskResultStatus.RUNNING
    return TaskResultStatus.READY


def _started_at(message: AnyMessage) -> datetime | None:
    started_at = message.first_started_at or (message.leased_at if message.attempts else None)
    # When it began was reckoned back from its end, by the worker's clock.
    return started_at and max(started_at, message.enqueued_at)


def _last_attempted_at(message: AnyMessage, started_at: datetime | None) -> datetime | None:
    if started_at is None or _has_begun_once(message):
        return started_at
    attempted_at = message.leased_at
    if isinstance(message, ArchivedMessage) and message.seconds is not None:
        attempted_at = message.finished_at - timedelta(seconds=message.seconds)
    elif attempted_at is None and (attempts := attempts_of(message.errors)):
        newest = attempts[-1]
        # For an attempt that its worker did not survive, the record has the beginning.
        attempted_at = datetime.fromisoformat(newest["at"]) - timedelta(seconds=newest["seconds"] or 0)
    return max(started_at, attempted_at or started_at)


def _has_begun_once(message: AnyMessage) -> bool:
    """Whether the first attempt is the last: claimed once, or first begun under the last lease."""
    first, leased_at = message.first_started_at, message.leased_at
    return message.receipt == 1 or first is None or (leased_at is not None and first >= leased_at)


def _worker_ids(message: AnyMessage, worker: str | None) -> list[str]:
    """Return the name of a worker for each attempt; for one that failed, it is in the record."""
    names = {entry["attempt"]: entry["process"] for entry in attempts_of(message.errors)}
    ids = [names.get(attempt, UNKNOWN_WORKER) for attempt in range(1, message.attempts + 1)]
    if ids and worker is not None:
        ids[-1] = worker
    return ids


def _holder_of(message: AnyMessage) -> Process | None:
    """Return the process that has a message, or had it at its end; its row is deleted a day after its own."""
    if message.leased_by is None or getattr(message, "outcome", "") == "dead":
        return None
    rows = Process.objects.using(_alias()).filter(pk=message.leased_by)
    return rows.only("name", "progress").first()


def _name_of(message: AnyMessage, holder: Process | None) -> str | None:
    if holder is not None:
        return holder.name
    is_dead = getattr(message, "outcome", "") == "dead"
    return None if message.leased_by is None or is_dead else str(message.leased_by)


def _error_of(entry: dict[str, Any]) -> TaskError:
    path = READ_AS.get(entry["class"], entry["class"])
    # As import_string() takes it.
    path = path if "." in path else f"builtins.{path}"
    return TaskError(exception_class_path=path, traceback=entry["traceback"])


def _alias() -> str:
    return settings().database


# -- from deliveries in flight --------------------------------------------------------------------------


def begun(task: Task[..., Any], delivery: Delivery) -> TaskResult[..., Any]:
    """Return the result of a task whose attempt begins; the database is asked for earlier attempts only."""
    message: AnyMessage | None = _found(delivery) if delivery.attempt > 1 else None
    if message is None:
        message = Message(**_facts_in_hand(delivery), leased_at=datetime.now(UTC))
    return result_of(message, task, status=TaskResultStatus.RUNNING, worker=_this_worker())


def ended(
    task: Task[..., Any],
    delivery: Delivery,
    outcome: str,
    seconds: float,
    result: Any,
    error: BaseException | None,
) -> TaskResult[..., Any]:
    """Return the result of a task that came to its end with this delivery."""
    succeeded = outcome == "succeeded"
    message: AnyMessage | None = None if succeeded and delivery.attempt == 1 else _found(delivery)
    if message is None:
        # Not before it was enqueued, which the database's clock has said.
        now, worker = max(datetime.now(UTC), delivery.enqueued_at), _this_worker()
        message = ArchivedMessage(
            **_facts_in_hand(delivery),
            outcome=outcome,
            first_started_at=now - timedelta(seconds=seconds),
            finished_at=now,
            seconds=seconds,
            result=result,
        )
        if error is not None and not succeeded:
            at = now.isoformat()
            entry = error_entry(error, attempt=delivery.attempt, at=at, seconds=seconds, process=worker)
            message.errors = [entry]
    return result_of(message, task, worker=_this_worker() if succeeded else None)


def _found(delivery: Delivery) -> AnyMessage | None:
    """Return its message; None when it was deleted, or the settings keep none of its outcome."""
    try:
        return messages.find(delivery.message_id)
    except MessageNotFound:
        return None


def _facts_in_hand(delivery: Delivery) -> dict[str, Any]:
    same = ("type", "payload", "headers", "queue", "priority", "enqueued_at", "max_attempts")
    facts = {name: getattr(delivery, name) for name in same}
    return {**facts, "id": delivery.message_id, "attempts": delivery.attempt}


def _this_worker() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"
