"""Insert, one message or many, and tell the workers that wait, and only them, in the same statement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache
from typing import Any

from ...models import IdleQueue
from ..base import TABLE, Engine
from ..rows import Inserted, NewRow
from .binding import plus_sql

CHANNEL = "letsgo_worker"
IDLE = IdleQueue._meta.db_table

# Below so many rows, arrays in one statement are as fast as COPY.
COPIED_FROM = 200

INSERT = f"""
WITH new AS (
    INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, unique_key,
                         scheduled_job_id, planned_at, errors, enqueued_at, visible_at, deadline)
    VALUES (%(type)s, %(payload)s::json, %(headers)s::json, %(queue)s, %(priority)s,
            %(max_attempts)s, %(unique_key)s, %(scheduled_job_id)s, %(planned_at)s, '[]', {{clock}},
            COALESCE(%(visible_at)s::timestamptz, {{delayed}}),
            COALESCE(%(deadline)s::timestamptz, {{deadline_in}}))
    {{on_conflict}}
    RETURNING id, enqueued_at, visible_at, deadline
)
SELECT new.*,
       -- Only a worker that waits is told: an unconditional NOTIFY serialises all commits.
       CASE WHEN COALESCE((SELECT waiting FROM {IDLE} WHERE name = %(queue)s), TRUE)
            THEN pg_notify('{CHANNEL}', %(lane)s)::text END IS NOT NULL
FROM new
"""
ON_CONFLICT = "ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING"

ARRAYS = {
    "type": "text", "payload": "text", "headers": "text", "queue": "text", "priority": "int",
    "max_attempts": "int", "visible_at": "timestamptz", "delay": "bigint", "deadline": "timestamptz",
    "deadline_in": "bigint",
}  # fmt: skip
RESERVE = f"""
SELECT nextval(pg_get_serial_sequence('{TABLE}', 'id')), {{clock}} FROM generate_series(1, %(count)s::int)
"""
COPY = f"""
COPY {TABLE} (id, type, payload, headers, queue, priority, max_attempts, errors, attempts, receipt, deaths,
              enqueued_at, visible_at, deadline) FROM STDIN
"""


@cache
def _insert_sql(clock: str, has_key: bool) -> str:
    return INSERT.format(
        clock=clock,
        delayed=plus_sql(clock, "%(delay)s"),
        deadline_in=plus_sql(clock, "%(deadline_in)s"),
        on_conflict=ON_CONFLICT if has_key else "",
    )


@cache
def _insert_arrays_sql(clock: str) -> str:
    # As spacing() says it in Python.
    offset = "(s.place - CASE WHEN s.delay = 0 THEN %(count)s::int ELSE 1 END) * INTERVAL '1 microsecond'"
    arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in ARRAYS.items())
    return f"""
        INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, errors, enqueued_at,
                             visible_at, deadline)
        SELECT s.type, s.payload::json, s.headers::json, s.queue, s.priority, s.max_attempts, '[]',
               {clock}, COALESCE(s.visible_at, {plus_sql(clock, "s.delay")} + {offset}),
               COALESCE(s.deadline, {plus_sql(clock, "s.deadline_in")})
        FROM unnest({arrays}) WITH ORDINALITY AS s({", ".join(ARRAYS)}, place)
        ORDER BY s.place
        RETURNING id
        """


class Inserting(Engine):
    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        sql = _insert_sql(self.now_sql(now), row.unique_key is not None)
        rows = self.execute(sql, self._insert_params(row, now))
        # Django's connections are in UTC, and so are their moments.
        return Inserted(*rows[0]) if rows else None

    def _insert_params(self, row: NewRow, now: datetime | None) -> dict[str, Any]:
        return {
            **row.plain(),
            "planned_at": row.planned_at,
            "visible_at": row.visible_at,
            "delay": self.amount(row.delay_seconds),
            "deadline": row.deadline,
            "deadline_in": None if row.deadline_seconds is None else self.amount(row.deadline_seconds),
            "lane": f"{row.queue}:{row.priority}",
            "now": now,
        }

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        ids = self._copy(rows, now) if len(rows) >= COPIED_FROM else self._insert_arrays(rows, now)
        for queue, priority in sorted({(row.queue, row.priority) for row in rows}):
            self.nudge(queue, priority)
        return ids

    def _insert_arrays(self, rows: Sequence[NewRow], now: datetime | None) -> list[int]:
        params: dict[str, Any] = {name: [] for name in ARRAYS}
        for row in rows:
            values = self._insert_params(row, now)
            for name in ARRAYS:
                params[name].append(values[name])
        sql = _insert_arrays_sql(self.now_sql(now))
        return sorted(row[0] for row in self.execute(sql, {**params, "count": len(rows), "now": now}))

    def _copy(self, rows: Sequence[NewRow], now: datetime | None) -> list[int]:
        """Reserve the ids, and send all rows in one stream."""
        reserve = RESERVE.format(clock=self.now_sql(now))
        reserved = self.execute(reserve, {"count": len(rows), "now": now})
        ids = [id for id, _ in reserved]
        clock: datetime = reserved[0][1]
        enqueued_at, count = clock.isoformat(), len(rows)
        with self.connection.cursor() as cursor, cursor.copy(COPY) as copy:
            for place, (id, row) in enumerate(zip(ids, rows, strict=True)):
                visible_at, deadline = row.moments(clock, place, count)
                copy.write_row(
                    (id, row.type, row.payload, row.headers, row.queue, row.priority, row.max_attempts, "[]",
                     0, 0, 0, enqueued_at, visible_at.isoformat(), deadline)
                )  # fmt: skip
        return ids

    def nudge(self, queue: str, priority: int) -> None:
        self.execute(
            f"""
            SELECT pg_notify('{CHANNEL}', %(lane)s)
            WHERE COALESCE((SELECT waiting FROM {IDLE} WHERE name = %(queue)s), TRUE)
            """,
            {"queue": queue, "lane": f"{queue}:{priority}"},
        )

    def set_waiting(self, queues: Iterable[str], waiting: bool) -> None:
        self.execute(
            f"""
            INSERT INTO {IDLE} (name, waiting) SELECT unnest(%(queues)s::text[]), %(waiting)s
            ON CONFLICT (name) DO UPDATE SET waiting = EXCLUDED.waiting
            WHERE {IDLE}.waiting <> EXCLUDED.waiting
            """,
            {"queues": sorted(set(queues)), "waiting": waiting},
        )
