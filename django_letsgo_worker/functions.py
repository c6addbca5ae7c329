"""Functions that are registered: whether they are async, and whether a call runs them at all.

What they are registered for is registry.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import isasyncgenfunction, isgeneratorfunction
from types import AsyncGeneratorType, GeneratorType
from typing import Any

from asgiref.sync import iscoroutinefunction

# What a call may give back instead of running: nothing happens before somebody loops over it.
_LAZY = {
    GeneratorType: "a generator",
    AsyncGeneratorType: "an async generator",
    map: "a map()",
    filter: "a filter()",
}


def _behind(function: Any) -> list[Any]:
    """Return what a call runs: the function behind partials, and the __call__ of an object's class."""
    while isinstance(function, (partial, staticmethod)):
        function = function.func if isinstance(function, partial) else function.__func__
    return [function, type(function).__call__]


def is_async(function: Callable[..., Any]) -> bool:
    """Whether a call gives back a coroutine, as far as the function itself says so."""
    return any(iscoroutinefunction(one) for one in _behind(function))


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether a call runs nothing of the body, since that has a `yield`."""
    return any(isgeneratorfunction(one) or isasyncgenfunction(one) for one in _behind(function))


def lazy_kind(value: Any) -> str | None:
    """Return what a value is that has not run yet, for people; None for any other value."""
    return next((name for kind, name in _LAZY.items() if isinstance(value, kind)), None)
