"""The fields of a schedule and their allowed values; each refusal is one sentence and names its field.

The same rules serve the verbs, full_clean() and so the admin; uniqueness is left to the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from .. import payloads, typed
from ..conf import settings
from ..errors import InvalidMessage, InvalidSchedule
from ..hints import nearest
from ..recurrence import Exclusions, Recurrence
from ..registry import check_payload, check_reserved
from ..validation import (
    check_max_attempts,
    check_moment,
    check_name,
    check_priority,
    check_seconds,
    show,
)
from .plans import Plannable, plan

DEFAULT_GRACE = timedelta(seconds=60)
LONGEST_NAME = 200
LONGEST_SPREAD = 24 * 60
MOST_RUNS, MOST_FAILURES = 2**31 - 1, 1_000
CHOICES = {"misfire": ("once", "skip", "all"), "overlap": ("allow", "skip", "queue", "replace")}

Refusal = InvalidSchedule | InvalidMessage


class MessageFields(TypedDict, total=False):
    """The fields of a schedule about its messages; None is what the type's handler says at each run."""

    queue: str | None
    priority: int | None
    max_attempts: int | None
    # Counted from the planned time and its spread: a timedelta or seconds.
    deadline: timedelta | float | None


class RunFields(TypedDict, total=False):
    """The fields about its runs: bounds, both inclusive, and rules."""

    starts_at: datetime | None
    ends_at: datetime | None
    misfire: str
    # A timedelta or seconds; None is DEFAULT_GRACE.
    misfire_grace: timedelta | float | None
    overlap: str
    # Minutes.
    spread: int
    # Days on which nothing runs: dates, ranges, and calendars that the project registers.
    except_on: str
    max_runs: int | None
    pause_after_failures: int | None
    delete_when_over: bool


class DeclaredFields(MessageFields, RunFields, total=False):
    """The fields that code may declare beside name, expression, zone, type and payload."""


class AddedFields(DeclaredFields, total=False):
    """The fields of schedules.add() beside name, expression, type and payload."""

    timezone: str
    enabled: bool


# The fields of a schedule beside its name, for every door: lists of fields come from here. The model defines
# the columns, and a test keeps both in step.
MESSAGE_FIELDS, RUN_FIELDS = tuple(MessageFields.__annotations__), tuple(RunFields.__annotations__)
DECLARED_FIELDS = frozenset(DeclaredFields.__annotations__)
FIELDS = ("schedule", "type", "payload", *AddedFields.__annotations__)
LENGTHS = ("deadline", "misfire_grace")


