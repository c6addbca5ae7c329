"""Hints for an unknown word: the known word that is spelled most like it, and what to write instead.

The callers know which words are known.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the known word that is spelled most like this one; None when none is near.

    `cutoff` is the least likeness, from 0 (anything) to 1 (the same word).
    """
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return close[0] if close else None


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ' Did you mean ...?' when a known word is near, else nothing."""
    close = nearest(word, known)
    return f" Did you mean {close!r}?" if close else ""


# Options as other queues call them, and options that belong in another place here.
_OTHER_WORDS = {
    "countdown": ("delay", "run_after"), "eta": ("visible_at", "run_after"), "run_after": ("visible_at",),
    "run_at": ("visible_at", "run_after"), "expires": ("deadline",), "retries": ("max_attempts",),
    "max_retries": ("max_attempts",), "job_id": ("unique_key",), "kwargs": ("payload",), "tz": ("timezone",),
    "zone": ("timezone",), "start": ("starts_at",), "end": ("ends_at",), "queue": ("queue_name",),
}  # fmt: skip
_ELSEWHERE = {
    "@handler": (("schedule", "every", "cron", "crontab", "interval", "rate"),
                 "write @schedule('rate(5 minutes)') above @handler"),
    "enqueue()": (("schedule", "every", "cron", "crontab", "interval", "rate"),
                  "write @schedule('rate(5 minutes)') above its @handler"),
    "A schedule": (("every", "cron", "crontab", "interval", "rate", "expression"),
                   "its text says when it runs, such as 'rate(5 minutes)' or '0 9 * * MON-FRI'"),
    "using()": (("max_attempts", "backoff", "timeout", "atomic"),
                "write it in @task(...), or in capitals in OPTIONS of TASKS"),
}  # fmt: skip


def no_option(what: str, unknown: Iterable[str], known: Iterable[str]) -> str:
    """Return a sentence: `what` does not have the first of these options, and what to write instead."""
    name, names = str(next(iter(unknown))), list(known)
    there, instead = _ELSEWHERE.get(what, ((), ""))
    noun = "field" if what == "A schedule" else "option"
    meant = next((word for word in _OTHER_WORDS.get(name, ()) if word in names), None)
    if meant is not None:
        instead = f": write {meant}=."
    else:
        close = nearest(name, names)
        instead = f": {instead}." if name in there else f"; did you mean {close!r}?" if close else "."
    return f"{what} has no {noun} {name!r}{instead}"


def with_hints(what: str) -> Callable[[F], F]:
    """Make a function that is given an unknown option say what to write instead."""

    def decorate(function: F) -> F:
        known = list(inspect.signature(function).parameters)

        @wraps(function)
        def hinting(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except TypeError:
                unknown = [name for name in options if name not in known]
                if unknown:
                    raise TypeError(no_option(what, unknown, known)) from None
                raise

        return cast(F, hinting)

    return decorate
