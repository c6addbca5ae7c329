"""What became of an attempt: a pure decision over the delivery, the error and the handler's policy.

Nothing is written here; the worker turns the answer into a settlement.
"""

from __future__ import annotations

import hashlib
import re
import traceback
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import PurePath
from typing import Any

from .backoff import Backoff, backoff_seconds
from .delivery import Delivery
from .payloads import check_seconds, storable

KEPT_ERRORS = 10
PACKAGE = PurePath(__file__).parent


class Retry(Exception):
    """Raise in a handler: try again after `delay` (seconds or timedelta; None: the back-off).

    It uses up an attempt and is recorded in the message's errors; on the last attempt the message
    becomes a dead letter.
    """

    def __init__(self, delay: float | timedelta | None = None, reason: str = "") -> None:
        self.delay = None if delay is None else check_seconds("delay", delay)
        self.reason = str(reason)
        super().__init__(self.reason or "retry")


class Snooze(Exception):
    """Raise in a handler: run again after `delay` (seconds or timedelta), without using an attempt."""

    def __init__(self, delay: float | timedelta) -> None:
        self.delay = check_seconds("delay", delay)
        super().__init__(f"snooze for {self.delay:g} s")


class Reject(Exception):
    """Raise in a handler: give the message up now; it becomes a dead letter with this reason."""

    def __init__(self, reason: str = "") -> None:
        self.reason = str(reason)
        super().__init__(self.reason or "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What is to be done about an attempt that ended.

    `name` is succeeded, retry, snoozed, dead, expired or released; `delay_seconds` is for retry and
    snoozed; `counted` says whether the attempt stays used; `exception` is what the handler raised.
    """

    name: str
    delay_seconds: float = 0.0
    counted: bool = True
    result: Any = None
    exception: BaseException | None = field(default=None, compare=False)
    recorded: bool = False

    @property
    def settled_as(self) -> str:
        """The word of the settlement: an archived outcome, again or released."""
        return "again" if self.name in ("retry", "snoozed") else self.name


SUCCEEDED = Outcome(name="succeeded")


def decide(delivery: Delivery, error: BaseException | None, backoff: Backoff, result: Any = None) -> Outcome:
    """Return what becomes of an attempt that returned `result`, or raised `error`."""
    if error is None:
        return SUCCEEDED if result is None else Outcome(name="succeeded", result=result)
    if isinstance(error, Snooze):
        return Outcome(name="snoozed", delay_seconds=error.delay, counted=False, exception=error)
    if isinstance(error, Reject) or delivery.is_last_attempt:
        return Outcome(name="dead", exception=error, recorded=True)
    return Outcome(
        name="retry", delay_seconds=_delay(delivery, error, backoff), exception=error, recorded=True
    )


def _delay(delivery: Delivery, error: BaseException, backoff: Backoff) -> float:
    if isinstance(error, Retry) and error.delay is not None:
        return error.delay
    try:
        seconds = backoff_seconds(backoff, delivery.attempt, error)
        return check_seconds("the back-off", seconds)
    except Exception as broken:
        # A project's function may fail, or return nonsense: the message is still retried.
        delivery.log.warning(
            "The back-off of %s failed (%s): using 10m.", delivery.type, type(broken).__name__
        )
        return backoff_seconds("10m", delivery.attempt, error)


def error_entry(
    error: BaseException, *, attempt: int, at: str, seconds: float, process: str
) -> dict[str, Any]:
    """Return the record of a failed attempt, made storable whatever the exception carries.

    `at` is an ISO time in UTC, `seconds` how long the attempt ran.
    """
    return {
        "attempt": attempt,
        "at": at,
        "seconds": round(seconds, 6),
        "process": process,
        "class": dotted(error),
        "message": storable(_text(error)),
        "traceback": storable(_traceback(error)),
    }


def dotted(error: BaseException) -> str:
    """Return the dotted name of an exception's class, short enough for its column."""
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    return storable(name, 255)


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "(an exception whose text cannot be read)"


def _traceback(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except BaseException:
        # Formatting reads the exception's text, its notes and its causes, and each may raise.
        return "".join(traceback.format_tb(error.__traceback__))


def _is_of_project(file: PurePath) -> bool:
    """Whether a line of this file says where it failed; ours are behind each statement, in a checkout too."""
    return "site-packages" not in file.parts and not file.is_relative_to(PACKAGE)


def fingerprint(error: BaseException) -> str:
    """Return the same text for failures that are the same to a person: class, place and words.

    Numbers and quoted parts of the words are left out.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _is_of_project(PurePath(frame.filename))] or list(frames)
    place = f"{PurePath(own[-1].filename).name}:{own[-1].name}" if own else ""
    words = re.sub(r"'[^']*'|\"[^\"]*\"|\d+", "*", _text(error)[:1000])
    text = f"{dotted(error)}|{place}|{words}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def with_entry(errors: list[Any], entry: dict[str, Any]) -> list[Any]:
    """Return the list of a message's errors with one more, the newest ten only."""
    return [*errors, entry][-KEPT_ERRORS:]
