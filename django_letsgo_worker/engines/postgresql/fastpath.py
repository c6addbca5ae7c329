"""One trip to the server in one call of its library.

The driver's care for each statement costs more time than the statements that are sent most often. What
is prepared here bears a name of ours; the driver may discard it, as it does after a rollback.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import count
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.adapt import Transformer
from psycopg.pq import DiagnosticField, ExecStatus, Format, TransactionStatus
from psycopg.pq.abc import PGresult

from ..cursors import is_watched
from .cursor import bound, is_worth_preparing, makes_own_cursors

# invalid_sql_statement_name
UNKNOWN_NAME = b"26000"
_numbers = count(1)

# What is prepared on each connection.
_prepared: WeakKeyDictionary[psycopg.Connection[Any], set[bytes]] = WeakKeyDictionary()


def is_open_to_direct(connection: Any) -> bool:
    """Whether nothing is under way on a connection that is used often, and nobody observes its statements."""
    raw = connection.connection
    return (
        raw is not None
        and raw.info.transaction_status == TransactionStatus.IDLE
        and raw.isolation_level is None
        and not (connection.queries_logged or is_observed(connection))
        # What Django sees to before each cursor: that the connection lives, and is this thread's.
        and (connection.health_check_done or not connection.health_check_enabled)
        and (connection._thread_ident == get_ident() or connection.allow_thread_sharing)
        and is_worth_preparing(connection)
    )


def is_observed(connection: BaseDatabaseWrapper) -> bool:
    """Whether on an open connection what goes past Django's cursors goes past the project's."""
    return is_watched(connection) or makes_own_cursors(connection)


def send(connection: BaseDatabaseWrapper, *statements: str) -> PGresult:
    """Send statements in one piece; the answer is the last one's, an error that of the first to fail."""
    with connection.wrap_database_errors:
        return _checked(connection.connection.pgconn.exec_("; ".join(statements).encode()))


def send_prepared(connection: BaseDatabaseWrapper, sql: str, params: dict[str, Any]) -> list[Any]:
    """Prepare one statement, if it is not, and carry it out, outside any transaction; return its rows."""
    raw = connection.connection
    name, numbered, order = _numbered(sql)
    values = [None if (text := bound(params[key])) is None else text.encode() for key in order]
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
