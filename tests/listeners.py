"""Connections that listen on PostgreSQL, as workers do, and what they are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

CHANNEL, END = "letsgo_worker", "the end"


@contextmanager
def listener(*, alone: bool = False) -> Iterator[Any]:
    """Open a connection that listens on the channel of all workers, and on one of its own if `alone`."""
    import psycopg
    from django.db import connection

    parameters = {**connection.get_connection_params(), "autocommit": True}
    for name in ("cursor_factory", "context"):
        parameters.pop(name, None)
    with psycopg.connect(**parameters) as one:
        one.execute(f"LISTEN {CHANNEL}")
        if alone:
            one.execute(f"LISTEN {CHANNEL}_{one.info.backend_pid}")
        yield one


def told(listeners: list[Any]) -> list[list[str]]:
    """Return what each of them was told since the last call."""
    from django.db import connection

    with connection.cursor() as cursor:
        # What was sent before comes before this one.
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, END])
    return [_until_the_end(one) for one in listeners]


def _until_the_end(one: Any) -> list[str]:
    found: list[str] = []
    for note in one.notifies(timeout=30):
        if note.payload == END:
            return found
        found.append(note.payload)
    raise AssertionError("no notification came")
