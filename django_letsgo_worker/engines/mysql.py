"""MariaDB and MySQL: READ COMMITTED, rows locked by SKIP LOCKED and read back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from ..models import CLOCK_SQL
from . import faults
from .base import TABLE
from .faults import Fault
from .lines import cut
from .portable import SETTLED, PortableEngine
from .records import Inserted, NewRow
from .sessions import watch_of
from .values import INSERTED

_TEXT = "LONGTEXT CHARACTER SET utf8mb4"
_KINDS = {
    "id": "BIGINT", "outcome": "VARCHAR(16) CHARACTER SET utf8mb4", "attempts": "INT", "errors": _TEXT,
    "delay": "BIGINT", "deaths": "INT", "started": "BIGINT", "seconds": "DOUBLE", "result": _TEXT,
    "error_class": "VARCHAR(255) CHARACTER SET utf8mb4",
    "error_fingerprint": "VARCHAR(40) CHARACTER SET utf8mb4",
}  # fmt: skip


class MySQLEngine(PortableEngine):
    locking = "FOR UPDATE SKIP LOCKED"
    can_return_updated = False
    lane_hint = "FORCE INDEX (letsgo_message_lane)"

    @property
    def display_name(self) -> str:  # type: ignore[override]
        return "MariaDB" if self.connection.mysql_is_mariadb else "MySQL"  # type: ignore[attr-defined]

    def now_sql(self, now: datetime | None) -> str:
        # Not NOW(): it follows the time zone of the session.
        return CLOCK_SQL["mysql"] if now is None else "%(now)s"

    def plus_sql(self, base: str, amount: str) -> str:
        return f"({base} + INTERVAL {amount} MICROSECOND)"

    def moment(self, value: datetime | None) -> Any:
        return None if value is None else value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")

    def read_moment(self, value: Any) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)

    @property
    def most_text(self) -> int:  # type: ignore[override]
        """An eighth of max_allowed_packet, asked once: a character has four bytes at most, with what escapes
        it or as UTF-8, and half of the packet is left for all else."""
        known: int | None = getattr(self.connection, "letsgo_most_text", None)
        if known is None:
            known = self.execute("SELECT @@max_allowed_packet", {})[0][0] // 8
            self.connection.letsgo_most_text = known  # type: ignore[attr-defined]
        return known

    def fault_of(self, error: BaseException) -> Fault:
        return faults.of_mysql(error, _code(error))

    def is_missing_table(self, error: BaseException) -> bool:
        return _code(error) in (1146, 1054)

    def prepare_own_connection(self) -> None:
        settings = self.connection.settings_dict
        options = {**settings["OPTIONS"], "isolation_level": "read committed"}
        self.connection.settings_dict = {**settings, "OPTIONS": options, "CONN_MAX_AGE": None}

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
        values, params = self.insert_columns(row, now)
        returning = self.connection.features.can_return_columns_from_insert
        # IGNORE only where a twin may stand in the way: all else that it would forgive was checked before.
        ignore = "" if row.unique_key is None else "IGNORE"
        sql = f"INSERT {ignore} INTO {TABLE} ({INSERTED}) VALUES {values}"
        with self.connection.cursor() as cursor:
            if not returning:
                cursor.execute(sql, params)
                return Inserted(cursor.lastrowid, None, None) if cursor.rowcount else None
            cursor.execute(f"{sql} RETURNING id, enqueued_at, visible_at, deadline", params)
            rows = cursor.fetchall()
        if not rows:
            return None
        id, enqueued_at, visible_at, deadline = rows[0]
        read = self.read_moment
        return Inserted(id, read(enqueued_at), read(visible_at), read(deadline))

    def insert_many(self, rows: Sequence[NewRow], now: datetime | None = None) -> list[int]:
        values, params = self.insert_columns_of_many(rows, now)
        sql = f"INSERT INTO {TABLE} ({INSERTED}) VALUES {values}"
        if self.connection.features.can_return_columns_from_insert:
            return sorted(row[0] for row in self.execute(f"{sql} RETURNING id", params))
        with self.connection.cursor() as cursor:
            cursor.execute(sql, params)
            first = cursor.lastrowid
            cursor.execute("SELECT @@auto_increment_increment")
            step = cursor.fetchone()[0]
        # An INSERT of VALUES is a "simple insert" for InnoDB: its ids are consecutive in every lock mode.
        return list(range(first, first + step * len(rows), step))

    def settled_relation(self, columns: Sequence[str]) -> str:
        read = ", ".join(f"{name} {_KINDS[name]} PATH '$[{n}]'" for n, name in enumerate(columns))
        return f"JSON_TABLE(%(rows)s, '$[*]' COLUMNS ({read})) s"

    def update_joined(self, assignments: dict[str, str]) -> str:
        sets = ", ".join(f"m.{column} = {value}" for column, value in assignments.items())
        return f"UPDATE {TABLE} m JOIN {self.settled_relation(SETTLED)} ON m.id = s.id SET {sets}"


def _code(error: BaseException | None) -> int | None:
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__cause__
    return None
