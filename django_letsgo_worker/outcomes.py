"""Outcomes of attempts: a pure decision over the delivery, the error and the handler's policy.

Nothing is written here; the worker turns the answer into a settlement.
"""

from __future__ import annotations

import hashlib
import traceback
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import PurePath
from typing import Any

from .backoff import Backoff, backoff_seconds
from .delivery import Delivery
from .errors import InvalidMessage, InvalidSchedule, WorkerDied
from .likeness import words_of
from .validation import check_delay, check_max_attempts, check_seconds, storable

KEPT_ERRORS = 10
PACKAGE = PurePath(__file__).parent


class Retry(Exception):
    """Raise in a handler: try again after `delay`, or after the handler's back-off when that is None.

    `delay` is seconds, a timedelta, or text such as "90s" or "1h30m". It uses up an attempt and is recorded,
    with `reason`, in the message's errors; on the last attempt the message becomes a dead letter.
    `max_attempts` (1 to 32000) raises the limit of this message for good; it never lowers it. Raises
    InvalidMessage for an invalid delay or limit.
    """

    def __init__(
        self,
        delay: float | timedelta | None = None,
        reason: str = "",
        *,
        max_attempts: int | None = None,
    ) -> None:
        self.delay = None if delay is None else check_delay("delay", delay)
        self.max_attempts = None if max_attempts is None else check_max_attempts(max_attempts)
        self.reason = str(reason)
        super().__init__(self.reason or "retry")


class Snooze(Exception):
    """Raise in a handler: run again after `delay`, without using an attempt.

    `delay` is seconds, a timedelta, or text such as "90s" or "1h30m"; anything else raises InvalidMessage.
    """

    def __init__(self, delay: float | timedelta) -> None:
        self.delay = check_delay("delay", delay)
        super().__init__(f"snooze for {self.delay:g} s")


