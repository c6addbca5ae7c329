"""Schedules: what is known of planned times, and rows that are moved together, by arrays."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from ...models import ScheduledJob
from ..base import OCCURRENCES, SCHEDULES, Engine

KNOWN = f"""
SELECT o.scheduled_job_id, o.planned_at
FROM unnest(%(jobs)s::bigint[], %(times)s::timestamptz[]) AS s(job, at)
JOIN {OCCURRENCES} o ON o.scheduled_job_id = s.job AND o.planned_at = s.at
"""
KINDS = {"DateTimeField": "timestamptz", "TextField": "text", "BigIntegerField": "bigint"}


def known_occurrences(engine: Engine, pairs: Sequence[tuple[int, datetime]]) -> list[tuple[int, datetime]]:
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


def move_schedules(engine: Engine, rows: Sequence[tuple[Any, ...]], columns: tuple[str, ...]) -> int:
    arrays = map(list, zip(*rows, strict=True))
    params = dict(zip(("id", "was", "before", *columns), arrays, strict=True))
    with engine.connection.cursor() as cursor:
        cursor.execute(_move_sql(columns), params)
        return int(cursor.rowcount)
