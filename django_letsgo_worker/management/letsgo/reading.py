"""Arguments as people type them: durations, times, JSON, expressions.

What a value may be is checked by the verbs; here stands only how it is written.
"""

from __future__ import annotations

import argparse
import json
import sys
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError

from ... import validation

# What crontabs know, and what one forgets to write the sign for.
_MACROS = frozenset({"hourly", "daily", "midnight", "weekly", "monthly", "yearly", "annually"})


def duration(text: str) -> timedelta:
    """Read 90s, 10m, 1h30m or 2d."""
    try:
        length = validation.duration(text)
    except OverflowError:
        raise argparse.ArgumentTypeError(f"{text} is too long") from None
    if length is None:
        raise argparse.ArgumentTypeError(f"a duration such as 90s, 10m, 1h30m or 2d, not {text!r}")
    return length


def moment(text: str) -> datetime:
    """Read an ISO time; that it needs a zone is said by whoever takes it."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a time such as 2027-01-01T09:00:00+01:00, not {text!r}") from None


def duration_or_moment(text: str) -> timedelta | datetime:
    """Read how long from now, or until when."""
    return duration(text) if text[:1].isdecimal() and text[-1] in "dhms" else moment(text)


def at_most(highest: int) -> Any:
    """Return a reader of whole numbers from 1 to `highest`."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or not 1 <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"a whole number from 1 to {highest}, not {text!r}")
        return int(text)

    return read


def expression(text: str) -> str:
    """Return the text of a schedule: `yearly` and its like are taken without the @, too."""
    return f"@{text}" if text in _MACROS else text


def payload(given: Any) -> Any:
    """Return the value of JSON text, of @file, or of standard input for `-`; what is no text, as it is."""
    if not isinstance(given, str):
        return given
    if given == "-":
        return json_of(contents("-"), "The payload")
    if given.startswith("@"):
        return json_of(contents(given[1:]), "The payload")
    return json_of(given, "The payload")


def contents(place: str) -> str:
    """Return the text of a file, or of standard input for `-`."""
    try:
        if place == "-":
            return sys.stdin.read()
        return Path(place).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise CommandError(f"Cannot read {place!r}: {reason}.") from None


def json_of(text: str, what: str) -> Any:
    """Parse JSON; the sentence about what is wrong shows nothing of the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CommandError(f"{what} is not JSON: {error.msg} ({where}).") from None
    except (ValueError, RecursionError):
        raise CommandError(
            f"{what} is not JSON that can be read: a number too long, or nested too deep."
        ) from None
