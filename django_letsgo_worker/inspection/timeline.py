"""What happened to a message, as a list in order: enqueued, each attempt, what people did, its end.

It is read out of the row alone and the processes of its snapshot; what a message waits for is in explanation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from ..errors import UnknownType, WorkerDied
from ..models import ArchivedMessage, Message
from ..outcomes import KEPT_ERRORS
from .lengths import at_clock, length, span
from .snapshot import Snapshot

LONGEST_WORDS = 300
DIED, UNKNOWN = (f"{error.__module__}.{error.__qualname__}" for error in (WorkerDied, UnknownType))
# What people did, by the mark of its entry.
BY_PEOPLE = {"redrive": ("redriven", "Redriven"), "retry": ("retried", "Made due at once")}

Event = dict[str, Any]


def timeline_of(row: Message | ArchivedMessage, snapshot: Snapshot) -> list[Event]:
    """Return the events of a message, the oldest first; each has `at`, `event` and `sentence`.

    Attempts have `attempt`, `process`, `seconds`, and failed ones also `class`, `message` and `traceback`;
    what people did has `by` and `reason`. Only the newest entries of a message's errors are kept.
    """
    entries = entries_of(row)
    events = [_enqueued(row, snapshot.now)]
    events += _not_kept(row, entries)
    for entry in entries:
        events += _of_entry(entry, events[-1]["at"])
    events += _without_trace(row, entries, events[-1]["at"])
    events += _last_claim(row, snapshot, events[-1]["at"])
    if isinstance(row, ArchivedMessage):
        events.append(_end(row, entries))
    return events


def entries_of(row: Message | ArchivedMessage) -> list[dict[str, Any]]:
    """Return what a message's errors record, whatever stands there."""
    errors = row.errors if isinstance(row.errors, list) else [row.errors]
    return [entry if isinstance(entry, dict) else {"message": str(entry)} for entry in errors if entry]


def in_short(entry: dict[str, Any]) -> str:
    """Return an error as a sentence says it: its class without the module, and its words in one line."""
    name = str(entry.get("class") or "an error").rpartition(".")[2]
    words = " ".join(str(entry.get("message") or "")[: 4 * LONGEST_WORDS].split())
    words = words if len(words) <= LONGEST_WORDS else f"{words[: LONGEST_WORDS - 1]}…"
    return f"{name}: {words}" if words else name


def holder_of(row: Message | ArchivedMessage, snapshot: Snapshot) -> str:
    """Return the name of the process that claimed a message last, its id if it has no row any more."""
    return name_of(row.leased_by, snapshot) if row.leased_by is not None else ""


def name_of(process: UUID, snapshot: Snapshot) -> str:
    return next((one.name for one in snapshot.processes if one.pk == process), str(process))


# -- the beginning -----------------------------------------------------------------------------------------


def _enqueued(row: Message | ArchivedMessage, now: datetime) -> Event:
    event: Event = {"at": row.enqueued_at, "event": "enqueued"}
    said = f"Enqueued into {row.queue}"
    said += f" with priority {row.priority}" if row.priority else ""
    headers = row.headers if isinstance(row.headers, dict) else {}
    if row.scheduled_job_id is not None:
        event["schedule"] = headers.get("schedule") or row.scheduled_job_id
        said += f" by schedule {event['schedule']}"
    if row.planned_at is not None:
        event["planned_at"] = row.planned_at
        said += f" for {at_clock(row.planned_at, now)}"
    if headers.get("correlation_id"):
        event["correlation_id"] = headers["correlation_id"]
        # A chain has the id of its first message, unless a request gave it another.
        began = str(event["correlation_id"])
        said += f" in the chain of message {began}" if began.isdecimal() else f" in the context of {began}"
    if not (row.receipt or row.attempts) and row.visible_at > row.enqueued_at:
        said += f", to run at {at_clock(row.visible_at, now)}"
    return {**event, "sentence": f"{said}."}


def _not_kept(row: Message | ArchivedMessage, entries: list[dict[str, Any]]) -> Iterator[Event]:
    """Yield that earlier entries were dropped, where they were."""
    first = entries[0].get("attempt") if entries else None
    if len(entries) < KEPT_ERRORS or not isinstance(first, int) or first <= 1:
        return
    said = "Try 1" if first == 2 else f"Tries 1 to {first - 1}"
    sentence = f"{said} failed too; the newest {KEPT_ERRORS} entries are kept."
    yield {"at": row.first_started_at or row.enqueued_at, "event": "failed", "sentence": sentence}


# -- what is recorded --------------------------------------------------------------------------------------


def _of_entry(entry: dict[str, Any], before: datetime) -> Iterator[Event]:
    at = _moment(entry.get("at")) or before
    for mark, (event, verb) in BY_PEOPLE.items():
        if entry.get(mark):
            yield _by_people(entry, at, event, verb)
            return
    # What no worker knows was never claimed: its end says it.
    if entry.get("class") != UNKNOWN:
        yield from _attempt(entry, at, before)


