"""Values as text for people and as JSON for programs.

Nothing is printed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Model
from django.utils import timezone

from ...validation import counted as counted

NOTHING = "-"
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


# -- rows ------------------------------------------------------------------------------------------------


def facts_of(row: Model, names: Iterable[str]) -> dict[str, Any]:
    """Return columns of a row under their own names."""
    return {name: getattr(row, name) for name in names}


# -- for programs ----------------------------------------------------------------------------------------


def as_json(value: Any) -> str:
    """Return JSON in ASCII, so that no terminal and no pipe can choke on it."""
    return json.dumps(value, indent=2, default=_plain)


def _plain(value: Any) -> Any:
    """Times as ISO in UTC, lengths of time in seconds, all else that JSON lacks as its text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


# -- for people ------------------------------------------------------------------------------------------


def as_text(value: Any) -> str:
    """Return a value as one line that cannot steer a terminal."""
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
    """Return a moment on the clock of the site, to the second, with its zone."""
    local = timezone.localtime(moment)
    zone = "Z" if local.tzname() == "UTC" else f" {local.tzname()}"
    return f"{local.replace(tzinfo=None).isoformat(' ', 'seconds')}{zone}"


def recorded(at: Any) -> str:
    """Return a moment that is recorded as text among errors; what is none, as it is."""
    try:
        return moment_text(datetime.fromisoformat(at))
    except (TypeError, ValueError, OverflowError):
        return as_text(at)


def printable(text: str, keep: str = "") -> str:
    """Return text with each character that cannot be seen, but for those in `keep`, written as its code."""
    if text.isprintable():
        return text
    return "".join(
        sign if sign.isprintable() or sign in keep else sign.encode("unicode_escape").decode()
        for sign in text
    )


def length(seconds: float) -> str:
    """Return a length of time such as 2h10m: its two largest units."""
    left, parts = int(abs(seconds)), []
    for unit, size in _UNITS:
        if left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return "".join(parts[:2]) or "0s"


def how_far(moment: datetime, now: datetime) -> str:
    """Return when something is, seen from now: `in 2h10m`, `3d ago`."""
    seconds = (moment - now).total_seconds()
    return f"in {length(seconds)}" if seconds >= 0 else f"{length(seconds)} ago"


def labelled(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return facts as people read them: `next_run_at` becomes `Next run at`."""
    return {name.replace("_", " ").capitalize(): as_text(value) for name, value in facts.items()}
