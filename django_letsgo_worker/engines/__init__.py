"""The only place where databases differ: clock, insert, claim, settle, renew, wake.

What a message means is decided above, in messages; here stands how each engine is told.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from importlib import import_module

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..errors import NotReady
from .atomic import AtomicScope
from .base import ARCHIVE, TABLE, Engine
from .cursors import has_own_cursors
from .faults import Fault, Refused, in_short
from .records import (
    MOST_LISTENERS,
    MOVED,
    PAUSED,
    AtLeast,
    Claim,
    Claimed,
    ClaimRequest,
    Inserted,
    Lane,
    NewRow,
    Rest,
    Settlement,
)
from .schedules import NEW_OCCURRENCE
from .sessions import SessionWatch, watch_of, watch_session

__all__ = [
    "ARCHIVE", "MOST_LISTENERS", "MOVED", "NEW_OCCURRENCE", "PAUSED", "TABLE", "AtLeast", "AtomicScope",
    "Claim", "ClaimRequest", "Claimed", "Engine", "Fault", "Inserted", "Lane", "NewRow", "Refused", "Rest",
    "SessionWatch", "Settlement", "adopt_own_connection", "engine_for", "engine_on", "has_own_cursors",
    "in_short", "watch_of", "watch_session",
]  # fmt: skip

_HOMES = {
    "postgresql": ("postgresql", "PostgreSQLEngine"),
    "sqlite": ("sqlite", "SQLiteEngine"),
    "mysql": ("mysql", "MySQLEngine"),
}


def engine_for(using: str) -> Engine:
    """Return the engine of an alias, on the calling thread's own Django connection."""
    return engine_on(connections[using])


def engine_on(connection: BaseDatabaseWrapper) -> Engine:
    """Return the engine that speaks through this connection; NotReady for one that none of ours can."""
    return _class_for(connection.vendor)(connection)


@cache
def _class_for(vendor: str) -> type[Engine]:
    try:
        module, name = _HOMES[vendor]
    except KeyError:
        raise NotReady(
            f"django_letsgo_worker does not know the database {vendor!r}: "
            "use PostgreSQL, SQLite, MariaDB or MySQL."
        ) from None
    try:
        engine: type[Engine] = getattr(import_module(f".{module}", __name__), name)
    except ModuleNotFoundError as error:
        if error.name != "psycopg":
            raise
        raise NotReady(
            "django_letsgo_worker needs psycopg 3 for PostgreSQL, and psycopg2 is all that is here: install "
            "django-letsgo-worker[postgres], and from then on Django uses psycopg 3 for the whole project."
        ) from None
    return engine


def adopt_own_connection(using: str) -> Engine:
    """Give the calling thread a connection of its own, set up for the queue, in place of Django's.

    From then on `connections[using]` is that connection on this thread, and the verbs use it.
    """
    connection = connections.create_connection(using)
    # Under DEBUG each statement is kept, with all that is in it; nobody asks this connection for them.
    connection.queries_log = deque(maxlen=0)
    engine = engine_on(connection)
    engine.prepare_own_connection()
    connections[using] = connection
    return engine
