"""A watch over what statements set on a session, which stays with it when their transaction is over; its cut.

Noticed by their words, before they are sent. How a session is brought back is the engines'.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
from collections.abc import Callable
from typing import Any

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

# What reads and writes rows, and begins and ends transactions; behind remarks, as tracers write them.
_ABOUT_ROWS = re.compile(
    r"(?:[\s(]|/\*.*?\*/|--[^\n]*\n)*(?:(select)|insert|update|delete|with|"
    r"begin|savepoint|release|commit|rollback)\b",
    re.DOTALL,
)
_FROM = re.compile(r"\bfrom\b")
# One number or setting, or one call of a function that sets nothing, ours among them.
_JUST_READS = re.compile(
    r"\s*select\s+(?:(?:@@)?[\w.]+|(?:now|version|(?:statement_|clock_|utc_)timestamp|strftime|nextval|currval|"
    r"lastval|last_insert_id|last_insert_rowid|pg_notify|pg_backend_pid|connection_id)\([^()]*\))\s*"
)
_INTO_TEMPORARY = re.compile(r"\binto\s+(?:(?:global|local)\s+)?temp(?:orary)?\b")
# Functions that set something, a view that can be written to, and a second statement behind the first.
_WORDS = ("set_config", "pg_settings", "advisory", "get_lock", "load_extension", "dblink", ";")
# One at-sign: a variable. Two: a setting that is read.
_VARIABLE = re.compile(r"(?<!@)@(?!@)")


class SessionWatch:
    """An execute wrapper that notices when the session may not be any more what it was when it was opened."""

    def __init__(self, vendor: str) -> None:
        self.vendor = vendor
        self.is_changed = False
        # Called once, before the session is changed, by who will need it as it was.
        self.before_change: Callable[[], None] | None = None

    def __call__(self, execute: Callable[..., Any], sql: Any, params: Any, many: bool, context: Any) -> Any:
        if not self.is_changed and may_set(sql, self.vendor):
            self.is_changed = True
            if self.before_change is not None:
                self.before_change()
        return execute(sql, params, many, context)


def watch_session(connection: BaseDatabaseWrapper) -> None:
    """Notice from now on what Django's cursors set on the sessions of a connection."""
    connection.execute_wrappers.insert(0, SessionWatch(connection.vendor))
    # Here and not earlier, to come after the receivers of the project: what they set belongs to a session.
    connection_created.connect(_begin_session, dispatch_uid="django_letsgo_worker.sessions")


def watch_of(connection: BaseDatabaseWrapper) -> SessionWatch | None:
    """Return what watches the sessions of a connection."""
    wrappers: list[Any] = connection.execute_wrappers
    return wrappers[0] if wrappers and type(wrappers[0]) is SessionWatch else None


def may_set(sql: Any, vendor: str) -> bool:
    """Whether a statement may set what outlasts its transaction; it may be wrong in saying that it may."""
    if type(sql) is not str:
        return True
    text = sql.lower()
    begins = _ABOUT_ROWS.match(text)
    if begins is None:
        return True
    for word in _WORDS:  # half as long as any()
        if word in text:
            return True
    if begins[1] and " from " not in text and not _FROM.search(text):
        # It calls functions only, whatever they do.
        return _JUST_READS.fullmatch(text) is None
    if vendor == "mysql":
        return "@" in text and _VARIABLE.search(text) is not None
    return "temp" in text and _INTO_TEMPORARY.search(text) is not None


def _begin_session(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    if (watch := watch_of(connection)) is not None:
        watch.is_changed = False


def cut(descriptor: int) -> None:
    """Shut the socket to a server down for both sides; safe from any thread, unlike closing it."""
    with contextlib.suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as line:
        line.shutdown(socket.SHUT_RDWR)
