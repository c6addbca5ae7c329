"""Masking of values whose keys look secret, for every door that shows a payload to people.

Who may see a payload at all is decided by the doors.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any

from .conf import settings

MASK = "•••"


def is_secret(key: str) -> bool:
    """Whether a key matches the setting REDACT: contains one of its words, or fits one with * or ?."""
    plain = key.lower().replace("-", "_")
    return any(_matches(plain, pattern.lower()) for pattern in settings().redact if pattern)


def _matches(key: str, pattern: str) -> bool:
    return fnmatchcase(key, pattern) if set("*?[") & set(pattern) else pattern in key


def redacted(value: Any) -> Any:
    """Return a JSON value with everything under a secret key masked."""
    if isinstance(value, dict):
        return {key: MASK if is_secret(str(key)) else redacted(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(item) for item in value]
    return value
