"""The counters of one process: their values, and the signals that move them.

Facts that no signal tells are read from what is watched (health), and from the database (gauges).
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from django.db import transaction

from .. import registry, signals
from ..delivery import Delivery
from ..models import Message, Occurrence, ScheduledJob
from .metrics import BUCKETS, SUM, Key

LIMITS = (*(f"{limit:g}" for limit in BUCKETS), "+Inf")


class Tally:
    """Values by key; `write_through` is told each change at once."""

    def __init__(self, write_through: Callable[[Key, float], None] | None = None) -> None:
        self._write_through = write_through
        self._values: dict[Key, float] = {}
        self._lock = threading.Lock()

    def add(self, name: str, *labels: str, amount: float = 1.0) -> None:
        with self._lock:
            self._write((name, labels), self._values.get((name, labels), 0.0) + amount)

    def put(self, name: str, *labels: str, value: float) -> None:
        with self._lock:
            self._write((name, labels), value)

    def observe(self, name: str, value: float) -> None:
        """Count a value of a histogram."""
        self.add(name, LIMITS[bisect_left(BUCKETS, value)])
        self.add(name, SUM, amount=value)

    def values(self) -> dict[Key, float]:
        with self._lock:
            return dict(self._values)

    def _write(self, key: Key, value: float) -> None:
        self._values[key] = value
        if self._write_through is not None:
            self._write_through(key, value)


class Receivers:
    """The receivers that count signals into one tally, between connect() and disconnect()."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._receivers = (
            (signals.message_enqueued, self._enqueued),
            (signals.delivery_started, self._started),
            (signals.delivery_finished, self._finished),
            (signals.lease_lost, self._lost),
            (signals.message_died, self._died),
            (signals.occurrence_fired, self._fired),
        )

    def connect(self) -> None:
        for signal, receiver in self._receivers:
            signal.connect(receiver)

    def disconnect(self) -> None:
        for signal, receiver in self._receivers:
            signal.disconnect(receiver)

    def _enqueued(self, message: Message, using: str, **kwargs: Any) -> None:
        count = partial(
            self.tally.add, "letsgo_messages_enqueued_total", message.queue, type_label(message.type)
        )
        # What is rolled back was never enqueued.
        transaction.on_commit(count, using=using, robust=True)

    def _started(self, delivery: Delivery, **kwargs: Any) -> None:
        if delivery.attempt == 1:
            since = delivery.planned_at or delivery.enqueued_at
            waited = (datetime.now(UTC) - since).total_seconds()
            # Our clock may be behind the database's.
            self.tally.observe("letsgo_message_wait_seconds", max(0.0, waited))

    def _finished(self, delivery: Delivery, outcome: str, seconds: float, **kwargs: Any) -> None:
        labels = (delivery.queue, type_label(delivery.type), outcome)
        self.tally.add("letsgo_attempts_total", *labels)
        self.tally.observe("letsgo_attempt_duration_seconds", seconds)

    def _lost(self, **kwargs: Any) -> None:
        self.tally.add("letsgo_leases_lost_total")

    def _died(self, queue: str, type: str, **kwargs: Any) -> None:
        self.tally.add("letsgo_messages_died_total", queue, type_label(type))

    def _fired(self, occurrence: Occurrence, schedule: ScheduledJob, **kwargs: Any) -> None:
        reason = occurrence.skipped_because.partition(":")[0]
        result = reason or "fired"
        # One row stands for all that were skipped with it.
        amount = max(1, occurrence.skipped_count) if reason else 1
        self.tally.add("letsgo_schedule_occurrences_total", schedule.name, result, amount=amount)


def type_label(type: str) -> str:
    """Return the type as a label, "unknown" without a handler: senders could make up any number of types."""
    return type if registry.find(type) is not None else "unknown"
