"""Payloads as JSON text: what JSON does not have is written by the project's encoder, the setting ENCODER.

validation.py says what a payload may be; handlers get back what the text says.
"""

from __future__ import annotations

import hashlib
import json
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from . import validation
from .conf import settings


def encode(payload: Any, max_bytes: int | None, what: str = "payload") -> str:
    """Return the JSON text of a payload (InvalidMessage); see validation.encode()."""
    return validation.encode(what, payload, max_bytes, _default(settings().encoder))


def written(value: Any) -> Any:
    """Return arguments with what JSON does not have as ENCODER writes it; what that cannot write stays."""
    default = _default(settings().encoder)
    if default is None:
        return value
    if isinstance(value, dict):
        return {key: written(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [written(one) for one in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    try:
        return written(default(value))
    except (TypeError, ValueError):
        return value


def as_json(payload: Any) -> Any:
    """Return a payload as its handler gets it back: what ENCODER writes is text."""
    return json.loads(encode(payload, None)) if settings().encoder else payload


def key_of(text: str) -> str:
    """Return a unique key for all payloads that equal the one of this text, in whatever order of keys."""
    same = json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"))
    return f"arguments:{hashlib.blake2b(same.encode(), digest_size=20).hexdigest()}"


@cache
def _default(path: str) -> Callable[[Any], Any] | None:
    """Return what turns an object into JSON, by the path of an encoder's class; None without one."""
    if not path:
        return None
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImproperlyConfigured(f"ENCODER {path!r} cannot be imported: {error}") from None
    if not (isinstance(found, type) and issubclass(found, json.JSONEncoder)):
        raise ImproperlyConfigured(f"ENCODER {path!r} is no subclass of json.JSONEncoder.")
    default: Callable[[Any], Any] = found().default
    return default
