"""Checks of how the queue's database is connected to: what handlers and the web get, by engine.

Workers set up their own connections as they need them. Nothing is asked of the database itself here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections

from ..conf import settings
from ..engines import engine_on
from ..errors import NotReady
from ..validation import counted
from .tags import AT_START, alias_of_queue

_SETS_WAL = re.compile(r"journal_mode\s*=\s*[\"']?wal\b", re.IGNORECASE)
# In the header of a SQLite file: the versions to write and to read it with; both are 2 in WAL mode.
_VERSIONS, _WAL = slice(18, 20), b"\x02\x02"
# Of psycopg's pool, where its size is not given.
_POOL_SIZE = 4


@register(AT_START)
def check_connection(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Say that nothing can be done with it, or which of its options make work slow or fail."""
    alias = alias_of_queue()
    if alias is None:
        return []
    connection = connections[alias]
    try:
        engine_on(connection)
    except NotReady as error:
        hint = f"Or keep the queue elsewhere: LETSGO_WORKER['DATABASE'] is {alias!r}."
        return [Error(str(error), hint=hint, id="letsgo_worker.E009")]
    options = connection.settings_dict["OPTIONS"]
    if connection.vendor == "sqlite":
        return list(_check_sqlite(alias, str(connection.settings_dict["NAME"]), options))
    if connection.vendor == "mysql":
        return list(_check_isolation(alias, options))
    if connection.vendor == "postgresql":
        return list(_check_pool(alias, options, settings().concurrency))
    return []


def _hint(alias: str, what: str) -> str:
    return f"In OPTIONS of DATABASES[{alias!r}] set {what}."


def _check_sqlite(alias: str, name: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    if name == ":memory:" or "mode=memory" in name:
        return
    if str(options.get("transaction_mode")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield Warning(
            f"Transactions on {alias!r} do not wait for their turn to write: one that reads first fails with "
            '"database is locked" when another was faster.',
            hint=_hint(alias, '"transaction_mode": "IMMEDIATE"'),
            id="letsgo_worker.W001",
        )
    if not _SETS_WAL.search(str(options.get("init_command"))) and not _is_in_wal_mode(name):
        yield Warning(
            f"The SQLite file of {alias!r} has no write-ahead log: whoever reads stops the one who writes.",
            hint=_hint(alias, '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"'),
            id="letsgo_worker.W002",
        )


def _is_in_wal_mode(name: str) -> bool:
    """Whether the file itself remembers it; a database that is not there yet does not."""
    try:
        with Path(name).open("rb") as file:
            return file.read(_VERSIONS.stop)[_VERSIONS] == _WAL
    except OSError:
        return False


def _check_isolation(alias: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    # As Django reads it: what is not given is READ COMMITTED, and None is what the server says.
    level = options.get("isolation_level", "read committed")
    if str(level).lower() != "read committed":
        said = f"{level!r}" if level else "what the server says, which is REPEATABLE READ by default"
        yield Warning(
            f"The isolation level of {alias!r} is {said}: handlers and enqueues lock the gaps between rows, "
            "and deadlock with the workers.",
            hint=_hint(alias, '"isolation_level": "read committed"'),
            id="letsgo_worker.W003",
        )


def _check_pool(alias: str, options: Mapping[str, Any], seats: int) -> Iterator[CheckMessage]:
    pool = options.get("pool")
    if not pool:
        return
    sizes = pool if isinstance(pool, Mapping) else {}
    size = sizes.get("max_size") or sizes.get("min_size", _POOL_SIZE)
    if size < seats:
        yield Warning(
            f"The pool of {alias!r} has {counted(size, 'connection')}, and a worker handles "
            f"{counted(seats, 'message')} at a time: "
            "handlers wait for each other's connections, and fail when that takes too long.",
            hint=_hint(alias, f'"pool": {{"max_size": {seats}}}, or lower CONCURRENCY'),
            id="letsgo_worker.W004",
        )
