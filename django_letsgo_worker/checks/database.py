"""Checks of the queue's database: the options of its connections, and the routers.

Workers set up their own connections. No query is made here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from django.apps import apps
from django.conf import settings as django_settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections, router
from django.db.models import Model

from ..conf import settings
from ..engines import engine_on, has_own_cursors
from ..errors import NotReady
from ..inspection import alias_of_queue
from ..models import Message
from ..validation import counted
from .configuration import APP, AT_START, PROJECT

_SETS_WAL = re.compile(r"journal_mode\s*=\s*[\"']?wal\b", re.IGNORECASE)
# In the header of a SQLite file: its write version and its read version; both are 2 in WAL mode.
_VERSIONS, _WAL = slice(18, 20), b"\x02\x02"
# The default size of psycopg's pool.
_POOL_SIZE = 4
ROUTER = f"{APP}.routers.LetsGoRouter"


# -- connections -----------------------------------------------------------------------------------------


@register(AT_START)
def check_connection(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report a database that cannot be used, or options of it that make work slow or fail."""
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
            '"database is locked" if another has written meanwhile.',
            hint=_hint(alias, '"transaction_mode": "IMMEDIATE"'),
            id="letsgo_worker.W001",
        )
    if not _SETS_WAL.search(str(options.get("init_command"))) and not _is_in_wal_mode(name):
        yield Warning(
            f"The SQLite file of {alias!r} has no write-ahead log: readers block writers.",
            hint=_hint(alias, '"init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"'),
            id="letsgo_worker.W002",
        )


def _is_in_wal_mode(name: str) -> bool:
    """Return whether the file is in WAL mode; one that does not exist yet is not."""
    try:
        with Path(name).open("rb") as file:
            return file.read(_VERSIONS.stop)[_VERSIONS] == _WAL
    except OSError:
        return False


def _check_isolation(alias: str, options: Mapping[str, Any]) -> Iterator[CheckMessage]:
    # As Django reads it: READ COMMITTED if it is not given, and the server's default if it is None.
    level = options.get("isolation_level", "read committed")
    if str(level).lower() != "read committed":
        said = f"{level!r}" if level else "the server's, which is REPEATABLE READ by default"
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
            f"The pool of {alias!r} has {counted(size, 'connection')}, but a worker handles "
            f"{counted(seats, 'message')} at a time: "
            "handlers wait for each other's connections, and fail if that takes too long.",
            hint=_hint(alias, f'"pool": {{"max_size": {seats}}}, or lower CONCURRENCY'),
            id="letsgo_worker.W004",
        )


# -- routers ---------------------------------------------------------------------------------------------


@register(PROJECT)
def check_routing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report routers that misplace our tables, and a queue on another alias than the data."""
    alias = alias_of_queue()
    return [] if alias is None else [*_check_routers(alias), *_check_distance(alias)]


def _check_routers(alias: str) -> Iterator[CheckMessage]:
    if APP in getattr(django_settings, "TENANT_APPS", ()):
        yield Warning(
            f"TENANT_APPS contains {APP}: messages enqueued in a tenant's schema wait in a queue of that "
            "schema, which no worker serves.",
            hint=f"List {APP!r} in SHARED_APPS only, and let a carrier take the schema along.",
            id="letsgo_worker.W015",
        )
    if not router.allow_migrate_model(alias, Message):
        if has_own_cursors(connections[alias]):
            # Its answer may depend on the schema that this connection is set to.
            yield Warning(
                f"DATABASE_ROUTERS allow no tables of {APP} on {alias!r} while its connection is new, as "
                "those of workers are.",
                hint="Create the tables in the schema that a new connection uses: with django-tenants, the "
                "shared one.",
                id="letsgo_worker.W014",
            )
            return
        yield Error(
            f"DATABASE_ROUTERS allow no tables of {APP} on {alias!r}, where LETSGO_WORKER keeps them.",
            hint=f"Put {ROUTER!r} in front of the others.",
            id="letsgo_worker.E007",
        )
    elif {router.db_for_read(Message), router.db_for_write(Message)} != {alias}:
        yield Warning(
            f"LETSGO_WORKER keeps its tables on {alias!r}, but no router sends Message.objects there.",
            hint=f"Add {ROUTER!r} to DATABASE_ROUTERS.",
            id="letsgo_worker.W009",
        )


def _check_distance(alias: str) -> Iterator[CheckMessage]:
    written = aliases_written(models_of_project())
    if written and alias not in written:
        others = ", ".join(repr(other) for other in sorted(written))
        yield Warning(
            f"The queue is on {alias!r}, and all data of the project on {others}: enqueue() is not part of "
            "the caller's transaction there, and no handler's effects exist exactly once.",
            hint="Where that matters, keep the queue with the data; else enqueue in transaction.on_commit(), "
            "and silence this check.",
            id="letsgo_worker.W008",
        )


def models_of_project() -> list[type[Model]]:
    """Return the models of all apps except ours and our optional ones."""
    return [
        model
        for config in apps.get_app_configs()
        if config.name != APP and not config.name.startswith(f"{APP}.")
        for model in config.get_models()
    ]


def aliases_written(models: Iterable[type[Model]]) -> set[str]:
    """Return the aliases that rows of these models are written to, as the routers say."""
    return {router.db_for_write(model) for model in models}
