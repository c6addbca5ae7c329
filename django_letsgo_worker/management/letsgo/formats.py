"""Values as people type and read them, and as JSON for programs.

Verbs check the values; nothing is printed here.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Model
from django.utils import timezone

from ... import validation
from ...inspection import how_far as how_far
from ...inspection import length as length
from ...validation import counted as counted

NOTHING = "-"
# The names that crontabs know, for which the @ is easily forgotten.
_MACROS = frozenset({"hourly", "daily", "midnight", "weekly", "monthly", "yearly", "annually"})


# -- rows ------------------------------------------------------------------------------------------------


def facts_of(row: Model, names: Iterable[str]) -> dict[str, Any]:
    """Return columns of a row under their own names."""
    return {name: getattr(row, name) for name in names}


# -- for programs ----------------------------------------------------------------------------------------


def as_json(value: Any) -> str:
    """Return JSON in ASCII, so that no terminal and no pipe can choke on it."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    """Return times as ISO in UTC, durations in seconds, anything else that JSON lacks as its text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


# -- for people ------------------------------------------------------------------------------------------


def as_text(value: Any) -> str:
    """Return a value as one line without control characters."""
    if value is None or value == "":
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment_text(value)
    if isinstance(value, timedelta):
        return length(value.total_seconds())
    if isinstance(value, float) and 0 < abs(value) < 0.001:
        return "< 0.001"
    if isinstance(value, float):
        return f"{value:.3f}".rstrip("0").rstrip(".")
    if isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(map(as_text, value)) or NOTHING
    if isinstance(value, (dict, list)):
        return printable(json.dumps(value, ensure_ascii=False, default=_plain)) if value else NOTHING
    return printable(str(value))


def moment_text(moment: datetime) -> str:
    """Return a time in the site's time zone, to the second, with its zone."""
    local = timezone.localtime(moment)
    zone = "Z" if local.tzname() == "UTC" else f" {local.tzname()}"
    return f"{local.replace(tzinfo=None).isoformat(' ', 'seconds')}{zone}"


def recorded(at: Any) -> str:
    """Return a recorded ISO time as people read times; other text unchanged."""
    try:
        return moment_text(datetime.fromisoformat(at))
    except (TypeError, ValueError, OverflowError):
        return as_text(at)


def printable(text: str, keep: str = "") -> str:
    """Return text with each invisible character, except for those in `keep`, written as its code."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode()
        for sign in text
    )


def labelled(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return facts with labels for people: `next_run_at` becomes `Next run at`."""
    return {name.replace("_", " ").capitalize(): as_text(value) for name, value in facts.items()}


# -- as people type them ----------------------------------------------------------------------------------


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
    """Read an ISO time; the verb that takes it checks that it has a zone."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"a time such as 2027-01-01T09:00:00+01:00, not {text!r}") from None


def duration_or_moment(text: str) -> timedelta | datetime:
    """Read a duration from now, or a time."""
    return duration(text) if text[:1].isdecimal() and text[-1] in "dhms" else moment(text)


def at_most(highest: int) -> Any:
    """Return a reader of whole numbers from 1 to `highest`."""

    def read(text: str) -> int:
        if not text.isascii() or not text.isdecimal() or len(text) > 18 or not 1 <= int(text) <= highest:
            raise argparse.ArgumentTypeError(f"a whole number from 1 to {highest}, not {text!r}")
        return int(text)

    return read


def expression(text: str) -> str:
    """Return the text of a schedule: `yearly` and the like are taken without the @, too."""
    return f"@{text}" if text in _MACROS else text


def payload(given: Any) -> Any:
    """Return the value of JSON text, of @file, or of standard input for `-`; other values unchanged."""
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
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise CommandError(f"Cannot read {place!r}: {reason}.") from None


def json_of(text: str, what: str) -> Any:
    """Parse JSON; the error message shows nothing of the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise CommandError(f"{what} is not JSON: {error.msg} ({where}).") from None
    except (ValueError, RecursionError):
        raise CommandError(
            f"{what} is JSON that cannot be read: a number is too long, or it is nested too deep."
        ) from None
