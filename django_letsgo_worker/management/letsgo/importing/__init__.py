"""`letsgo import celery-beat|django-q2|django-tasks-db`: take over what other packages have in their tables.

A plan is printed, and with --apply the verbs write it; what the other package has is never changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any

from .... import schedules
from ....errors import LetsGoError
from ....validation import counted
from .. import formats
from ..call import Call, Verbs
from . import celery_beat, django_q2, tasks_db
from .plan import Found, Planned
from .tables import Tables

COLUMNS = ("name", "theirs", "ours", "zone", "next_run_at", "verdict")
FACTS = (
    "name", "theirs", "ours", "timezone", "type", "enabled", "next_run_at", "verdict", "why", "differs_at",
    "notes", "does",
)  # fmt: skip
DONE = {"add": "added", "change": "changed", "leave": "unchanged", "nothing": "skipped"}


@dataclass(frozen=True, slots=True)
class Source:
    """A package whose rows can be taken over: how they are found and written, and what is to be done then."""

    package: str
    what: str
    find: Callable[[Tables, datetime, str], Found]
    write: Callable[[Sequence[Planned], str], Iterator[Planned]]
    later: str


def write_schedules(rows: Sequence[Planned], using: str) -> Iterator[Planned]:
    """Add or change each schedule, and yield each row with what was done."""
    for row in rows:
        if row.does in ("add", "change"):
            try:
                schedules.ensure(row.name, using=using, **row.fields)
            except LetsGoError as error:
                row = replace(row, verdict="skipped", why=str(error), does="nothing")
        yield row


SOURCES = {
    "celery-beat": Source(
        "django-celery-beat", "the periodic tasks", celery_beat.find, write_schedules, celery_beat.LATER
    ),
    "django-q2": Source("django-q2", "the schedules", django_q2.find, write_schedules, django_q2.LATER),
    "django-tasks-db": Source(
        "django-tasks-db", "the waiting tasks", tasks_db.find, tasks_db.write, tasks_db.LATER
    ),
}


def add_to(verbs: Verbs) -> None:
    for name, source in SOURCES.items():
        help = f"takes over {source.what} of {source.package}: prints a plan, writes nothing without --apply"
        parser = verbs.add(name, partial(take_over, source), help)
        parser.add_argument("--apply", action="store_true", help="do what the plan says")
        parser.add_argument(
            "--from-database",
            metavar="ALIAS",
            help="the alias of the database that has its tables (that of the queue by default)",
        )


def take_over(source: Source, call: Call) -> None:
    """Print the plan, or do what it says and print that."""
    tables = Tables.of(call["from_database"] or call.using)
    found = source.find(tables, call.clock, call.using)
    for remark in found.remarks:
        call.out.say(remark)
    rows = []
    with call.out.progress("compare", found.total) as advance:
        for row in found.rows:
            rows.append(row)
            advance(1)
    if call["apply"]:
        _apply(call, source, rows)
        return
    call.out.rows([_facts(row) if call.out.as_json else _cells(row) for row in rows], COLUMNS)
    call.out.say(f"{_summary(rows)}. Nothing was written: --apply does it.")


def _apply(call: Call, source: Source, rows: Sequence[Planned]) -> None:
    done = []
    with call.out.progress("import", len(rows)) as advance:
        for row in source.write(rows, call.using):
            done.append(row)
            if not call.out.as_json:
                call.out.line(_line(row))
            advance(1)
    if call.out.as_json:
        call.out.document([{**_facts(row), "does": DONE[row.does]} for row in done])
    counts = Counter(DONE[row.does] for row in done)
    call.out.say(", ".join(f"{what} {counts[what]}" for what in DONE.values()) + ".")
    if any(row.does != "nothing" and row.enabled for row in done):
        call.out.say(source.later)


def _summary(rows: Sequence[Planned]) -> str:
    counts = Counter(row.verdict for row in rows)
    return f"{counted(len(rows), 'row')}: " + ", ".join(
        f"{counts[verdict]} {verdict}" for verdict in ("same", "different", "skipped")
    )


def _facts(row: Planned) -> dict[str, Any]:
    return {name: getattr(row, name) for name in FACTS}


def _cells(row: Planned) -> dict[str, Any]:
    changes = "; changes the schedule that has this name here" if row.does == "change" else ""
    return {**_facts(row), "zone": row.timezone, "verdict": f"{_verdict(row)}{changes}"}


def _verdict(row: Planned) -> str:
    """Return the verdict with its reason, and what else is to be known."""
    said = f"{row.verdict}: {row.why.rstrip('.')}" if row.why else row.verdict
    return "; ".join([said, *([] if row.enabled else ["switched off"]), *row.notes])


def _line(row: Planned) -> str:
    line = f"{DONE[row.does]} {row.name}"
    if row.does != "nothing" and row.ours:
        line += f": {row.ours}"
    return formats.printable(line if (verdict := _verdict(row)) == "same" else f"{line}; {verdict}")
