"""What one delivery may leave behind, taken away before the next: transactions, connections, contexts.

Time zone, language and other context variables are dealt with by running each in a context of its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..engines import engine_on
from ..errors import NotReady

# A connection that rested longer is asked whether it lives before a handler gets it, in seconds.
TRUSTED_FOR = 1.0


class ConnectionKeeper:
    """Looks after the Django connections of the thread that makes it."""

    def __init__(self) -> None:
        self._rested_at = 0.0
        # All that there can be: looking them up after each delivery costs more than the rest of it.
        self._connections = list(connections.all())

    def before(self) -> None:
        """Close connections that died while the thread rested."""
        if time.monotonic() - self._rested_at > TRUSTED_FOR:
            for connection in self._connections:
                if connection.connection is not None and not connection.is_usable():
                    connection.close()

    def after(self) -> None:
        """Roll back and close whatever the handler left open or broken."""
        for connection in self._connections:
            tidy(connection)
        self._rested_at = time.monotonic()


def on_a_thread_with_connections(call: Callable[[float], bool], argument: float) -> bool:
    """Call at once, or on another thread where this one runs an event loop, which must not use the ORM."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return call(argument)
    with ThreadPoolExecutor(max_workers=1) as executor:
        try:
            return executor.submit(call, argument).result()
        finally:
            executor.submit(connections.close_all)


def tidy(connection: BaseDatabaseWrapper) -> None:
    """Bring a connection back to the state in which a handler may expect it, or close it."""
    if connection.connection is None and not connection.in_atomic_block:
        return
    try:
        clean = (
            not connection.in_atomic_block and connection.get_autocommit() and not connection.errors_occurred
        )
        if clean and not _has_leftovers(connection):
            connection.queries_log.clear()
            return
    except Exception:
        pass
    force_close(connection)


def _has_leftovers(connection: BaseDatabaseWrapper) -> bool:
    try:
        return engine_on(connection).has_leftovers()
    except NotReady:
        # A database that the queue does not know: Django's own check must do.
        return not connection.is_usable()


def force_close(connection: BaseDatabaseWrapper) -> None:
    """Close a connection even inside an atomic block that nobody will leave any more."""
    connection.in_atomic_block = False
    connection.needs_rollback = False
    connection.savepoint_ids = []
    connection.atomic_blocks = []
    connection.run_on_commit = []
    connection.closed_in_transaction = False
    try:
        connection.close()
    except Exception:
        connection.connection = None
