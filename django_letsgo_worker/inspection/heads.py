"""The heads of lanes: what is due and what waits later, by queue and type, and what processes hold.

Each is one statement for a hundred lanes, in the order of their index and with a cap.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from ..engines import TABLE, AtLeast, Engine, Lane
from ..models import Process, Progress
from . import work
from .work import LANES_AT_ONCE


@dataclass(frozen=True, slots=True)
class Due:
    """The due messages of one type in one queue; a count that hit the cap is an AtLeast."""

    queue: str
    type: str
    count: int
    oldest: datetime


@dataclass(frozen=True, slots=True)
class InHand:
    """A message that a process holds, since when, and which attempt it is."""

    id: int
    type: str
    queue: str
    attempt: int
    since: datetime | None
    progress: Progress | None = None


def due_by_type(engine: Engine, lanes: Sequence[Lane], now: datetime) -> list[Due]:
    """Return what is due by queue and type, as far as the heads of the lanes are read."""
    lanes = [lane for lane in lanes if lane.next_visible_at is not None and lane.next_visible_at <= now]
    most = work.most_of_each(lanes)
    return _due(engine, lanes, _of_lanes(engine, lanes, now, _due_sql(most)), most)


def due_and_later(
    engine: Engine, lanes: Sequence[Lane], now: datetime
) -> tuple[list[Due], dict[tuple[str, str], int]]:
    """Return what is due, and how many messages that nobody holds wait for later, by queue and type."""
    most = work.most_of_each(lanes)
    rows = _of_lanes(engine, lanes, now, _due_sql(most), _later_sql())
    later = [row for row in rows if not row[1]]
    return _due(engine, lanes, [row for row in rows if row[1]], most), _later(lanes, later)


def _due_sql(most: int) -> str:
    return (
        "SELECT {place}, 1, type, COUNT(*), COUNT(*), MIN(visible_at) "
        f"FROM ({_head('type, visible_at', '<=', most + 1)}) head GROUP BY type"
    )


def _later_sql() -> str:
    return (
        "SELECT {place}, 0, type, COUNT(*), COUNT(*) - COUNT(leased_by), MIN(visible_at) "
        f"FROM ({_head('type, leased_by, visible_at', '>', work.LOOK_AT)}) head GROUP BY type"
    )


def _due(engine: Engine, lanes: Sequence[Lane], rows: Sequence[Any], most: int) -> list[Due]:
    found: dict[tuple[str, str], Due] = {}
    full = _read_of(rows)
    for place, _is_due, type, _read, count, oldest in rows:
        queue, moment = lanes[place].queue, engine.dialect.read_moment(oldest)
        assert moment is not None
        before = found.get((queue, type), Due(queue, type, 0, moment))
        is_cut = full[place] > most or isinstance(before.count, AtLeast)
        total = min(before.count + count, work.MOST_COUNTED)
        is_cut = is_cut or total < before.count + count
        counted = AtLeast(total) if is_cut else total
        found[queue, type] = Due(queue, type, counted, min(moment, before.oldest))
    return list(found.values())


def _later(lanes: Sequence[Lane], rows: Sequence[Any]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    full = _read_of(rows)
    for place, _is_due, type, _read, count, _first in rows:
        if count:
            key = lanes[place].queue, type
            some = AtLeast(count) if full[place] >= work.LOOK_AT else int(count)
            found[key] = work.total((found.get(key, 0), some))
    return found


def _read_of(rows: Sequence[Any]) -> Counter[int]:
    """Return how many rows were read of each lane."""
    full = Counter[int]()
    for place, _is_due, _type, read, *_rest in rows:
        full[place] += read
    return full


# -- what is held ------------------------------------------------------------------------------------------


def held_by(engine: Engine, lanes: Sequence[Lane], holders: Sequence[Process]) -> dict[tuple[UUID, str], int]:
    """Return how many messages each of these processes still holds, by process and queue."""
    found: Counter[tuple[UUID, str]] = Counter()
    select = (
        "SELECT {place}, leased_by, COUNT(*) FROM ({head}) head WHERE leased_by IN ({ids}) GROUP BY leased_by"
    )
    for place, holder, count in _held(engine, lanes, holders, "leased_by", select, work.LOOK_AT):
        found[UUID(str(holder)), lanes[place].queue] += count
    return dict(found)


def in_hand(engine: Engine, lanes: Sequence[Lane], holders: Sequence[Process]) -> dict[UUID, list[InHand]]:
    """Return the messages that each of these processes holds, those that it took first before the others."""
    columns = "id, type, attempts, leased_at, leased_by, receipt"
    holder_of = {process.pk: process for process in holders}
    select = "SELECT {place}, " + columns + " FROM ({head}) head WHERE leased_by IN ({ids})"
    found: dict[UUID, list[InHand]] = {}
    for place, id, type, attempt, since, leased_by, receipt in _held(
        engine, lanes, holders, columns, select, work.most_of_each(lanes)
    ):
        since = engine.dialect.read_moment(since)
        holder = holder_of[UUID(str(leased_by))]
        progress = holder.progress_of(id, receipt)
        held = InHand(id, type, lanes[place].queue, attempt, since, progress)
        found.setdefault(holder.pk, []).append(held)
    for messages in found.values():
        messages.sort(key=lambda one: (one.since is None, one.since, one.id))
    return found


def _held(
    engine: Engine, lanes: Sequence[Lane], holders: Sequence[Process], columns: str, select: str, most: int
) -> list[Any]:
    """Return rows of what these processes hold.

    The lease of what a process holds ends after its last heartbeat, so the lanes are read from there.
    """
    if not holders:
        return []
    since = min(process.heartbeat_at for process in holders)
    ids = ", ".join(f"'{engine.process(process.pk)}'" for process in holders)
    head = _head(f"{columns}, visible_at", ">", most)
    return _of_lanes(engine, lanes, since, select.replace("{head}", head).replace("{ids}", ids))


# -- reading -----------------------------------------------------------------------------------------------


def _head(columns: str, sign: str, most: int) -> str:
    # In the order of the index: otherwise a planner that thinks the lane is short may scan the table.
    return (
        f"SELECT {columns} FROM {TABLE} WHERE {{lane}} AND visible_at {sign} %(moment)s "
        f"ORDER BY visible_at LIMIT {most}"
    )


def _of_lanes(engine: Engine, lanes: Sequence[Lane], moment: datetime, *selects: str) -> list[Any]:
    """Return the rows of some SELECTs on each lane: {place} is its number, {lane} the condition of rows."""
    found: list[Any] = []
    for start in range(0, len(lanes), LANES_AT_ONCE):
        parts: list[str] = []
        params: dict[str, Any] = {"moment": engine.moment(moment)}
        for place, lane in enumerate(lanes[start : start + LANES_AT_ONCE], start):
            params |= {f"queue{place}": lane.queue, f"priority{place}": lane.priority}
            rows = f"queue = %(queue{place})s AND priority = %(priority{place})s"
            parts += [select.format(place=place, lane=rows) for select in selects]
        found += engine.execute(" UNION ALL ".join(parts), params)
    return found
