"""The fast path: statements bound and prepared by the server, and whole trips in one call of libpq.

All that goes past Django's cursors is here, and `enabled` turns it off; what the statements say is not. The
driver's care for each statement costs more time than the statements that are sent most often.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import cache
from itertools import count
from types import TracebackType
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary, WeakSet

import psycopg
from django.db import Error, ProgrammingError, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import Cursor, ServerBindingCursor
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from ..atomic import AtomicScope
from ..base import Engine
from ..cursors import has_own_cursors, is_unseen, is_watched
from ..records import Settlement
from .dialect import DIALECT
from .settle import LOCK_ONE, settle_one_sql

# The switch: without it all statements go through Django's own cursors.
enabled = True

# What Django has psycopg make: any other cursor is the project's, or of what it installed.
DJANGOS_CURSORS: tuple[Any, ...] = (Cursor, ServerBindingCursor)
# A connection that is used less often than this is not worth a statement's preparation.
PREPARED_FROM = 3
NUMBERS = frozenset((int, float))
# invalid_sql_statement_name
UNKNOWN_NAME = b"26000"

NAMED = {"id": "$1", "receipt": "$2", "process": "$3"}
# A success of which there is nothing to say but its times: no text of a handler is ever part of these.
DONE = {
    **NAMED, "kept": "$4", "started": "$5", "seconds": "$6", "attempts": "NULL", "errors": "NULL",
    "result": "NULL", "outcome": "'succeeded'", "class": "''", "fingerprint": "''",
}  # fmt: skip
PREPARE = (
    f"PREPARE letsgo_lock (bigint, bigint, uuid) AS {LOCK_ONE % NAMED}",
    "PREPARE letsgo_done (bigint, bigint, uuid, boolean, bigint, float8) AS "
    + settle_one_sql(DIALECT.clock) % DONE,
)

# How often each connection was used, up to PREPARED_FROM; below zero: through a pooler, so nothing stays
# prepared.
_used: WeakKeyDictionary[psycopg.Connection[Any], int] = WeakKeyDictionary()
# What is prepared on each connection by a name of ours, and on which all of PREPARE was; the driver may
# discard it, as it does after a rollback.
_prepared: WeakKeyDictionary[psycopg.Connection[Any], set[bytes]] = WeakKeyDictionary()
_prepared_scopes: WeakSet[psycopg.Connection[Any]] = WeakSet()
_numbers = count(1)


# -- where it may be taken ------------------------------------------------------------------------------


def is_allowed(connection: BaseDatabaseWrapper) -> bool:
    """Whether it is turned on, and the wrapper that makes the cursors is Django's."""
    return enabled and not has_own_cursors(connection)


def is_observed(connection: BaseDatabaseWrapper) -> bool:
    """Whether on an open connection what goes past Django's cursors goes past the project's."""
    return is_watched(connection) or not _makes_djangos_cursors(connection)


def is_open(connection: Any) -> bool:
    """Whether nothing is under way on a connection that is used often, and nobody observes its statements."""
    raw = connection.connection
    return (
        _is_psycopgs(raw)
        and raw.pgconn.transaction_status == TransactionStatus.IDLE
        and raw.isolation_level is None
        and enabled
        and is_unseen(connection)
        and _is_worth_preparing(connection)
    )


def _makes_djangos_cursors(connection: Any) -> bool:
    """Whether all cursors of an open connection are Django's, and psycopg's, own."""
    return _is_psycopgs(connection.connection) and is_allowed(connection)


def _is_psycopgs(raw: Any) -> bool:
    return type(raw) is psycopg.Connection and raw.cursor_factory in DJANGOS_CURSORS


def _is_worth_preparing(connection: BaseDatabaseWrapper) -> bool:
    """Whether a connection is used often enough, and keeps what is prepared; call it once a use."""
    raw = connection.connection
    used = _used.get(raw, 0)
    if 0 <= used < PREPARED_FROM:
        _used[raw] = used = used + 1
        if used == PREPARED_FROM and not is_direct(connection):
            _used[raw] = used = -1
    return used >= PREPARED_FROM


