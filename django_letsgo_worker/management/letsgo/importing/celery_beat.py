"""`letsgo import celery-beat`: the rows of django-celery-beat, in words of ours.

Crontabs are read in crontabs.py, and the plan is made in plan.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings

from ....errors import InvalidSchedule
from ....recurrence import Recurrence
from . import plan
from .comparing import At, Every, Rule, clock_changes
from .crontabs import Crontab
from .plan import Foreign, Found, Planned, Skipped
from .tables import Row, Tables, json_of

PACKAGE = "django-celery-beat"
TASKS = "django_celery_beat_periodictask"
KINDS = ("interval", "crontab", "clocked", "solar")
UNITS = ("days", "hours", "minutes", "seconds", "microseconds")
PREFIX = "celery:"
HIGHEST_PRIORITY = 100
LATER = (
    "While Celery's beat and our scheduler both run, each run comes twice: stop beat now, and take its "
    "scheduler and django_celery_beat out of your settings when you need its tables no more."
)


def find(tables: Tables, now: datetime, using: str) -> Found:
    """Read all periodic tasks; CommandError without their table."""
    tables.need(TASKS, PACKAGE)
    of_kind = {kind: tables.by_id(f"django_celery_beat_{kind}schedule") for kind in KINDS}
    tasks = []
    for row in tables.rows(TASKS, order="name"):
        kind = next((kind for kind in KINDS if row.get(f"{kind}_id") is not None), "")
        when = of_kind[kind].get(row[f"{kind}_id"]) if kind else None
        tasks.append(_Task(row, kind, when or {}, tables))
    return Found((_planned(task, now, using) for task in tasks), len(tasks))


def _planned(task: _Task, now: datetime, using: str) -> Planned:
    try:
        return plan.planned(task.foreign(now), now, using)
    except (Skipped, InvalidSchedule) as error:
        return plan.skipped(task.row["name"], task.theirs, error, bool(task.row["enabled"]))


class _Task:
    """A periodic task with its schedule, whose kind is interval, crontab, clocked or solar."""

    def __init__(self, row: Row, kind: str, when: Row, tables: Tables) -> None:
        self.row, self.kind, self.when, self.tables = row, kind, when, tables

    @property
    def theirs(self) -> str:
        """The schedule in Celery's words."""
        when = self.when
        if self.kind == "crontab":
            return f"crontab {' '.join(self.crontab_fields)}"
        if self.kind == "interval":
            return f"every {when.get('every')} {when.get('period')}"
        if self.kind == "clocked":
            return f"clocked {self.tables.moment(when.get('clocked_time'))}"
        return f"solar {when.get('event')}" if self.kind else "no schedule"

    @property
    def crontab_fields(self) -> tuple[str, str, str, str, str]:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        minute, hour, day, month, weekday = (str(self.when.get(name) or "*") for name in names)
        return minute, hour, day, month, weekday

    def moment(self, column: str) -> datetime | None:
        return self.tables.moment(self.row.get(column))

    def foreign(self, now: datetime) -> Foreign:
        """Return it in our words; Skipped for what cannot come along."""
        row = self.row
        if row["task"] == "celery.backend_cleanup":
            raise Skipped("workers and schedulers delete old results by themselves, once a minute")
        if row.get("one_off") and row.get("total_run_count"):
            raise Skipped("it is one-off, and has run")
        if (expires := self.moment("expires")) is not None and expires <= now:
            raise Skipped("it has expired")
        choices, rule, zone = self._when(now)
        type = plan.type_of(row["task"], PREFIX)
        starts_at = self._starts_at(now)
        if starts_at is not None:
            choices = [{**choice, "starts_at": starts_at} for choice in choices]
        fields = self._message() | self._bounds() | {"type": type or PREFIX + row["task"]}
        return Foreign(
            row["name"],
            self.theirs,
            fields,
            choices,
            rule,
            zone,
            tuple(self._notes(type, now)),
            self._why(now),
        )

    # -- when ------------------------------------------------------------------------------------------------

    def _when(self, now: datetime) -> tuple[list[dict[str, Any]], Rule, str]:
        if self.kind == "crontab":
            return self._crontab()
        if self.kind == "interval":
            return self._interval(now)
        if self.kind == "clocked":
            return self._clocked(now)
        if self.kind == "solar":
            raise Skipped("no expression follows the sun: let a schedule every few minutes look at the time")
        raise Skipped("it has no schedule")

    def _crontab(self) -> tuple[list[dict[str, Any]], Rule, str]:
        zone = str(self.when.get("timezone") or "UTC")
        Recurrence.parse("@daily", zone)
        try:
            crontab = Crontab.read(self.crontab_fields, zone)
        except ValueError as error:
            raise Skipped(f"Celery cannot read this crontab: {error}") from None
        choices = [{"schedule": text, "timezone": zone} for text in crontab.expressions()]
        return choices, crontab, zone

    def _interval(self, now: datetime) -> tuple[list[dict[str, Any]], Rule, str]:
        every, period = self.when.get("every") or 0, self.when.get("period")
        if period not in UNITS or every < 1:
            raise Skipped("Celery cannot read this interval")
        length = timedelta(**{str(period): every})
        start, last = self.moment("start_time"), self.moment("last_run_at")
        first = (last or self.moment("date_changed") or now) + length
        if start is not None:
            first = max(first, start) if last else start
        choice = {"schedule": interval(length), "timezone": "UTC", "starts_at": first}
        return [choice], Every(first, length), "UTC"

    def _clocked(self, now: datetime) -> tuple[list[dict[str, Any]], Rule, str]:
        moment = self.tables.moment(self.when.get("clocked_time"))
        if moment is None:
            raise Skipped("it has no time")
        if moment <= now:
            raise Skipped("its time has passed; enqueue it if it has not run")
        return [{"schedule": at(moment), "timezone": "UTC"}], At(moment), "UTC"

    def _starts_at(self, now: datetime) -> datetime | None:
        start = self.moment("start_time")
        # An interval begins on its own grid.
        return start if start is not None and start > now and self.kind != "interval" else None

    # -- what ------------------------------------------------------------------------------------------------

    def _message(self) -> dict[str, Any]:
        arguments = {}
        for name, kind, otherwise in (("args", list, []), ("kwargs", dict, {})):
            try:
                arguments[name] = json_of(self.row.get(name), kind, otherwise)
            except ValueError:
                raise Skipped(f"its {name} are not JSON of the right kind") from None
        return {"payload": arguments, "queue": self.row.get("queue") or None, "priority": self._priority()}

    def _priority(self) -> int | None:
        priority = self.row.get("priority")
        if priority is None:
            return None
        # Redis takes 0 first, every other broker 255.
        sign = -1 if str(getattr(settings, "CELERY_BROKER_URL", "")).startswith("redis") else 1
        return sign * min(int(priority), HIGHEST_PRIORITY)

    def _bounds(self) -> dict[str, Any]:
        fields: dict[str, Any] = {"enabled": bool(self.row["enabled"])}
        if self.row.get("expire_seconds"):
            fields["deadline"] = self.row["expire_seconds"]
        expires = self.moment("expires")
        if expires is not None:
            # Ours is the last time that may be planned; beat plans none from then on.
            fields["ends_at"] = expires - timedelta.resolution
        if self.row.get("one_off") and self.kind != "clocked":
            fields["max_runs"] = 1
        return fields

    # -- what is to be said ----------------------------------------------------------------------------------

    def _why(self, now: datetime) -> str:
        is_crontab, start = self.kind == "crontab", self.moment("start_time")
        if is_crontab and not getattr(settings, "DJANGO_CELERY_BEAT_TZ_AWARE", True):
            return "DJANGO_CELERY_BEAT_TZ_AWARE is off, so that beat does not follow the zone of this row"
        if start is None or self.moment("last_run_at") is not None:
            return ""
        # Beat takes it for one that last ran thirty years before.
        if is_crontab:
            return "beat may run it within five minutes of its start_time, whatever the crontab says"
        is_overdue = self.kind == "interval" and start <= now
        return "its start_time has passed, so beat runs it at once and counts from then" if is_overdue else ""

    def _notes(self, type: str | None, now: datetime) -> Iterator[str]:
        if type is None:
            yield f"no handler registers {PREFIX}{self.row['task']}"
        if json_of(self.row.get("headers"), object, {}):
            yield "its headers are left out"
        for column in ("exchange", "routing_key"):
            if self.row.get(column):
                yield f"its {column} is left out"
        if self.moment("expires") is not None:
            yield "a message that was made before it expires may start later"
        if (self.row.get("priority") or 0) > HIGHEST_PRIORITY:
            yield f"priorities end at {HIGHEST_PRIORITY}"
        zone = getattr(settings, "CELERY_TIMEZONE", None) or "UTC"
        if self.kind == "interval" and clock_changes([zone], now):
            yield f"before 5.7, Celery counts an interval on the clock of {zone}"


def interval(length: timedelta) -> str:
    """Return rate() or @every for a length; Skipped for one that is neither."""
    seconds = length // timedelta(seconds=1)
    if length % timedelta(seconds=1):
        raise Skipped(f"no schedule runs every {length.total_seconds():f} seconds: at least a whole one")
    for unit, size in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds % size == 0:
            return f"rate({seconds // size} {unit}{'' if seconds == size else 's'})"
    return f"@every {seconds}s"


def at(moment: datetime) -> str:
    """Return at() for a time in UTC, to the second."""
    return f"at({moment.replace(tzinfo=None, microsecond=0).isoformat()})"
