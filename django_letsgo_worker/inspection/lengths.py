"""Durations, moments and numbers as people read them, in the active language.

Doors choose how units are written; sentences of the core use `length`.
"""

from __future__ import annotations

from datetime import datetime

from django.utils import timezone
from django.utils.formats import get_format
from django.utils.translation import gettext as _

from ..engines import AtLeast
from ..models import Progress

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
    units = {"d": _("%(number)sd"), "h": _("%(number)sh"), "m": _("%(number)sm"), "s": _("%(number)ss")}
    parts = in_units(seconds) or [(0, "s")]
    return "".join(units[unit] % {"number": number} for number, unit in parts)


def how_far(moment: datetime, now: datetime) -> str:
    """Return a time relative to now: `in 2h10m`, `3d ago`."""
    seconds = (moment - now).total_seconds()
    text = _("in %(span)s") if seconds >= 0 else _("%(span)s ago")
    return text % {"span": length(seconds)}


def span(seconds: float) -> str:
    """Return how long something ran: `< 1 ms`, `120 ms`, `2h10m`."""
    if seconds >= 1:
        return length(seconds)
    milliseconds = int(seconds * 1_000)
    return _("%(number)s ms") % {"number": milliseconds} if milliseconds else _("< 1 ms")


def at_clock(moment: datetime, now: datetime) -> str:
    """Return a moment on the site's clock: `22:25` today, `2026-11-27 22:25` on another day."""
    local, today = timezone.localtime(moment), timezone.localtime(now)
    return f"{local:%H:%M}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"


def share_done(progress: Progress) -> str:
    """Return how far something is: `40 %: the second file`."""
    done = f"{progress.fraction:.0%}".replace("%", " %")
    return f"{done}: {progress.text}" if progress.text else done


def number(count: int) -> str:
    """Return a count for a sentence: 1, 2,001, or 10,000+ where there may be more."""
    text = str(count) if isinstance(count, AtLeast) else f"{count:,}"
    return text.replace(",", get_format("THOUSAND_SEPARATOR"))
