"""rrule(): a recurrence rule of RFC 5545 on the clock of a zone, counted from its anchor.

`grammar` reads its text, `rule` is what it says, `walk` goes through the wall times, `english` describes it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import islice

from django_letsgo_worker.errors import InvalidSchedule

from .. import zones
from ..base import Newest
from ..pattern import full_minute_from
from ..wallclock import WallClock
from . import english
from .rule import Rule
from .walk import LONGEST_WAIT, Walk, comes_from

__all__ = ["Rule", "Ruled"]


@dataclass(frozen=True, slots=True)
class Ruled:
    """A rule that begins with its anchor; without one, with the moment asked about."""

    rule: Rule
    zone: str
    anchor: datetime | None

    @classmethod
    def settle(cls, rule: Rule, zone: str, anchor: datetime | None) -> "Ruled":
        """Settle a rule in a zone; InvalidSchedule if it never comes from this anchor on."""
        if anchor is not None:
            walk = _walk(rule, zone, anchor)
            if not comes_from(walk.rule, walk.start, full_minute_from(_wall(zone, anchor))):
                raise InvalidSchedule(
                    f"Counted from {walk.start:%Y-%m-%d %H:%M}, this rule does not come within "
                    f"{LONGEST_WAIT} years; write another INTERVAL or other days, or another start."
                )
        return cls(rule, zone, anchor)

    def after(self, moment: datetime) -> Iterator[datetime]:
        clock, first, last = _bounded(self.rule, self.zone, self.anchor or moment)
        for occurrence in clock.after(max(moment, first - timedelta.resolution)):
            if last is not None and occurrence > last:
                return
            yield occurrence

    def newest_between(self, after: datetime, until: datetime, limit: int) -> Newest:
        clock, first, last = _bounded(self.rule, self.zone, self.anchor or after)
        end = until if last is None else min(until, last)
        return clock.newest_between(max(after, first - timedelta.resolution), end, limit)

    def moves(self, occurrence: datetime) -> bool:
        return _clock(self.rule, self.zone, self.anchor or occurrence).moves(occurrence)

    def describe(self) -> str:
        rule = self.rule if self.anchor is None else _walk(self.rule, self.zone, self.anchor).rule
        return english.describe(rule)


def _walk(rule: Rule, zone: str, anchor: datetime) -> Walk:
    """Begin a rule with the minute of its anchor; what that names before the anchor itself is not run."""
    start = _wall(zone, anchor).replace(second=0, microsecond=0)
    return Walk(rule.begun_at(start), start)


def _wall(zone: str, anchor: datetime) -> datetime:
    return zones.wall_at(zone, zones.clamp(anchor).replace(tzinfo=UTC))


@lru_cache(maxsize=4096)
def _clock(rule: Rule, zone: str, anchor: datetime) -> WallClock:
    return WallClock(_walk(rule, zone, anchor), zone)


@lru_cache(maxsize=4096)
def _bounded(rule: Rule, zone: str, anchor: datetime) -> tuple[WallClock, datetime, datetime | None]:
    """Return the clock, the anchor, and the last moment at which the rule can come, if it has one.

    COUNT is the one part that cannot be reckoned: its runs are walked through, once.
    """
    clock, first = _clock(rule, zone, anchor), zones.clamp(anchor).replace(tzinfo=UTC)
    if rule.count is not None:
        runs = clock.after(first - timedelta.resolution)
        return clock, first, next(islice(runs, rule.count - 1, None), None)
    is_utc = rule.until is not None and rule.until.tzinfo is not None
    return clock, first, rule.until if is_utc else None
