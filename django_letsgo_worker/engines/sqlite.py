"""SQLite: one writer at a time, so a claim is safe by the transaction alone; moments are text."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from ..models import machine_clock
from . import faults, portable, schedules
from .base import TABLE, Engine
from .cursors import is_unseen
from .dialect import Dialect
from .records import Inserted, NewRow

INSERT = f"""
INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, unique_key, scheduled_job_id,
                     planned_at, enqueued_at, visible_at, deadline, errors, attempts, receipt, deaths)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, '[]', 0, 0, 0)
ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING
"""
# As the driver itself has it.
STRAIGHT = INSERT.replace("%s", "?")


def _moment(value: datetime | None) -> str | None:
    # Not strftime(): it leaves the zeros off early years, and moments are compared as text.
    return (
        None if value is None else value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
    )


def _values(
    row: NewRow, enqueued_at: str | None, visible_at: datetime, deadline: datetime | None
) -> tuple[Any, ...]:
    return (
        row.type, row.payload, row.headers, row.queue, row.priority, row.max_attempts, row.unique_key,
        row.scheduled_job_id, _moment(row.planned_at), enqueued_at, _moment(visible_at), _moment(deadline),
    )  # fmt: skip


def _read_moment(value: Any) -> datetime | None:
    if isinstance(value, str):
        return datetime.fromisoformat(f"{value}+00:00")
    return None if value is None else value.replace(tzinfo=UTC)


def _read_rows(rows: list[Any]) -> list[Any]:
    answer = rows[0][0]
    return [] if answer is None else list(json.loads(answer))


DIALECT = Dialect(
    # Its own clock counts milliseconds: what was written just now could seem older than the call for it.
    clock="%(now)s",
    now_param=lambda now: _moment(now or machine_clock()),
    # It reckons in milliseconds: the last three of a moment's six digits are passed by it.
    sum="strftime('%%Y-%%m-%%d %%H:%%M:%%f', substr({base}, 1, 23), {amount}) || substr({base}, 24)",
    amount=lambda seconds: f"{math.ceil(seconds * 1000) / 1000:+.3f} seconds",
    moment=_moment,
    read_moment=_read_moment,
    # A text that is no JSON is refused there, and would end the statement.
    json_value="CASE WHEN json_valid({column}) THEN json_extract({column}, '$.{key}') END",
    among=lambda ids: ("IN (SELECT value FROM json_each(%(among)s))", {"among": str(list(ids))}),
    locking="",
    # All rows as one: the driver lets go of Python's lock for each row, and beside a handler that
    # computes it gets the lock back only after 5 ms.
    select="SELECT '[' || group_concat(one) || ']' FROM (SELECT json_array({columns}) AS one {rest})",
    read_rows=_read_rows,
    json_rows="(SELECT {columns} FROM json_each(%(rows)s)) s",
    json_column="json_extract(value, '$[{n}]') AS {name}",
    update_joined="UPDATE {table} AS m SET {sets} FROM {rows} WHERE m.id = s.id",
    # No moment's text is behind a tilde. Without the third column SQLite steps through the whole lane.
    after_lane="(queue, priority, visible_at) > (%(queue)s, %(priority)s, '~')",
    read_code=lambda error: getattr(error, "sqlite_errorcode", None),
    fault_of=faults.of_sqlite,
    missing_table=(1,),  # SQLITE_ERROR
)


class SQLiteEngine(Engine):
    dialect = DIALECT
    display_name = "SQLite"
    skip_locked = False
    chunk = 5000
    # A handler's transaction keeps all other writers out, the heartbeat too: a lease that lapsed
    # meanwhile is given time to be renewed.
    lapse_grace = 1 / 3
    own_options = {"transaction_mode": "IMMEDIATE"}

    lanes = portable.lanes
    claim_within = portable.claim_within
    lock_held = portable.lock_held
    settle = portable.settle
    settle_locked = portable.settle_locked
    atomic_scope = portable.atomic_scope
    known_occurrences = schedules.known_occurrences
    move_schedules = schedules.move_schedules

    @property
    def clock_sql(self) -> str:
        return DIALECT.clock

    def clock(self) -> datetime:
        return machine_clock()

    def has_leftovers(self) -> bool:
        return bool(self.connection.connection.in_transaction)

    def abort_connection(self) -> None:
        # There is no server that would notice: the connection itself is closed, which rolls back. What
        # its handler does with it from now on fails.
        raw = self.connection.connection
        if raw is not None:
            raw.interrupt()
            raw.close()

    def data_version(self) -> int:
        # Asked hundreds of times a second while a worker rests: not through Django's cursors.
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            number: int = self.connection.connection.execute("PRAGMA data_version").fetchone()[0]
        return number

    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        clock = now or machine_clock()
        visible_at, deadline = row.moments(clock, 0, 1)
        values = _values(row, _moment(clock), visible_at, deadline)
        if self.connection.get_autocommit() and is_unseen(self.connection):
            with self.connection.wrap_database_errors:
                done = self.connection.connection.execute(STRAIGHT, values)
                return Inserted(done.lastrowid, clock, visible_at, deadline) if done.rowcount else None
        with self.connection.cursor() as cursor:
            cursor.execute(INSERT, values)
            return Inserted(cursor.lastrowid, clock, visible_at, deadline) if cursor.rowcount else None

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        clock, count = now or machine_clock(), len(rows)
        enqueued_at = _moment(clock)
        values = [
            _values(row, enqueued_at, *row.moments(clock, place, count)) for place, row in enumerate(rows)
        ]
        return self._insert_in_order(INSERT, values)

    def _insert_in_order(self, sql: str, rows: Sequence[Sequence[Any]]) -> list[int]:
        with self.connection.cursor() as cursor:
            cursor.executemany(sql, rows)
            cursor.execute("SELECT last_insert_rowid()")
            last = cursor.fetchone()[0]
        # From the first of them on the transaction has the write lock: nobody's ids are in between.
        return list(range(last - len(rows) + 1, last + 1))

    def insert_occurrences(self, rows: Sequence[tuple[Any, ...]]) -> list[int]:
        return self._insert_in_order(*schedules.new_occurrences(DIALECT, rows))
