"""PostgreSQL: one statement to claim, one to settle, and NOTIFY only for workers that wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
from django.db import OperationalError
from django.db.backends.signals import connection_created
from psycopg.pq import TransactionStatus

from .. import schedules
from ..base import Engine
from ..sessions import cut
from ..upkeep import Bloat, Session
from . import claim as claiming
from . import fastpath, silence, waiting
from . import insert as inserting
from . import settle as settling
from .dialect import DIALECT

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
OPERATIONS = "letsgo_worker_operations"
SCHEDULES = "letsgo_worker_schedules"
# DISCARD ALL, but for what is prepared and planned.
RESET = (
    "SET SESSION AUTHORIZATION DEFAULT", "RESET ROLE", "RESET ALL", "CLOSE ALL", "UNLISTEN *",
    "SELECT pg_advisory_unlock_all()", "DISCARD TEMP", "DISCARD SEQUENCES",
)  # fmt: skip
# What decides whether a statement of ours finds its table, may use it, and has the time to. In this order:
# who is another user gives up a role.
DEPENDED_ON = ("session_authorization", "role", "search_path", "statement_timeout")
# A table is bloated with so many dead rows, if they are so many times the live ones.
MANY_DEAD, TIMES_LIVE = 100_000, 10
OLD_SNAPSHOTS = """
SELECT pid, COALESCE(NULLIF(application_name, ''), usename, '?'), xact_start FROM pg_stat_activity
WHERE backend_xmin IS NOT NULL AND xact_start < %(before)s AND datname = current_database()
  AND backend_type = 'client backend' AND pid <> pg_backend_pid()
ORDER BY xact_start LIMIT 10
"""
BLOATED_TABLES = f"""
SELECT relname, n_live_tup, n_dead_tup FROM pg_stat_user_tables
WHERE relname LIKE 'django\\_letsgo\\_worker\\_%%' AND schemaname = ANY(current_schemas(FALSE))
  AND n_dead_tup > {MANY_DEAD} AND n_dead_tup > {TIMES_LIVE} * n_live_tup
ORDER BY n_dead_tup DESC
"""


class PostgreSQLEngine(Engine):
    dialect = DIALECT
    display_name = "PostgreSQL"
    poll_seconds = 2.0
    chunk = 5000
    can_listen = True

    execute = fastpath.execute
    insert = inserting.insert
    insert_many = inserting.insert_many
    notify = waiting.notify
    name_queues = waiting.name_queues
    say_busy = waiting.say_busy
    last_look = waiting.last_look
    lanes = claiming.lanes
    claim_within = claiming.claim_within
    lock_held = settling.lock_held
    settle = settling.settle
    settle_locked = settling.settle_locked
    settle_and_claim = settling.settle_and_claim
    atomic_scope = fastpath.atomic_scope
    known_occurrences = schedules.known_by_arrays
    move_schedules = schedules.move_by_arrays
    insert_occurrences = schedules.insert_by_arrays

    def prepare_own_connection(self) -> None:
        silence.notice(self.connection)
        settings = self.connection.settings_dict
        options = {**settings["OPTIONS"], "application_name": "letsgo_worker"}
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
            self.connection.planner_by_round = not fastpath.is_direct(self.connection)  # type: ignore[attr-defined]

    def _without_startup_options(self, settings: dict[str, Any]) -> None:
        """Try the same without options: a pooler in front refuses them. Both fail when the server is away."""
        with_options, self.connection.settings_dict = self.connection.settings_dict, settings
        try:
            self.connection.ensure_connection()
        except OperationalError:
            self.connection.settings_dict = with_options
        else:
            self.connection.planner_by_round = True  # type: ignore[attr-defined]

    def notice_silence(self) -> None:
        silence.notice(self.connection)

    def has_leftovers(self) -> bool:
        raw: Any = self.connection.connection
        zone = raw.info.parameter_status("TimeZone")
        return not _is_idle(raw) or zone != self.connection.timezone_name

    def reset_session(self) -> bool:
        connection: Any = self.connection
        if not fastpath.is_allowed(connection) or not _is_idle(connection.connection):
            # What the project's own wrapper knows of its session would be wrong.
            return False
        fastpath.send(connection, *RESET)
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
        raw: Any = self.connection.connection
        if raw is not None and not raw.closed:
            cut(raw.fileno())

    @property
    def settles_and_claims_at_once(self) -> bool:
        return not getattr(self.connection, "planner_by_round", False)

    def begin_round(self) -> None:
        if not self.settles_and_claims_at_once:
            settings = ", ".join(f"set_config('{name}', '{value}', TRUE)" for name, value in PLANNER.items())
            self.execute(f"SELECT {settings}", {})

    def old_snapshots(self, before: datetime) -> list[Session]:
        return [Session(*row) for row in self.execute(OLD_SNAPSHOTS, {"before": before})]

    def bloated_tables(self) -> list[Bloat]:
        return [Bloat(*row) for row in self.execute(BLOATED_TABLES, {})]

    def tell_revoked(self, processes: Iterable[UUID]) -> None:
        for process in processes:
            self.execute(f"SELECT pg_notify('{REVOKED}', %(process)s)", {"process": str(process)})

    def tell_of_operation(self) -> None:
        self.execute(f"SELECT pg_notify('{OPERATIONS}', '')", {})

    def tell_of_schedules(self) -> None:
        self.execute(f"SELECT pg_notify('{SCHEDULES}', '')", {})

    def rest(self, stop: threading.Event, seconds: float) -> None:
        """Listen on the connection itself, which is idle meanwhile."""
        raw: Any = self.connection.connection or None
        if raw is None or raw.closed or not _is_idle(raw):
            stop.wait(seconds)
            return
        end = time.monotonic() + seconds
        try:
            listens_on: Any = getattr(self.connection, "letsgo_listens_on", None)
            if listens_on is not raw:
                raw.execute(f"LISTEN {SCHEDULES}")
                self.connection.letsgo_listens_on = raw  # type: ignore[attr-defined]
                # What was changed before was told to nobody: the caller looks again.
                return
            while not stop.is_set() and (left := end - time.monotonic()) > 0:
                if list(raw.notifies(timeout=min(left, 1.0), stop_after=1)):
                    return
        except psycopg.Error:
            # The next statement of the caller's meets the same fault.
            stop.wait(min(seconds, 1.0))

    def listen(
        self, is_over: Callable[[], bool], heard: Callable[[str | None], None]
    ) -> Iterator[tuple[str, int] | UUID | None]:
        self.connection.ensure_connection()
        raw: Any = self.connection.connection
        with self.connection.wrap_database_errors:
            # Behind a transaction pooler nobody hears anything, so nobody is named who could be told alone.
            own = str(raw.info.backend_pid) if fastpath.is_direct(self.connection) else None
            channels = (waiting.CHANNEL, own and f"{waiting.CHANNEL}_{own}", REVOKED, OPERATIONS)
            raw.execute("; ".join(f"LISTEN {channel}" for channel in channels if channel))
        heard(own)
        while not is_over():
            with self.connection.wrap_database_errors:
                notes = list(raw.notifies(timeout=1.0, stop_after=1))
            for note in notes:
                if note.channel == OPERATIONS:
                    yield None
                    continue
                if note.channel == REVOKED:
                    with suppress(ValueError):
                        yield UUID(note.payload)
                    continue
                queue, _, priority = note.payload.rpartition(":")
                if queue and priority.removeprefix("-").isdecimal():
                    yield queue, int(priority)


def _is_idle(raw: Any) -> bool:
    return bool(raw.info.transaction_status == TransactionStatus.IDLE)
