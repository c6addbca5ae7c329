"""MariaDB and MySQL: READ COMMITTED, rows locked by SKIP LOCKED and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from ..models import CLOCK_SQL
from . import faults, portable, schedules
from .base import TABLE, Engine
from .dialect import Dialect, microseconds
from .records import Inserted, NewRow
from .sessions import cut, watch_of

INTO = f"""
INTO {TABLE} (type, payload, headers, queue, priority, max_attempts, unique_key, scheduled_job_id, planned_at,
              errors, attempts, receipt, deaths, enqueued_at, visible_at, deadline) VALUES
"""

_TEXT = "LONGTEXT CHARACTER SET utf8mb4"


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")


DIALECT = Dialect(
    # Not NOW(): it follows the time zone of the session.
    clock=CLOCK_SQL["mysql"],
    now_param=_moment,
    sum="({base} + INTERVAL {amount} MICROSECOND)",
    moment=_moment,
    read_moment=lambda value: None if value is None else value.replace(tzinfo=UTC),
    json_rows="JSON_TABLE(%(rows)s, '$[*]' COLUMNS ({columns})) s",
    json_column="{name} {kind} PATH '$[{n}]'",
    json_kinds={
        "id": "BIGINT", "outcome": "VARCHAR(16) CHARACTER SET utf8mb4", "attempts": "INT", "errors": _TEXT,
        "delay": "BIGINT", "deaths": "INT", "started": "BIGINT", "seconds": "DOUBLE", "result": _TEXT,
        "error_class": "VARCHAR(255) CHARACTER SET utf8mb4",
        "error_fingerprint": "VARCHAR(40) CHARACTER SET utf8mb4", "job": "BIGINT", "at": "DATETIME(6)",
    },
    update_joined="UPDATE {table} m JOIN {rows} ON m.id = s.id SET {sets}",
    update_column="m.{column} = {value}",
    # It takes no LIMIT behind IN. In the other order it would lock the whole table.
    delete_found="DELETE m FROM ({found}) found STRAIGHT_JOIN {table} m ON m.id = found.id",
    lane_hint="FORCE INDEX (letsgo_message_lane)",
    read_code=lambda error: error.args[0] if error.args and isinstance(error.args[0], int) else None,
    fault_of=faults.of_mysql,
    missing_table=(1146, 1054),
)  # fmt: skip


def _clock(now: datetime | None) -> str:
    return DIALECT.clock if now is None else f"TIMESTAMP'{_moment(now)}'"


@lru_cache(maxsize=2)
def _row_sql(clock: str) -> str:
    """What _values() are put into."""
    later = DIALECT.plus_sql(clock, "%s")
    return f"({'%s, ' * 9}'[]', 0, 0, 0, {clock}, COALESCE(%s, {later}), COALESCE(%s, {later}))"


def _values(row: NewRow, place: int, count: int) -> tuple[Any, ...]:
    """A row at its place among so many: each of its times is a moment, or an amount from the clock on."""
    return (
        row.type, row.payload, row.headers, row.queue, row.priority, row.max_attempts, row.unique_key,
        row.scheduled_job_id, _moment(row.planned_at),
        _moment(row.visible_at), row.waits(place, count),
        _moment(row.deadline), None if row.deadline_seconds is None else microseconds(row.deadline_seconds),
    )  # fmt: skip


class MySQLEngine(Engine):
    dialect = DIALECT
    can_return_updated = False
    own_options = {"isolation_level": "read committed"}

    lanes = portable.lanes
    claim_within = portable.claim_within
    lock_held = portable.lock_held
    settle = portable.settle
    settle_locked = portable.settle_locked
    atomic_scope = portable.atomic_scope
    known_occurrences = schedules.known_occurrences
    move_schedules = schedules.move_schedules

    @property
    def display_name(self) -> str:  # type: ignore[override]
        return "MariaDB" if self.connection.mysql_is_mariadb else "MySQL"  # type: ignore[attr-defined]

    @property
    def most_text(self) -> int:  # type: ignore[override]
        """An eighth of max_allowed_packet, asked once: a character has four bytes at most, with what escapes
        it or as UTF-8, and half of the packet is left for all else."""
        known: int | None = getattr(self.connection, "letsgo_most_text", None)
        if known is None:
            known = self.execute("SELECT @@max_allowed_packet", {})[0][0] // 8
            self.connection.letsgo_most_text = known  # type: ignore[attr-defined]
        return known

    def has_leftovers(self) -> bool:
        # The driver does not tell whether a transaction is open; without one this is harmless.
        self.connection.connection.rollback()
        if watch_of(self.connection) is not None:
            # It notices whatever sets a time zone.
            return False
        return not self.execute("SELECT @@session.time_zone = @@global.time_zone", {})[0][0]

    def remember_session(self) -> Callable[[], object]:
        database, mode = self.execute("SELECT DATABASE(), @@sql_mode", {})[0]

        def put_back() -> None:
            self.execute(f"USE {self.connection.ops.quote_name(database)}", {})
            self.execute("SET sql_mode = %(mode)s", {"mode": mode})

        return put_back

    def abort_connection(self) -> None:
        if self.connection.connection is not None:
            cut(self.connection.connection.fileno())

    def insert(self, row: NewRow, now: datetime | None = None) -> Inserted | None:
        # IGNORE only where a twin may stand in the way: all else that it would forgive was checked before.
        ignore = "" if row.unique_key is None else "IGNORE"
        sql, values = f"INSERT {ignore} {INTO} {_row_sql(_clock(now))}", _values(row, 0, 1)
        with self.connection.cursor() as cursor:
            if not self.connection.features.can_return_columns_from_insert:
                cursor.execute(sql, values)
                return Inserted(cursor.lastrowid, None, None) if cursor.rowcount else None
            cursor.execute(f"{sql} RETURNING id, enqueued_at, visible_at, deadline", values)
            if (found := cursor.fetchone()) is None:
                return None
        id, *moments = found
        enqueued_at, visible_at, deadline = map(DIALECT.read_moment, moments)
        return Inserted(id, enqueued_at, visible_at, deadline)

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        count = len(rows)
        values = [value for place, row in enumerate(rows) for value in _values(row, place, count)]
        sql = ", ".join([_row_sql(_clock(now))] * count)
        return self._ids_of(f"INSERT {INTO} {sql}", values, count)

    def insert_occurrences(self, rows: Sequence[tuple[Any, ...]]) -> list[int]:
        one, params = schedules.new_occurrences(DIALECT, rows)
        before, _, values = one.rpartition(" VALUES ")
        many = f"{before} VALUES {', '.join([values] * len(rows))}"
        return self._ids_of(many, [value for row in params for value in row], len(rows))

    def _ids_of(self, sql: str, params: Any, count: int) -> list[int]:
        """Insert rows by one statement; return their ids in order."""
        if self.connection.features.can_return_columns_from_insert:
            return sorted(row[0] for row in self.execute(f"{sql} RETURNING id", params))
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            first = cursor.lastrowid
            cursor.execute("SELECT @@auto_increment_increment")
            step = cursor.fetchone()[0]
        # An INSERT of VALUES is a "simple insert" for InnoDB: its ids are consecutive in every lock mode.
        return list(range(first, first + step * count, step))
