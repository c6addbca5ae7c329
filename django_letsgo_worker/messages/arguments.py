"""The arguments of enqueue(), checked and completed: from what a caller gives to a row.

Nothing is written here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings as django_settings

from .. import payloads, registry, typed, validation
from ..conf import settings
from ..engines import NewRow
from ..errors import InvalidMessage
from ..hints import no_option, suggestion
from ..models import machine_clock

logger = logging.getLogger("django_letsgo_worker")

ON_CONFLICT = ("return", "replace", "raise")
PLAIN = {"type", "payload"}


def check_on_conflict(value: Any) -> str:
    """Return how to treat a live twin: return, replace or raise."""
    if value not in ON_CONFLICT:
        given = validation.show(value)
        raise InvalidMessage(f"on_conflict is one of return, replace and raise, not {given}.")
    return str(value)


@dataclass(slots=True, kw_only=True)
class Given:
    """The arguments of one enqueue(), as they came."""

    # This may be the whole message.
    type: Any = field(repr=False)
    payload: Any = field(default=None, repr=False)
    delay: Any = None
    visible_at: Any = None
    queue: Any = None
    priority: Any = None
    max_attempts: Any = None
    deadline: Any = None
    unique_key: Any = None
    headers: Any = field(default=None, repr=False)


NOTHING: Mapping[str, Any] = {}


def row_of(given: Given, carried: Mapping[str, Any] = NOTHING, *, fits: bool = False) -> NewRow:
    """Check everything and return the row; InvalidMessage says what is wrong.

    `carried` are our own headers, valid as they are; those of the call win. `fits` says that the
    payload was made from an object of its type's class, and so was checked.
    """
    type, payload, is_of_object = _type_and_payload(given)
    type = validation.check_name("type", type)
    registry.check_reserved(type)
    handler = registry.choose(type, payload) if registry.is_narrowed(type) else registry.find(type)
    if handler is None and django_settings.DEBUG:
        _say_once_that_nobody_registers(type)
    queue, priority, attempts = _destination(given, handler)
    delay, visible_at = _visibility(given)
    deadline_seconds, deadline = _deadline(given, delay, visible_at)
    text = payloads.encode(payload, settings().max_payload_bytes)
    if not (fits or is_of_object):
        typed.check(type, text)
    return NewRow(
        type=type,
        headers=_headers(given.headers, carried),
        payload=text,
        queue=queue,
        priority=priority,
        max_attempts=attempts,
        delay_seconds=delay,
        visible_at=visible_at,
        deadline_seconds=deadline_seconds,
        deadline=deadline,
        unique_key=_unique_key(given.unique_key, handler, text),
    )


def _destination(given: Given, handler: registry.Handler | None) -> tuple[str, int, int]:
    """Return queue, priority and attempts allowed: the call's, or the handler's, which were checked once."""
    queue, priority, attempts = registry.DEFAULT_QUEUE, 0, settings().max_attempts
    if handler is not None:
        queue, priority = handler.queue or queue, handler.priority or priority
        attempts = handler.max_attempts or attempts
    if given.queue is not None:
        queue = validation.check_name("queue", given.queue)
    if given.priority is not None:
        priority = validation.check_priority(given.priority)
    if given.max_attempts is not None:
        attempts = validation.check_max_attempts(given.max_attempts)
    return queue, priority, attempts


def _unique_key(given: Any, handler: registry.Handler | None, payload: str) -> str | None:
    if given is not None:
        return validation.check_unique_key(given)
    return payloads.key_of(payload) if handler is not None and handler.unique else None


# Types that were reported to have no handler: a line each, for developers.
_said: set[str] = set()


def _say_once_that_nobody_registers(type: str) -> None:
    if type not in _said:
        _said.add(type)
        close = suggestion(type, registry.types())
        logger.warning("No handler is registered here for the type %r, so its messages wait.%s", type, close)


def _type_and_payload(given: Given) -> tuple[Any, Any, bool]:
    """Return type and payload, and whether these are an object's, which is checked when it is taken apart."""
    if isinstance(given.type, str):
        return given.type, given.payload, False
    if not isinstance(given.type, Mapping):
        return _of_object(given.type, given.payload)
    if given.payload is not None:
        raise InvalidMessage("Give the payload in the mapping or as an argument, not both.")
    extra = set(given.type) - {"type", "payload"}
    if "type" not in given.type or extra:
        raise InvalidMessage('A message is a mapping of "type" and "payload" only.')
    return _of_object(given.type["type"], given.type.get("payload"))