class Reject(Exception):
    """Raise in a handler: give the message up now; it becomes a dead letter with this `reason`, a text."""

    def __init__(self, reason: str = "") -> None:
        self.reason = str(reason)
        super().__init__(self.reason or "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The decision about an attempt that ended.

    `name` is succeeded, retry, snoozed, dead, expired or released; `delay_seconds` is for retry and
    snoozed; `counted` says whether the attempt stays used; `exception` is what the handler raised.
    """

    name: str
    delay_seconds: float = 0.0
    counted: bool = True
    result: Any = field(default=None, repr=False)
    exception: BaseException | None = field(default=None, compare=False)
    recorded: bool = False
    # The message's limit from now on, if it is raised.
    max_attempts: int | None = None

    @property
    def settled_as(self) -> str:
        """The word of the settlement: an archived outcome, again or released."""
        return "again" if self.name in ("retry", "snoozed") else self.name


SUCCEEDED = Outcome(name="succeeded")


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A handler's rules for its failures.

    With `retry_on` (None: anything), all other exceptions give a message up at once; so does `give_up_on`,
    whatever `retry_on` says. One of `succeed_on` counts as a success, whatever the others say.
    """

    backoff: Backoff = "10m"
    retry_on: tuple[type[BaseException], ...] | None = None
    give_up_on: tuple[type[BaseException], ...] = ()
    succeed_on: tuple[type[BaseException], ...] = ()

    def succeeds_on(self, error: BaseException) -> bool:
        """Whether the work counts as done, such as where what it was about is there no longer."""
        return isinstance(error, self.succeed_on) and not isinstance(error, (Retry, Reject))

    def gives_up_on(self, error: BaseException) -> bool:
        """Whether another attempt is of no use, however many are left."""
        if isinstance(error, Retry):
            return False
        if isinstance(error, (Reject, *self.give_up_on)):
            return True
        if self.retry_on is not None:
            return not isinstance(error, self.retry_on)
        # We would refuse it again tomorrow: a payload that does not fit its class, or is not JSON.
        return isinstance(error, (InvalidMessage, InvalidSchedule))


def decide(delivery: Delivery, error: BaseException | None, policy: Policy, result: Any = None) -> Outcome:
    """Return what becomes of an attempt that returned `result`, or raised `error`."""
    if error is None:
        return SUCCEEDED if result is None else Outcome(name="succeeded", result=result)
    if isinstance(error, Snooze):
        return Outcome(name="snoozed", delay_seconds=error.delay, counted=False, exception=error)
    if policy.succeeds_on(error):
        delivery.log.info(
            "Message %s (%s) counts as done: its policy has %s in SUCCEED_ON.",
            delivery.message_id,
            delivery.type,
            type(error).__name__,
        )
        return SUCCEEDED
    raised = error.max_attempts if isinstance(error, Retry) else None
    limit = max(delivery.max_attempts, raised or 0)
    if not policy.gives_up_on(error) and delivery.attempt < limit:
        delay = _delay(delivery, error, policy.backoff)
        if delay is not None:
            return Outcome(
                name="retry",
                delay_seconds=delay,
                exception=error,
                recorded=True,
                max_attempts=limit if limit > delivery.max_attempts else None,
            )
    return Outcome(name="dead", exception=error, recorded=True)


def _delay(delivery: Delivery, error: BaseException, backoff: Backoff) -> float | None:
    """Return the pause before the next attempt; None when the back-off gives the message up."""
    if isinstance(error, Retry) and error.delay is not None:
        return error.delay
    try:
        seconds = backoff_seconds(backoff, delivery.attempt, error)
        return None if seconds is None else check_seconds("the back-off", seconds)
    except Reject as reject:
        error.add_note(f"Given up by its back-off: {reject}")
        return None
    except Exception as broken:
        # A project's function may fail, or return nonsense: the message is still retried.
        delivery.log.warning(
            "The back-off of %s failed (%s): using 10m.", delivery.type, type(broken).__name__
        )
        return backoff_seconds("10m", delivery.attempt, error)


def error_entry(
    error: BaseException, *, attempt: int, at: str, seconds: float | None, process: str
) -> dict[str, Any]:
    """Return the record of a failed attempt, made storable whatever the exception carries.

    `at` is an ISO time in UTC, `seconds` how long the attempt ran, None where that is not known.
    """
    return {
        "attempt": attempt,
        "at": at,
        "seconds": None if seconds is None else round(seconds, 6),
        "process": process,
        "class": dotted(error),
        "message": storable(_text(error)),
        "traceback": storable(_traceback(error)),
    }


def lost_entry(
    *, attempt: int, begun_at: datetime, process: str, heard_at: datetime | None
) -> dict[str, Any]:
    """Return the record of an attempt that ended with its worker, which was last heard of at `heard_at`."""
    if heard_at is None:
        sign = "it has left no sign of life"
    else:
        sign = f"it was last heard of at {heard_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
    return {
        "attempt": attempt,
        "at": begun_at.astimezone(UTC).isoformat(timespec="microseconds"),
        "seconds": None,
        "process": process,
        "class": f"{WorkerDied.__module__}.{WorkerDied.__qualname__}",
        "message": f"the worker {process} died while it held the message: {sign}",
        "traceback": "",
    }


def redrive_entry(*, at: datetime, by: str, reason: str) -> dict[str, Any]:
    """Return the record of a redrive: attempts are counted from 1 again after it."""
    return {"redrive": True, **_by_whom(at, by, reason)}


def retry_entry(*, at: datetime, by: str, reason: str) -> dict[str, Any]:
    """Return the record of a retry by hand, which made a message due early."""
    return {"retry": True, **_by_whom(at, by, reason)}


def _by_whom(at: datetime, by: str, reason: str) -> dict[str, str]:
    return {
        "at": at.astimezone(UTC).isoformat(timespec="microseconds"),
        "by": storable(by, 200),
        "reason": storable(reason, 1000),
    }


def attempts_of(errors: list[Any]) -> list[dict[str, Any]]:
    """Return the entries of a message's errors that are failed attempts: not redrives, not retries."""
    return [entry for entry in errors if isinstance(entry, dict) and "attempt" in entry]


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


def is_of_project(file: PurePath) -> bool:
    """Whether a frame of this file says where it failed: ours do not, since each statement passes there."""
    return "site-packages" not in file.parts and not file.is_relative_to(PACKAGE)


def fingerprint(error: BaseException) -> str:
    """Return one text for all failures that are the same to a person: by class, place and words.

    Left out of the words is what differs from message to message, as likeness.words_of() says.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_of_project(PurePath(frame.filename))] or list(frames)
    place = f"{PurePath(own[-1].filename).name}:{own[-1].name}" if own else ""
    text = f"{dotted(error)}|{place}|{words_of(_text(error))}"
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()


def own_frames(text: str) -> str:
    """Return a recorded traceback without the frames of libraries; all of it when it has no others."""
    kept: list[str] = []
    is_own, has_own = True, False
    for line in text.splitlines(keepends=True):
        if line.startswith('  File "'):
            is_own = is_of_project(PurePath(line.split('"')[1]))
            has_own |= is_own
        elif not line.startswith("    "):
            is_own = True
        if is_own:
            kept.append(line)
    return "".join(kept) if has_own else text


def lost_fingerprint() -> str:
    """Return the fingerprint of all attempts that ended with their workers."""
    return fingerprint(WorkerDied(1))


def with_entry(errors: Any, entry: dict[str, Any]) -> list[Any]:
    """Return the list of a message's errors with one more, the newest ten only.

    If `errors` is not a list it is dropped: a failure is recorded in any case.
    """
    return [*(errors if isinstance(errors, list) else ()), entry][-KEPT_ERRORS:]
