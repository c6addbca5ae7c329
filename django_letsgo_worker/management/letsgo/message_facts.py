"""Messages as facts, live and archived under the same keys.

Payloads, headers and results are among them only when asked for, with what looks secret masked.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from ...models import ArchivedMessage, Message
from ...redaction import redacted
from . import showing

FACTS = (
    "id", "type", "queue", "priority", "visible_at", "enqueued_at", "deadline", "attempts", "max_attempts",
    "receipt", "deaths", "leased_by", "leased_at", "first_started_at", "unique_key", "scheduled_job_id",
    "planned_at",
)  # fmt: skip
ENDED = ("outcome", "finished_at", "seconds", "error_class", "error_fingerprint")
# These may be personal data.
PRIVATE = ("payload", "headers", "result")


def facts_of(message: Message | ArchivedMessage, now: datetime) -> dict[str, Any]:
    """Return the short facts of a message; those of its end are None while it lives."""
    is_over = isinstance(message, ArchivedMessage)
    ended = showing.facts_of(message, ENDED) if is_over else dict.fromkeys(ENDED)
    return {"state": state_of(message, now), **showing.facts_of(message, FACTS), **ended}


def state_of(message: Message | ArchivedMessage, now: datetime) -> str:
    """Return how a message ended, or its state while it lives."""
    return str(message.outcome) if isinstance(message, ArchivedMessage) else message.state_at(now)


def private_facts_of(message: Message | ArchivedMessage) -> dict[str, Any]:
    """Return what may be personal data, masked; a live message has no result."""
    return {name: redacted(getattr(message, name, None)) for name in PRIVATE}


def without_long_columns(rows: QuerySet[Any], *, private: bool) -> QuerySet[Any]:
    """Leave unread what a list doesn't show: errors and, unless they were asked for, the private columns."""
    hidden = {"errors"} if private else {"errors", *PRIVATE}
    return rows.defer(*(field.name for field in rows.model._meta.concrete_fields if field.name in hidden))


def as_lines(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts for people, with what is not set left out; errors are printed on their own."""
    said = {name: value for name, value in facts.items() if name != "errors" and value not in (None, "")}
    return showing.labelled(said)


def error_lines(errors: Any) -> list[str]:
    """Return the record of failed attempts and redrives as lines, tracebacks included."""
    lines: list[str] = []
    for entry in errors if isinstance(errors, list) else []:
        known = entry if isinstance(entry, dict) else {}
        if known.get("redrive"):
            by = f" by {known['by']}" if known.get("by") else ""
            reason = f": {known['reason']}" if known.get("reason") else ""
            lines += ["", showing.printable(f"Redriven {known.get('at', '?')}{by}{reason}")]
            continue
        attempt, at, name, said = (known.get(key, "?") for key in ("attempt", "at", "class", "message"))
        head = f"#{attempt} {showing.recorded(at)} {name}: {said}"
        lines += ["", showing.printable(head)]
        trace = showing.printable(str(known.get("traceback") or ""), keep="\n\t").rstrip()
        lines += [f"    {line}" for line in trace.splitlines()]
    return lines
