"""Insert, and tell the workers that wait: NOTIFY in the same statement, and only for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from ...models import IdleQueue
from ..base import TABLE, Engine
from ..rows import Inserted, NewRow

CHANNEL = "letsgo_worker"
IDLE = IdleQueue._meta.db_table


class Inserting(Engine):
    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        clock = self.now_sql(now)
        conflict = "ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING"
        rows = self.execute(
            f"""
            WITH new AS (
                INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, unique_key,
                                     scheduled_job_id, planned_at, errors, enqueued_at, visible_at, deadline)
                VALUES (%(type)s, %(payload)s::json, %(headers)s::json, %(queue)s, %(priority)s,
                        %(max_attempts)s, %(unique_key)s, %(scheduled_job_id)s, %(planned_at)s, '[]', {clock},
                        COALESCE(%(visible_at)s::timestamptz, {self.plus_sql(clock, "%(delay)s")}),
                        COALESCE(%(deadline)s::timestamptz, {self.plus_sql(clock, "%(deadline_in)s")}))
                {conflict if row.unique_key is not None else ""}
                RETURNING id, enqueued_at, visible_at, deadline
            )
            SELECT new.*,
                   -- Only a worker that waits is told: an unconditional NOTIFY serialises all commits.
                   CASE WHEN COALESCE((SELECT waiting FROM {IDLE} WHERE name = %(queue)s), TRUE)
                        THEN pg_notify('{CHANNEL}', %(lane)s)::text END IS NOT NULL
            FROM new
            """,
            self._insert_params(row, now),
        )
        if not rows:
            return None
        id, enqueued_at, visible_at, deadline, nudged = rows[0]
        read = self.read_moment
        return Inserted(id, read(enqueued_at), read(visible_at), read(deadline), nudged)

    def _insert_params(self, row: NewRow, now: datetime | None) -> dict[str, Any]:
        return {
            "type": row.type,
            "payload": row.payload,
            "headers": row.headers,
            "queue": row.queue,
            "priority": row.priority,
            "max_attempts": row.max_attempts,
            "unique_key": row.unique_key,
            "scheduled_job_id": row.scheduled_job_id,
            "planned_at": row.planned_at,
            "visible_at": row.visible_at,
            "delay": self.amount(row.delay_seconds),
            "deadline": row.deadline,
            "deadline_in": None if row.deadline_seconds is None else self.amount(row.deadline_seconds),
            "lane": f"{row.queue}:{row.priority}",
            "now": now,
        }

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        clock = self.now_sql(now)
        # Spaced by microseconds, backwards from the clock, so that the order of the list holds; what is
        # delayed is spaced forwards, since nothing may be early.
        offset = "(s.place - CASE WHEN s.delay = 0 THEN %(count)s ELSE 1 END) * INTERVAL '1 microsecond'"
        columns = {
            "type": "text", "payload": "text", "headers": "text", "queue": "text", "priority": "int",
            "max_attempts": "int", "visible_at": "timestamptz", "delay": "bigint", "deadline": "timestamptz",
            "deadline_in": "bigint",
        }  # fmt: skip
        params: dict[str, Any] = {name: [] for name in columns}
        for row in rows:
            values = self._insert_params(row, now)
            for name in columns:
                params[name].append(values[name])
        arrays = ", ".join(f"%({name})s::{kind}[]" for name, kind in columns.items())
        inserted = self.execute(
            f"""
            INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, errors, enqueued_at,
                                 visible_at, deadline)
            SELECT s.type, s.payload::json, s.headers::json, s.queue, s.priority, s.max_attempts, '[]',
                   {clock},
                   COALESCE(s.visible_at, {self.plus_sql(clock, "s.delay")} + {offset}),
                   COALESCE(s.deadline, {self.plus_sql(clock, "s.deadline_in")})
            FROM unnest({arrays}) WITH ORDINALITY AS s({", ".join(columns)}, place)
            ORDER BY s.place
            RETURNING id
            """,
            {**params, "count": len(rows), "now": now},
        )
        lanes = {(row.queue, row.priority) for row in rows}
        for queue, priority in sorted(lanes):
            self.nudge(queue, priority)
        return sorted(row[0] for row in inserted)

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