def is_direct(connection: BaseDatabaseWrapper) -> bool:
    """Whether no transaction pooler is in between, which would give each statement another session.

    A pooler makes up the process number that it greets with.
    """
    raw = connection.connection
    if connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
        return False
    if raw.info.transaction_status == TransactionStatus.INERROR:
        return False
    with connection.wrap_database_errors, psycopg.Cursor(raw) as cursor:
        (pid,) = cursor.execute("SELECT pg_backend_pid()").fetchone() or (None,)
    return bool(pid == raw.info.backend_pid)


# -- statements bound and prepared by the server ----------------------------------------------------------
# Django's own cursors bind on the client, so the server plans each statement anew.


class _QueueCursor(psycopg.Cursor[Any]):
    """A cursor that sends all parameters as texts, so that a statement is prepared once."""

    prepares = False

    def execute(self, query: Any, params: Any = None, **options: Any) -> _QueueCursor:
        raw = self.connection
        threshold = raw.prepare_threshold
        if self.prepares and threshold is None:
            # Django turns preparation off for the sake of poolers; this one statement is fit for it.
            raw.prepare_threshold = sys.maxsize
        try:
            texts = {name: _bound(value) for name, value in params.items()}
            return super().execute(query, texts, prepare=self.prepares, binary=True)
        finally:
            raw.prepare_threshold = threshold


def execute(engine: Engine, sql: str, params: dict[str, Any]) -> list[Any]:
    """Engine.execute(), with what it answers in binary."""
    with _cursor(engine.connection) as cursor:
        cursor.execute(sql, params)
        # Not `description`: it makes an object of each column.
        return list(cursor.fetchall()) if cursor.pgresult is not None and cursor.pgresult.nfields else []


def _cursor(connection: BaseDatabaseWrapper) -> Any:
    """Return a cursor of Django's making around ours: its wrappers and its errors hold."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    if connection.queries_logged or not _makes_djangos_cursors(connection):
        # The log wants a statement with the values in it, and only a cursor that binds here has that.
        return connection.cursor()
    connection.validate_thread_sharing()
    cursor = _QueueCursor(connection.connection)
    cursor.prepares = _is_worth_preparing(connection)
    return connection.make_cursor(cursor)  # type: ignore[arg-type]


def _bound(value: Any) -> str | None:
    """A parameter as text, whatever it is: else each size of a number would be another statement."""
    if value is None or value.__class__ is str:
        return value
    if value.__class__ is list:
        if NUMBERS.issuperset(map(type, value)):
            # Python writes them as PostgreSQL reads them.
            return "{" + str(value)[1:-1] + "}"
        return "{" + ",".join([_element(item) for item in value]) + "}"
    return str(value)


def _element(item: Any) -> str:
    if item is None:
        return "NULL"
    if item.__class__ is not str:
        return str(item)
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'


# -- one trip to the server in one call of its library ---------------------------------------------------


def send(connection: BaseDatabaseWrapper, *statements: str) -> PGresult:
    """Send statements in one piece; the answer is the last one's, an error that of the first to fail."""
    with connection.wrap_database_errors:
        return _checked(connection.connection.pgconn.exec_("; ".join(statements).encode()))


def send_prepared(connection: BaseDatabaseWrapper, sql: str, params: dict[str, Any]) -> list[Any]:
    """Prepare one statement, if it is not, and carry it out, outside any transaction; return its rows."""
    raw = connection.connection
    name, numbered, order = _numbered(sql)
    values = [None if (text := _bound(params[key])) is None else text.encode() for key in order]
    with connection.wrap_database_errors:
        result = _prepared_result(raw, name, numbered, values)
        if result.error_field(DiagnosticField.SQLSTATE) == UNKNOWN_NAME:
            _prepared[raw].discard(name)
            result = _prepared_result(raw, name, numbered, values)
        rows = Transformer(raw)
        rows.set_pgresult(_checked(result))
        return rows.load_rows(0, result.ntuples, tuple)


def _prepared_result(
    raw: psycopg.Connection[Any], name: bytes, sql: bytes, values: Sequence[Any]
) -> PGresult:
    prepared = _prepared.setdefault(raw, set())
    if name not in prepared:
        _checked(raw.pgconn.prepare(name, sql))
        prepared.add(name)
    return raw.pgconn.exec_prepared(name, values, result_format=Format.BINARY)


