"""Delivery: one attempt at one message, the frozen value that a handler is given.

It never touches a row; the worker that made it hands in what `extend` needs.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic

from .errors import LeaseLost
from .validation import show, storable

if TYPE_CHECKING:
    # To type checkers a bare Delivery is one of any payload; before Python 3.13 only they can say so.
    from typing_extensions import TypeVar

    P = TypeVar("P", default=Any)
else:
    from typing import TypeVar

    P = TypeVar("P")

logger = logging.getLogger("django_letsgo_worker.handler")

# Of the text of a progress, in bytes.
LONGEST_TEXT = 200

# What names an attempt: the message's id and its receipt.
Lease = tuple[int, int]


class Control:
    """The line between a worker and a running handler: two flags, a way to ask for time, how far it is."""

    __slots__ = ("extend", "lease_lost", "progress", "should_stop")

    def __init__(self, extend: Callable[[Lease, float], bool] | None = None) -> None:
        # Set once, by another thread, and never cleared: plain flags are enough.
        self.lease_lost = False
        self.should_stop = False
        self.extend = extend
        # What the handler last said of itself: a fraction and a text.
        self.progress: tuple[float, str] | None = None


@dataclass(frozen=True, kw_only=True)
class Delivery(Generic[P]):
    """One attempt at one message: the frozen value that a handler is given.

    `message_id` names the work; `type`, `queue` and `priority` (larger is sooner) are the message's.
    `payload` is JSON, or an object where the handler is for a @message_type class; `headers` are small
    facts beside it. Changing either changes no row. `attempt` counts from 1 up to `max_attempts`; `receipt`
    is the fencing number of this claim and never repeats for a message, so `(message_id, receipt)` names the
    attempt. `enqueued_at` is when the message was added; after `deadline`, if there is one, no attempt
    begins. `planned_at` and `schedule` are the planned time and the name of the schedule that made the
    message, else None. All times are aware, UTC.
    """

    message_id: int
    type: str
    # Not in repr(): it stands in tracebacks' variables, which error trackers send.
    payload: P = field(repr=False)
    headers: dict[str, Any] = field(repr=False)
    queue: str
    priority: int
    attempt: int
    max_attempts: int
    receipt: int
    enqueued_at: datetime
    deadline: datetime | None = None
    planned_at: datetime | None = None
    schedule: str | None = None
    _control: Control = field(default_factory=Control, repr=False, compare=False)

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure now makes this message a dead letter."""
        return self.attempt >= self.max_attempts

    @property
    def lease_lost(self) -> bool:
        """Whether another process may hold the message: what this handler returns will not be recorded."""
        return self._control.lease_lost

    @property
    def should_stop(self) -> bool:
        """Whether the handler should end: because of its time-out, a shutdown or a lost lease."""
        return self._control.should_stop or self.lease_lost

    def extend(self, seconds: float) -> None:
        """Keep the lease for at least `seconds` from now, more than 0; it is never shortened.

        Heartbeats renew it anyway: this is for code that blocks the whole process. Raises LeaseLost
        when the lease is gone, ValueError for any other number.
        """
        if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
            raise ValueError("extend() takes a number of seconds.")
        if not math.isfinite(seconds) or seconds <= 0:
            raise ValueError("extend() takes a positive, finite number of seconds.")
        renew = self._control.extend
        if self.lease_lost or (renew is not None and not renew((self.message_id, self.receipt), seconds)):
            self._control.lease_lost = True
            raise LeaseLost(self.message_id, self.attempt)

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the work is: `fraction` from 0 to 1, and `text` for people, at most 200 bytes of it.

        Nothing is written here: the next heartbeat of the worker does that, every third of the lease, and
        until then a later word replaces an earlier one. The admin, the command line and results of tasks show
        it while the attempt runs. Raises ValueError for any other number.
        """
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 <= fraction <= 1:
            raise ValueError(f"progress() takes a number from 0 to 1, not {show(fraction)}.")
        self._control.progress = float(fraction), storable(str(text), LONGEST_TEXT)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that knows the message; the payload is never part of its lines."""
        facts = {
            "message_id": self.message_id,
            "message_type": self.type,
            "queue": self.queue,
            "attempt": self.attempt,
        }
        return logging.LoggerAdapter(logger, facts)


def delivery_with(**facts: Any) -> Delivery[Any]:
    """Return a Delivery of all its facts, made in one step: its constructor sets them one by one."""
    delivery = Delivery.__new__(Delivery)
    vars(delivery).update(facts)
    return delivery
