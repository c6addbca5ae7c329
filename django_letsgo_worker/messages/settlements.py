"""Settlements: the values to write for a claimed message, and the messages that follow its death.

outcomes.py decides the outcome of an attempt; the engines write it, each time under the fence.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import DatabaseError

from .. import registry
from ..conf import settings
from ..delivery import Control, Delivery, delivery_with
from ..engines import Claimed, NewRow, Settlement, in_short
from ..errors import InvalidMessage, WorkerDied
from ..models import Message, Process
from ..outcomes import Outcome, dotted, error_entry, fingerprint, lost_entry, lost_fingerprint, with_entry
from ..registry import Handler
from ..validation import MAX_TEXT, exact_json, storable
from .arguments import Given, row_of

logger = logging.getLogger("django_letsgo_worker.worker")

# The most of an error's text in the message that follows a death, in bytes: the dead letter has all of it.
MOST_WORDS = 2_000


def kept_outcomes() -> frozenset[str]:
    """Return the outcomes that leave an archived row: a keep-time of 0 keeps none."""
    now = settings()
    kept = {"succeeded", "cancelled", "expired"} if now.keep_succeeded_for else set()
    return frozenset(kept | ({"dead"} if now.keep_dead_for else set()))


def payload_of(claimed: Claimed) -> Any:
    """Return the payload of a claimed message, to choose a handler by; None where it cannot be read."""
    try:
        return json.loads(claimed.payload)
    except (ValueError, RecursionError):
        return None


def _errors_of(claimed: Claimed) -> list[Any]:
    """Return the errors so far; none where the column holds no list."""
    try:
        errors = json.loads(claimed.errors)
    except (ValueError, RecursionError):
        return []
    return errors if isinstance(errors, list) else []


def delivery_of(claimed: Claimed, control: Control | None = None) -> Delivery:
    """Return the value that a handler is given for a claimed message."""
    payload, headers = _contents_of(claimed)
    return delivery_with(
        message_id=claimed.id,
        type=claimed.type,
        payload=payload,
        headers=headers,
        queue=claimed.queue,
        priority=claimed.priority,
        attempt=claimed.attempts,
        max_attempts=claimed.max_attempts,
        receipt=claimed.receipt,
        enqueued_at=claimed.enqueued_at,
        deadline=claimed.deadline,
        planned_at=claimed.planned_at,
        schedule=headers.get("schedule") if claimed.planned_at else None,
        _control=control or Control(),
    )


def _contents_of(claimed: Claimed) -> tuple[Any, dict[str, Any]]:
    """Return payload and headers; if they cannot be read, InvalidMessage, which shows neither."""
    try:
        payload, headers = (
            json.loads(claimed.payload),
            json.loads(claimed.headers) if claimed.headers != "{}" else {},
        )
        if isinstance(headers, dict):
            return payload, headers
        del payload, headers
    except (ValueError, RecursionError):
        pass
    raise InvalidMessage(
        f"Message {claimed.id} cannot be read: its payload is not JSON, or its headers are not a JSON object."
    )


def settlement_of(
    claimed: Claimed,
    outcome: Outcome,
    *,
    seconds: float,
    ended_seconds_ago: float = 0.0,
    process: str,
    handler: Handler | None = None,
) -> Settlement:
    """Return the settlement of an attempt of `handler` that ended.

    `seconds` is how long the handler ran; `process` names the worker in the record of a failure.
    """
    entry = errors = mark = None
    if outcome.recorded and outcome.exception is not None:
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        entry = error_entry(
            outcome.exception, attempt=claimed.attempts, at=at, seconds=seconds, process=process
        )
        errors = exact_json(with_entry(_errors_of(claimed), entry))
        mark = fingerprint(outcome.exception)
    settlement = Settlement(
        id=claimed.id,
        receipt=claimed.receipt,
        outcome=outcome.settled_as,
        attempts=None if outcome.counted else claimed.attempts - 1,
        errors=errors,
        delay_seconds=outcome.delay_seconds,
        started_seconds_ago=seconds + ended_seconds_ago,
        seconds=seconds,
        error_class=entry["class"] if entry else "",
        error_fingerprint=mark or "",
        on_dead=followers_of(claimed, handler, entry) if entry and outcome.name == "dead" else (),
        max_attempts=outcome.max_attempts,
        keep=None if outcome.name == "dead" else _kept_by(handler),
    )
    if outcome.result is not None:
        _keep_result(settlement, outcome, claimed)
    return settlement


def _kept_by(handler: Handler | None) -> bool | None:
    """Whether a type keeps what did not die; None where the settings say it for all."""
    return None if handler is None or handler.keep_for is None else handler.keep_for > 0


def _keep_result(settlement: Settlement, outcome: Outcome, claimed: Claimed) -> None:
    settlement.result, flaw = encode_result(outcome.result, settings().max_result_bytes)
    if flaw:
        logger.warning("The result of message %s (%s) %s.", claimed.id, claimed.type, flaw)


def encode_result(result: Any, most: int | None) -> tuple[str, str]:
    """Return a handler's result as JSON text of at most `most` bytes, and its flaw, "" if it has none.

    With a flaw it is kept as text, cut at 64 KiB: str() of a result that is not JSON, the JSON of a long one.
    """
    try:
        text = exact_json(result)
        size = len(text) if text.isascii() else len(text.encode())
        if "\\u0000" in text:
            raise ValueError("a NUL character")
    except Exception:
        # Not only the encoder's own errors: a thread that the handler left may be changing the result.
        return exact_json(_cut(_readable(result), most)), "is not JSON: its text is kept"
    if most is None or size <= most:
        return text, ""
    return exact_json(_cut(text, most)), f"is longer than MAX_RESULT_BYTES ({most}): it is kept as text, cut"


def _cut(text: str, most: int | None) -> str:
    return storable(text, min(MAX_TEXT, most or MAX_TEXT))


def _readable(value: Any) -> str:
    try:
        return str(value)
    except BaseException:
        return f"(a {type(value).__name__} whose text cannot be read)"


def release_of(claimed: Claimed, *, deaths: int = 0) -> Settlement:
    """Return the settlement that gives a message back at once, as if it had not been claimed."""
    return Settlement(
        id=claimed.id,
        receipt=claimed.receipt,
        outcome="released",
        attempts=claimed.attempts - 1,
        deaths=deaths,
    )


def note_lost_attempts(claimed: Sequence[Claimed], using: str) -> list[Claimed]:
    """Add to the errors of messages the attempts whose workers died with them; return these messages.

    They are still to be written. A message that ends here, its attempts exhausted, has it in its last entry.
    """
    lost = [message for message in claimed if message.lapse is not None]
    if not lost:
        return []
    last_heard_of = _last_heard_of({message.lapse.process for message in lost if message.lapse}, using)
    for message in lost:
        assert message.lapse is not None
        name, heard_at = last_heard_of.get(message.lapse.process, (str(message.lapse.process), None))
        message.lost_attempt = lost_entry(
            attempt=message.attempts - 1, begun_at=message.lapse.leased_at, process=name, heard_at=heard_at
        )
        message.lost_fingerprint = lost_fingerprint()
        if not message.has_exhausted_attempts:
            message.errors = exact_json(with_entry(_errors_of(message), message.lost_attempt))
    return [message for message in lost if not message.has_exhausted_attempts]


def _last_heard_of(processes: set[UUID], using: str) -> dict[UUID, tuple[str, datetime]]:
    """Return the name of each process that has a row, and its last sign of life."""
    try:
        rows = Process.objects.using(using).filter(pk__in=processes).values_list("pk", "name", "heartbeat_at")
        return {pk: (name, heard_at) for pk, name, heard_at in rows}
    except DatabaseError as error:
        logger.warning("The names of workers that died could not be read: %s", in_short(error))
        return {}


def refusal_of(claimed: Claimed, process: str, handler: Handler | None = None) -> Settlement | None:
    """Return the settlement of a claimed message that must not run: attempts exhausted, or past its deadline.

    The claim that found this out does not count as an attempt. `handler` is the one that would have run.
    """
    if claimed.deadline is not None and claimed.deadline <= claimed.leased_at:
        return Settlement(
            id=claimed.id, receipt=claimed.receipt, outcome="expired", attempts=claimed.attempts - 1,
            keep=_kept_by(handler),
        )  # fmt: skip
    if not claimed.has_exhausted_attempts:
        return None
    error = WorkerDied(max(1, claimed.deaths))
    at = claimed.leased_at.isoformat(timespec="microseconds")
    entry = error_entry(error, attempt=claimed.max_attempts, at=at, seconds=None, process=process)
    if claimed.lost_attempt is not None:
        entry |= {name: claimed.lost_attempt[name] for name in ("at", "process")}
    return Settlement(
        id=claimed.id,
        receipt=claimed.receipt,
        outcome="dead",
        attempts=claimed.attempts - 1,
        errors=exact_json(with_entry(_errors_of(claimed), entry)),
        deaths=claimed.deaths,
        error_class=dotted(error),
        error_fingerprint=fingerprint(error),
        on_dead=followers_of(claimed, handler, entry),
    )


def followers_of(
    dead: Claimed | Message, handler: Handler | None, entry: Mapping[str, Any]
) -> tuple[NewRow, ...]:
    """Return the messages that follow the death of a message, by its `handler` and by what follows all.

    `entry` is the last one of its errors. They have the headers of the dead one, and so continue its context.
    One that cannot be made is logged: whatever is wrong with it, the death is recorded.
    """
    headers = _headers_of(dead)
    on_dead = handler.on_dead if handler is not None else None
    types = registry.following(dead.type, headers.get("schedule"), on_dead)
    payload = {
        "message": dead.id,
        "type": dead.type,
        "queue": dead.queue,
        "error_class": entry["class"],
        "error": storable(entry["message"], MOST_WORDS),
    }
    rows = []
    for type in types:
        try:
            rows.append(row_of(Given(type=type, payload=payload, headers=headers)))
        except Exception:
            logger.exception("Message %s died, and no message of type %s can follow it.", dead.id, type)
    return tuple(rows)


def _headers_of(dead: Claimed | Message) -> Mapping[str, Any]:
    headers: Any = dead.headers
    try:
        headers = json.loads(headers) if isinstance(headers, str) else headers
    except ValueError:
        headers = None
    if not isinstance(headers, dict):
        return {}
    # A header of this name on any other message is not a schedule's.
    return headers if dead.planned_at else {k: v for k, v in headers.items() if k != "schedule"}
