"""The failed attempts of one process, added up in memory by failure until its loop writes them.

A type that fails two thousand times a second costs as many additions and one write; when nothing fails,
nothing is done. How a group is stored is said in failures.
"""

from __future__ import annotations

import json
import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from django.db import Error

from .. import __version__, failures
from ..engines import Claimed, Engine, Refused, Settlement, in_short
from ..failures import OTHER, FailedAttempts, hour_of

logger = logging.getLogger("django_letsgo_worker.worker")

# The least pause between two writes, in seconds.
EVERY = 1.0
# So many failures of one type, and of all, wait for a write; any further one counts among the others.
MOST_OF_A_TYPE, MOST = 100, 1_000
MINUTE = 60.0


@dataclass(slots=True)
class Group:
    """Failed attempts that are one failure: moments are those of time.monotonic()."""

    first: float
    last: float = 0.0
    minutes: Counter[int] = field(default_factory=Counter)
    message_id: int = 0
    # The entry of the newest one: itself, or the last one in the text of a message's errors.
    entry: dict[str, Any] | str = field(default="", repr=False)


class FailureTally:
    """Used by one thread: that which settles."""

    def __init__(self) -> None:
        self._groups: dict[tuple[str, str], Group] = {}
        self._of_type: Counter[str] = Counter()
        self._written_at = float("-inf")
        self._is_refused = False

    def note(self, claimed: Claimed, settlement: Settlement | None) -> None:
        """Note an attempt whose settlement is in the database, if it failed."""
        if settlement is not None and settlement.error_fingerprint and settlement.errors is not None:
            self._add(claimed, settlement.error_fingerprint, settlement.errors)

    def note_lost(self, claimed: Claimed) -> None:
        """Note an attempt that ended with its worker, as a claim found out."""
        if claimed.lost_fingerprint is not None and claimed.lost_attempt is not None:
            self._add(claimed, claimed.lost_fingerprint, claimed.lost_attempt)

    def _add(self, claimed: Claimed, fingerprint: str, entry: dict[str, Any] | str) -> None:
        now = time.monotonic()
        key = claimed.type, fingerprint
        if key not in self._groups:
            if self._of_type[claimed.type] >= MOST_OF_A_TYPE or len(self._groups) >= MOST:
                key = claimed.type, OTHER
            else:
                self._of_type[claimed.type] += 1
        group = self._groups.setdefault(key, Group(now))
        group.last, group.message_id, group.entry = now, claimed.id, entry
        group.minutes[int(now // MINUTE)] += 1

    @property
    def is_empty(self) -> bool:
        return not self._groups

    @property
    def due_in(self) -> float:
        """The seconds until something is to be written; infinite while there is nothing."""
        return max(0.0, self._written_at + EVERY - time.monotonic()) if self._groups else float("inf")

    def write(self, engine: Engine) -> None:
        """Write what there is, on a connection of our own. In an outage it stays, and the error is raised."""
        if self.is_empty:
            return
        self._written_at = time.monotonic()
        attempts = self.so_far(engine.clock())
        try:
            engine.insist(partial(failures.record, attempts, using=engine.connection.alias))
        except Refused as refused:
            if not self._is_refused:
                logger.error(
                    "The database refuses the record of failures, which are missing there: %s",
                    in_short(refused),
                )
            self._is_refused = True
        except Error:
            raise
        except Exception:
            # Somebody edited this group's row by hand: only these attempts are not counted in it.
            logger.exception("Failures could not be recorded.")
        else:
            self._is_refused = False
        self.clear()

    def so_far(self, clock: datetime) -> list[FailedAttempts]:
        """Return what there is, by a clock that says what time it is now."""
        now = time.monotonic()
        return [
            _attempts(type, fingerprint, group, clock - timedelta(seconds=now))
            for (type, fingerprint), group in self._groups.items()
        ]

    def clear(self) -> None:
        self._groups.clear()
        self._of_type.clear()


def _attempts(type: str, fingerprint: str, group: Group, zero: datetime) -> FailedAttempts:
    """Return the attempts of a group; `zero` is when time.monotonic() was 0."""
    hours: Counter[datetime] = Counter()
    for minute, count in group.minutes.items():
        hours[hour_of(zero + timedelta(seconds=max(group.first, minute * MINUTE)))] += count
    entry = json.loads(group.entry)[-1] if isinstance(group.entry, str) else group.entry
    return FailedAttempts(
        type=type,
        fingerprint=fingerprint,
        error_class=entry["class"],
        message=entry["message"],
        traceback=entry["traceback"],
        first_at=zero + timedelta(seconds=group.first),
        last_at=zero + timedelta(seconds=group.last),
        hours=hours,
        message_id=group.message_id,
        version=__version__,
    )
