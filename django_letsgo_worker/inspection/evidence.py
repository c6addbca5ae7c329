"""What problems are found from: due work by type, what silent workers hold, attempts, schedules that fail.

Each is one or two statements with a cap. What is wrong with it is said in the modules of problems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import Sum

from ..engines import ARCHIVE, TABLE, AtLeast, Engine, Lane
from ..models import Occurrence, Process, ScheduledJob, Statistic
from . import work
from .work import LANES_AT_ONCE, LOOK_AT

# Attempts are judged by those of the last quarter of an hour.
JUDGED_BY = timedelta(minutes=15)
# A schedule fails when its last three messages are dead.
IN_A_ROW = 3
# How many of the newest dead letters are searched for schedules, and how many schedules are looked at.
DEAD_SEARCHED, JOBS_SEARCHED = 5_000, 100
# How many schedules are counted by type.
JOBS_READ = 100_000
# Rows that are read of all lanes together, beyond LOOK_AT of each.
READ_OF_ALL = 50_000


@dataclass(frozen=True, slots=True)
class Due:
    """The due messages of one type in one queue; a count that hit the cap is an AtLeast."""

    queue: str
    type: str
    count: int
    oldest: datetime


def due_by_type(engine: Engine, lanes: Sequence[Lane], now: datetime) -> list[Due]:
    """Return what is due by queue and type, as far as the heads of the lanes are read."""
    lanes = [lane for lane in lanes if lane.next_visible_at is not None and lane.next_visible_at <= now]
    most = min(work.MOST_COUNTED, max(LOOK_AT, READ_OF_ALL // max(len(lanes), 1)))
    rows = _of_lanes(engine, lanes, "type, visible_at", "<=", now, most + 1)
    found: dict[tuple[str, str], Due] = {}
    full = Counter[int]()
    for place, _type, count, _oldest in rows:
        full[place] += count
    for place, type, count, oldest in rows:
        queue, moment = lanes[place].queue, engine.dialect.read_moment(oldest)
        assert moment is not None
        before = found.get((queue, type), Due(queue, type, 0, moment))
        is_cut = full[place] > most or isinstance(before.count, AtLeast)
        total = min(before.count + count, work.MOST_COUNTED)
        is_cut = is_cut or total < before.count + count
        counted = AtLeast(total) if is_cut else total
        found[queue, type] = Due(queue, type, counted, min(moment, before.oldest))
    return list(found.values())


def _of_lanes(
    engine: Engine,
    lanes: Sequence[Lane],
    columns: str,
    sign: str,
    moment: datetime,
    most: int,
    where: str = "",
) -> list[Any]:
    """Return rows of (place, first column, count, earliest visible_at) from the heads of lanes."""
    found: list[Any] = []
    first = columns.partition(",")[0]
    for start in range(0, len(lanes), LANES_AT_ONCE):
        parts, params = [], {"moment": engine.moment(moment)}
        for place, lane in enumerate(lanes[start : start + LANES_AT_ONCE], start):
            params |= {f"queue{place}": lane.queue, f"priority{place}": lane.priority}
            # In the order of the index: otherwise a planner that thinks the lane is short may scan the table.
            head = (
                f"SELECT {columns} FROM {TABLE} WHERE queue = %(queue{place})s "
                f"AND priority = %(priority{place})s AND visible_at {sign} %(moment)s "
                f"ORDER BY visible_at LIMIT {most}"
            )
            parts.append(
                f"SELECT {place}, {first}, COUNT(*), MIN(visible_at) "
                f"FROM ({head}) head {where} GROUP BY {first}"
            )
        found += engine.execute(" UNION ALL ".join(parts), params)
    return found


def held_by(engine: Engine, lanes: Sequence[Lane], holders: Sequence[Process]) -> dict[tuple[UUID, str], int]:
    """Return how many messages each of these processes still holds, by process and queue.

    The lease of what a process holds ends after its last heartbeat, so the lanes are read from there.
    """
    if not holders:
        return {}
    since = min(process.heartbeat_at for process in holders)
    ids = ", ".join(f"'{engine.process(process.pk)}'" for process in holders)
    rows = _of_lanes(
        engine, lanes, "leased_by, visible_at", ">", since, LOOK_AT, f"WHERE leased_by IN ({ids})"
    )
    found: Counter[tuple[UUID, str]] = Counter()
    for place, holder, count, _first in rows:
        found[UUID(str(holder)), lanes[place].queue] += count
    return dict(found)


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts of one type in one queue that ended lately."""

    queue: str
    type: str
    failed: int
    succeeded: int


