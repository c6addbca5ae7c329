"""What happened to a message, as a list in order: enqueued, each attempt, what people did, its end.

It is read out of the row alone and the processes of its snapshot; what a message waits for is in explanation.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from ..errors import UnknownType, WorkerDied
from ..models import ArchivedMessage, Message
from ..outcomes import KEPT_ERRORS
from .lengths import at_clock, length, span
from .runs import is_held_back
from .snapshot import Snapshot

LONGEST_WORDS = 300
DIED, UNKNOWN = (f"{error.__module__}.{error.__qualname__}" for error in (WorkerDied, UnknownType))
# The events of what people did, by the mark of its entry.
BY_PEOPLE = {"redrive": "redriven", "retry": "retried"}

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
    name = str(entry.get("class") or _("an error")).rpartition(".")[2]
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
    headers = row.headers if isinstance(row.headers, dict) else {}
    clauses = dict.fromkeys(("priority", "schedule", "planned", "chain", "later"), "")
    if row.priority:
        clauses["priority"] = _(" with priority %(priority)s") % {"priority": row.priority}
    if row.scheduled_job_id is not None:
        event["schedule"] = headers.get("schedule") or row.scheduled_job_id
        clauses["schedule"] = _(" by schedule %(name)s") % {"name": event["schedule"]}
    if row.planned_at is not None:
        event["planned_at"] = row.planned_at
        clauses["planned"] = _(" for %(when)s") % {"when": at_clock(row.planned_at, now)}
    if headers.get("correlation_id"):
        event["correlation_id"] = headers["correlation_id"]
        clauses["chain"] = _chain(str(event["correlation_id"]))
    if not (row.receipt or row.attempts) and row.visible_at > row.enqueued_at:
        clauses["later"] = _later(row, now)
    text = _("Enqueued into %(queue)s%(priority)s%(schedule)s%(planned)s%(chain)s%(later)s.")
    return {**event, "sentence": text % {"queue": row.queue, **clauses}}


def _later(row: Message | ArchivedMessage, now: datetime) -> str:
    if is_held_back(row):
        return _(", to run after an earlier message of it")
    return _(", to run at %(when)s") % {"when": at_clock(row.visible_at, now)}


def _chain(began: str) -> str:
    # A chain has the id of its first message, unless a request gave it another.
    text = _(" in the chain of message %(id)s") if began.isdecimal() else _(" in the context of %(id)s")
    return text % {"id": began}


def _not_kept(row: Message | ArchivedMessage, entries: list[dict[str, Any]]) -> Iterator[Event]:
    """Yield that earlier entries were dropped, where they were."""
    first = entries[0].get("attempt") if entries else None
    if len(entries) < KEPT_ERRORS or not isinstance(first, int) or first <= 1:
        return
    sentence = ngettext(
        "Try 1 failed too; the newest %(kept)s entries are kept.",
        "Tries 1 to %(last)s failed too; the newest %(kept)s entries are kept.",
        first - 1,
    ) % {"last": first - 1, "kept": KEPT_ERRORS}
    yield {"at": row.first_started_at or row.enqueued_at, "event": "failed", "sentence": sentence}


# -- what is recorded --------------------------------------------------------------------------------------


def _of_entry(entry: dict[str, Any], before: datetime) -> Iterator[Event]:
    at = _moment(entry.get("at")) or before
    for mark, event in BY_PEOPLE.items():
        if entry.get(mark):
            yield _by_people(entry, at, event)
            return
    # What no worker knows was never claimed: its end says it.
    if entry.get("class") != UNKNOWN:
        yield from _attempt(entry, at, before)


def _by_people(entry: dict[str, Any], at: datetime, event: str) -> Event:
    by, reason = (str(entry.get(name) or "") for name in ("by", "reason"))
    text = _("Redriven%(by)s%(why)s") if event == "redriven" else _("Made due at once%(by)s%(why)s")
    sentence = text % {
        "by": _(" by %(name)s") % {"name": by} if by else "",
        "why": f": {reason}" if reason else "",
    }
    return {"at": at, "event": event, "by": by, "reason": reason, "sentence": f"{sentence.rstrip('.')}."}


def _attempt(entry: dict[str, Any], at: datetime, before: datetime) -> Iterator[Event]:
    """Yield the begin and the end of an attempt that failed; one that was lost has only its begin's time."""
    seconds = entry.get("seconds") if isinstance(entry.get("seconds"), (int, float)) else None
    attempt, process = entry.get("attempt"), str(entry.get("process") or "")
    begun = max(at - timedelta(seconds=seconds or 0), before)
    yield _claimed(begun, before, attempt=attempt, process=process)
    error = {name: str(entry.get(name) or "") for name in ("class", "message", "traceback")}
    facts = {"attempt": attempt, "process": process, "seconds": seconds, **error}
    if error["class"] == DIED:
        text = _("%(attempt)s was lost: %(error)s.")
        said = text % {"attempt": _number(attempt), "error": error["message"]}
        yield {"at": at, "event": "lost", **facts, "sentence": said}
        return
    said = _("%(attempt)s failed%(after)s: %(error)s") % {
        "attempt": _number(attempt),
        "after": _after(seconds),
        "error": in_short(entry),
    }
    yield {"at": at, "event": "failed", **facts, "sentence": said}


def _number(attempt: Any) -> str:
    return _("An attempt") if attempt is None else _("Try %(number)s") % {"number": attempt}


def _after(seconds: float | None) -> str:
    return _(" after %(span)s") % {"span": span(seconds)} if seconds is not None else ""


def _claimed(at: datetime, before: datetime, *, attempt: Any, process: str) -> Event:
    waited = max((at - before).total_seconds(), 0.0)
    said = _("%(attempt)s began%(on)s%(waited)s.") % {
        "attempt": _number(attempt),
        "on": _(" on %(process)s") % {"process": process} if process else "",
        "waited": _(", after waiting %(span)s") % {"span": length(waited)} if waited >= 1 else "",
    }
    return {
        "at": at, "event": "claimed", "attempt": attempt, "process": process, "waited": waited,
        "sentence": said,
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
    said = ngettext(
        "Snoozed, or given back by a worker that stopped, once: that uses no try.",
        "Snoozed, or given back by a worker that stopped, %(count)s times: that uses no try.",
        times,
    ) % {"count": times}
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
        text = _("Try %(try)s was lost: %(process)s let its lease lapse.")
        said = text % {"try": row.attempts, "process": name}
        facts = {"attempt": row.attempts, "process": name, "seconds": None}
        yield {"at": row.visible_at, "event": "lost", **facts, "sentence": said}


def _end(row: ArchivedMessage, entries: list[dict[str, Any]]) -> Event:
    event: Event = {"at": row.finished_at, "event": row.outcome, "seconds": row.seconds}
    return {**event, "sentence": _ended(row, entries)}


def _ended(row: ArchivedMessage, entries: list[dict[str, Any]]) -> str:
    if row.outcome == "succeeded":
        facts = {"try": row.attempts, "after": _after(row.seconds)}
        return _("Succeeded at try %(try)s%(after)s.") % facts
    if row.outcome == "dead":
        if entries and entries[-1].get("class") == UNKNOWN:
            text = _("Became a dead letter: no worker has known the type %(type)s for a day.")
            return text % {"type": row.type}
        text = _("Became a dead letter after %(try)s of %(most)s tries.")
        return text % {"try": row.attempts, "most": row.max_attempts}
    if row.outcome == "expired":
        return _("Expired: its deadline passed before it could be handled.")
    return _("Cancelled.")
