"""What problems and facts are found from: attempts and what ended, schedules that are planned or fail.

Each is one or two statements with a cap. What waits is read in heads; what is wrong is said in the modules of
problems.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import F, Max, Q, Sum

from ..engines import ARCHIVE, Engine
from ..models import Occurrence, ScheduledJob, Statistic

# Attempts are judged by those of the last quarter of an hour.
JUDGED_BY = timedelta(minutes=15)
# A schedule fails when its last three messages are dead.
IN_A_ROW = 3
# How many of the newest dead letters are searched for schedules, and how many schedules are looked at.
DEAD_SEARCHED, JOBS_SEARCHED = 5_000, 100
# How many schedules are counted by type.
JOBS_READ = 100_000
# Types are met where something became of their messages within this time.
MET_WITHIN = timedelta(days=7)
# What ended is counted over this time.
LATELY = timedelta(hours=1)


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


def attempts_and_ended(using: str, now: datetime) -> tuple[list[Attempts], dict[str, int]]:
    """Return the attempts of the last quarter of an hour, and how much of each queue ended in an hour."""
    rows = Statistic.objects.using(using).filter(span=Statistic.MINUTE, at__gte=now - LATELY)
    lately = Q(at__gte=now - JUDGED_BY)
    sums = rows.values("queue", "type").annotate(
        failures=Sum("failed", filter=lately),
        successes=Sum("succeeded", filter=lately),
        ended=Sum(F("succeeded") + F("dead") + F("cancelled") + F("expired")),
    )
    attempts, ended = [], Counter[str]()
    for one in sums.order_by():
        ended[one["queue"]] += one["ended"]
        if one["failures"] is not None:
            attempts.append(Attempts(one["queue"], one["type"], one["failures"], one["successes"]))
    return attempts, ended


@dataclass(frozen=True, slots=True)
class Met:
    """One type in one queue that anything became of lately, and the last hour in which one succeeded."""

    queue: str
    type: str
    succeeded_in: datetime | None


def types_met(using: str, now: datetime) -> list[Met]:
    """Return the types that anything became of in the last seven days, by queue."""
    rows = Statistic.objects.using(using).filter(span=Statistic.HOUR, at__gte=now - MET_WITHIN)
    # Hours in which messages only waited are left out.
    some = F("succeeded") + F("failed") + F("dead") + F("cancelled") + F("expired")
    met = rows.annotate(some=some).filter(some__gt=0).values("queue", "type")
    last = met.annotate(succeeded_in=Max("at", filter=Q(succeeded__gt=0)))
    return [Met(one["queue"], one["type"], one["succeeded_in"]) for one in last.order_by()]


def minutes_of_success(using: str, hours: Mapping[str, datetime]) -> dict[str, datetime]:
    """Return the last minute of success of each type within its hour, where minutes are still kept."""
    types_of: dict[datetime, list[str]] = {}
    for type, hour in hours.items():
        types_of.setdefault(hour, []).append(type)
    if not types_of:
        return {}
    within = Q()
    for hour, types in types_of.items():
        within |= Q(at__gte=hour, at__lt=hour + timedelta(seconds=Statistic.HOUR), type__in=types)
    rows = Statistic.objects.using(using).filter(within, span=Statistic.MINUTE, succeeded__gt=0)
    return dict(rows.order_by().values_list("type").annotate(last=Max("at")))


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