def _of_object(message: Any, payload: Any) -> tuple[Any, Any, bool]:
    found = typed.find(message.__class__)
    if found is None:
        return message, payload, False
    if payload is not None:
        raise InvalidMessage(f"An object of {found.cls.__qualname__} is its own payload: give no other.")
    return found.type, found.plain(message), True


def _headers(headers: Any, carried: Mapping[str, Any]) -> str:
    if headers is None:
        return validation.exact_json(carried) if carried else "{}"
    if not isinstance(headers, Mapping):
        raise InvalidMessage(f"headers is a dictionary, not {validation.show(headers)}.")
    text = validation.encode("headers", dict(headers), validation.MAX_TEXT)
    return validation.exact_json({**carried, **headers}) if carried else text


def _visibility(given: Given) -> tuple[float, datetime | None]:
    if given.delay is not None and given.visible_at is not None:
        raise InvalidMessage("Give delay or visible_at, not both.")
    if given.visible_at is not None:
        return 0.0, validation.check_moment("visible_at", given.visible_at)
    return (0.0 if given.delay is None else validation.check_delay("delay", given.delay)), None


def _deadline(
    given: Given, delay: float, visible_at: datetime | None
) -> tuple[float | None, datetime | None]:
    if given.deadline is None:
        return None, None
    # Not the time of a test that froze it: the database will compare by its own clock.
    now = machine_clock()
    visible = visible_at or now + timedelta(seconds=delay)
    if isinstance(given.deadline, (timedelta, str)):
        seconds = validation.check_delay("deadline", given.deadline, least_exclusive=True)
        if now + timedelta(seconds=seconds) < visible:
            raise InvalidMessage("The deadline is before the time at which the message becomes visible.")
        return seconds, None
    deadline = validation.check_moment("deadline", given.deadline)
    if deadline <= now:
        raise InvalidMessage(f"The deadline is past: {deadline.isoformat()}.")
    if deadline < visible:
        raise InvalidMessage("The deadline is before the time at which the message becomes visible.")
    return None, deadline


class Many:
    """The messages of one enqueue_many(), each with the options that all of them have."""

    def __init__(self, defaults: dict[str, Any], carried: Mapping[str, Any]) -> None:
        self.defaults = defaults
        self.carried = carried
        self.max_bytes = settings().max_payload_bytes
        # By type, what messages of nothing but a type and a payload have in common.
        self._plain: dict[str, NewRow] = {}

    def row_of(self, message: Any) -> tuple[NewRow, str]:
        """Return the row of one message, and how to treat a live twin."""
        found = None
        if isinstance(message, (tuple, list)) and len(message) == 2:
            options = {**self.defaults, "type": message[0], "payload": message[1]}
        elif isinstance(message, Mapping):
            options = {**self.defaults, **message}
        elif (found := typed.find(message.__class__)) is not None:
            options = {**self.defaults, "type": found.type, "payload": found.plain(message)}
        else:
            raise InvalidMessage("a message is a mapping, a pair of type and payload, or a typed message.")
        fits = found is not None
        plain = self._plain_row(options, fits)
        if plain is not None:
            return plain, "return"
        on_conflict = check_on_conflict(options.pop("on_conflict", "return"))
        unknown = sorted(set(options) - set(Given.__slots__), key=repr)
        if unknown or "type" not in options:
            known = [name for name in Given.__slots__ if name != "type"]
            raise InvalidMessage(no_option("enqueue()", unknown, known) if unknown else "it has no type.")
        row = row_of(Given(**options), self.carried, fits=fits)
        if options.keys() == PLAIN and row.unique_key is None and not registry.is_narrowed(row.type):
            self._plain[row.type] = row
        return row, on_conflict

    def _plain_row(self, options: dict[str, Any], fits: bool) -> NewRow | None:
        """Return the row of an earlier message of the type, with this payload; the rest was checked then."""
        like = self._plain.get(options["type"]) if options.get("type").__class__ is str else None
        if like is None or len(options) != 2 or "payload" not in options:
            return None
        text = payloads.encode(options["payload"], self.max_bytes)
        if not fits:
            typed.check(like.type, text)
        return NewRow(
            type=like.type,
            payload=text,
            headers=like.headers,
            queue=like.queue,
            priority=like.priority,
            max_attempts=like.max_attempts,
        )
