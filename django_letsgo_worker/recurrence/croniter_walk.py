"""croniter behind one function: a plain five-field pattern walked forwards over naive wall time.

It is never given a time zone, text that a user wrote, or a day form beyond lists of numbers: those it either
reads otherwise than we promise, or gets wrong around a clock change.
"""

from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from croniter import croniter

A_SECOND = timedelta(seconds=1)
EPOCH = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)


def walk(text: str, either_day: bool, start: datetime, end: datetime) -> Iterator[datetime]:
    """Yield the wall times in [start, end) that match five fields of plain numbers.

    `start` is a whole minute. `either_day` joins the day fields with *or* where neither is a star, else both
    must match.
    """
    # A copy, because the position is kept inside: threads that share the parsed one would move each other.
    walker = copy(_parsed(text, either_day))
    wall: datetime = walker.get_next(datetime, start_time=start - A_SECOND)
    while wall < end:
        yield wall
        wall = walker.get_next(datetime)


@lru_cache(maxsize=4096)
def _parsed(text: str, either_day: bool) -> croniter:
    return croniter(text, EPOCH, day_or=either_day)
