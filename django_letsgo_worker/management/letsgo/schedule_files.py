"""`letsgo schedule export|import`: write schedules as a JSON list, and read them again.

Times are ISO, durations are in seconds; the verbs check the values.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import CommandError
from django.db.models import DateTimeField, DurationField

from ... import planning, schedules
from ...errors import InvalidSchedule, LetsGoError
from ...hints import suggestion
from ...models import ScheduledJob
from ...validation import check_moment
from . import formats
from .call import Call, Verbs

# The columns that people decide on; for a schedule declared in code these are those of the switch.
FIELDS = (*schedules.DECIDED, "declared_in_code")
NEEDED = ("name", "schedule", "type")


def _columns(kind: type) -> frozenset[str]:
    fields = ScheduledJob._meta.concrete_fields
    return frozenset(field.name for field in fields if isinstance(field, kind))


TIMES, LENGTHS = _columns(DateTimeField), _columns(DurationField)


def add_to(verbs: Verbs) -> None:
    verbs.add("export", export, "prints all schedules, payloads included, as a JSON list")
    help = "adds or changes the schedules of a JSON list, all of them or none"
    parser = verbs.add("import", import_all, help)
    parser.add_argument("file", metavar="FILE|-", help="what `export` printed; - is standard input")


def export(call: Call) -> None:
    rows = list(ScheduledJob.objects.using(call.using).order_by("name"))
    # What the code declares is in the code, except for the switch, which is for people.
    written = [row for row in rows if not row.declared_in_code or row.switched_at is not None]
    call.out.document([_entry(row, call) for row in written])
    if len(rows) > len(written):
        left_out = formats.counted(len(rows) - len(written), "schedule is", "schedules are")
        call.out.say(f"{left_out} left out: declared in code, so present wherever it runs.")
    for row in written:
        if row.problem:
            call.out.say(f"Schedule {row.name!r} is broken, so an import will refuse it: {row.problem}")


def _entry(row: ScheduledJob, call: Call) -> dict[str, Any]:
    return {**formats.facts_of(row, FIELDS), "next_run_at": _next_run_by_hand(row, call.clock)}


def _next_run_by_hand(row: ScheduledJob, now: datetime) -> datetime | None:
    """Return the next run if it was set by hand; the importing site computes what follows from the rule."""
    if not row.enabled or row.next_run_at is None or row.next_run_at <= now:
        return None
    try:
        by_rule = planning.first_run(row, row.recurrence, now)
    except InvalidSchedule:
        return None
    return None if row.next_run_at == by_rule else row.next_run_at


def import_all(call: Call) -> None:
    wanted = _read(call["file"])
    counts = dict.fromkeys(("added", "changed", "unchanged"), 0)
    over = []
    with call.out.progress("import", len(wanted)) as advance, call.engine.transaction():
        for place, fields in enumerate(wanted):
            try:
                job, became = schedules.restore(**fields, by=call.by, using=call.using)
            except LetsGoError as error:
                raise CommandError(f"Schedule {place} ({fields['name']!r}) is refused: {error}") from error
            counts[became] += 1
            if became != "unchanged" and job.state == "completed":
                over.append(job)
            advance(1)
    for job in over:
        call.out.say(f"Schedule {job.name!r} is over: {job.schedule} has no further runs.")
    if call.out.as_json:
        call.out.document(counts)
    else:
        call.out.line(", ".join(f"{what} {count}" for what, count in counts.items()))


def _read(file: str) -> list[dict[str, Any]]:
    found = formats.json_of(formats.contents(file), "The file")
    if not isinstance(found, list):
        raise CommandError("The file is not a JSON list of schedules.")
    return [_fields(place, item) for place, item in enumerate(found)]


def _fields(place: int, item: Any) -> dict[str, Any]:
    """Check one entry's keys, and read its times and durations."""
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
        if key == "declared_in_code" and not isinstance(value, bool):
            raise ValueError
    except (ValueError, TypeError, OverflowError):
        raise CommandError(f"Schedule {place}: {key} cannot be read: {value!r}.") from None
    return value
