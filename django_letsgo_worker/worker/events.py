"""Signals and log lines of a worker, sent after the fact is in the database.

Nothing here decides or writes; a broken receiver breaks nothing.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from collections.abc import Sequence

from .. import registry
from ..delivery import Delivery
from ..engines import PAUSED, Claimed, Settlement
from ..hints import suggestion
from ..models import Message
from ..signals import delivery_finished, lease_lost, message_died, unknown_type
from .counting import Counting
from .failure_tally import FailureTally
from .inflight import InFlight

logger = logging.getLogger("django_letsgo_worker.worker")

# The same unknown type is reported at most once in this time, in seconds.
REPEAT_AFTER = 60.0


class Events:
    def __init__(self) -> None:
        self.counting = Counting()
        self._reported: dict[tuple[str, str], float] = {}
        # The number of attempts by how they ended, since the worker started.
        self.ended: Counter[str] = Counter()
        self.failures = FailureTally()

    def settled(self, entry: InFlight, written: str | None) -> None:
        """Announce that this process is done with a message; `written` is None when it was not ours."""
        if entry.refusal is not None and written is not None:
            self._refused(entry.claimed, entry.refusal)
        if entry.delivery is None or entry.outcome is None or entry.interrupted:
            if entry.outcome is not None and entry.outcome.recorded and written in ("dead", "again"):
                self.failures.note(entry.claimed, entry.settlement)
            if entry.outcome is not None and entry.outcome.name == written == "dead":
                # Its payload cannot be read: there is no delivery to announce it.
                self.counting.ended(entry, "dead")
                self._died(entry.claimed, entry.settlement, None)
            return
        name = entry.outcome.name
        if entry.settled and name == "unknown":
            return
        if name == "lost" or (not entry.settled and written is None):
            # After a connection broke, the first attempt to settle may have been carried out.
            if not entry.uncertain:
                self.lost(entry)
            return
        expired = "expired" in (written, entry.settled_as)
        self.counting.ended(entry, name, expired=expired)
        self._finished(entry, "expired" if expired else name)

    def lost(self, entry: InFlight) -> None:
        if not entry.lost and entry.delivery is not None:
            entry.lost = True
            entry.control.lease_lost = True
            entry.delivery.log.warning(
                "Lost the lease on message %s (%s): its outcome may not be recorded.",
                entry.claimed.id,
                entry.claimed.type,
            )
            lease_lost.send_robust(sender=Delivery, delivery=entry.delivery)

    def _finished(self, entry: InFlight, name: str) -> None:
        assert entry.outcome is not None and entry.delivery is not None
        self.ended[name] += 1
        if entry.outcome.recorded:
            self.failures.note(entry.claimed, entry.settlement)
        if name == "succeeded" and not delivery_finished.is_wanted:
            return
        delivery_finished.send_robust(
            sender=Delivery,
            delivery=entry.delivery,
            outcome=name,
            seconds=entry.seconds,
            exception=entry.outcome.exception,
            result=entry.outcome.result,
            delay=entry.outcome.delay_seconds if name in ("retry", "snoozed") else None,
        )
        if name == "dead":
            self._died(entry.claimed, entry.settlement, entry.delivery)

    def _refused(self, claimed: Claimed, settlement: Settlement) -> None:
        """Announce a message that was claimed and not run: attempts exhausted, or past its deadline."""
        self.ended[settlement.outcome] += 1
        self.counting.refused(claimed, settlement.outcome)
        self.failures.note(claimed, settlement)
        if settlement.outcome == "expired":
            logger.warning("Message %s (%s) expired before it began.", claimed.id, claimed.type)
        else:
            logger.error(
                "Message %s (%s) is a dead letter: its worker died each time.", claimed.id, claimed.type
            )
            self._died(claimed, settlement, None)

    def claimed(self, claimed: Sequence[Claimed]) -> None:
        """Take in a claim: the database's clock, and the attempts that ended with their workers."""
        self.counting.set_clock(claimed[0].leased_at)
        for one in claimed:
            if one.lost_attempt is None:
                continue
            self.counting.lost(one)
            if not one.has_exhausted_attempts:
                # Otherwise it is recorded with the message's end.
                self.failures.note_lost(one)

    def _died(self, claimed: Claimed, settlement: Settlement | None, delivery: Delivery | None) -> None:
        errors = json.loads(settlement.errors) if settlement is not None and settlement.errors else []
        message_died.send_robust(
            sender=Message,
            message_id=claimed.id,
            type=claimed.type,
            queue=claimed.queue,
            errors=errors,
            delivery=delivery,
        )

    def unknown(self, queue: str, types: set[str]) -> None:
        """Say that messages wait here whose types this process does not know."""
        now = time.monotonic()
        for type in types - {PAUSED}:
            if now - self._reported.get((queue, type), float("-inf")) >= REPEAT_AFTER:
                self._reported[queue, type] = now
                unknown_type.send_robust(sender=Message, queue=queue, type=type)
                if registry.find(type) is None:
                    logger.warning(
                        "Messages of the unknown type %s wait in the queue %s.%s",
                        type,
                        queue,
                        suggestion(type, registry.types()),
                    )
