"""Where a call of a task goes: the queue and priority of `task_routes`, by the name of the task."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from django.utils.module_loading import import_string

from ...hints import suggestion
from ...validation import show
from .exceptions import UnsupportedCelery

KNOWN = ("queue", "priority")


def by_name(routes: Any, name: str) -> dict[str, Any]:
    """Return the queue and the priority that the mappings among `task_routes` have for a task."""
    found = (_by_pattern(router, name) for router in _each(routes) if isinstance(router, Mapping))
    return _checked(name, next((one for one in found if one is not None), {}))


def route(routes: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the queue and the priority that `task_routes` have for a call of a task.

    The first that fits counts. `routes` is a mapping of names or patterns, a function, its dotted path, or a
    list of these.
    """
    for router in _each(routes):
        found = _ask(router, name, args, kwargs, options)
        if found is not None:
            return _checked(name, found)
    return {}


def _each(routes: Any) -> Iterable[Any]:
    if routes is None:
        return ()
    # A list of pairs is one mapping, in Celery's older form too.
    if isinstance(routes, (list, tuple)) and not all(_is_pair(one) for one in routes):
        return routes
    return (dict(routes),) if isinstance(routes, (list, tuple)) else (routes,)


def _is_pair(one: Any) -> bool:
    return isinstance(one, (list, tuple)) and len(one) == 2 and isinstance(one[0], (str, re.Pattern))


def _ask(router: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Any:
    if isinstance(router, Mapping):
        return _by_pattern(router, name)
    function: Callable[..., Any] = (
        import_string(router.replace(":", ".")) if isinstance(router, str) else router
    )
    if not callable(function):
        raise UnsupportedCelery(
            f"task_routes is a mapping, a function or a list of these, and {show(router)} is none of them."
        )
    return function(name, args, kwargs, dict(options), task=None)


def _by_pattern(router: Mapping[Any, Any], name: str) -> Any:
    if name in router:
        return router[name]
    for pattern, found in router.items():
        fits = pattern.match(name) if isinstance(pattern, re.Pattern) else fnmatchcase(name, pattern)
        if fits:
            return found
    return None


def _checked(name: str, found: Any) -> dict[str, Any]:
    if isinstance(found, str):
        return {"queue": found}
    for key in found:
        if key not in KNOWN:
            hint = suggestion(str(key), KNOWN)
            raise UnsupportedCelery(
                f"task_routes gives {name} a {key!r}, and messages have only a queue and a priority.{hint}"
            )
    return dict(found)
