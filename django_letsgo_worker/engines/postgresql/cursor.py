"""How the queue's statements travel: bound and prepared by the server, answered in binary.

Django's own cursors bind on the client, so the server plans each statement anew. What the statements say
is in the modules beside this one.
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.postgresql.base import Cursor, ServerBindingCursor
from psycopg.pq import TransactionStatus

from ..cursors import has_own_cursors

# What Django has psycopg make: any other cursor is the project's, or of what it installed.
DJANGOS_CURSORS: tuple[Any, ...] = (Cursor, ServerBindingCursor)
# A connection that is used less often than this is not worth a statement's preparation.
PREPARED_FROM = 3

# How often each connection was used, up to that; below zero: through a pooler, so nothing stays prepared.
_used: WeakKeyDictionary[psycopg.Connection[Any], int] = WeakKeyDictionary()


class QueueCursor(psycopg.Cursor[Any]):
    """A cursor that sends all parameters as texts, so that a statement is prepared once."""

    prepares = False

    def execute(self, query: Any, params: Any = None, **options: Any) -> QueueCursor:
        raw = self.connection
        threshold = raw.prepare_threshold
        if self.prepares and threshold is None:
            # Django turns preparation off for the sake of poolers; this one statement is fit for it.
            raw.prepare_threshold = sys.maxsize
        try:
            texts = {name: bound(value) for name, value in params.items()}
            return super().execute(query, texts, prepare=self.prepares, binary=True)
        finally:
            raw.prepare_threshold = threshold


def queue_cursor(connection: BaseDatabaseWrapper) -> Any:
    """Return a cursor of Django's making around ours: its wrappers and its errors hold."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    if connection.queries_logged or makes_own_cursors(connection):
        # The log wants a statement with the values in it, and only a cursor that binds here has that.
        return connection.cursor()
    connection.validate_thread_sharing()
    cursor = QueueCursor(connection.connection)
    cursor.prepares = is_worth_preparing(connection)
    return connection.make_cursor(cursor)  # type: ignore[arg-type]


def makes_own_cursors(connection: Any) -> bool:
    """Whether not all cursors of an open connection are Django's, and psycopg's, own."""
    raw = connection.connection
    return (
        type(raw) is not psycopg.Connection
        or raw.cursor_factory not in DJANGOS_CURSORS
        or has_own_cursors(connection)
    )


def rows_of(cursor: Any) -> list[Any]:
    """Return what a statement answered; nothing where it answers nothing."""
    # Not `description`: it makes an object of each column.
    return list(cursor.fetchall()) if cursor.pgresult is not None and cursor.pgresult.nfields else []


def is_worth_preparing(connection: BaseDatabaseWrapper) -> bool:
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


def plus_sql(base: str, amount: str) -> str:
    """A moment plus microseconds."""
    return f"({base} + {amount}::bigint * INTERVAL '1 microsecond')"


def bound(value: Any) -> str | None:
    """A parameter as text, whatever it is: else each size of a number would be another statement."""
    if value is None or value.__class__ is str:
        return value
    if value.__class__ is list:
        return "{" + ",".join([_element(item) for item in value]) + "}"
    return str(value)


def _element(item: Any) -> str:
    if item is None:
        return "NULL"
    if item.__class__ is not str:
        return str(item)
    return '"' + item.replace("\\", "\\\\").replace('"', '\\"') + '"'
