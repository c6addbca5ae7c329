"""`letsgo import django-tasks-db`: the tasks that wait in django-tasks-db, as messages of ours.

Those that run or have ended are left: a worker of theirs has the ones, and nobody waits for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from .... import messages, validation
from ....engines import engine_for
from ....errors import InvalidMessage
from ....models import ArchivedMessage, Message
from ....validation import counted
from . import plan
from .plan import Found, Planned, Skipped
from .tables import Row, Tables, json_of

PACKAGE, RESULTS = "django-tasks-db", "django_tasks_database_dbtaskresult"
# READY was NEW once.
WAITING, RUNNING = ("READY", "NEW"), "RUNNING"
ORDER = "priority DESC, run_after, enqueued_at"
# What a task without run_after has in that column.
NEVER = 9999
AT_ONCE = 500
LATER = (
    "Run no db_worker any more: the tasks still wait in its table, too. Take django_tasks_db out of "
    "INSTALLED_APPS when you need its results no more."
)


def find(tables: Tables, now: datetime, using: str) -> Found:
    """Read the tasks that wait or run; CommandError without their table."""
    tables.need(RESULTS, PACKAGE)
    rows = list(tables.rows(RESULTS, ORDER, status=(*WAITING, RUNNING)))
    return Found(_plan(rows, tables, now, using), len(rows), list(_remarks(tables)))


def _plan(rows: Sequence[Row], tables: Tables, now: datetime, using: str) -> Iterator[Planned]:
    for start in range(0, len(rows), AT_ONCE):
        planned = [_planned(row, tables, now) for row in rows[start : start + AT_ONCE]]
        yield from _beside_what_is_here(planned, using)


def _remarks(tables: Tables) -> Iterator[str]:
    counts = tables.counts(RESULTS, "status")
    ended = sum(count for status, count in counts.items() if status not in (*WAITING, RUNNING))
    if ended:
        yield f"{counted(ended, 'task that has ended is', 'tasks that have ended are')} left where they are."


def _planned(row: Row, tables: Tables, now: datetime) -> Planned:
    path, run_after = row["task_path"], tables.moment(row["run_after"])
    later = run_after if run_after is not None and now < run_after and run_after.year < NEVER else None
    theirs = f"{row['status']} in {row['queue_name']}"
    try:
        fields = _fields(row)
    except (Skipped, InvalidMessage) as error:
        return plan.skipped(path, theirs, error)
    return Planned(
        path,
        theirs,
        ours=fields["type"],
        type=fields["type"],
        next_run_at=later,
        fields={**fields, "visible_at": later},
    )


def _fields(row: Row) -> dict[str, Any]:
    """Return the arguments of enqueue(); Skipped or InvalidMessage for what cannot come along."""
    if row["status"] == RUNNING:
        raise Skipped("it runs: let its worker end it, or enqueue it again")
    type = plan.type_of(row["task_path"])
    if type is None:
        raise Skipped(f"no task is registered here as {row['task_path']}: name our backend in TASKS first")
    try:
        arguments = json_of(row["args_kwargs"], dict, {})
    except ValueError:
        raise Skipped("its arguments are not JSON") from None
    payload = {"args": arguments.get("args", []), "kwargs": arguments.get("kwargs", {})}
    validation.encode("payload", payload, None)
    return {
        "type": type,
        "payload": payload,
        "queue": validation.check_name("queue", row["queue_name"]),
        "priority": validation.check_priority(row["priority"]),
        "unique_key": f"{PACKAGE}:{UUID(str(row['id']))}",
    }


def _beside_what_is_here(rows: Sequence[Planned], using: str) -> list[Planned]:
    """Say which of the rows are messages already, live or ended."""
    there = _known(rows, using)
    return [
        row if row.verdict == "skipped" else replace(row, does="leave" if _key(row) in there else "add")
        for row in rows
    ]


def _key(row: Planned) -> tuple[str, Any]:
    return row.type, row.fields.get("unique_key")


def _known(rows: Sequence[Planned], using: str) -> set[tuple[str, Any]]:
    types, keys = {row.type for row in rows}, [row.fields.get("unique_key") for row in rows]
    found: set[tuple[str, Any]] = set()
    for model in (Message, ArchivedMessage):
        known = model._base_manager.using(using).filter(type__in=types, unique_key__in=filter(None, keys))
        found.update(known.values_list("type", "unique_key"))
    return found


def write(rows: Sequence[Planned], using: str) -> Iterator[Planned]:
    """Enqueue the rows, some hundred in a transaction, and yield each with what was done."""
    for start in range(0, len(rows), AT_ONCE):
        with engine_for(using).transaction():
            # Another import may have been first.
            done = _beside_what_is_here(rows[start : start + AT_ONCE], using)
            for row in done:
                if row.does == "add":
                    messages.enqueue(**row.fields, using=using)
        yield from done
