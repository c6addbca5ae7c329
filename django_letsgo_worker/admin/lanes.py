"""How much work queues have: counted lane by lane through the index, and no further than ten thousand.

How it looks is for the page of queues.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from ..engines import Lane
from ..models import Message
from .paging import MOST_COUNTED, AtLeast
from .snapshot import Reading


@dataclass(slots=True)
class WorkInQueue:
    """What is ready in a queue, and what will be: leased, delayed or waiting for its next attempt."""

    ready: int = 0
    later: int = 0
    oldest_ready: datetime | None = None


def work_in_queues(page: Reading, names: Sequence[str]) -> dict[str, WorkInQueue]:
    """Return the work of each of these queues, by one statement."""
    work = {name: WorkInQueue() for name in names}
    lanes = [lane for lane in page.lanes if lane.queue in work]
    for lane, (ready, later) in zip(lanes, _counted(page, lanes), strict=True):
        queue = work[lane.queue]
        queue.ready, queue.later = _capped(queue.ready + ready), _capped(queue.later + later)
        first = lane.next_visible_at
        if first is not None and first <= page.now:
            queue.oldest_ready = min(first, queue.oldest_ready or first)
    return work


def _capped(count: int) -> int:
    return AtLeast(MOST_COUNTED) if count > MOST_COUNTED else count


def _counted(page: Reading, lanes: Sequence[Lane]) -> list[tuple[int, int]]:
    if not lanes:
        return []
    columns, params = [], {"now": page.engine.moment(page.now)}
    for place, lane in enumerate(lanes):
        params |= {f"queue{place}": lane.queue, f"priority{place}": lane.priority}
        columns += [_count_sql(place, "<="), _count_sql(place, ">")]
    (row,) = page.engine.execute(f"SELECT {', '.join(columns)}", params)
    return list(zip(row[::2], row[1::2], strict=True))


def _count_sql(place: int, sign: str) -> str:
    # In the order of the index: else a planner that takes the lane for short may read the whole table.
    return (
        f"(SELECT COUNT(*) FROM (SELECT visible_at FROM {Message._meta.db_table} "
        f"WHERE queue = %(queue{place})s AND priority = %(priority{place})s AND visible_at {sign} %(now)s "
        f"ORDER BY visible_at LIMIT {MOST_COUNTED + 1}) counted)"
    )
