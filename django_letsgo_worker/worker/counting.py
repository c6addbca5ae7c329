"""Counts of what this process's attempts came to, minute by minute, until they are written.

Nothing here reads or writes the database: it is fed once for each message, and must cost next to nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import islice

from ..counts import Count, Place
from ..engines import Claimed
from ..histograms import bucket_of
from .inflight import InFlight

# A minute's counts are written within this many seconds of its end: not by a whole fleet at one moment.
SPREAD = 10.0
# While attempts fail, counts are written so soon, in seconds: somebody may be watching.
SOON = 5.0
MINUTE = 60.0
# So many are written at once: where queues are thousands, the loop sees to its messages in between.
MOST_AT_ONCE = 100
# Minutes that could not be written are kept, up to so many rows.
MOST_KEPT = 100_000


class Counting:
    """The counts of one thread; a minute's are open until the next begins, by the database's clock."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], Count] = {}
        self._closed: dict[Place, Count] = {}
        self._write_at = float("inf")
        # Since when there are failed attempts that are not written.
        self._failing_since: float | None = None
        # The database's clock less this process's, in seconds; and the open minute.
        self._ahead = 0.0
        self._minute = 0

    def set_clock(self, clock: datetime) -> None:
        """Take in the database's clock as of now."""
        self._ahead = clock.timestamp() - time.monotonic()
        if not self._open:
            self._minute = self._current_minute()

    def _current_minute(self) -> int:
        return int((time.monotonic() + self._ahead) // MINUTE)

    # -- what is counted -----------------------------------------------------------------------------------

    def ended(self, entry: InFlight, name: str, *, expired: bool = False) -> None:
        """Count an attempt that ended in this outcome; `expired`: and its message with it."""
        claimed = entry.claimed
        count = self._open.get((claimed.queue, claimed.type)) or self._of(claimed)
        if expired:
            count.expired += 1
        if name == "succeeded":
            count.succeeded += 1
        elif name in ("retry", "dead"):
            count.dead += name == "dead"
            self._note_failed(count)
        else:
            return
        run, wait = bucket_of(entry.ended - entry.started), bucket_of(entry.waited)
        count.run[run] = count.run.get(run, 0) + 1
        count.wait[wait] = count.wait.get(wait, 0) + 1

    def lost(self, claimed: Claimed) -> None:
        """Count an attempt whose worker died with it."""
        self._note_failed(self._of(claimed))

    def _note_failed(self, count: Count) -> None:
        count.failed += 1
        if self._failing_since is None:
            self._failing_since = time.monotonic()

    def refused(self, claimed: Claimed, outcome: str) -> None:
        """Count a message that ended without an attempt."""
        count = self._of(claimed)
        if outcome == "dead":
            count.dead += 1
        else:
            count.expired += 1

    def _of(self, claimed: Claimed) -> Count:
        key = claimed.queue, claimed.type
        count = self._open.get(key)
        if count is None:
            count = self._open[key] = Count()
        return count

    # -- what is written -----------------------------------------------------------------------------------

    def take_due(self) -> Mapping[Place, Count]:
        """Return the counts that are to be written now: once a minute, sooner while attempts fail."""
        if self._failing_since is not None and time.monotonic() - self._failing_since >= SOON:
            self._close()
            self._write_at = time.monotonic()
        elif self._open and self._current_minute() != self._minute:
            self._close()
            if self._write_at == float("inf"):
                self._write_at = time.monotonic() + random.uniform(0, SPREAD)
        if time.monotonic() < self._write_at:
            return {}
        return self._take(MOST_AT_ONCE)

    @property
    def due_in(self) -> float:
        """The seconds until there is something to do for take_due(); infinite while nothing was counted."""
        now = time.monotonic()
        due_at = [self._write_at]
        if self._failing_since is not None:
            due_at.append(self._failing_since + SOON)
        if self._open:
            due_at.append(now + MINUTE - (now + self._ahead) % MINUTE)
        return max(0.0, min(due_at) - now)

    def take_all(self) -> Mapping[Place, Count]:
        """Return all counts, those of the open minute too."""
        self._close()
        return self._take(len(self._closed))

    def put_back(self, counts: Mapping[Place, Count]) -> None:
        """Keep what could not be written for the next minute, as far as that is bounded."""
        if len(counts) + len(self._closed) <= MOST_KEPT:
            for place, count in counts.items():
                self._keep(place, count)
            self._write_at = time.monotonic() + MINUTE

    def _take(self, most: int) -> Mapping[Place, Count]:
        places = list(islice(self._closed, most))
        counts = {place: self._closed.pop(place) for place in places}
        if not self._closed:
            self._write_at = float("inf")
        self._failing_since = None
        return counts

    def _close(self) -> None:
        minute = datetime.fromtimestamp(self._minute * MINUTE, UTC)
        for (queue, type), count in self._open.items():
            self._keep(Place(minute, queue, type), count)
        self._open = {}
        self._minute = self._current_minute()

    def _keep(self, place: Place, count: Count) -> None:
        """Keep a minute's count until it is written; a clock that went back gives a minute a second one."""
        if place in self._closed:
            self._closed[place].add(count)
        else:
            self._closed[place] = count
