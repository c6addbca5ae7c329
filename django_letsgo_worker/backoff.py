"""Pauses before the next attempt: names, numbers, lists, functions.

Only delays are computed here; whether there is a next attempt is decided in outcomes.py.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable
from typing import Any

from .hints import nearest

# name: (first delay, the delay it climbs to), in seconds
NAMED = {"1m": (1.0, 60.0), "10m": (5.0, 600.0), "1h": (60.0, 3600.0)}

Backoff = str | float | list[float] | tuple[float, ...] | Callable[[int, BaseException], float | None]


# Longer than any sensible pause, and short enough for every clock.
LONGEST = 10 * 365 * 86_400.0

_KINDS = "'1m', '10m', '1h', a number of seconds, a list of them or a function"


def _seconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be one of {_KINDS}")
    # Compared before it becomes a float: an enormous integer cannot become one.
    if not 0 <= value <= LONGEST:
        raise ValueError("must be from 0 seconds to ten years")
    return float(value)


def check_backoff(value: Any) -> Backoff:
    """Return `value` when it is a back-off; ValueError says what one may be."""
    if isinstance(value, str):
        if value in NAMED:
            return value
        close = nearest(value, NAMED)
        hint = f", did you mean {close!r}" if close else ""
        raise ValueError(f"must be one of {_KINDS}{hint}")
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("must not be an empty list")
        return tuple(_seconds(item) for item in value)
    if callable(value):
        if inspect.iscoroutinefunction(value):
            raise ValueError("must not be an async function")
        function: Backoff = value
        return function
    return _seconds(value)


def backoff_seconds(backoff: Backoff, attempt: int, error: BaseException) -> float | None:
    """Return the delay in seconds after the failed `attempt` (from 1); None when a function gives up.

    Names double from their first delay up to exactly their name, with jitter downwards to three
    quarters, so that what failed together does not come back together. Numbers, lists (the last item
    repeats) and functions are exact; a function that returns nonsense raises ValueError.
    """
    if isinstance(backoff, str):
        first, most = NAMED[backoff]
        # The exponent is capped: 2.0 ** 32000 would overflow.
        return min(most, first * 2.0 ** min(attempt - 1, 60)) * random.uniform(0.75, 1.0)
    if isinstance(backoff, (list, tuple)):
        return float(backoff[min(attempt, len(backoff)) - 1])
    if callable(backoff):
        seconds = backoff(attempt, error)
        return None if seconds is None else _seconds(seconds)
    return float(backoff)
