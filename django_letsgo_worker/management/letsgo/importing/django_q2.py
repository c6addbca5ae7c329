"""`letsgo import django-q2`: the schedules of django-q2, in words of ours.

Its queued tasks are signed pickles, which are counted and never opened. The plan is made in plan.py.
"""

from __future__ import annotations

import ast
import calendar
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from croniter import croniter
from django.conf import settings

from ....errors import InvalidSchedule
from ....recurrence import Recurrence
from ....validation import counted
from . import plan
from .celery_beat import at, interval
from .comparing import At, Every, Rule
from .crontabs import spelled
from .plan import Foreign, Found, Planned, Skipped
from .tables import Row, Tables

PACKAGE = "django-q2"
SCHEDULES, QUEUED = "django_q_schedule", "django_q_ormq"
NAMES = {
    "O": "once", "I": "minutes", "H": "hourly", "D": "daily", "W": "weekly", "BW": "biweekly",
    "M": "monthly", "BM": "bimonthly", "Q": "quarterly", "Y": "yearly", "C": "cron",
}  # fmt: skip
DAYS, MONTHS = {"D": 1, "W": 7, "BW": 14}, {"M": 1, "BM": 2, "Q": 3}
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
CRON_FIELDS, MINUTES, HOURS = 5, "0-59", "0-23"
UNREADABLE = (ValueError, SyntaxError, TypeError, MemoryError, RecursionError)
# Every month has these.
SHORTEST_MONTH = 28
LATER = (
    "While a cluster of django-q2 and our scheduler both run, each run comes twice: stop qcluster now, and "
    'take django_q out of INSTALLED_APPS when you need its tables no more. With "scheduler": False in '
    "Q_CLUSTER it finishes what is queued, and schedules nothing."
)


def find(tables: Tables, now: datetime, using: str) -> Found:
    """Read all schedules; CommandError without their table."""
    tables.need(SCHEDULES, PACKAGE)
    rows = list(tables.rows(SCHEDULES))
    names = plan.unique_names((row["id"], row["name"], row["func"]) for row in rows)
    planned = (_planned(names[row["id"]], row, tables, now, using) for row in rows)
    return Found(planned, len(rows), list(_remarks(tables)))


def _remarks(tables: Tables) -> Iterator[str]:
    queued = tables.counts(QUEUED).get(None, 0)
    if queued:
        yield (
            f"{counted(queued, 'queued task')} cannot be taken over, since they are signed pickles, which "
            "this command does not open: let the cluster finish them."
        )


def _planned(name: str, row: Row, tables: Tables, now: datetime, using: str) -> Planned:
    try:
        return plan.planned(_foreign(name, row, tables, now), now, using)
    except (Skipped, InvalidSchedule) as error:
        return plan.skipped(name, _theirs(row), error)


def _theirs(row: Row) -> str:
    kind = row["schedule_type"]
    if kind == "C":
        return f"cron {row.get('cron')}"
    if kind == "I":
        return f"every {counted(row.get('minutes') or 1, 'minute')}"
    return NAMES.get(kind, str(kind))


def _foreign(name: str, row: Row, tables: Tables, now: datetime) -> Foreign:
    if row["repeats"] == 0:
        raise Skipped("it has no runs left")
    next_run = tables.moment(row["next_run"])
    if next_run is None:
        raise Skipped("it has no next run")
    zone = _zone()
    Recurrence.parse("@daily", zone)
    choices, rule = _when(row, next_run, zone, now)
    type = plan.type_of(row["func"])
    if type is None:
        raise Skipped(f"{row['func']} is no task: put @task above a function that does it, under that path")
    fields = {"type": type, "payload": _arguments(row), "queue": row.get("cluster") or None, "enabled": True}
    if row["schedule_type"] == "O":
        fields["delete_when_over"] = row["repeats"] < 0
    elif row["repeats"] > 0:
        fields["max_runs"] = row["repeats"]
    return Foreign(name, _theirs(row), fields, choices, rule, zone, tuple(_notes(row)))


