"""Decisions about the planned times that have come: which fire, which are skipped, and what is next.

Nothing is written here, and only the database knows whether an earlier message is unfinished.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from operator import attrgetter
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from ..recurrence import Exclusions, Recurrence
from .plans import JUST_BEFORE, Plannable, first_run

# How many late ones each policy runs: the newest.
LATE_ONES_RUN = {"once": 1, "skip": 0, "all": 100}
# At most this many that are on time fire in one transaction; the rest follow at once in the next.
ON_TIME_AT_ONCE = 100
MISFIRE = "misfire: noticed too late"
PAUSED = "edit: all schedules were paused"
# A longer grace counts as this one: subtracted from now it might leave the calendar.
LONGEST_GRACE = timedelta(days=36_500)


class DueJob(Plannable, Protocol):
    """The values that deciding needs beyond planning."""

    misfire: str
    misfire_grace: timedelta
    except_on: str


@dataclass(frozen=True, slots=True)
class Span:
    """The times of a rule from `first` on, which may stand beside the rule."""

    recurrence: Recurrence
    first: datetime

    def holds(self, moment: datetime) -> bool:
        after = moment - JUST_BEFORE
        return moment == self.first or next(self.recurrence.occurrences_after(after), None) == moment

    def newest_until(self, until: datetime, limit: int) -> list[datetime]:
        """Return the newest times until then, inclusive, newest first: at least `limit`, if there are."""
        newest, after_first = self.recurrence.newest_between(self.first, until, limit)
        return [*newest[::-1], *([self.first] if after_first == len(newest) else [])]


@dataclass(frozen=True, slots=True)
class Planned:
    """One planned time to fire, or the newest of `skipped_count` ones that are skipped together."""

    planned_at: datetime
    skipped_because: str = ""
    skipped_count: int = 0
    # What those that are skipped together are among.
    span: Span | None = field(default=None, compare=False)

    def without(self, known: Collection[datetime]) -> Planned | None:
        """Return what is left of times that are skipped together; None if all of them are known already."""
        if self.span is None:
            return None if self.planned_at in known else self
        known = {moment for moment in known if self.span.holds(moment)}
        left = self.skipped_count - len(known)
        if not known or left <= 0:
            return None if known else self
        newest = self.span.newest_until(self.planned_at, len(known) + 1)
        planned_at = next(moment for moment in newest if moment not in known)
        return replace(self, planned_at=planned_at, skipped_count=left)


@dataclass(frozen=True, slots=True)
class Due:
    """The decision about all times up to now, oldest first, and the next run after them."""

    occurrences: list[Planned]
    next_run_at: datetime | None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Why a planned time does not run, and from when on none has run for that reason."""

    why: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Watch:
    """Decisions at one moment, `now`: rows of one rule that are due at one moment are decided once.

    Since `awake_since` schedulers have fired whatever was due: what was planned later is not late, however
    long it took them to get to it. What was planned in one of `pauses`, from and until when all schedules
    were paused, is not made up for.
    """

    now: datetime
    awake_since: datetime | None = None
    pauses: Sequence[tuple[datetime, datetime]] = ()
    _decided: dict[tuple[Any, ...], Due] = field(default_factory=dict, compare=False, repr=False)

    def decide(self, job: DueJob) -> Due:
        """Decide about a row whose next_run_at has come. Raises InvalidSchedule.

        All times follow from the planned one, never from now, so that a late round moves nothing.
        """
        recurrence = Recurrence.parse(job.schedule, job.timezone, anchor=job.anchor)
        anchor = job.anchor if recurrence.needs_anchor else None
        key = (job.schedule, job.timezone, anchor, job.next_run_at, job.starts_at, job.ends_at, job.misfire,
               job.misfire_grace, job.except_on)  # fmt: skip
        if key not in self._decided:
            self._decided[key] = _Decision(self, job, recurrence).due()
        return self._decided[key]


