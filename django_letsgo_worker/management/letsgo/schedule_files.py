"""`letsgo schedule export|import`: schedules as a JSON list, out and in again.

Times are ISO, lengths of time are in seconds; what a value may be is checked by the verbs.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError

from ... import schedules
from ...conf import suggestion
from ...errors import LetsGoError, ScheduleNotFound
from ...models import ScheduledJob
from ...payloads import check_moment
from . import reading, showing
from .call import Call, Verbs

# What add() takes; nothing that schedulers keep.
FIELDS = (
    "name", "schedule", "type", "payload", "timezone", "queue", "priority", "max_attempts", "deadline",
    "enabled", "starts_at", "ends_at", "misfire", "misfire_grace", "overlap", "spread",
)  # fmt: skip
NEEDED = ("name", "schedule", "type")
TIMES, LENGTHS = ("starts_at", "ends_at"), ("deadline", "misfire_grace")


def add_to(verbs: Verbs) -> None:
    verbs.add("export", export, "prints all schedules, payloads included, as a JSON list")
    help = "adds the schedules of a JSON list, and changes those that exist; all of them or none"
    parser = verbs.add("import", import_all, help)
    parser.add_argument("file", metavar="FILE|-")


def export(call: Call) -> None:
    rows = ScheduledJob.objects.using(call.using).order_by("name")
    ours = rows.filter(declared_in_code=False)
    call.out.document([showing.facts_of(row, FIELDS) for row in ours])
    declared = rows.filter(declared_in_code=True).count()
    if declared:
        left_out = showing.counted(declared, "schedule is", "schedules are")
        call.out.say(f"{left_out} left out: the code declares them wherever it runs.")


def import_all(call: Call) -> None:
    wanted = _read(call["file"])
    counts = dict.fromkeys(("added", "changed", "unchanged"), 0)
    with call.out.progress("import", len(wanted)) as advance, call.engine.transaction():
        for place, fields in enumerate(wanted):
            counts[_import(call, place, fields)] += 1
            advance(1)
    if call.out.as_json:
        call.out.document(counts)
    else:
        call.out.line(", ".join(f"{what} {count}" for what, count in counts.items()))


def _import(call: Call, place: int, fields: dict[str, Any]) -> str:
    """Bring one schedule in, in the transaction that is open; return what became of it."""
    try:
        job = schedules.find(fields["name"], using=call.using)
        changed = {name: value for name, value in fields.items() if _differ(value, getattr(job, name))}
        if not changed:
            return "unchanged"
        if job.declared_in_code:
            raise CommandError(f"Schedule {job.name!r} is declared in code, which would change it back.")
        schedules.update(job.name, using=call.using, **changed)
        return "changed"
    except ScheduleNotFound:
        return _add(call, place, fields)
    except LetsGoError as error:
        raise _refusal(place, fields, error) from error


def _add(call: Call, place: int, fields: dict[str, Any]) -> str:
    try:
        schedules.add(**fields, using=call.using)
    except LetsGoError as error:
        raise _refusal(place, fields, error) from error
    return "added"


def _refusal(place: int, fields: dict[str, Any], error: LetsGoError) -> CommandError:
    return CommandError(f"Schedule {place} ({fields['name']!r}) is refused: {error}")


def _differ(one: Any, other: Any) -> bool:
    # As text: to Python 1 equals True, and the order of keys is nothing.
    return showing.as_json(one) != showing.as_json(other)


def _read(file: str) -> list[dict[str, Any]]:
    found = reading.json_of(reading.contents(file), "The file")
    if not isinstance(found, list):
        raise CommandError("The file is not a JSON list of schedules.")
    return [_fields(place, item) for place, item in enumerate(found)]


def _fields(place: int, item: Any) -> dict[str, Any]:
    """Check one entry's keys, and read its times and lengths of time."""
    if not isinstance(item, dict):
        raise CommandError(f"Schedule {place} is not an object.")
    for key in item:
        if key not in FIELDS:
            raise CommandError(f"Schedule {place} has no field {key!r}.{suggestion(key, list(FIELDS))}")
    for key in NEEDED:
        if not isinstance(item.get(key), str):
            raise CommandError(f"Schedule {place} needs {key!r}, as text.")
    return {key: _value(place, key, value) for key, value in item.items()}


def _value(place: int, key: str, value: Any) -> Any:
    try:
        if key in TIMES and value is not None:
            return check_moment(key, datetime.fromisoformat(value))
        if key in LENGTHS and isinstance(value, (int, float)) and not isinstance(value, bool):
            return timedelta(seconds=value)
    except (ValueError, TypeError, OverflowError):
        raise CommandError(f"Schedule {place}: {key} cannot be read: {value!r}.") from None
    return value
