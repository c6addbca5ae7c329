"""Policies: how messages of a type are treated, by their handler's options and by patterns in the settings.

Each option is checked here. registry.py knows which handler has which; outcomes.py decides by them.
"""

from __future__ import annotations

import json
import logging
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, partial
from typing import Any, TypedDict

from . import validation
from .backoff import Backoff, check_backoff
from .errors import InvalidMessage
from .hints import nearest

logger = logging.getLogger("django_letsgo_worker.worker")

ExceptionClass = type[BaseException]
Exceptions = ExceptionClass | Sequence[ExceptionClass]
# Where importing a class would be too early, its dotted path stands for it.
ExceptionsByPath = Exceptions | str | Sequence[ExceptionClass | str]

# What a pattern of the settings may decide, there in capitals.
WORDS = (
    "max_attempts", "backoff", "retry_on", "give_up_on", "succeed_on", "queue", "priority", "unique",
    "keep_for",
)  # fmt: skip
UNIQUE = ("arguments",)
# Options that are lists of exceptions.
ON = ("retry_on", "give_up_on", "succeed_on")
_CENTURY = 36_500.0
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)


class HandlerOptions(TypedDict, total=False):
    """The options of @handler, for type checkers."""

    queue: str | None
    priority: int | None
    max_attempts: int | None
    backoff: Any
    timeout: float | None
    atomic: bool
    where: Mapping[str, Any] | None
    retry_on: Exceptions | None
    give_up_on: Exceptions
    succeed_on: Exceptions
    on_dead: str | None
    unique: str | None
    keep_for: float | None


# -- options ---------------------------------------------------------------------------------------------


def _checked_backoff(backoff: Any) -> Backoff:
    try:
        return check_backoff(backoff)
    except ValueError as error:
        raise InvalidMessage(f"backoff {error}.") from None


def _checked_where(where: Any) -> dict[str, Any]:
    if not isinstance(where, Mapping) or not where or not all(isinstance(key, str) for key in where):
        raise InvalidMessage("where is a dictionary of top-level keys of the payload and their values.")
    # As it comes back from the database, in a payload: tuples are lists.
    checked: dict[str, Any] = json.loads(validation.encode("where", dict(where), validation.MAX_TEXT))
    return checked


def _checked_exceptions(option: str, by_path: bool, value: Any) -> tuple[ExceptionClass | str, ...]:
    classes = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    for one in classes:
        is_class = isinstance(one, type) and issubclass(one, BaseException)
        if not (is_class or (by_path and isinstance(one, str) and _DOTTED.fullmatch(one))):
            raise InvalidMessage(
                f"{option} is a list of exception classes; {validation.show(one)} is not one."
            )
    return classes


def _checked_on_dead(type: Any) -> str:
    try:
        return validation.check_name("type", type)
    except InvalidMessage as error:
        raise InvalidMessage(f"on_dead names a type of message. {error}") from None


def _checked_unique(value: Any) -> str:
    if value not in UNIQUE:
        raise InvalidMessage(f"unique is 'arguments' or None, not {validation.show(value)}.")
    return str(value)


def _checked_keep_for(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _CENTURY:
        raise InvalidMessage(
            f"keep_for is a number of days from 0 to {_CENTURY:g}, not {validation.show(value)}."
        )
    return float(value)


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": partial(validation.check_name, "queue"),
    "priority": validation.check_priority,
    "max_attempts": validation.check_max_attempts,
    "backoff": _checked_backoff,
    "timeout": validation.check_timeout,
    "where": _checked_where,
    "on_dead": _checked_on_dead,
    "unique": _checked_unique,
    "keep_for": _checked_keep_for,
}


def checked(*, by_path: bool = False, **options: Any) -> dict[str, Any]:
    """Return the options that are not None, each of them checked (InvalidMessage).

    With `by_path` exception classes may be dotted paths, as in settings.
    """
    given = {name: value for name, value in options.items() if value is not None}
    return {
        name: _checked_exceptions(name, by_path, value) if name in ON else _CHECKS[name](value)
        for name, value in given.items()
    }


