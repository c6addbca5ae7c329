"""Checks of the database that the queue lives in, where a project has several.

Nothing is asked of a database: what routers say is enough.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register
from django.db import connections, router
from django.db.models import Model

from ..engines import has_own_cursors
from ..models import Message
from .tags import PROJECT, alias_of_queue

OURS = "django_letsgo_worker"
ROUTER = f"{OURS}.routers.LetsGoRouter"


@register(PROJECT)
def check_routing(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Say what is lost with the queue on another alias than the data, and what routers do to its tables."""
    alias = alias_of_queue()
    return [] if alias is None else [*_check_routers(alias), *_check_distance(alias)]


def _check_routers(alias: str) -> Iterator[CheckMessage]:
    if OURS in getattr(settings, "TENANT_APPS", ()):
        yield Warning(
            f"TENANT_APPS has {OURS}: what is enqueued in a tenant's schema waits in a queue of that schema, "
            "and workers serve none of them.",
            hint=f"Have {OURS!r} in SHARED_APPS only, and let a carrier take the schema along.",
            id="letsgo_worker.W015",
        )
    if not router.allow_migrate_model(alias, Message):
        if has_own_cursors(connections[alias]):
            # Its answer may depend on the schema that this connection is set to.
            yield Warning(
                f"DATABASE_ROUTERS let no tables of {OURS} onto {alias!r} as its connections are when they "
                "are new, and so are those of workers.",
                hint="Have the tables in the schema that a new connection uses: with django-tenants the "
                "shared one.",
                id="letsgo_worker.W014",
            )
            return
        yield Error(
            f"DATABASE_ROUTERS let no tables of {OURS} onto {alias!r}, where LETSGO_WORKER has them.",
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
        if config.name != OURS and not config.name.startswith(f"{OURS}.")
        for model in config.get_models()
    ]


def aliases_written(models: Iterable[type[Model]]) -> set[str]:
    """Return the aliases that rows of these models are written to, as the routers say."""
    return {router.db_for_write(model) for model in models}