@dataclass(frozen=True, slots=True)
class _Decision:
    """The decision about one row."""

    watch: Watch
    job: DueJob
    recurrence: Recurrence

    def due(self) -> Due:
        job, now, first = self.job, self.watch.now, self.job.next_run_at
        assert first is not None and first <= now
        if job.starts_at is not None and first < job.starts_at:
            return Due([], first_run(job, self.recurrence, first))
        until = now if job.ends_at is None else min(now, job.ends_at)
        if first > until:
            return Due([], None)
        late_until = min(until, self._late_until())
        if first <= late_until:
            late = self._late(first, late_until)
            on_time, next_run_at = self._on_time(self._next(late_until), until)
        else:
            late = []
            on_time, next_run_at = self._on_time(first, until)
        # A schedule that does not move on would fire for ever.
        assert next_run_at is None or next_run_at > first
        return Due([*late, *on_time], next_run_at)

    def _late_until(self) -> datetime:
        """Until when planned times are late."""
        watch = self.watch
        late_until = watch.now - min(self.job.misfire_grace, LONGEST_GRACE) - JUST_BEFORE
        return late_until if watch.awake_since is None else min(late_until, watch.awake_since - JUST_BEFORE)

    def _late(self, first: datetime, until: datetime) -> list[Planned]:
        """Apply the misfire policy to the times from `first` to `until`, both inclusive."""
        run = LATE_ONES_RUN[self.job.misfire]
        # `first` may have been set by hand, so it is counted apart.
        total = 1 + self.recurrence.newest_between(first, until, 0).total
        fired: list[Planned] = []
        rest: Planned | None = None
        while until >= first and (len(fired) < run or rest is None):
            # One more than run stands for the rest.
            newest, after_first = self.recurrence.newest_between(first, until, run + 1)
            for moment in reversed([first, *newest] if after_first == len(newest) else newest):
                left_out = self._left_out(moment)
                if left_out is None and len(fired) < run:
                    fired.append(Planned(moment))
                    until = moment - JUST_BEFORE
                    continue
                rest = rest or Planned(moment, left_out.why if left_out else MISFIRE)
                until = (left_out.since if left_out else moment) - JUST_BEFORE
                break
        span = Span(self.recurrence, first)
        skipped = [replace(rest, skipped_count=total - len(fired), span=span)] if rest else []
        return sorted([*skipped, *fired], key=attrgetter("planned_at"))

    def _on_time(self, moment: datetime | None, until: datetime) -> tuple[list[Planned], datetime | None]:
        """Take up the times from `moment` to `until`, as many as fire at once; return the next one too."""
        planned: list[Planned] = []
        while moment is not None and moment <= until and len(planned) < ON_TIME_AT_ONCE:
            after = moment
            left_out = self._left_out(moment)
            if left_out is None:
                planned.append(Planned(moment))
            elif left_out.why != PAUSED:
                planned.append(Planned(moment, left_out.why, 1))
            else:
                after = min(until, next(end for start, end in self.watch.pauses if start <= moment <= end))
                newest, more = self.recurrence.newest_between(moment, after, 1)
                span = Span(self.recurrence, moment)
                planned.append(Planned([moment, *newest][-1], PAUSED, more + 1, span))
            moment = self._next(after)
        return planned, moment

    def _next(self, after: datetime) -> datetime | None:
        moment = next(self.recurrence.occurrences_after(after), None)
        is_over = moment is None or (self.job.ends_at is not None and moment > self.job.ends_at)
        return None if is_over else moment

    def _left_out(self, moment: datetime) -> LeftOut | None:
        for start, end in self.watch.pauses:
            if start <= moment <= end:
                return LeftOut(PAUSED, start)
        if not (why := exclusion(self.job, moment)):
            return None
        wall = moment.astimezone(ZoneInfo(self.job.timezone))
        midnight = wall.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)
        return LeftOut(f"excluded: {why}", min(midnight, moment))


def exclusion(job: DueJob, moment: datetime) -> str:
    """Return why a planned time falls on a day on which the schedule does not run, "" if it does not.

    Raises InvalidSchedule for a calendar that is not registered here, or that fails.
    """
    return Exclusions.parse(job.except_on).reason(moment, job.timezone) if job.except_on else ""


def spread_delay(job_id: int, planned_at: datetime, minutes: int) -> timedelta:
    """Return how long the message of one planned time waits within the window, the same at every call."""
    if not minutes:
        return timedelta(0)
    text = f"{job_id} {planned_at.astimezone(UTC).isoformat()}"
    digest = blake2b(text.encode(), digest_size=8).digest()
    return timedelta(seconds=int.from_bytes(digest) % (minutes * 60))
