"""assert_enqueued(): ask which messages wait, and say in the failure what waits instead.

Nothing is claimed or changed.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import Any

from .. import validation
from ..conf import settings
from ..models import Message

# A failure shows at most this many messages, and of each fact at most this many characters.
SHOWN, LONGEST = 10, 500


def assert_enqueued(type: str, count: int = 1, *, using: str | None = None, **fields: Any) -> list[Message]:
    """Assert that exactly `count` live messages have this `type` and these `fields`; return them by id.

    `using` is the alias, that of the settings by default. A field is a column of Message, such as payload,
    queue, priority, visible_at or unique_key, and compared by equality, so that `unittest.mock.ANY` may stand
    in it; or `delay`, in seconds or as a timedelta, of a message that was not yet tried. Messages that have
    ended are in ArchivedMessage and not counted. Raises AssertionError that says what is there instead,
    TypeError for an unknown field.
    """
    known = {field.attname for field in Message._meta.concrete_fields} | {"delay"}
    if strange := sorted(set(fields) - known):
        raise TypeError(f"A message has no field {strange[0]!r}; it has {', '.join(sorted(known))}.")
    live = list(Message.objects.using(using or settings().database).order_by("pk"))
    expected = {name: _as_stored(name, value) for name, value in fields.items()}
    found = [
        message
        for message in live
        if message.type == type and all(_value(message, name) == value for name, value in expected.items())
    ]
    if len(found) != count:
        facts = ", ".join(f"{name}={value!r}" for name, value in fields.items())
        wanted = f"{count} live message{'' if count == 1 else 's'} of the type {type!r}"
        beginning = f"Expected {wanted}{' with ' if facts else ''}{facts}; found {len(found)}."
        raise AssertionError("\n".join([beginning, *_what_is_there(live, type, fields)]))
    return found


def _as_stored(name: str, value: Any) -> Any:
    """Return a value as a row has it: tuples in JSON as lists, a delay as a timedelta."""
    if name == "delay":
        return timedelta(seconds=validation.check_delay("delay", value))
    if isinstance(value, (dict, list, tuple)):
        try:
            return json.loads(validation.exact_json(value))
        except (TypeError, ValueError):
            return value  # something in it stands for any value
    return value


def _value(message: Message, name: str) -> Any:
    return message.visible_at - message.enqueued_at if name == "delay" else getattr(message, name)


def _what_is_there(live: list[Message], type: str, names: Iterable[str]) -> Iterator[str]:
    of_type = [message for message in live if message.type == type]
    others = Counter(message.type for message in live if message.type != type)
    yield f"Messages of this type: {len(of_type) or 'none'}."
    for message in of_type[:SHOWN]:
        facts = (
            f"{name}={validation.show(_value(message, name), LONGEST)}"
            for name in dict.fromkeys(["payload", "queue", *names])
        )
        yield f"  {message.pk}: {', '.join(facts)}"
    yield f"Of other types: {', '.join(f'{type} ({n})' for type, n in sorted(others.items())) or 'none'}."