def _by_people(entry: dict[str, Any], at: datetime, event: str, verb: str) -> Event:
    by, reason = (str(entry.get(name) or "") for name in ("by", "reason"))
    sentence = f"{verb}{f' by {by}' if by else ''}{f': {reason}' if reason else ''}"
    return {"at": at, "event": event, "by": by, "reason": reason, "sentence": f"{sentence.rstrip('.')}."}


def _attempt(entry: dict[str, Any], at: datetime, before: datetime) -> Iterator[Event]:
    """Yield the begin and the end of an attempt that failed; one that was lost has only its begin's time."""
    seconds = entry.get("seconds") if isinstance(entry.get("seconds"), (int, float)) else None
    attempt, process = entry.get("attempt"), str(entry.get("process") or "")
    number = "An attempt" if attempt is None else f"Try {attempt}"
    begun = max(at - timedelta(seconds=seconds or 0), before)
    yield _claimed(begun, before, attempt=attempt, process=process)
    error = {name: str(entry.get(name) or "") for name in ("class", "message", "traceback")}
    facts = {"attempt": attempt, "process": process, "seconds": seconds, **error}
    if error["class"] == DIED:
        yield {"at": at, "event": "lost", **facts, "sentence": f"{number} was lost: {error['message']}."}
        return
    took = f" after {span(seconds)}" if seconds is not None else ""
    yield {"at": at, "event": "failed", **facts, "sentence": f"{number} failed{took}: {in_short(entry)}"}


def _claimed(at: datetime, before: datetime, *, attempt: Any, process: str) -> Event:
    number = "An attempt" if attempt is None else f"Try {attempt}"
    on = f" on {process}" if process else ""
    waited = max((at - before).total_seconds(), 0.0)
    after = f", after waiting {length(waited)}" if waited >= 1 else ""
    return {
        "at": at, "event": "claimed", "attempt": attempt, "process": process, "waited": waited,
        "sentence": f"{number} began{on}{after}.",
    }  # fmt: skip


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


# -- what is not ------------------------------------------------------------------------------------------


def _without_trace(
    row: Message | ArchivedMessage, entries: list[dict[str, Any]], before: datetime
) -> Iterator[Event]:
    """Yield that claims ended without using an attempt: only their number is known, by the receipt.

    Each claim adds 1 to the receipt, and so does what people do to a message.
    """
    times = row.receipt - _claims_told(row, entries)
    if times <= 0 or row.first_started_at is None or len(entries) >= KEPT_ERRORS:
        return
    often = "once" if times == 1 else f"{times} times"
    said = f"Snoozed, or given back by a worker that stopped, {often}: that uses no try."
    at = max(row.first_started_at, before)
    yield {"at": at, "event": "snoozed", "count": times, "sentence": said}


def _claims_told(row: Message | ArchivedMessage, entries: list[dict[str, Any]]) -> int:
    told, last = 0, 0
    for entry in entries:
        if entry.get("redrive"):
            told += last
            last = 0
        if any(entry.get(mark) for mark in BY_PEOPLE):
            told += 1
        elif isinstance(entry.get("attempt"), int):
            # The claim that finds out that a worker died, or that nobody knows a type, is not an attempt.
            last = entry["attempt"] + (entry.get("class") in (DIED, UNKNOWN))
    if not isinstance(row, ArchivedMessage):
        return told + row.attempts
    newest = entries[-1].get("class") if entries else None
    is_refused = row.outcome == "dead" and newest in (DIED, UNKNOWN)
    return told + row.attempts + (is_refused or row.outcome in ("cancelled", "expired"))


# -- the newest attempt, and the end -----------------------------------------------------------------------


def _last_claim(row: Message | ArchivedMessage, snapshot: Snapshot, before: datetime) -> Iterator[Event]:
    """Yield the claim that no failure tells of: of one that runs, was lost just now, or ended otherwise."""
    if row.leased_at is None or row.leased_by is None:
        return
    if isinstance(row, ArchivedMessage) and row.outcome not in ("succeeded", "cancelled"):
        return
    name = holder_of(row, snapshot)
    yield _claimed(row.leased_at, before, attempt=row.attempts, process=name)
    if isinstance(row, Message) and row.visible_at <= snapshot.now:
        said = f"Try {row.attempts} was lost: {name} let its lease lapse."
        facts = {"attempt": row.attempts, "process": name, "seconds": None}
        yield {"at": row.visible_at, "event": "lost", **facts, "sentence": said}


def _end(row: ArchivedMessage, entries: list[dict[str, Any]]) -> Event:
    event: Event = {"at": row.finished_at, "event": row.outcome, "seconds": row.seconds}
    return {**event, "sentence": f"{_ended(row, entries)}."}


def _ended(row: ArchivedMessage, entries: list[dict[str, Any]]) -> str:
    if row.outcome == "succeeded":
        took = f" after {span(row.seconds)}" if row.seconds is not None else ""
        return f"Succeeded at try {row.attempts}{took}"
    if row.outcome == "dead":
        if entries and entries[-1].get("class") == UNKNOWN:
            return f"Became a dead letter: no worker has known the type {row.type} for a day"
        return f"Became a dead letter after {row.attempts} of {row.max_attempts} tries"
    if row.outcome == "expired":
        return "Expired: its deadline passed before it could be handled"
    return "Cancelled"
