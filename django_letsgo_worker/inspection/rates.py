"""Rates: how many messages and attempts ended how, within a span of time, and how long they ran and waited.

Read from the statistics that workers write each minute: what ended in the last minute may be missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ..conf import settings
from ..counts import Count, count_of
from ..engines import AtLeast
from ..errors import InvalidMessage
from ..histograms import Histogram, percentile
from ..models import Statistic
from ..validation import check_moment, show
from . import work
from .evidence import LATELY
from .snapshot import Snapshot

# Spans of time up to this are read by the minute, longer ones by the hour.
BY_THE_MINUTE = timedelta(hours=3)
# At most so many rows of statistics are read; of more, the newest.
MOST_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Durations:
    """Half of all attempts took at most `p50` seconds, 95 of 100 at most `p95`, 99 of 100 at most `p99`."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True, slots=True)
class Rate:
    """What ended between two moments; `queue` and `type` are None where all are counted together.

    `failed` counts attempts, the last ones of dead letters included, and `attempts` those that succeeded,
    too; the others count messages. `last_success` is the beginning of the last minute, or hour, in which a
    message succeeded. `run` and `wait` are None where no attempt was counted. `depth` is the
    most that were due at one moment and not yet claimed, as AtLeast where they may have been more.
    """

    since: datetime
    until: datetime
    queue: str | None
    type: str | None
    succeeded: int
    failed: int
    dead: int
    cancelled: int
    expired: int
    run: Durations | None
    wait: Durations | None
    depth: int
    last_success: datetime | None

    @property
    def attempts(self) -> int:
        return self.succeeded + self.failed

    @property
    def ended(self) -> int:
        """The number of messages that ended."""
        return self.succeeded + self.dead + self.cancelled + self.expired

    @property
    def per_minute(self) -> float:
        """The number of messages that ended in a minute, on average."""
        return self.ended * 60 / (self.until - self.since).total_seconds()

    @property
    def failed_share(self) -> float:
        """The share of the attempts that failed, from 0 to 1; 0 where there was none."""
        return self.failed / self.attempts if self.attempts else 0.0


def rates(
    using: str | None = None,
    *,
    since: datetime | timedelta = timedelta(hours=1),
    until: datetime | None = None,
    queue: str | None = None,
    type: str | None = None,
    by: Iterable[str] = ("queue", "type"),
    step: timedelta | None = None,
) -> list[Rate]:
    """Return what ended between `since` and `until`, a rate for each queue and type that had anything.

    `using` is a database alias, the setting DATABASE if None. `since` is an aware datetime or how long ago,
    `until` an aware datetime, now by the database's clock if None. `queue` and `type` leave out all others.
    `by` names what is told apart: queue, type, both or, if empty, neither. With `step` there is a rate for
    each such span of time, in their order. Minutes are whole ones; hours are, beyond three hours and where
    the minutes are no longer kept, and their depth is that of their deepest minutes. Raises InvalidMessage
    for a naive moment, and for other names in `by`.
    """
    told_apart = _told_apart(by)
    return history(using, since=since, until=until, queue=queue, type=type).rates(by=told_apart, step=step)


def history(
    using: str | None = None,
    *,
    since: datetime | timedelta,
    until: datetime | None = None,
    queue: str | None = None,
    type: str | None = None,
) -> History:
    """Read what ended between two moments once, to tell it apart in more than one way; as rates() does."""
    snapshot = Snapshot(using, None if until is None else check_moment("until", until))
    end = snapshot.now
    begin = end - since if isinstance(since, timedelta) else check_moment("since", since)
    only = {name: value for name, value in (("queue", queue), ("type", type)) if value is not None}
    return _history(snapshot.using, _span(begin, end, snapshot.engine.clock), begin, end, only)


def history_lately(
    snapshot: Snapshot, *, types: Collection[str] | None = None, queue: str | None = None
) -> History:
    """Read what ended in the last hour for one page: of all types, of these, or those of a queue."""
    begin, end = snapshot.now - LATELY, snapshot.now
    only: dict[str, Any] = {} if types is None else {"type__in": list(types)}
    only |= {} if queue is None else {"queue": queue}
    return _history(snapshot.using, _span(begin, end, lambda: end), begin, end, only)