def as_columns(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields as columns hold them: lengths of time as timedeltas, or InvalidMessage."""
    columns = dict(fields)
    if "misfire_grace" in columns and columns["misfire_grace"] is None:
        columns["misfire_grace"] = DEFAULT_GRACE
    for name in LENGTHS:
        if columns.get(name) is not None:
            columns[name] = timedelta(seconds=check_seconds(name, columns[name]))
    if "payload" in columns:
        columns["payload"] = payloads.as_json(columns["payload"])
    return columns


def refusals(job: Plannable, now: datetime) -> Iterator[tuple[str, Refusal]]:
    """Yield (field, error) for everything that is wrong with a row, in the order people fill it in."""
    bad = set()
    for field, check in _CHECKS.items():
        try:
            check(job)
        except (InvalidSchedule, InvalidMessage) as error:
            bad.add(field)
            yield field, error
    if not bad & {"starts_at", "ends_at"}:
        yield from _times(job, now)


def check_expression(schedule: str, timezone: str) -> None:
    """Refuse an expression or a zone that cannot be read (InvalidSchedule)."""
    Recurrence.parse(schedule, timezone)


def _times(job: Plannable, now: datetime) -> Iterator[tuple[str, Refusal]]:
    try:
        plan(job, now)
    except InvalidSchedule as error:
        yield error.field, error
    if job.starts_at is not None and job.ends_at is not None and job.ends_at < job.starts_at:
        yield "ends_at", InvalidSchedule("The schedule would end before it starts.", field="ends_at")


def _check_schedule_name(name: Any) -> None:
    if not isinstance(name, str) or not name:
        raise InvalidSchedule(
            f"A schedule's name is text of 1 to 200 characters, not {show(name)}.", field="name"
        )
    if len(name) > LONGEST_NAME:
        raise InvalidSchedule(
            f"The name {name[:40]!r}... is longer than {LONGEST_NAME} characters.", field="name"
        )
    if not name.isprintable() or name != name.strip():
        raise InvalidSchedule(
            f"The name {name!r} is refused: use visible characters only, without spaces around them.",
            field="name",
        )


def _check_type(type: Any) -> None:
    check_name("type", type)
    check_reserved(type)


def _check_payload(type: Any, payload: Any) -> None:
    text = payloads.encode(payload, settings().max_payload_bytes)
    if isinstance(type, str):
        typed.check(type, text)
        check_payload(type, payload)


def _check_deadline(deadline: Any) -> None:
    if deadline is None:
        return
    if not isinstance(deadline, timedelta):
        raise InvalidSchedule(f"A deadline is a length of time, not {show(deadline)}.", field="deadline")
    check_seconds("deadline", deadline, least_exclusive=True)


def _check_grace(grace: Any) -> None:
    if not isinstance(grace, timedelta) or grace < timedelta(0):
        raise InvalidSchedule(f"misfire_grace is a time of zero or more, not {grace}.", field="misfire_grace")


def _check_spread(spread: Any) -> None:
    if isinstance(spread, bool) or not isinstance(spread, int) or not 0 <= spread <= LONGEST_SPREAD:
        raise InvalidSchedule(
            f"A spread is a whole number of minutes from 0 to {LONGEST_SPREAD}, not {show(spread)}.",
            field="spread",
        )


def _check_except_on(value: Any) -> None:
    if not isinstance(value, str):
        raise InvalidSchedule(f"except_on is text, not {show(value)}.", field="except_on")
    exclusions = Exclusions.parse(value)
    exclusions.check_calendars()


def _check_count(field: str, value: Any, most: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise InvalidSchedule(
            f"{field} is a whole number from 1 to {most:,}, or None, not {show(value)}.", field=field
        )


def _check_delete_when_over(value: Any) -> None:
    if not isinstance(value, bool):
        raise InvalidSchedule(
            f"delete_when_over is True or False, not {show(value)}.", field="delete_when_over"
        )


def _check_choice(field: str, value: Any) -> None:
    known = CHOICES[field]
    if value in known:
        return
    close = nearest(value, known) if isinstance(value, str) else None
    hint = f"; did you mean {close!r}?" if close else "."
    raise InvalidSchedule(f"{field} is one of {', '.join(known)}, not {show(value)}{hint}", field=field)


_CHECKS: dict[str, Callable[[Any], object]] = {
    "name": lambda job: _check_schedule_name(job.name),
    "type": lambda job: _check_type(job.type),
    "payload": lambda job: _check_payload(job.type, job.payload),
    "queue": lambda job: job.queue is None or check_name("queue", job.queue),
    "priority": lambda job: job.priority is None or check_priority(job.priority),
    "max_attempts": lambda job: job.max_attempts is None or check_max_attempts(job.max_attempts),
    "deadline": lambda job: _check_deadline(job.deadline),
    "starts_at": lambda job: job.starts_at is None or check_moment("starts_at", job.starts_at),
    "ends_at": lambda job: job.ends_at is None or check_moment("ends_at", job.ends_at),
    "misfire": lambda job: _check_choice("misfire", job.misfire),
    "misfire_grace": lambda job: _check_grace(job.misfire_grace),
    "overlap": lambda job: _check_choice("overlap", job.overlap),
    "spread": lambda job: _check_spread(job.spread),
    "except_on": lambda job: _check_except_on(job.except_on),
    "max_runs": lambda job: _check_count("max_runs", job.max_runs, MOST_RUNS),
    "pause_after_failures": lambda job: _check_count(
        "pause_after_failures", job.pause_after_failures, MOST_FAILURES
    ),
    "delete_when_over": lambda job: _check_delete_when_over(job.delete_when_over),
}
