"""Isolation of deliveries: transactions, settings and connections that one leaves are gone before the next.

Time zone, language and other context variables are isolated by running each delivery in its own context.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from ..conf import settings
from ..engines import SessionWatch, engine_on, has_own_cursors, watch_of, watch_session
from ..errors import NotReady

# A connection that rested longer than this, in seconds, is tested before a handler gets it.
TRUSTED_FOR = 1.0


class ConnectionKeeper:
    """Looks after the Django connections of the thread that makes it."""

    def __init__(self) -> None:
        self._rested_at = 0.0
        # All that there can be: looking them up after each delivery costs more than the rest of it.
        self._connections = list(connections.all())
        for connection in self._connections:
            _take_over(connection)
        # The state that a project's own wrappers add to Django's, as on a new connection: the tenant, say.
        self._own = {c.alias: _own_state(c) for c in self._connections if _extends_djangos(c)}

    def before(self) -> None:
        """Close connections that died, or grew too old, while the thread rested."""
        if time.monotonic() - self._rested_at > TRUSTED_FOR:
            for connection in self._connections:
                if connection.connection is not None and not (
                    connection.is_usable() and is_fresh(connection, settings().close_connections)
                ):
                    let_go(connection)

    def after(self) -> None:
        """Undo everything that the handler left open, broken or set, and close connections past their age."""
        closes = settings().close_connections
        for connection in self._connections:
            tidy(connection)
            if connection.connection is not None and not is_fresh(connection, closes):
                let_go(connection)
        if self._own:
            self._connections = [self._as_new(connection) for connection in self._connections]
        self._rested_at = time.monotonic()

    def _as_new(self, connection: BaseDatabaseWrapper) -> BaseDatabaseWrapper:
        """Return the connection, or another in its place if the handler left it set to something."""
        alias = connection.alias
        if alias not in self._own or _own_state(connection) == self._own[alias]:
            return connection
        let_go(connection)
        connections[alias] = new = connections.create_connection(alias)
        _take_over(new)
        self._own[alias] = _own_state(new)
        return new


def _take_over(connection: BaseDatabaseWrapper) -> None:
    """Watch a connection for what handlers leave on it, and for a server that is gone without a word."""
    watch_session(connection)
    # Other databases than the queue's may be of kinds that it does not know.
    with contextlib.suppress(NotReady):
        engine_on(connection).notice_silence()


def _extends_djangos(connection: BaseDatabaseWrapper) -> bool:
    """Whether this is one of Django's wrappers with the project's own code around its cursors."""
    kind: Any = type(connection)
    return has_own_cursors(connection) and _djangos(kind) is not BaseDatabaseWrapper


def _own_state(connection: BaseDatabaseWrapper) -> dict[str, Any]:
    """Return the attributes of a connection that Django's wrapper does not have."""
    kind: Any = type(connection)
    djangos, names = _names_of_djangos(kind)
    return {
        name: value
        for name, value in vars(connection).items()
        if name not in names and not hasattr(djangos, name)
    }


def _djangos(kind: type[BaseDatabaseWrapper]) -> Any:
    """Return Django's class behind a project's wrapper class."""
    return next(parent for parent in kind.__mro__ if parent.__module__.startswith("django."))


@cache
def _names_of_djangos(kind: type[BaseDatabaseWrapper]) -> tuple[type, frozenset[str]]:
    """Return Django's class, and the names of the attributes that a new instance of it has."""
    djangos = _djangos(kind)
    return djangos, frozenset(vars(djangos({}, "")))


def is_fresh(connection: BaseDatabaseWrapper, closes: bool) -> bool:
    """Whether an open connection may be used for one more delivery, by its age.

    Without CONN_MAX_AGE it may, unlike for one more request: a new one would cost more than most deliveries.
    """
    if closes:
        return False
    at: float | None = connection.close_at
    return at is None or not connection.settings_dict["CONN_MAX_AGE"] or time.monotonic() < at


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
    """Bring a connection back to the state that a handler may expect, or close it."""
    connection.queries_log.clear()
    if connection.connection is None and not connection.in_atomic_block:
        return
    if (watch := watch_of(connection)) is not None:
        watch.before_change = None
    try:
        clean = (
            not connection.in_atomic_block and connection.get_autocommit() and not connection.errors_occurred
        )
        if clean and not _has_leftovers(connection) and (watch is None or _is_as_opened(connection, watch)):
            return
    except Exception:
        pass
    let_go(connection)


def _is_as_opened(connection: BaseDatabaseWrapper, watch: SessionWatch) -> bool:
    """Whether the session is as it was opened, or could be reset to that."""
    if watch.is_changed:
        watch.is_changed = not engine_on(connection).reset_session()
    return not watch.is_changed


def _has_leftovers(connection: BaseDatabaseWrapper) -> bool:
    try:
        return engine_on(connection).has_leftovers()
    except NotReady:
        # A database that the queue does not know: Django's own check must do.
        return not connection.is_usable()


def let_go(connection: BaseDatabaseWrapper) -> None:
    """Close a connection in any state; one of a pool goes back as it was when it came, or not at all."""
    if getattr(connection, "pool", None) and connection.connection is not None:
        try:
            is_clean = engine_on(connection).reset_session()
        except Exception:
            is_clean = False
        if not is_clean:
            connection.connection.close()
    force_close(connection)


def force_close(connection: BaseDatabaseWrapper) -> None:
    """Close a connection even inside an atomic block that will never be left."""
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
