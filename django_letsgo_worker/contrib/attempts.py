"""The attempt in hand, for carriers that report its outcome when they are left.

That is what was decided about it. What the database made of it is known later, to `delivery_finished`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from ..delivery import Delivery
from ..outcomes import Snooze
from ..signals import delivery_failed


@dataclass(slots=True, eq=False)
class Attempt:
    """An attempt whose handler runs; several carriers around it share one."""

    delivery: Delivery
    # What was decided about the exception of its handler.
    decided: str = ""

    def outcome(self, error: BaseException | None) -> str:
        """Return succeeded, retry, dead, snoozed, or lost; released if a shutdown cut it short."""
        if self.delivery.lease_lost:
            return "lost"
        if error is None or self.decided:
            return self.decided or "succeeded"
        if isinstance(error, Snooze):
            return "snoozed"
        # No failure was announced: a policy says that this error is none, or nobody asked for an outcome.
        return "released" if self.delivery.should_stop else "succeeded"


_current: ContextVar[Attempt | None] = ContextVar("letsgo_attempt", default=None)


@contextmanager
def watched(delivery: Delivery) -> Iterator[Attempt]:
    """Watch, within a block around its handler, what is decided about a delivery."""
    attempt = _current.get()
    if attempt is None or attempt.delivery is not delivery:
        attempt = Attempt(delivery)
    token = _current.set(attempt)
    try:
        yield attempt
    finally:
        _current.reset(token)


def connect() -> None:
    """Hear of failures; a second call changes nothing."""
    delivery_failed.connect(_note, dispatch_uid="django_letsgo_worker.contrib.attempts")


def _note(outcome: str, **kwargs: Any) -> None:
    # Sent where the handler raised, inside its context.
    if (attempt := _current.get()) is not None:
        attempt.decided = outcome