def _zone() -> str:
    """Return the zone of the cluster."""
    cluster = getattr(settings, "Q_CLUSTER", None) or {}
    return str(cluster.get("time_zone", settings.TIME_ZONE))


# -- when ----------------------------------------------------------------------------------------------------


def _when(row: Row, next_run: datetime, zone: str, now: datetime) -> tuple[list[dict[str, Any]], Rule]:
    kind = row["schedule_type"]
    if kind == "O":
        if next_run <= now:
            raise Skipped("its time has passed; a cluster runs it as soon as there is one")
        return [{"schedule": at(next_run), "timezone": "UTC"}], At(next_run)
    if kind in ("I", "H"):
        length = timedelta(minutes=row.get("minutes") or 1) if kind == "I" else timedelta(hours=1)
        return [_grid(length, next_run)], Every(next_run, length)
    if kind == "C":
        cron = Cron(str(row.get("cron")), next_run, zone)
        return _begun_or_not(cron.expressions(), zone, next_run), cron
    if kind not in NAMES:
        raise Skipped(f"{kind!r} is no kind of schedule that is known here")
    return list(_calendar_choices(kind, next_run, zone)), Calendar(kind, next_run, zone)


def _grid(length: timedelta, first: datetime) -> dict[str, Any]:
    return {"schedule": interval(length), "timezone": "UTC", "starts_at": first}


def _begun_or_not(expressions: list[str], zone: str, next_run: datetime) -> list[dict[str, Any]]:
    """Return choices with and without a beginning: the next run may be later than the first match."""
    choices = [{"schedule": expression, "timezone": zone} for expression in expressions]
    return [*choices, *({**choice, "starts_at": next_run} for choice in choices)]


def _calendar_choices(kind: str, next_run: datetime, zone: str) -> Iterator[dict[str, Any]]:
    # What is yearly keeps its time in UTC; all others keep the time of the zone.
    for clock in ("UTC", zone) if kind == "Y" else (zone,):
        wall = next_run.astimezone(ZoneInfo(clock))
        yield from _begun_or_not([_calendar_expression(kind, wall)], clock, next_run)
    if kind in DAYS:
        # Where the clock never changes this is the same, and it has seconds.
        yield _grid(timedelta(days=DAYS[kind]), next_run)


def _calendar_expression(kind: str, wall: datetime) -> str:
    time, day = f"{wall.minute} {wall.hour}", wall.day
    clock = f"BYHOUR={wall.hour};BYMINUTE={wall.minute}"
    if kind == "D":
        return f"{time} * * *"
    if kind == "W":
        return f"{time} * * {wall.isoweekday() % 7}"
    if kind == "BW":
        return f"rrule(FREQ=WEEKLY;INTERVAL=2;BYDAY={WEEKDAYS[wall.weekday()]};{clock})"
    if kind == "Y":
        return f"{time} {day} {wall.month} *"
    step = MONTHS[kind]
    months = ",".join(str(month) for month in range(1, 13) if (month - wall.month) % step == 0)
    if day <= SHORTEST_MONTH:
        return f"{time} {day} {'*' if step == 1 else months} *"
    days = ",".join(map(str, range(SHORTEST_MONTH, day + 1)))
    in_months = "" if step == 1 else f"BYMONTH={months};"
    return f"rrule(FREQ=MONTHLY;{in_months}BYMONTHDAY={days};BYSETPOS=-1;{clock})"


@dataclass(frozen=True, slots=True)
class Calendar:
    """A schedule of days, weeks, months or years, as Schedule.calculate_next_run() goes on with it."""

    kind: str
    next_run: datetime
    zone: str

    def after(self, moment: datetime) -> Iterator[datetime]:
        run = self.next_run
        while True:
            if run > moment:
                yield run
            run = self._following(run)

    def _following(self, run: datetime) -> datetime:
        """Return the next run: days are counted in UTC, and then the time of the zone is kept."""
        if self.kind == "Y":
            return _a_year_later(run)
        days = DAYS.get(self.kind) or (_months_later(run.date(), MONTHS[self.kind]) - run.date()).days
        length = timedelta(days=days)
        later = run + length
        return later - ((self._wall(later) - self._wall(run)) - length)

    def _wall(self, moment: datetime) -> datetime:
        return moment.astimezone(ZoneInfo(self.zone)).replace(tzinfo=None)


