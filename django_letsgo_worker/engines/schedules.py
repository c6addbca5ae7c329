"""Schedules: which planned times have an occurrence, and rows that are moved together.

Functions that engines take as their methods; the last ones are for a database with arrays.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from ..models import Occurrence, ScheduledJob
from .base import Engine
from .dialect import Dialect

# The columns of a new occurrence.
NEW_OCCURRENCE = (
    "scheduled_job_id", "planned_at", "fired_at", "message_id", "skipped_because", "skipped_count",
    "is_backfill",
)  # fmt: skip
SCHEDULES, OCCURRENCES = ScheduledJob._meta.db_table, Occurrence._meta.db_table
KNOWN = f"""
SELECT o.scheduled_job_id, o.planned_at
FROM unnest(%(jobs)s::bigint[], %(times)s::timestamptz[]) AS s(job, at)
JOIN {OCCURRENCES} o ON o.scheduled_job_id = s.job AND o.planned_at = s.at
"""
NEW_KINDS = ("bigint", "timestamptz", "timestamptz", "bigint", "text", "int", "boolean")
NEW_ARRAYS = [f"%({name})s::{kind}[]" for name, kind in zip(NEW_OCCURRENCE, NEW_KINDS, strict=True)]
INSERT = f"""
INSERT INTO {OCCURRENCES} ({", ".join(NEW_OCCURRENCE)})
SELECT {", ".join(f"s.{name}" for name in NEW_OCCURRENCE)}
FROM unnest({", ".join(NEW_ARRAYS)})
     WITH ORDINALITY AS s({", ".join(NEW_OCCURRENCE)}, place)
ORDER BY s.place RETURNING id
"""
KINDS = {"DateTimeField": "timestamptz", "TextField": "text", "BigIntegerField": "bigint"}


def known_occurrences(engine: Engine, pairs: Sequence[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    dialect = engine.dialect
    rows = [(job_id, dialect.moment(planned_at)) for job_id, planned_at in pairs]
    known = engine.execute(
        f"""
        SELECT o.scheduled_job_id, o.planned_at FROM {dialect.json_relation(("job", "at"))}
        JOIN {OCCURRENCES} o ON o.scheduled_job_id = s.job AND o.planned_at = s.at
        """,
        {"rows": json.dumps(rows)},
    )
    read: Any = dialect.read_moment
    return [(job_id, read(planned_at)) for job_id, planned_at in known]


def move_schedules(engine: Engine, rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...]) -> int:
    moment = engine.dialect.moment
    values = [
        (
            *(moment(value) if isinstance(value, datetime) else value for value in given),
            id,
            version,
            moment(before),
        )
        for id, version, before, *given in rows
    ]
    sets = ", ".join(f"{column} = %s" for column in columns)
    with engine.connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE {SCHEDULES} SET {sets}, version = version + 1 "
            "WHERE id = %s AND version = %s AND next_run_at = %s",
            values,
        )
        return int(cursor.rowcount)


def new_occurrences(dialect: Dialect, rows: Sequence[tuple[Any, ...]]) -> tuple[str, list[tuple[Any, ...]]]:
    """Return the INSERT of one occurrence, and the parameters of each."""
    moment = dialect.moment
    places = ", ".join(["%s"] * len(NEW_OCCURRENCE))
    sql = f"INSERT INTO {OCCURRENCES} ({', '.join(NEW_OCCURRENCE)}) VALUES ({places})"
    return sql, [(job_id, moment(planned), moment(fired), *rest) for job_id, planned, fired, *rest in rows]


# -- with arrays --------------------------------------------------------------------------------------------


def known_by_arrays(engine: Engine, pairs: Sequence[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
    jobs, times = zip(*pairs, strict=True)
    return engine.execute(KNOWN, {"jobs": list(jobs), "times": list(times)})


@cache
def _move_sql(columns: tuple[str, ...]) -> str:
    kinds = [KINDS[ScheduledJob._meta.get_field(name).get_internal_type()] for name in columns]
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in zip(columns, kinds, strict=True))
    sets = ", ".join(f"{name} = s.{name}" for name in columns)
    return f"""
        UPDATE {SCHEDULES} j SET version = j.version + 1, {sets}
        FROM unnest(%(id)s::bigint[], %(was)s::bigint[], %(before)s::timestamptz[], {arrays})
             AS s(id, was, before, {", ".join(columns)})
        WHERE j.id = s.id AND j.version = s.was AND j.next_run_at = s.before
        """


def move_by_arrays(engine: Engine, rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...]) -> int:
    arrays = map(list, zip(*rows, strict=True))
    params = dict(zip(("id", "was", "before", *columns), arrays, strict=True))
    with engine.connection.cursor() as cursor:
        cursor.execute(_move_sql(columns), params)
        return int(cursor.rowcount)


def insert_by_arrays(engine: Engine, rows: Sequence[tuple[Any, ...]]) -> list[int]:
    arrays = map(list, zip(*rows, strict=True))
    made = engine.execute(INSERT, dict(zip(NEW_OCCURRENCE, arrays, strict=True)))
    return sorted(id for (id,) in made)
