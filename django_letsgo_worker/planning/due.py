"""Decisions about the planned times that have come: which fire, which are skipped, and what is next.

Nothing is written here, and only the database knows whether an earlier message is unfinished.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol

from ..recurrence import Recurrence
from .plans import JUST_BEFORE, Plannable, first_run

# How many late ones each policy runs: the newest.
LATE_ONES_RUN = {"once": 1, "skip": 0, "all": 100}
# At most this many that are on time fire in one transaction; the rest follow at once in the next.
ON_TIME_AT_ONCE = 100
MISFIRE = "misfire: noticed too late"
# A longer grace counts as this one: subtracted from now it might leave the calendar.
LONGEST_GRACE = timedelta(days=36_500)


class DueJob(Plannable, Protocol):
    """The values that deciding needs beyond planning."""

    misfire: str
    misfire_grace: timedelta


@dataclass(frozen=True, slots=True)
class Planned:
    """One planned time to fire, or the newest of `skipped_count` ones that are skipped together."""

    planned_at: datetime
    skipped_because: str = ""
    skipped_count: int = 0


@dataclass(frozen=True, slots=True)
class Due:
    """The decision about all times up to now, oldest first, and the next run after them."""

    occurrences: list[Planned]
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class Watch:
    """Decisions at one moment, `now`: rows of one rule that are due at one moment are decided once.

    Since `awake_since` schedulers have fired whatever was due: what was planned later is not late, however
    long it took them to get to it.
    """

    now: datetime
    awake_since: datetime | None = None
    _decided: dict[tuple[Any, ...], Due] = field(default_factory=dict, compare=False, repr=False)

    def decide(self, job: DueJob) -> Due:
        """Decide about a row whose next_run_at has come. Raises InvalidSchedule.

        All times follow from the planned one, never from now, so that a late round moves nothing.
        """
        recurrence = Recurrence.parse(job.schedule, job.timezone, anchor=job.anchor)
        anchor = job.anchor if recurrence.is_interval_grid else None
        key = (job.schedule, job.timezone, anchor, job.next_run_at, job.starts_at, job.ends_at, job.misfire,
               job.misfire_grace)  # fmt: skip
        if key not in self._decided:
            self._decided[key] = self._decide(job, recurrence)
        return self._decided[key]

    def _decide(self, job: DueJob, recurrence: Recurrence) -> Due:
        first = job.next_run_at
        assert first is not None and first <= self.now
        if job.starts_at is not None and first < job.starts_at:
            return Due([], first_run(job, recurrence, first))
        until = self.now if job.ends_at is None else min(self.now, job.ends_at)
        if first > until:
            return Due([], None)
        late_until = min(until, self._late_until(job))
        if first <= late_until:
            late = _late(job, recurrence, first, late_until)
            on_time, next_run_at = _on_time(job, recurrence, [], late_until, until)
        else:
            late = []
            on_time, next_run_at = _on_time(job, recurrence, [first], first, until)
        # A schedule that does not move on would fire for ever.
        assert next_run_at is None or next_run_at > first
        return Due([*late, *(Planned(moment) for moment in on_time)], next_run_at)

    def _late_until(self, job: DueJob) -> datetime:
        late_until = self.now - min(job.misfire_grace, LONGEST_GRACE) - JUST_BEFORE
        return late_until if self.awake_since is None else min(late_until, self.awake_since - JUST_BEFORE)


def _late(job: DueJob, recurrence: Recurrence, first: datetime, until: datetime) -> list[Planned]:
    """Apply the misfire policy to the times from `first` to `until`, both inclusive."""
    run = LATE_ONES_RUN[job.misfire]
    # `first` may have been set by hand, so it is counted apart; one more than run stands for the rest.
    newest, after_first = recurrence.newest_between(first, until, run + 1)
    times = newest if after_first > run else [first, *newest]
    fired = times[len(times) - run :] if run else []
    rest = times[: len(times) - len(fired)]
    skipped = [Planned(rest[-1], MISFIRE, after_first + 1 - len(fired))] if rest else []
    return [*skipped, *(Planned(moment) for moment in fired)]


def _on_time(
    job: DueJob, recurrence: Recurrence, times: Sequence[datetime], after: datetime, until: datetime
) -> tuple[list[datetime], datetime | None]:
    """Add the times in (after, until] to `times`, as many as fire at once, and return the next one too."""
    found = list(times)
    for occurrence in recurrence.occurrences_after(after):
        if job.ends_at is not None and occurrence > job.ends_at:
            break
        if occurrence > until or len(found) == ON_TIME_AT_ONCE:
            return found, occurrence
        found.append(occurrence)
    return found, None


def spread_delay(job_id: int, planned_at: datetime, minutes: int) -> timedelta:
    """Return how long the message of one planned time waits within the window, the same at every call."""
    if not minutes:
        return timedelta(0)
    text = f"{job_id} {planned_at.astimezone(UTC).isoformat()}"
    digest = blake2b(text.encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest) % (minutes * 60))
