"""Durations and moments as people read them.

Doors choose how units are written, and in which language; sentences of the core use `length`.
"""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def in_units(seconds: float) -> list[tuple[int, str]]:
    """Return a duration in its largest unit and the next smaller one; fractions of a second are dropped."""
    left, parts = int(abs(seconds)), []
    for unit, size in _UNITS:
        number, left = divmod(left, size)
        parts.append((number, unit))
    first = next((place for place, (number, _unit) in enumerate(parts) if number), len(parts))
    return [(number, unit) for number, unit in parts[first : first + 2] if number]


def length(seconds: float) -> str:
    """Return a duration such as 2h10m."""
    return "".join(f"{number}{unit}" for number, unit in in_units(seconds)) or "0s"


def how_far(moment: datetime, now: datetime) -> str:
    """Return a time relative to now: `in 2h10m`, `3d ago`."""
    seconds = (moment - now).total_seconds()
    return f"in {length(seconds)}" if seconds >= 0 else f"{length(seconds)} ago"


def span(seconds: float) -> str:
    """Return how long something ran: `< 1 ms`, `120 ms`, `2h10m`."""
    if seconds >= 1:
        return length(seconds)
    milliseconds = int(seconds * 1_000)
    return f"{milliseconds} ms" if milliseconds else "< 1 ms"


def at_clock(moment: datetime, now: datetime) -> str:
    """Return a moment on the site's clock: `22:25` today, `2026-11-27 22:25` on another day."""
    local, today = timezone.localtime(moment), timezone.localtime(now)
    return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"