# -- exceptions by path --------------------------------------------------------------------------------------


def classes_of(exceptions: Sequence[ExceptionClass | str]) -> tuple[ExceptionClass, ...]:
    """Return exception classes, those named by a path imported; one that cannot be is logged and left out."""
    found = [_named(one) if isinstance(one, str) else one for one in exceptions]
    return tuple(one for one in found if one is not None)


@cache
def _named(path: str) -> ExceptionClass | None:
    """Return the exception class of a path; a failure is logged once."""
    if (why := why_not_named(path)) is not None:
        logger.error("A policy names %s, and %s: it counts for nothing.", path, why)
        return None
    found: ExceptionClass = _resolved(path)
    return found


def why_not_named(path: str) -> str | None:
    """Return why a path names no exception class, as the end of a sentence; None if it names one."""
    try:
        found = _resolved(path)
    except Exception as error:  # a module may raise anything
        return f"it cannot be imported ({type(error).__name__}: {error})"
    is_class = isinstance(found, type) and issubclass(found, BaseException)
    return None if is_class else "that is no exception class"


def _resolved(path: str) -> Any:
    # resolve_name() also finds what is nested, such as shop.models.Order.DoesNotExist.
    return pkgutil.resolve_name(path if "." in path else f"builtins.{path}")


# -- patterns ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policies:
    """What patterns say about the names that match them, the most specific pattern first."""

    patterns: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns)

    def of(self, name: str) -> dict[str, Any]:
        """Return the options for a name; each is what the most specific pattern says that has it."""
        options: dict[str, Any] = {}
        for pattern, says in reversed(self.patterns):
            if fnmatchcase(name, pattern):
                options |= says
        return options

    def idle(self, names: Iterable[str]) -> list[str]:
        """Return the patterns that none of the names matches."""
        names = list(names)
        return [one for one, _ in self.patterns if not any(fnmatchcase(name, one) for name in names)]

    def paths(self) -> set[str]:
        """Return the paths of exceptions that they name."""
        lists = (says.get(word, ()) for _, says in self.patterns for word in ON)
        return {one for exceptions in lists for one in exceptions if isinstance(one, str)}


NO_POLICIES = Policies()


def read(given: Any) -> Policies:
    """Return the policies of a dictionary, pattern -> options in capitals.

    Raises ValueError, the end of a sentence about it.
    """
    if isinstance(given, Policies):
        return given
    if not isinstance(given, Mapping):
        raise ValueError("must be a dictionary of patterns, and of options for each")
    patterns = {pattern: _options(pattern, options) for pattern, options in given.items()}
    return Policies(tuple(sorted(patterns.items(), key=lambda one: _specificity(one[0]), reverse=True)))


def _options(pattern: Any, given: Any) -> dict[str, Any]:
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"has {validation.show(pattern)}, where a pattern such as 'shop.*' must stand")
    if not isinstance(given, Mapping):
        raise ValueError(f"must have a dictionary of options for {pattern!r}")
    known = [word.upper() for word in WORDS]
    for name in given:
        if name not in known:
            near = nearest(str(name).upper(), known)
            hint = f" (did you mean {near!r}?)" if near else ""
            raise ValueError(f"has {name!r} for {pattern!r}, and there is no such option{hint}")
    try:
        return checked(by_path=True, **{name.lower(): value for name, value in given.items()})
    except InvalidMessage as error:
        raise ValueError(f"is refused for {pattern!r}: {str(error).rstrip('.')}") from None


def _specificity(pattern: str) -> tuple[int, int, str]:
    """Return how specific a pattern is: by its plain characters, then by how far it is plain."""
    plain = [character for character in pattern if character not in "*?[]"]
    wild = next((place for place, character in enumerate(pattern) if character in "*?["), len(pattern))
    return len(plain), wild, pattern