def _history(using: str, span: int, begin: datetime, end: datetime, only: Mapping[str, Any]) -> History:
    begin = _floor(begin, timedelta(seconds=span))
    rows = Statistic.objects.using(using).filter(span=span, at__gte=begin, at__lt=end, **only)
    spans = [
        _Span(row.at, row.queue, row.type, count_of(row), row.depth)
        for row in rows.order_by("-at")[:MOST_ROWS]
    ]
    return History(begin, end, timedelta(seconds=span), spans)


class _Span(NamedTuple):
    """What became of one queue's messages of one type within a minute or an hour."""

    at: datetime
    queue: str
    type: str
    counted: Count
    depth: int


@dataclass(frozen=True, slots=True)
class History:
    """What ended between two moments, by minutes or hours."""

    begin: datetime
    end: datetime
    span: timedelta
    spans: list[_Span]

    def rates(
        self,
        *,
        by: Iterable[str] = (),
        step: timedelta | None = None,
        queue: str | None = None,
        type: str | None = None,
    ) -> list[Rate]:
        """Return its rates; the parameters are those of the function `rates`."""
        told_apart = frozenset(by)
        step = max(step, self.span) if step else self.end - self.begin
        sums: dict[tuple[int, str, str], _Sum] = {}
        for one in self.spans:
            if queue in (None, one.queue) and type in (None, one.type):
                key = (
                    (one.at - self.begin) // step,
                    one.queue if "queue" in told_apart else "",
                    one.type if "type" in told_apart else "",
                )
                sums.setdefault(key, _Sum()).add(one)
        return [self._rate(sums[key], key, step) for key in sorted(sums)]

    def _rate(self, total: _Sum, key: tuple[int, str, str], step: timedelta) -> Rate:
        place, *names = key
        since = self.begin + place * step
        return _rate(total, since, min(self.end, since + step), names)


@dataclass(slots=True)
class _Sum:
    """The sum of spans; their depths are added up where they are of one moment."""

    count: Count = field(default_factory=Count)
    depths: Counter[datetime] = field(default_factory=Counter)
    is_capped: bool = False
    last_success: datetime | None = None

    def add(self, one: _Span) -> None:
        self.count.add(one.counted)
        self.depths[one.at] += one.depth
        if one.counted.succeeded:
            self.last_success = max(one.at, self.last_success or one.at)
        self.is_capped = self.is_capped or one.depth >= work.MOST_COUNTED

    @property
    def depth(self) -> int:
        most = max(self.depths.values())
        return AtLeast(most) if self.is_capped else most


def _told_apart(by: Iterable[str]) -> frozenset[str]:
    names = None if isinstance(by, str) else frozenset(by)
    if names is None or not names <= {"queue", "type"}:
        raise InvalidMessage(f'by is a list of "queue" and "type", not {show(by)}.')
    return names


def _span(begin: datetime, end: datetime, clock: Callable[[], datetime]) -> int:
    """Return what to read: minutes while they are all kept and not too many, else hours."""
    kept = timedelta(days=settings().keep_statistics_for)
    return Statistic.MINUTE if end - begin <= BY_THE_MINUTE and begin >= clock() - kept else Statistic.HOUR


def _floor(moment: datetime, span: timedelta) -> datetime:
    since = moment - datetime.min.replace(tzinfo=UTC)
    return moment - since % span


def _rate(total: _Sum, since: datetime, until: datetime, names: Sequence[str]) -> Rate:
    queue, type = names
    count = total.count
    return Rate(
        since,
        until,
        queue or None,
        type or None,
        count.succeeded,
        count.failed,
        count.dead,
        count.cancelled,
        count.expired,
        _durations(count.run),
        _durations(count.wait),
        total.depth,
        total.last_success,
    )


def _durations(histogram: Histogram) -> Durations | None:
    if not histogram:
        return None
    p50, p95, p99 = (percentile(histogram, share) or 0.0 for share in (0.5, 0.95, 0.99))
    return Durations(p50, p95, p99)
