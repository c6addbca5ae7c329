"""What a handler may be told about its messages and its attempts: each option, checked.

Which function has which options is registry.py's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypedDict

from . import validation
from .backoff import Backoff, check_backoff
from .errors import InvalidMessage

ExceptionClass = type[BaseException]
Exceptions = ExceptionClass | Sequence[ExceptionClass]


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
    on_dead: str | None


def _checked_backoff(backoff: Any) -> Backoff:
    try:
        return check_backoff(backoff)
    except ValueError as error:
        raise InvalidMessage(f"backoff {error}.") from None


def _checked_where(where: Any) -> dict[str, Any]:
    if not isinstance(where, Mapping) or not where or not all(isinstance(key, str) for key in where):
        raise InvalidMessage("where is a dictionary of top-level keys of the payload and their values.")
    # As it compares with a payload that has been through the database: tuples are lists.
    checked: dict[str, Any] = json.loads(validation.encode("where", dict(where), validation.MAX_TEXT))
    return checked


def _checked_exceptions(option: str, value: Any) -> tuple[ExceptionClass, ...]:
    classes = tuple(value) if isinstance(value, (list, tuple, set, frozenset)) else (value,)
    for one in classes:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise InvalidMessage(f"{option} is a list of exception classes; {validation.show(one)} is none.")
    return classes


def _checked_on_dead(type: Any) -> str:
    try:
        return validation.check_name("type", type)
    except InvalidMessage as error:
        raise InvalidMessage(f"on_dead names a type of message. {error}") from None


_CHECKS: dict[str, Callable[[Any], Any]] = {
    "queue": partial(validation.check_name, "queue"),
    "priority": validation.check_priority,
    "max_attempts": validation.check_max_attempts,
    "backoff": _checked_backoff,
    "timeout": validation.check_timeout,
    "where": _checked_where,
    "retry_on": partial(_checked_exceptions, "retry_on"),
    "give_up_on": partial(_checked_exceptions, "give_up_on"),
    "on_dead": _checked_on_dead,
}


def checked(**options: Any) -> dict[str, Any]:
    """Return the options that are not None, each once it is what it may be (InvalidMessage)."""
    return {name: _CHECKS[name](value) for name, value in options.items() if value is not None}
