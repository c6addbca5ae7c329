"""Arguments and return values of tasks on their way through JSON, as Celery's serializer sends them.

Datetimes, dates, times, Decimals, UUIDs and bytes come back as what they were; lazy text as text, and what
the setting ENCODER writes as that.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils.functional import Promise

from ... import payloads
from ...errors import InvalidMessage

MARK, VALUE = "__type__", "__value__"

# The names and forms are those of kombu, Celery's serializer. A datetime is a date too, so it stands first.
_WRITERS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (datetime, "datetime", datetime.isoformat),
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (Decimal, "decimal", str),
    (UUID, "uuid", lambda value: {"hex": value.hex}),
    (bytes, "base64", lambda value: base64.b64encode(value).decode()),
)
_READERS: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda value: UUID(value["hex"]),
    "base64": base64.b64decode,
    # Kombu writes bytes so that are UTF-8.
    "bytes": lambda value: value.encode(),
}


def plain(what: str, value: Any) -> Any:
    """Return a value as JSON holds it: a copy; InvalidMessage, which begins with `what`, where it cannot."""
    try:
        return json.loads(json.dumps(value, default=_marked))
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"{what} cannot be sent as JSON: {error}.") from None


def native(value: Any) -> Any:
    """Return what plain() was given, as far as it can be known from JSON."""
    if isinstance(value, list):
        return [native(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {MARK, VALUE} and (read := _READERS.get(value[MARK])) is not None:
        return read(value[VALUE])
    return {key: native(item) for key, item in value.items()}


def arguments_of(payload: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments in a task's payload; what is empty may be left out."""
    given = {} if payload is None else payload
    args, kwargs = (given.get("args", []), given.get("kwargs", {})) if isinstance(given, Mapping) else (0, 0)
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidMessage(
            f'The payload of a task is {{"args": [...], "kwargs": {{...}}}}, not {type(payload).__name__}.'
        )
    return native(args), native(kwargs)


def _marked(value: Any) -> Any:
    if isinstance(value, Promise):
        return str(value)
    if (reduce := getattr(value, "__json__", None)) is not None:
        return reduce()
    for kind, name, write in _WRITERS:
        if isinstance(value, kind):
            return {MARK: name, VALUE: write(value)}
    written = payloads.written(value)
    if written is not value:
        return written
    raise TypeError(
        f"it has an object of the class {type(value).__name__}; send text, numbers, lists and dictionaries, "
        "and of a row its primary key"
    )
