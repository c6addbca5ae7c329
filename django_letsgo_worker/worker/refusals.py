"""Batches that the database refuses: settled one by one; outcomes that cannot be written are kept for later.

A refusal comes over a good connection; the loop deals with outages.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from uuid import UUID

from ..engines import Engine, Lane, Refused, Settlement, in_short
from ..messages import settlements
from .executor import settlement_of
from .inflight import InFlight, InFlightTable
from .options import Options

logger = logging.getLogger("django_letsgo_worker.worker")

# A statement may itself break the connection: an outcome that was refused this many times, with a good
# connection after each, is written without its result and its errors, the parts that can be long.
DOUBTS = 3
# The pause before an outcome that was refused is tried again, in seconds; it doubles.
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
# A lane that cannot be claimed from is reported at most once in this time, in seconds.
REPEAT_AFTER = 60.0


class Refusals:
    """Writes as much of a refused batch as the database takes, and logs the rest, once."""

    def __init__(self, engine: Engine, options: Options, process: UUID, inflight: InFlightTable) -> None:
        self.engine = engine
        self.options = options
        self.process = process
        self.inflight = inflight
        self._reported: dict[tuple[str, int], float] = {}

    def settle_singly(
        self, entries: Sequence[InFlight], refused: Refused, *, is_last: bool
    ) -> dict[int, str]:
        """Settle each in its own transaction, so that one bad outcome holds up no other."""
        if not all(entry.is_reported for entry in entries):
            logger.warning("A round is refused, its messages are settled one by one: %s", in_short(refused))
        written: dict[int, str] = {}
        for entry in entries:
            if not entry.settled:
                try:
                    written |= self._settle(entry, is_last=is_last)
                except Refused as again:
                    self._set_aside(entry, again)
        return written

    def _settle(self, entry: InFlight, *, is_last: bool) -> dict[int, str]:
        """Write one outcome, without its result and its errors if the database refuses it with them."""
        settlement = settlement_of(entry, self.options.name)
        try:
            return self._write(settlement, entry)
        except Refused as refused:
            entry.refusals += 1
            in_doubt = self.engine.is_outage(refused.__cause__) if refused.__cause__ else False
            if not settlement.length or (in_doubt and entry.refusals < DOUBTS and not is_last):
                raise
            written = self._write(replace(settlement, result=None, errors=None), entry)
            logger.error(
                "The database refused the outcome of message %s (%s), which is kept without %s: %s",
                *_named(entry),
                "its result" if settlement.errors is None else "what this attempt adds to its errors",
                in_short(refused),
            )
            return written

    def _write(self, settlement: Settlement, entry: InFlight) -> dict[int, str]:
        def settle() -> dict[int, str]:
            with self.engine.transaction():
                return self.engine.settle(self.process, [settlement], keep=settlements.kept_outcomes())

        return self.engine.insist(settle, partial(doubt, [entry]))

    def _set_aside(self, entry: InFlight, refused: Refused) -> None:
        """Keep an outcome that cannot be written at all, and its lease, for a later try; logged once."""
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(entry.refusals - 1, 10))
        self.inflight.set_aside(entry, pause)
        if not entry.is_reported:
            entry.is_reported = True
            logger.error(
                "The database refuses the outcome of message %s (%s). This worker keeps it, and tries again "
                "from time to time: %s",
                *_named(entry),
                in_short(refused),
            )

    def say_if_written_after_all(self, entry: InFlight) -> None:
        """Log the good end of an outcome that was reported when it was set aside."""
        if entry.is_reported:
            logger.warning("The outcome of message %s (%s) is written after all.", *_named(entry))

    def say_lane(self, lane: Lane, refused: Refused) -> None:
        """Log that a lane cannot be claimed from, once a minute."""
        now = time.monotonic()
        if now - self._reported.get(lane.key, float("-inf")) >= REPEAT_AFTER:
            self._reported[lane.key] = now
            logger.error(
                "The database lets nobody claim the first message of the queue %s (priority %s): %s",
                *lane.key,
                in_short(refused),
            )

    def say_lost_attempts(self, refused: Refused) -> None:
        """Log that attempts which ended with their workers are not recorded yet."""
        logger.warning("Attempts that ended with their workers are not recorded yet: %s", in_short(refused))


def doubt(entries: Sequence[InFlight]) -> None:
    """Note that an attempt to settle these broke off, and may have been carried out."""
    for entry in entries:
        entry.uncertain = True


def _named(entry: InFlight) -> tuple[int, str]:
    return entry.claimed.id, entry.claimed.type
