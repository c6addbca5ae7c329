"""Registered functions: whether they are async, whether a call runs them, and where they stand.

registry.py knows what they are registered for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial, wraps
from inspect import (
    Parameter,
    Signature,
    isasyncgenfunction,
    isfunction,
    isgeneratorfunction,
    ismethod,
    signature,
    unwrap,
)
from types import AsyncGeneratorType, CodeType, FrameType, GeneratorType
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

# Values that a call may return instead of running: nothing happens until they are looped over.
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
    """Whether a call returns a coroutine, as far as the function itself says so."""
    return any(iscoroutinefunction(one) for one in _behind(function))


def is_generator(function: Callable[..., Any]) -> bool:
    """Whether a call runs nothing of the body, since that has a `yield`."""
    return any(isgeneratorfunction(one) or isasyncgenfunction(one) for one in _behind(function))


def unfit(function: Callable[..., Any], *, atomic: bool) -> str | None:
    """Return why no worker can run a function, as the end of a sentence about it; None if one can."""
    if is_generator(function):
        return "has a yield, so a call would run nothing of it: make it a function that returns"
    if atomic and is_async(function):
        return (
            "is async: atomic=True needs a plain def, since Django's transactions do not work in async code"
        )
    return None


def misfit(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> str | None:
    """Return why a function cannot be called with these arguments; None if it can, or does not say."""
    if not callable(function):
        return f"it is not a function but {type(function).__name__}"
    try:
        signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    except ValueError:
        # Some functions written in C do not say.
        pass
    return None


def with_delivery(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function as one that is called with a delivery, even if it has no parameter."""
    # A class, or a partial with all arguments, is rather a slip.
    if not (isfunction(function) or ismethod(function)) or signature(function).parameters:
        return function

    @wraps(function)
    def handle(delivery: Any) -> Any:
        return function()

    # Not that of the function behind it.
    handle.__signature__ = Signature([Parameter("delivery", Parameter.POSITIONAL_ONLY)])  # type: ignore[attr-defined]
    # A coroutine function by this mark: what it returns is awaited.
    return markcoroutinefunction(handle) if is_async(function) else handle


def lazy_kind(value: Any) -> str | None:
    """Return the name, for people, of a value that has not run yet; None for any other value."""
    return next((name for kind, name in _LAZY.items() if isinstance(value, kind)), None)


def code_of(function: Any) -> CodeType | None:
    """Return the code of a function, behind partials and decorators; None where there is none in Python."""
    codes = [getattr(unwrap(one), "__code__", None) for one in _behind(function)]
    return next((code for code in codes if type(code) is CodeType), None)


def module_of(function: Any) -> str:
    """Return the name of the module that defines a function, or the class of an object."""
    return str(getattr(_behind(function)[0], "__module__", None) or "")


def dotted(function: Any) -> str:
    """Return module and name of a function; of an object those of its class."""
    innermost = _behind(function)[0]
    name = getattr(innermost, "__qualname__", None) or type(innermost).__qualname__
    return f"{module_of(function)}.{name}"


@dataclass(frozen=True, slots=True)
class Place:
    """A place in the code that registers something; tells a repetition from a second thing of one name."""

    # Modules and lines: the function's own, and that of the decorator.
    lines: tuple[tuple[str, int], ...]
    # The specs of these modules: other objects after each import and reload.
    _specs: tuple[Any, ...] = field(default=(), compare=False, repr=False)
    # In a notebook, a shell or a doctest lines come and go.
    _is_interactive: bool = field(default=False, compare=False, repr=False)

    def is_again(self, before: Place) -> bool:
        """Whether this is the place that registered before, as when a cell of a notebook runs once more."""
        return self == before or (self._is_interactive and self._modules == before._modules)

    def is_after_reload_of(self, before: Place) -> bool:
        """Whether the same module has run since: what it registered before is gone."""
        changed = any(new is not old for new, old in zip(self._specs, before._specs, strict=False))
        return changed and self._modules == before._modules

    @property
    def _modules(self) -> list[str]:
        return [module for module, _ in self.lines]


def place_of(thing: Any, registering: FrameType | None = None) -> Place:
    """Return the place of a function or class; `registering` is the frame of the code that registers it."""
    module, code = module_of(thing), code_of(thing)
    lines, specs = [(module, code.co_firstlineno if code else 0)], [_spec_of(module)]
    is_interactive = code is not None and code.co_filename.startswith("<")
    if registering is not None:
        names = registering.f_globals
        lines.append((str(names.get("__name__")), registering.f_lineno))
        specs.append(names.get("__spec__"))
        is_interactive |= registering.f_code.co_filename.startswith("<")
        is_interactive |= names.get("__name__") == "__main__" and "__file__" not in names
    return Place(tuple(lines), tuple(specs), is_interactive)


def _spec_of(module: str) -> Any:
    return getattr(sys.modules.get(module), "__spec__", None)
