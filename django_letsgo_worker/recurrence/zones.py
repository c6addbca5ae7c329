"""Time zones: which names are allowed, and how a zone's clock runs.

Nothing here knows what a schedule is: time is only cut into spans of one UTC offset. Moments are naive UTC.
"""

import zoneinfo
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.hints import nearest

# Since 1970 the closest two clock changes of any zone are 167 hours apart (Recife, October 2000), an hour
# less than a week; a longer stride steps over both and sees no change at all.
STRIDE = timedelta(days=3)
A_SECOND, A_DAY = timedelta(seconds=1), timedelta(days=1)

# Python's calendar ends with 9999, and the next match of a pattern may be 40 years off (29 February on a
# Monday, around 2100): between these bounds no search runs off the calendar.
EARLIEST, LATEST = datetime(1900, 1, 1), datetime(9900, 1, 1)


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time under one UTC offset, the end excluded.

    `unseen_from` is the first wall time that the clock had not shown before this span: later than the span's
    own beginning where the clock was put back. `gap_from` is the wall time from which the clock jumped
    forward into this span at `start`, if it did.
    """

    start: datetime
    end: datetime
    offset: timedelta
    unseen_from: datetime
    gap_from: datetime | None


@lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Return the IANA names that this installation knows.

    On some systems `localtime` stands among the zones' files: it is whatever the host has, so that two
    schedulers could plan different times for one schedule.
    """
    return frozenset(zoneinfo.available_timezones() - {"localtime"})


def check(name: object) -> str:
    """Return `name` if it is an IANA zone, else raise InvalidSchedule for the field `timezone`."""
    if not isinstance(name, str) or name not in names():
        raise InvalidSchedule(_refusal(name), field="timezone")
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, zoneinfo.ZoneInfoNotFoundError):
        sentence = f"The data of the time zone {name!r} cannot be read; install the package tzdata."
        raise InvalidSchedule(sentence, field="timezone") from None
    return name


def _refusal(name: object) -> str:
    if not isinstance(name, str):
        return f"A time zone is text such as 'Europe/Berlin', not {type(name).__name__}."
    if not 0 < len(name) <= 64:
        return "A time zone is an IANA name; write one such as UTC or Europe/Berlin."
    same = next((known for known in names() if known.casefold() == name.casefold()), None)
    # Only for Area/City: near CEST lies EST, and near UTC+2 lies UTC, hours away from what was meant.
    close = same or (nearest(name, names(), cutoff=0.75) if "/" in name else None)
    instead = close or "UTC or Europe/Berlin"
    return f"{name!r} is not an IANA time zone; write a name such as {instead}."


def clamp(moment: datetime) -> datetime:
    """Return an aware moment of UTC as a naive one, kept within the calendar that can be searched."""
    return min(max(moment.replace(tzinfo=None), EARLIEST), LATEST)


def wall_at(name: str, moment: datetime) -> datetime:
    """Return what the zone's clock shows at an aware moment, naive."""
    return moment.astimezone(zoneinfo.ZoneInfo(name)).replace(tzinfo=None)


def span_from(name: str, start: datetime) -> Span:
    """Return the span that holds `start`, cut there."""
    return next(_cut(span, start, span.end) for span in spans_of_year(name, start.year) if start < span.end)


def spans_between(name: str, start: datetime, end: datetime) -> list[Span]:
    """Cut [start, end) into spans, oldest first; a span's own start and gap are lost where it is cut."""
    years = range(start.year, end.year + 1)
    whole = (span for year in years for span in spans_of_year(name, year))
    return [_cut(span, start, end) for span in whole if span.start < end and start < span.end]


def _cut(span: Span, start: datetime, end: datetime) -> Span:
    if start <= span.start and span.end <= end:
        return span
    gap_from = span.gap_from if start <= span.start else None
    return Span(max(span.start, start), min(span.end, end), span.offset, span.unseen_from, gap_from)


@lru_cache(maxsize=4096)
def spans_of_year(name: str, year: int) -> tuple[Span, ...]:
    """Cut a UTC year into spans, oldest first; kept, because the search takes a tenth of a millisecond."""
    zone, new_year, end = zoneinfo.ZoneInfo(name), datetime(year, 1, 1), datetime(year + 1, 1, 1)
    # Two days more: a clock put back late in the old year repeats its wall times in the new one.
    begin = new_year - 2 * A_DAY
    shown_until = begin + _offset(zone, begin)
    spans = []
    for start, stop in pairwise([begin, *_changes(zone, begin, end), end]):
        offset = _offset(zone, start)
        gap_from = shown_until if shown_until < start + offset else None
        spans.append(Span(start, stop, offset, max(start + offset, shown_until), gap_from))
        shown_until = max(stop + offset, shown_until)
    return tuple(_cut(span, new_year, end) for span in spans if span.end > new_year)


def _changes(zone: zoneinfo.ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """List the moments in (begin, end) at which the offset becomes another.

    The search is over wall times, whose offset costs a tenth of a moment's. A day more on both sides covers
    every offset.
    """
    strides = range((end - begin + 2 * A_DAY) // STRIDE + 2)
    walls = [begin - A_DAY + number * STRIDE for number in strides]
    edges = zip(pairwise(walls), pairwise(map(zone.utcoffset, walls)), strict=True)
    changes = [_change_within(zone, *stretch) for stretch, (old, new) in edges if old != new]
    return [moment for moment in changes if begin < moment < end]


def _change_within(zone: zoneinfo.ZoneInfo, before: datetime, after: datetime) -> datetime:
    """Return the moment between two wall times at which the offset of `before` gives way to another."""
    old = _offset_at_wall(zone, before)
    while after - before > A_SECOND:
        middle = before + (after - before) // (2 * A_SECOND) * A_SECOND
        before, after = (middle, after) if _offset_at_wall(zone, middle) == old else (before, middle)
    # What the clock skips or shows twice has the old offset, so that `after` is the first wall time behind.
    return after - max(old, _offset_at_wall(zone, after))


def _offset(zone: zoneinfo.ZoneInfo, utc: datetime) -> timedelta:
    return utc.replace(tzinfo=UTC).astimezone(zone).utcoffset() or timedelta(0)


def _offset_at_wall(zone: zoneinfo.ZoneInfo, wall: datetime) -> timedelta:
    return zone.utcoffset(wall) or timedelta(0)
