"""SQLite: one writer at a time, so a claim is safe by the transaction alone; moments are text."""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from ..models import machine_clock
from . import faults
from .base import TABLE
from .faults import Fault
from .portable import SETTLED, PortableEngine
from .records import Inserted, NewRow
from .values import INSERTED

# SQLite reckons in milliseconds: the last three of a moment's six digits are passed by it.
SUM = "strftime('%%Y-%%m-%%d %%H:%%M:%%f', substr({base}, 1, 23), {amount}) || substr({base}, 24)"
MANY = f"""
INSERT INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, errors, attempts, receipt, deaths,
                     enqueued_at, visible_at, deadline)
VALUES (%s, %s, %s, %s, %s, %s, '[]', 0, 0, 0, %s, %s, %s)
"""


class SQLiteEngine(PortableEngine):
    display_name = "SQLite"
    skip_locked = False
    chunk = 5000
    # A handler's transaction keeps all other writers out, the heartbeat too: a lease that lapsed
    # meanwhile is given time to be renewed.
    lapse_grace = 1 / 3
    # No moment's text is behind a tilde. Without the third column SQLite steps through the whole lane.
    after_lane = "(queue, priority, visible_at) > (%(queue)s, %(priority)s, '~')"

    def now_sql(self, now: datetime | None) -> str:
        # Its own clock counts milliseconds: what was written just now could seem older than the call for it.
        return "%(now)s"

    def now_param(self, now: datetime | None) -> Any:
        return self.moment(now or machine_clock())

    def clock(self) -> datetime:
        return machine_clock()

    def plus_sql(self, base: str, amount: str) -> str:
        return SUM.format(base=base, amount=amount)

    def amount(self, seconds: float) -> str:
        return f"{math.ceil(seconds * 1000) / 1000:+.3f} seconds"

    def moment(self, value: datetime | None) -> Any:
        # Not strftime(): it leaves the zeros off early years, and moments are compared as text.
        return (
            None
            if value is None
            else value.astimezone(UTC).replace(tzinfo=None).isoformat(" ", "microseconds")
        )

    def read_moment(self, value: Any) -> datetime | None:
        if isinstance(value, str):
            return datetime.fromisoformat(f"{value}+00:00")
        return None if value is None else value.replace(tzinfo=UTC)

    def fault_of(self, error: BaseException) -> Fault:
        return faults.of_sqlite(error, _code(error))

    def is_missing_table(self, error: BaseException) -> bool:
        return _code(error) == sqlite3.SQLITE_ERROR

    def prepare_own_connection(self) -> None:
        settings = self.connection.settings_dict
        options = {**settings["OPTIONS"], "transaction_mode": "IMMEDIATE"}
        self.connection.settings_dict = {**settings, "OPTIONS": options, "CONN_MAX_AGE": None}

    def has_leftovers(self) -> bool:
        return bool(self.connection.connection.in_transaction)

    def abort_connection(self) -> None:
        # There is no server that would notice: the connection itself is closed, which rolls back. What
        # its handler does with it from now on fails.
        raw = self.connection.connection
        if raw is not None:
            raw.interrupt()
            raw.close()

    def select(self, columns: Sequence[str], rest: str, params: dict[str, Any]) -> list[Any]:
        # All rows as one: the driver lets go of Python's lock for each row, and beside a handler that
        # computes it gets the lock back only after 5 ms.
        sql = f"SELECT json_array({', '.join(columns)}) AS one {rest}"
        answer = self.execute(f"SELECT '[' || group_concat(one) || ']' FROM ({sql})", params)[0][0]
        return [] if answer is None else list(json.loads(answer))

    def lock_held(self, process: UUID, leases: Sequence[tuple[int, int]], *, wait: bool = False) -> list[Any]:
        if wait:
            # The first statement of a transaction must write: one that reads first, and writes while
            # another has written meanwhile, fails at once instead of waiting.
            these, params = self.among([id for id, _ in leases])
            self.execute(f"UPDATE {TABLE} SET receipt = receipt WHERE id {these}", params)
        return super().lock_held(process, leases, wait=wait)

    def among(self, ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
        return "IN (SELECT value FROM json_each(%(among)s))", {"among": str(list(ids))}

    def data_version(self) -> int:
        # Asked hundreds of times a second while a worker rests: not through Django's cursors.
        self.connection.ensure_connection()
        with self.connection.wrap_database_errors:
            number: int = self.connection.connection.execute("PRAGMA data_version").fetchone()[0]
        return number

    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        values, params = self.insert_columns(row, now)
        conflict = "ON CONFLICT (type, unique_key) WHERE unique_key IS NOT NULL DO NOTHING"
        rows = self.execute(
            f"""
            INSERT INTO {TABLE} ({INSERTED}) VALUES {values}
            {conflict if row.unique_key is not None else ""}
            RETURNING id, enqueued_at, visible_at, deadline
            """,
            params,
        )
        if not rows:
            return None
        id, enqueued_at, visible_at, deadline = rows[0]
        read = self.read_moment
        return Inserted(id, read(enqueued_at), read(visible_at), read(deadline))

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        clock = now or self.clock()
        enqueued_at, count = self.moment(clock), len(rows)
        values = []
        for place, row in enumerate(rows):
            visible_at, deadline = row.moments(clock, place, count)
            values.append(
                (row.type, row.payload, row.headers, row.queue, row.priority, row.max_attempts,
                 enqueued_at, self.moment(visible_at), self.moment(deadline))
            )  # fmt: skip
        with self.connection.cursor() as cursor:
            cursor.executemany(MANY, values)
            cursor.execute("SELECT last_insert_rowid()")
            last = cursor.fetchone()[0]
        # From the first of them on the transaction has the write lock: nobody's ids are in between.
        return list(range(last - count + 1, last + 1))

    def settled_relation(self, columns: Sequence[str]) -> str:
        read = ", ".join(f"json_extract(value, '$[{n}]') AS {name}" for n, name in enumerate(columns))
        return f"(SELECT {read} FROM json_each(%(rows)s)) s"

    def update_joined(self, assignments: dict[str, str]) -> str:
        sets = ", ".join(f"{column} = {value}" for column, value in assignments.items())
        return f"UPDATE {TABLE} AS m SET {sets} FROM {self.settled_relation(SETTLED)} WHERE m.id = s.id"


def _code(error: BaseException | None) -> int | None:
    while error is not None:
        code: int | None = getattr(error, "sqlite_errorcode", None)
        if code is not None:
            return code
        error = error.__cause__
    return None
