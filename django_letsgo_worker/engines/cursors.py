"""The rule of when fast paths are allowed: never past cursors that a project, or its tools, made their own.

A tenant's schema is set there, statements are counted, traced, logged or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import is_
from threading import get_ident
from types import FunctionType
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from .sessions import SessionWatch

# Of a wrapper: what makes a cursor, in its class or put in place on one connection.
_MAKERS = ("cursor", "_cursor", "chunked_cursor", "create_cursor", "make_cursor")

# What was found on each class when it was last looked at, and whether all of that is Django's.
_known: dict[type, tuple[tuple[Any, ...], bool]] = {}


def has_own_cursors(connection: BaseDatabaseWrapper) -> bool:
    """Whether the wrapper's class, or something that patched it or this connection, makes the cursors."""
    kind: Any = type(connection)
    found = (kind.cursor, kind._cursor, kind.chunked_cursor, kind.create_cursor, kind.make_cursor)
    return not (_are_djangos(kind, found) and vars(connection).keys().isdisjoint(_MAKERS))


def is_watched(connection: BaseDatabaseWrapper) -> bool:
    """Whether something is told of each statement that Django's cursors execute, or has a say in it."""
    others = [wrapper for wrapper in connection.execute_wrappers if type(wrapper) is not SessionWatch]
    return bool(others) or not _are_djangos(CursorWrapper, (CursorWrapper.execute,))


def is_unseen(connection: Any) -> bool:
    """Whether a statement may go past the cursors of an open connection: nobody looks on, or has a say."""
    return (
        not (connection.queries_logged or is_watched(connection) or has_own_cursors(connection))
        # What Django sees to before each cursor: that the connection lives, and is this thread's.
        and (connection.health_check_done or not connection.health_check_enabled)
        and (connection._thread_ident == get_ident() or connection.allow_thread_sharing)
    )


def _are_djangos(kind: type, found: tuple[Any, ...]) -> bool:
    # By identity: a proxy around a function is equal to it.
    known = _known.get(kind)
    if known is None or not all(map(is_, known[0], found)):
        _known[kind] = known = found, all(map(_is_djangos, found))
    return known[1]


def _is_djangos(function: Callable[..., Any]) -> bool:
    """Whether the code itself is Django's; what wraps a function bears its name and its module's."""
    while type(function) is FunctionType:
        module = function.__globals__["__name__"]
        if module != "django.utils.asyncio":
            return bool(module.startswith("django."))
        # Django refuses its cursors to an event loop by this decorator; others use it too.
        function = function.__wrapped__  # type: ignore[attr-defined]
    return False