def _months_later(day: date, months: int) -> date:
    """Return the same day of a later month, or its last."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, calendar.monthrange(year, month + 1)[1]))


def _a_year_later(run: datetime) -> datetime:
    is_leap_day = (run.month, run.day) == (2, 29)
    return run.replace(year=run.year + 1, day=28) if is_leap_day else run.replace(year=run.year + 1)


@dataclass(frozen=True, slots=True)
class Cron:
    """A cron expression: django-q2 has croniter walk it on an aware clock, from the run before."""

    text: str
    next_run: datetime
    zone: str

    def after(self, moment: datetime) -> Iterator[datetime]:
        run = self.next_run
        if run > moment:
            yield run
        else:
            run = moment
        zone = ZoneInfo(self.zone)
        walk = croniter(self.text, run.astimezone(zone))
        while True:
            run = walk.get_next(datetime, start_time=run.astimezone(zone)).astimezone(UTC)
            yield run

    def expressions(self) -> list[str]:
        """Return the text itself, and the numbers that croniter reads in it; Skipped if it reads none."""
        try:
            fields, nth = croniter.expand(self.text)
        except ValueError as error:
            raise Skipped(f"croniter cannot read it: {error}") from None
        texts = [_numbers(field) for field in fields]
        if len(fields) != CRON_FIELDS or nth or not all(texts):
            return [self.text]
        # croniter lets either day field match, unless one is a bare star; and * without a step is one.
        minute, hour, *days = texts
        without_stars = [MINUTES if minute == "*" else minute, HOURS if hour == "*" else hour]
        clocks = (self.text.split()[:2], without_stars)
        return list(dict.fromkeys([self.text, *(" ".join([*clock, *days]) for clock in clocks)]))


def _numbers(field: list[Any]) -> str:
    """Return an expanded field as a star or numbers; an empty text for one with words such as L."""
    if field == ["*"]:
        return "*"
    whole = [value for value in field if isinstance(value, int)]
    return spelled(tuple(sorted(whole))) if len(whole) == len(field) else ""


# -- what ----------------------------------------------------------------------------------------------------


def _arguments(row: Row) -> dict[str, Any]:
    args = _literal(row["args"], "args") if row.get("args") else ()
    kwargs = _keywords(row["kwargs"]) if row.get("kwargs") else {}
    kwargs.pop("q_options", None)
    return {"args": list(args) if isinstance(args, tuple) else [args], "kwargs": kwargs}


def _keywords(text: str) -> dict[str, Any]:
    """Read {"x": 1} or x=1."""
    if text.lstrip().startswith("{"):
        found = _literal(text, "kwargs")
    else:
        try:
            call = ast.parse(f"f({text})", mode="eval").body
        except UNREADABLE:
            raise Skipped("its kwargs cannot be read, so that django-q2 passes none") from None
        keywords = call.keywords if isinstance(call, ast.Call) else []
        found = {one.arg: _literal(one.value, "kwargs") for one in keywords}
    if not isinstance(found, dict):
        raise Skipped("its kwargs are no dictionary")
    return found


def _literal(text: Any, what: str) -> Any:
    """Read literals of Python, and nothing else, as django-q2 does."""
    try:
        return ast.literal_eval(text)
    except UNREADABLE:
        raise Skipped(f"its {what} are not literals of Python") from None


def _notes(row: Row) -> Iterator[str]:
    if row.get("hook"):
        yield "its hook is left out"
    if row.get("intended_date_kwarg"):
        yield f"{row['intended_date_kwarg']} is left out: a handler has delivery.planned_at"
    if "q_options" in (row.get("kwargs") or ""):
        yield "its q_options are left out"
