"""Checks of what the code registers: handlers, and the schedules that it declares.

Types that rows name and no code registers are found in rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Error, Warning, register

from .. import declarations, registry
from ..conf import settings
from ..hints import suggestion
from ..inspection import alias_of_queue
from ..policies import why_not_named
from ..registry import DEFAULT_QUEUE, Handler
from .configuration import AT_START, PROJECT
from .database import aliases_written, models_of_project


@register(AT_START)
def check_atomic_handlers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report atomic handlers that write where no transaction of the queue reaches."""
    alias = alias_of_queue()
    if alias is None:
        return []
    return [
        Error(
            f"The handler of {handler.type!r} is atomic ({handler.place}), but what its app writes is not on "
            f"{alias!r}, where the queue is: its rows and its acknowledgement cannot commit together.",
            hint="Remove atomic=True and make it safe to repeat, or keep the queue with the data: see "
            "LETSGO_WORKER['DATABASE'].",
            id="letsgo_worker.E006",
        )
        for handler in registry.handlers()
        if handler.atomic and not handler.is_shipped and not _writes_to(alias, handler)
    ]


def _writes_to(alias: str, handler: Handler) -> bool:
    """Return whether the models of a handler's app, or the project's if it has none, are on an alias."""
    config = apps.get_containing_app_config(handler.function.__module__)
    models = list(config.get_models()) if config else []
    written = aliases_written(models or models_of_project())
    return alias in written or not written


@register(AT_START)
def check_what_follows_deaths(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report each on_dead that names a type without a handler, or leads back to where it began."""
    found: list[CheckMessage] = []
    follows = {one.type: one.on_dead for one in registry.handlers() if one.on_dead}
    for handler in registry.handlers():
        if handler.on_dead is None:
            continue
        if registry.find(handler.on_dead) is None:
            wrong = f"for which there is no handler.{suggestion(handler.on_dead, registry.types())}"
        elif _leads_back(handler.type, follows):
            wrong = "which leads back to it: each death would lead to another."
        else:
            continue
        found.append(
            Error(
                f"The handler of {handler.type!r} ({handler.place}) has on_dead={handler.on_dead!r}, {wrong}",
                id="letsgo_worker.E008",
            )
        )
    return found


def _leads_back(type: str, follows: dict[str, str]) -> bool:
    seen, following = set[str](), follows.get(type)
    while following is not None and following != type and following not in seen:
        seen.add(following)
        following = follows.get(following)
    return following == type


@register(AT_START)
def check_named_exceptions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report paths in TYPES, and in OPTIONS of TASKS, that lead to no exception class."""
    if alias_of_queue() is None:
        return []
    lists = [exceptions for one in registry.handlers() for exceptions in _exceptions_of(one)]
    paths = settings().types.paths() | {path for path in lists if isinstance(path, str)}
    whys = {path: why_not_named(path) for path in sorted(paths)}
    return [
        Error(
            f"A policy of types or tasks names the exception {path!r}: {why}.",
            hint="See RETRY_ON, GIVE_UP_ON and SUCCEED_ON in LETSGO_WORKER['TYPES'] and in OPTIONS of TASKS.",
            id="letsgo_worker.E010",
        )
        for path, why in whys.items()
        if why is not None
    ]


@register(PROJECT)
def check_types(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report patterns of TYPES that fit no type: after a slip messages would silently have no policy."""
    if alias_of_queue() is None:
        return []
    return [
        Warning(
            f"LETSGO_WORKER['TYPES'] has {pattern!r}, which fits no type that a handler has."
            f"{suggestion(pattern, registry.types())}",
            id="letsgo_worker.W017",
        )
        for pattern in settings().types.idle(registry.types())
    ]


def _exceptions_of(handler: Handler) -> Iterator[object]:
    yield from (*(handler.retry_on or ()), *handler.give_up_on, *handler.succeed_on)


@register(PROJECT)
def check_queues(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report queues that get messages but are left out of QUEUES."""
    if alias_of_queue() is None or (served := settings().queues) is None:
        return []
    types = defaultdict(list)
    for type, queue in _destinations():
        if queue not in served:
            types[queue].append(type)
    return [
        Warning(
            f"LETSGO_WORKER['QUEUES'] leaves out {queue!r}, where messages of {_listed(types[queue])} go: no "
            "worker serves it unless it is told to.",
            hint=f"Add it, or run a worker with `--queues {queue}`.",
            id="letsgo_worker.W007",
        )
        for queue in sorted(types)
    ]


def _destinations() -> Iterator[tuple[str, str]]:
    """Yield types and the queues that their messages go to, as far as the code says."""
    for handler in registry.handlers():
        yield handler.type, handler.queue or DEFAULT_QUEUE
    for declared in declarations.declared():
        if declared.fields.get("queue"):
            yield declared.type, declared.fields["queue"]


def _listed(types: list[str], most: int = 5) -> str:
    names = list(dict.fromkeys(types))
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")