def attempts_lately(using: str, now: datetime) -> list[Attempts]:
    """Return the attempts of the last quarter of an hour, by queue and type."""
    rows = Statistic.objects.using(using).filter(span=Statistic.MINUTE, at__gte=now - JUDGED_BY)
    sums = rows.values("queue", "type").annotate(failures=Sum("failed"), successes=Sum("succeeded"))
    return [Attempts(one["queue"], one["type"], one["failures"], one["successes"]) for one in sums.order_by()]


@dataclass(frozen=True, slots=True)
class Plans:
    """The schedules of one type that are on: how many are planned, late, broken, or have no run at all."""

    type: str
    planned: int
    first: str | None
    next_run_at: datetime | None
    changed_at: datetime | None
    late: int
    first_late: str | None
    broken: int
    never: int


def plans_by_type(engine: Engine, without: str, late_before: datetime) -> list[Plans]:
    """Return the schedules that are on, by type; `without` is the name of one that is left out."""
    well, planned = "problem = ''", "problem = '' AND next_run_at IS NOT NULL"
    late = f"{planned} AND next_run_at < %(late)s"
    never = f"{well} AND next_run_at IS NULL AND last_run_at IS NULL"
    columns = "type, name, problem, next_run_at, last_run_at, updated_at"
    rows = engine.execute(
        f"""
        SELECT type, {_number(planned)}, {_least("name", planned)}, {_least("next_run_at", planned)},
               {_least("updated_at", planned)}, {_number(late)}, {_least("name", late)},
               {_number("problem <> ''")}, {_number(never)}
        FROM (SELECT {columns} FROM {ScheduledJob._meta.db_table}
              WHERE enabled AND name <> %(without)s LIMIT {JOBS_READ}) jobs
        GROUP BY type ORDER BY type
        """,
        {"late": engine.moment(late_before), "without": without},
    )
    read = engine.dialect.read_moment
    return [
        Plans(type, int(on), first, read(due), read(changed), int(late), first_late, int(broken), int(never))
        for type, on, first, due, changed, late, first_late, broken, never in rows
    ]


def _number(condition: str) -> str:
    return f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)"


def _least(column: str, condition: str) -> str:
    return f"MIN(CASE WHEN {condition} THEN {column} END)"


@dataclass(frozen=True, slots=True)
class FailingSchedule:
    """A schedule that is on and whose last messages are all dead; since the first of these died."""

    name: str
    type: str
    since: datetime


def failing_schedules(engine: Engine) -> list[FailingSchedule]:
    """Return schedules whose last three messages are dead, of those with the newest dead letters."""
    newest = (
        f"SELECT scheduled_job_id FROM {ARCHIVE} WHERE outcome = 'dead' "
        f"ORDER BY finished_at DESC LIMIT {DEAD_SEARCHED}"
    )
    jobs = engine.execute(
        f"SELECT scheduled_job_id FROM ({newest}) newest WHERE scheduled_job_id IS NOT NULL "
        f"GROUP BY scheduled_job_id HAVING COUNT(*) >= {IN_A_ROW} "
        f"ORDER BY COUNT(*) DESC LIMIT {JOBS_SEARCHED}",
        {},
    )
    if not jobs:
        return []
    last = " UNION ALL ".join(
        f"SELECT * FROM (SELECT scheduled_job_id, message_id FROM {Occurrence._meta.db_table} "
        f"WHERE scheduled_job_id = {int(job)} AND message_id IS NOT NULL "
        f"ORDER BY planned_at DESC LIMIT {IN_A_ROW}) last{place}"
        for place, (job,) in enumerate(jobs)
    )
    rows = engine.execute(
        f"SELECT j.name, j.type, MIN(a.finished_at) FROM ({last}) o "
        f"JOIN {ARCHIVE} a ON a.id = o.message_id AND a.outcome = 'dead' "
        f"JOIN {ScheduledJob._meta.db_table} j ON j.id = o.scheduled_job_id AND j.enabled "
        f"GROUP BY j.name, j.type HAVING COUNT(*) = {IN_A_ROW} ORDER BY j.name",
        {},
    )
    read = engine.dialect.read_moment
    return [FailingSchedule(name, type, since) for name, type, at in rows if (since := read(at)) is not None]
