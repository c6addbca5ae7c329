"""Silence: both sides of a connection notice within the lease that the other is gone without a word.

A host that is cut off, or loses its power, resets no connection. Its server goes on waiting for the rest of a
transaction, and keeps what that has locked: for two hours, as systems come. Its client goes on waiting for an
answer: for a quarter of an hour, if its question never arrived.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import psycopg
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from ...conf import settings

# In seconds: the longest rest before a question whether the other side is there, and between such questions.
LONGEST_IDLE, LONGEST_INTERVAL, QUESTIONS = 10, 5, 3
CONNECT_TIMEOUT = 10
# What of a client's options the server is told, under which names. Where a pooler made up the process number
# that it greeted with, nothing is: the session is everybody's.
SERVERS = {
    "tcp_keepalives_idle": "keepalives_idle",
    "tcp_keepalives_interval": "keepalives_interval",
    "tcp_keepalives_count": "keepalives_count",
    "tcp_user_timeout": "tcp_user_timeout",
}
TELL = f"""
SELECT {", ".join(f"set_config('{name}', %({option})s, FALSE)" for name, option in SERVERS.items())}
WHERE pg_backend_pid() = %(pid)s
"""


def options() -> dict[str, int]:
    """Return what libpq is to be told: together they are five sixths of the lease, and 25 seconds at most."""
    lease = settings().lease_seconds
    idle = max(1, min(LONGEST_IDLE, int(lease / 3)))
    interval = max(1, min(LONGEST_INTERVAL, int(lease / 6)))
    return {
        "connect_timeout": CONNECT_TIMEOUT,
        "keepalives_idle": idle,
        "keepalives_interval": interval,
        "keepalives_count": QUESTIONS,
        # The others do nothing while something that was sent is on its way; this does, in milliseconds.
        "tcp_user_timeout": 1000 * (idle + QUESTIONS * interval),
    }


def notice(connection: BaseDatabaseWrapper) -> None:
    """Have it noticed on whatever this opens from now on; what the project has set itself stands."""
    known = connection.settings_dict
    connection.settings_dict = {**known, "OPTIONS": {**options(), **known["OPTIONS"]}}
    connection.letsgo_notices_silence = True  # type: ignore[attr-defined]


def _tell_server(connection: BaseDatabaseWrapper, **kwargs: Any) -> None:
    """Tell the server the same of its side, once per session; it may be none that knows of such things."""
    if not getattr(connection, "letsgo_notices_silence", False):
        return
    raw, known = connection.connection, connection.settings_dict["OPTIONS"]
    said = {option: str(known[option]) for option in SERVERS.values()}
    with suppress(psycopg.Error), psycopg.ClientCursor(raw) as cursor:
        cursor.execute(TELL, {**said, "pid": raw.info.backend_pid})


connection_created.connect(_tell_server, dispatch_uid="django_letsgo_worker.silence")
