"""Checks of the queue's database: how handlers and the web connect to it, and what routers send there.

Workers set up their own connections as they need them. Nothing is asked of the database itself here.
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
# In the header of a SQLite file: the versions to write and to read it with; both are 2 in WAL mode.
_VERSIONS, _WAL = slice(18, 20), b"\x02\x02"
# Of psycopg's pool, where its size is not given.
_POOL_SIZE = 4
ROUTER = f"{APP}.routers.LetsGoRouter"


# -- connections -----------------------------------------------------------------------------------------


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


# -- routers ---------------------------------------------------------------------------------------------


@register(PROJECT)
def check_routing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Say what is lost with the queue on another alias than the data, and what routers do to its tables."""
    alias = alias_of_queue()
    return [] if alias is None else [*_check_routers(alias), *_check_distance(alias)]


def _check_routers(alias: str) -> Iterator[CheckMessage]:
    if APP in getattr(django_settings, "TENANT_APPS", ()):
        yield Warning(
            f"TENANT_APPS has {APP}: what is enqueued in a tenant's schema waits in a queue of that schema, "
            "and workers serve none of them.",
            hint=f"Have {APP!r} in SHARED_APPS only, and let a carrier take the schema along.",
            id="letsgo_worker.W015",
        )
    if not router.allow_migrate_model(alias, Message):
        if has_own_cursors(connections[alias]):
            # Its answer may depend on the schema that this connection is set to.
            yield Warning(
                f"DATABASE_ROUTERS let no tables of {APP} onto {alias!r} as its connections are when they "
                "are new, and so are those of workers.",
                hint="Have the tables in the schema that a new connection uses: with django-tenants the "
                "shared one.",
                id="letsgo_worker.W014",
            )
            return
        yield Error(
            f"DATABASE_ROUTERS let no tables of {APP} onto {alias!r}, where LETSGO_WORKER has them.",
            hint=f"Put {ROUTER!r} in front of the others.",
            id="letsgo_worker.E007",
        )
    elif {router.db_for_read(Message), router.db_for_write(Message)} != {alias}:
        yield Warning(
            f"LETSGO_WORKER has its tables on {alias!r}, but no router sends Message.objects there.",
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
    """Return the models of all apps but ours and our optional ones."""
    return [
        model
        for config in apps.get_app_configs()
        if config.name != APP and not config.name.startswith(f"{APP}.")
        for model in config.get_models()
    ]


def aliases_written(models: Iterable[type[Model]]) -> set[str]:
    """Return the aliases that rows of these models are written to, as the routers say."""
    return {router.db_for_write(model) for model in models}