@cache
def _numbered(sql: str) -> tuple[bytes, bytes, tuple[str, ...]]:
    """Return a name for a statement, the statement with numbered parameters, and what these are in order."""
    order: dict[str, int] = {}
    numbered = re.sub(
        r"%\((\w+)\)s", lambda found: f"${order.setdefault(found[1], len(order) + 1)}", sql
    ).replace("%%", "%")
    return b"letsgo_%d" % next(_numbers), numbered.encode(), tuple(order)


def _checked(result: PGresult) -> PGresult:
    if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
        raise psycopg.errors.error_from_result(result)
    return result


# -- an atomic handler's frame in two trips instead of five ------------------------------------------------


def atomic_scope(engine: Engine, process: UUID, lease: tuple[int, int]) -> AtomicScope:
    kind = BundledAtomicScope if is_open(engine.connection) else AtomicScope
    return kind(engine, process, lease)


class BundledAtomicScope(AtomicScope):
    """BEGIN, lock and savepoint at once; the end of the savepoint is left to the commit.

    The savepoint is ours: Django would make a cursor to set it, and another to release it.
    """

    def __init__(self, engine: Engine, process: UUID, lease: tuple[int, int]) -> None:
        super().__init__(engine, process, lease)
        self.savepoint = transaction.atomic(using=engine.connection.alias, savepoint=False)
        self._callbacks = 0

    def open(self) -> bool:
        connection = self.engine.connection
        lock = f"EXECUTE letsgo_lock ({self._lease})"
        if connection.connection not in _prepared_scopes:
            send(connection, *PREPARE)
            _prepared_scopes.add(connection.connection)
        # The answer is the last statement's, so the lock is asked for again.
        if not self._finds("BEGIN", lock, "SAVEPOINT letsgo_handler", lock, back="ROLLBACK"):
            return False
        self.savepoint.__enter__()
        self._callbacks = len(connection.run_on_commit)
        self.mind_session()
        return True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        super().__exit__(kind, error, trace)
        connection = self.engine.connection
        if not connection.needs_rollback or connection.closed_in_transaction:
            return
        # If this fails the transaction stays broken, as Django leaves it when its own way back fails.
        with suppress(Error):
            send(connection, "ROLLBACK TO SAVEPOINT letsgo_handler")
            connection.needs_rollback = False
            del connection.run_on_commit[self._callbacks :]

    def settle(
        self, settlement: Settlement, *, keep: frozenset[str], now: datetime | None = None
    ) -> dict[int, str]:
        if now is not None or not settlement.is_plain:
            return super().settle(settlement, keep=keep, now=now)
        self.end_session()
        ago, seconds = settlement.started_seconds_ago, settlement.seconds
        started = "NULL" if ago is None else -DIALECT.amount(ago)
        times = f"{started}, {'NULL' if seconds is None else repr(seconds)}"
        done = f"EXECUTE letsgo_done ({self._lease}, {settlement.is_kept(settlement.outcome, keep)}, {times})"
        # With a savepoint: what the handler wrote must survive a statement that is not there any more.
        is_ours = self._finds("SAVEPOINT letsgo", done, back="ROLLBACK TO SAVEPOINT letsgo")
        return {settlement.id: settlement.outcome} if is_ours else {}

    @property
    def _lease(self) -> str:
        id, receipt = self.lease
        return f"{id:d}, {receipt:d}, '{self.process}'"

    def _finds(self, *statements: str, back: str) -> bool:
        """Send statements in one piece; return whether the last one finds a row.

        What they execute may be prepared no more, since a rollback makes the driver discard all that is.
        Then go `back`, prepare it and send them again.
        """
        connection = self.engine.connection
        try:
            return bool(send(connection, *statements).ntuples)
        except ProgrammingError as error:
            if not isinstance(error.__cause__, psycopg.errors.InvalidSqlStatementName):
                raise
        send(connection, back)
        send(connection, *PREPARE)
        return bool(send(connection, *statements).ntuples)
