"""PostgreSQL: one statement to claim, one to settle, and NOTIFY only for workers that wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import OperationalError
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from ...models import CLOCK_SQL
from .. import faults
from ..atomic import AtomicScope
from ..cursors import has_own_cursors
from ..faults import Fault
from ..lines import cut
from .atomic import BundledAtomicScope
from .cursor import is_direct, plus_sql, queue_cursor, rows_of
from .fastpath import is_open_to_direct, send
from .insert import CHANNEL, Inserting
from .settle import Settling

# A statement's plan depends on statistics that are wrong for a queue most of the time: analysed while
# it was empty, or while all of it was dead under an old snapshot. Without these ways to read a table, the
# plans that are left are right in every state. They look expensive to the planner, which must not
# compile them for that.
# The same holds for planning them anew with each call.
PLANNER = {
    "enable_seqscan": "off",
    "enable_nestloop": "off",
    "enable_bitmapscan": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}
# Names the processes that hold messages which were cancelled or deleted.
REVOKED = "letsgo_worker_revoked"
# DISCARD ALL, but for what is prepared and planned.
RESET = (
    "SET SESSION AUTHORIZATION DEFAULT", "RESET ROLE", "RESET ALL", "CLOSE ALL", "UNLISTEN *",
    "SELECT pg_advisory_unlock_all()", "DISCARD TEMP", "DISCARD SEQUENCES",
)  # fmt: skip
# What decides whether a statement of ours finds its table, may use it, and has the time to. In this order:
# who is another user gives up a role.
DEPENDED_ON = ("session_authorization", "role", "search_path", "statement_timeout")
# A server that vanished without a word is noticed within half a minute.
KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}


class PostgreSQLEngine(Inserting, Settling):
    display_name = "PostgreSQL"
    poll_seconds = 2.0
    chunk = 5000
    can_listen = True

    def now_sql(self, now: datetime | None) -> str:
        # Not clock_timestamp(): it may change within a statement, so no index can be searched for it.
        return CLOCK_SQL["postgresql"] if now is None else "%(now)s::timestamptz"

    def plus_sql(self, base: str, amount: str) -> str:
        return plus_sql(base, amount)

    def among(self, ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
        return "= ANY(%(among)s::bigint[])", {"among": list(ids)}

    def execute(self, sql: str, params: dict[str, Any]) -> list[Any]:
        with queue_cursor(self.connection) as cursor:
            cursor.execute(sql, params)
            return rows_of(cursor)

    def json_text(self, column: str) -> str:
        # psycopg would parse `json` by itself, and a parsed string cannot be told from a text.
        return f"{column}::text"

    def fault_of(self, error: BaseException) -> Fault:
        return faults.of_postgresql(error, _sqlstate(error))

    def is_missing_table(self, error: BaseException) -> bool:
        return _sqlstate(error) in ("42P01", "42703")

    def prepare_own_connection(self) -> None:
        settings = self.connection.settings_dict
        options = {**KEEPALIVES, **settings["OPTIONS"], "application_name": "letsgo_worker"}
        options.pop("pool", None)
        planner = " ".join(f"-c {name}={value}" for name, value in PLANNER.items())
        with_planner = {**options, "options": f"{options.get('options', '')} {planner}".strip()}
        self.connection.settings_dict = {**settings, "OPTIONS": with_planner, "CONN_MAX_AGE": None}
        try:
            self.connection.ensure_connection()
        except OperationalError:
            self._without_startup_options({**settings, "OPTIONS": options, "CONN_MAX_AGE": None})
        else:
            # A pooler may take the options and forget them.
            self.connection.planner_by_round = not is_direct(self.connection)  # type: ignore[attr-defined]

    def _without_startup_options(self, settings: dict[str, Any]) -> None:
        """Try the same without options: a pooler in front refuses them. Both fail when the server is away."""
        with_options, self.connection.settings_dict = self.connection.settings_dict, settings
        try:
            self.connection.ensure_connection()
        except OperationalError:
            self.connection.settings_dict = with_options
        else:
            self.connection.planner_by_round = True  # type: ignore[attr-defined]

    def has_leftovers(self) -> bool:
        raw = self.connection.connection
        zone = raw.info.parameter_status("TimeZone")
        return not _is_idle(raw) or zone != self.connection.timezone_name

    def reset_session(self) -> bool:
        connection: Any = self.connection
        if has_own_cursors(connection) or not _is_idle(connection.connection):
            # What the project's own wrapper knows of its session would be wrong.
            return False
        send(connection, *RESET)
        # As Django begins a session.
        if connection.pool:
            connection._configure_connection(connection.connection)
        else:
            connection.init_connection_state()
        connection_created.send(sender=type(connection), connection=connection)
        return True

    def remember_session(self) -> Callable[[], object]:
        current = ", ".join(f"current_setting('{name}') AS {name}" for name in DEPENDED_ON)
        local = ", ".join(f"set_config('{name}', %({name})s, TRUE)" for name in DEPENDED_ON)
        before = dict(zip(DEPENDED_ON, self.execute(f"SELECT {current}", {})[0], strict=True))
        return lambda: self.execute(f"SELECT {local}", before)

    def abort_connection(self) -> None:
        raw = self.connection.connection
        if raw is not None and not raw.closed:
            cut(raw.fileno())

    @property
    def settles_and_claims_at_once(self) -> bool:
        return not getattr(self.connection, "planner_by_round", False)

    def atomic_scope(self, process: UUID, lease: tuple[int, int]) -> AtomicScope:
        return (BundledAtomicScope if is_open_to_direct(self.connection) else AtomicScope)(
            self, process, lease
        )

    def begin_round(self) -> None:
        if not self.settles_and_claims_at_once:
            settings = ", ".join(f"set_config('{name}', '{value}', TRUE)" for name, value in PLANNER.items())
            self.execute(f"SELECT {settings}", {})

    def tell_revoked(self, processes: Iterable[UUID]) -> None:
        for process in processes:
            self.execute(f"SELECT pg_notify('{REVOKED}', %(process)s)", {"process": str(process)})

    def listen(
        self, stopping: threading.Event, heard: Callable[[], None]
    ) -> Iterator[tuple[str, int] | UUID]:
        self.connection.ensure_connection()
        raw = self.connection.connection
        with self.connection.wrap_database_errors:
            raw.execute(f"LISTEN {CHANNEL}; LISTEN {REVOKED}")
        heard()
        while not stopping.is_set():
            with self.connection.wrap_database_errors:
                notes = list(raw.notifies(timeout=1.0, stop_after=1))
            for note in notes:
                if note.channel == REVOKED:
                    with suppress(ValueError):
                        yield UUID(note.payload)
                    continue
                queue, _, priority = note.payload.rpartition(":")
                if queue and priority.removeprefix("-").isdecimal():
                    yield queue, int(priority)


def _is_idle(raw: Any) -> bool:
    return bool(raw.info.transaction_status == TransactionStatus.IDLE)


def _sqlstate(error: BaseException | None) -> str | None:
    while error is not None:
        state: str | None = getattr(error, "sqlstate", None)
        if state:
            return state
        error = error.__cause__
    return None
