"""The option --database of all commands: the alias of the queue that a command is about.

What lies on that database is no matter of this file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, TypeVar, cast

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import CommandError, CommandParser
from django.db import connections, router

from ..conf import check_alias, on_database
from ..engines import has_own_cursors
from ..models import Message

F = TypeVar("F", bound=Callable[..., Any])


def add_argument(parser: CommandParser, **details: Any) -> None:
    parser.add_argument(
        "--database",
        metavar="ALIAS",
        help="the alias of the queue's database (DATABASE of LETSGO_WORKER by default)",
        **details,
    )


def on_the_chosen(handle: F) -> F:
    """Let handle() of a command do everything on the database that its option --database names."""

    @wraps(handle)
    def handle_there(*args: Any, database: str | None = None, **options: Any) -> Any:
        with _chosen(database):
            return handle(*args, database=database, **options)

    return cast(F, handle_there)


@contextmanager
def _chosen(alias: str | None) -> Iterator[None]:
    if alias is not None:
        _refuse_unfit(alias)
    with on_database(alias):
        yield


def _refuse_unfit(alias: str) -> None:
    try:
        check_alias(alias)
    except ImproperlyConfigured as error:
        raise CommandError(str(error)) from None
    # Where cursors are a project's own, the answer of its routers may depend on what they are set to.
    if not has_own_cursors(connections[alias]) and not router.allow_migrate_model(alias, Message):
        raise CommandError(
            f"No queue is on the database {alias!r}: DATABASE_ROUTERS allow none of our tables there. "
            "Let a LetsGoRouter name it among its further_aliases, then migrate it."
        )
