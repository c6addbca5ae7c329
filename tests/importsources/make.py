"""Makes rows by the real packages, and tells when these run them: a process with the settings beside it.

    python -m tests.importsources.make rows                         rows of the packages, and their runs
    python -m tests.importsources.make rules celery|q2 SEED COUNT   schedules by chance, and their runs

Both print JSON, with the next 50 runs of each. `rows` migrates an empty database, that of DATABASE_URL; what
it printed with all three packages is rows.json, from which environments without them make the same tables.
"""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from itertools import islice
from typing import Any
from unittest import mock
from zoneinfo import ZoneInfo

RUNS = 50
# Ten days before spring's clock change in Europe, so that it is among the next runs of most rows; and years
# ahead of the clock, so that the command, which goes by that, finds these rows in the future for long.
NOW = datetime(2036, 3, 20, 12, 0, tzinfo=UTC)
SUMMER = datetime(2036, 4, 1, tzinfo=UTC)
DISTRIBUTIONS = {
    "django_celery_beat": ("celery", "django-celery-beat"),
    "django_q": ("django-q2",),
    "django_tasks_db": ("django-tasks-db",),
}
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
TASK = "tests.taskapp.tasks.echo"


def main(what: str, *arguments: str) -> None:
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.importsources.settings"
    import django

    django.setup()
    if what == "rows":
        print(json.dumps(rows(), indent=1, default=_plain))
    else:
        kind, seed, count = arguments
        make = {"celery": _celery_by_chance, "q2": _q2_by_chance}[kind]
        print(json.dumps(list(make(random.Random(int(seed)), int(count))), default=_plain))


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


# -- rows --------------------------------------------------------------------------------------------------


def rows() -> dict[str, Any]:
    """Migrate, have each package make its rows, and return its tables and when it would run them."""
    from django.conf import settings
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    runs: dict[str, Any] = {}
    models: list[Any] = []
    for package in settings.PACKAGES:
        made, theirs = MAKERS[package]()
        models += made
        runs |= theirs
    names = [name for package in settings.PACKAGES for name in DISTRIBUTIONS[package]]
    return {
        "now": NOW,
        "versions": {name: version(name) for name in names},
        "tables": {model._meta.db_table: _table(model) for model in models},
        "runs": runs,
    }


def _table(model: Any) -> dict[str, Any]:
    fields = model._meta.concrete_fields
    columns = {
        field.column: [_kind(field), field.max_length, field.null, field.primary_key] for field in fields
    }
    values = model._base_manager.order_by("pk").values_list(*(field.attname for field in fields))
    return {"columns": columns, "rows": [list(row) for row in values]}


def _kind(field: Any) -> str:
    target = field.target_field if field.is_relation else field
    kind = target.get_internal_type()
    return kind.replace("AutoField", "IntegerField") if field.is_relation else kind


def _celery_rows() -> tuple[list[Any], dict[str, Any]]:
    from celery import current_app
    from django.db import transaction
    from django_celery_beat import models as beat
    from django_celery_beat.schedulers import DatabaseScheduler

    def crontab(text: str, zone: str = "UTC") -> dict[str, Any]:
        minute, hour, day, month, weekday = text.split()
        fields = {"minute": minute, "hour": hour, "day_of_month": day, "month_of_year": month}
        return {"crontab": beat.CrontabSchedule.objects.create(**fields, day_of_week=weekday, timezone=zone)}

    def every(count: int, period: str) -> dict[str, Any]:
        return {"interval": beat.IntervalSchedule.objects.create(every=count, period=period)}

    def clocked(moment: datetime) -> dict[str, Any]:
        return {"clocked": beat.ClockedSchedule.objects.create(clocked_time=moment), "one_off": True}

    # Beat makes the row of its own cleaning up.
    DatabaseScheduler(app=current_app._get_current_object(), lazy=True).install_default_entries({})
    berlin, last = "Europe/Berlin", NOW - timedelta(minutes=10, microseconds=123)
    sunset = beat.SolarSchedule.objects.create(event="sunset", latitude=52.5, longitude=13.4)
    morning = crontab("0 9 * * mon-fri", "America/New_York")
    tasks: dict[str, dict[str, Any]] = {
        "each minute": crontab("* * * * *", berlin),
        "each hour": crontab("0 * * * *", berlin),
        "each hour of UTC": crontab("0 * * * *"),
        "each quarter": crontab("*/15 * * * *", "Australia/Lord_Howe"),
        "in the gap": crontab("30 2 * * *", berlin),
        "weekdays": {**morning, "args": '["north"]', "kwargs": '{"detailed": true}', "queue": "reports"},
        "Friday the 13th": crontab("0 0 13 * fri", berlin),
        "patch Tuesday": crontab("0 8 8-14 * tue", berlin),
        "odd months": crontab("0,30 8-10 1 */2 *", berlin),
        "winter nights": crontab("0 22-2 * nov-feb *", berlin),
        "a leap day": crontab("0 12 29 2 *", berlin),
        "half an hour": {**every(30, "minutes"), "last_run_at": last},
        "a day": every(1, "days"),
        "90 seconds": {**every(90, "seconds"), "last_run_at": NOW, "expire_seconds": 60, "priority": 7},
        "a quarter of a second": every(250_000, "microseconds"),
        "once": clocked(NOW + timedelta(days=3)),
        "once, before": clocked(NOW - timedelta(days=3)),
        "at sunset": {"solar": sunset},
        "one Monday": {**crontab("0 9 * * 1", berlin), "one_off": True},
        "last Monday": {**crontab("0 9 * * 1", berlin), "one_off": True, "total_run_count": 1},
        "until summer": {**crontab("0 12 * * *", berlin), "expires": SUMMER + timedelta(hours=10)},
        "from summer on": {**crontab("0 12 * * *", berlin), "start_time": SUMMER},
        "every hour from summer on": {**every(1, "hours"), "start_time": SUMMER},
        "switched off": {**crontab("0 6 * * *", berlin), "enabled": False},
        "with headers": {**crontab("0 7 * * *"), "headers": '{"tenant": "a"}', "exchange": "shop"},
        "broken arguments": {**crontab("0 7 * * *"), "args": "[1"},
        "a task of ours": {**crontab("0 5 * * *"), "task": TASK, "args": "[5]"},
    }
    for name, fields in tasks.items():
        beat.PeriodicTask.objects.create(name=name, **{"task": "shop.tasks.report", **fields})
    beat.PeriodicTask.objects.update(date_changed=NOW - timedelta(minutes=20))
    kinds = (beat.CrontabSchedule, beat.IntervalSchedule, beat.ClockedSchedule, beat.SolarSchedule)
    runs = {}
    for task in beat.PeriodicTask.objects.filter(solar=None).exclude(interval__period="microseconds"):
        with transaction.atomic():
            runs[f"celery-beat/{task.name}"] = list(islice(_beat(task), RUNS))
            transaction.set_rollback(True)
    return [*kinds, beat.PeriodicTask], runs


def _beat(task: Any) -> Iterator[datetime]:
    """Do what beat does with a task, if it is on, on a clock that is always right; yield runs after NOW."""
    from django_celery_beat.schedulers import NEVER_CHECK_TIMEOUT, ModelEntry

    now, task.enabled = NOW, True
    with mock.patch.object(ModelEntry, "_default_now", lambda _entry: now):
        entry = ModelEntry(task)
        # Beat switches off what it cannot read.
        while entry.model.enabled:
            entry.schedule.nowfun = lambda now=now: now
            is_due, seconds = entry.is_due()
            if is_due:
                if now > NOW:
                    yield now
                entry = next(entry)
            elif seconds == NEVER_CHECK_TIMEOUT:
                return
            else:
                now += timedelta(seconds=seconds)


def _q2_rows() -> tuple[list[Any], dict[str, Any]]:
    from django_q.models import OrmQ, Schedule
    from django_q.tasks import async_task

    def at(text: str, zone: str = "Europe/Berlin") -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)

    odd = at("2036-03-20 13:05:07.000250")
    schedules: list[dict[str, Any]] = [
        {"name": "once", "schedule_type": "O", "next_run": at("2036-04-01 09:00")},
        {"name": "once, before", "schedule_type": "O", "next_run": at("2036-03-01 09:00")},
        {"name": "7 minutes", "schedule_type": "I", "minutes": 7, "next_run": odd},
        {"name": "hourly", "schedule_type": "H", "next_run": odd, "args": "1, 'two'"},
        {"name": "daily", "schedule_type": "D", "next_run": at("2036-03-21 09:00"), "cluster": "reports"},
        {"name": "daily, in the gap", "schedule_type": "D", "next_run": at("2036-03-21 02:30")},
        {"name": "daily, with seconds", "schedule_type": "D", "next_run": odd},
        {"name": "weekly", "schedule_type": "W", "next_run": at("2036-03-24 09:00"), "repeats": 5},
        {"name": "biweekly", "schedule_type": "BW", "next_run": at("2036-03-31 09:00")},
        {"name": "monthly", "schedule_type": "M", "next_run": at("2036-04-15 12:00")},
        {"name": "monthly, on the 31st", "schedule_type": "M", "next_run": at("2036-03-31 12:00")},
        {"name": "bimonthly", "schedule_type": "BM", "next_run": at("2036-04-02 12:00")},
        {"name": "quarterly", "schedule_type": "Q", "next_run": at("2036-05-02 12:00")},
        {"name": "yearly", "schedule_type": "Y", "next_run": at("2036-06-01 12:00")},
        {"name": "cron", "schedule_type": "C", "cron": "*/20 8-18 * * 1-5"},
        {"name": "cron of days", "schedule_type": "C", "cron": "0 8 */10 * 1"},
        {"name": "cron at night", "schedule_type": "C", "cron": "30 2 * * *"},
        {"name": "cron with seconds", "schedule_type": "C", "cron": "0 8 * * * 15"},
        {"name": None, "schedule_type": "H", "next_run": at("2036-03-20 14:00"), "kwargs": "x=1, y='z'"},
        {"name": "twin", "schedule_type": "H", "next_run": at("2036-03-20 14:00"), "kwargs": "{'x': 1}"},
        {"name": "twin", "schedule_type": "H", "next_run": at("2036-03-20 14:30"), "hook": "shop.hooks.done"},
        {"name": "over", "schedule_type": "H", "next_run": at("2036-03-20 14:00"), "repeats": 0},
        {"name": "a set", "schedule_type": "H", "next_run": at("2036-03-20 14:00"), "args": "{1, 2}, 3"},
        {"name": "an expression", "schedule_type": "H", "next_run": at("2036-03-20 14:00"),
         "args": "open('x')"},
        {"name": "no task", "func": "django.core.management.call_command", "schedule_type": "D",
         "next_run": at("2036-03-21 09:00"), "args": "'clearsessions'"},
    ]  # fmt: skip
    runs: dict[str, Any] = {}
    for fields in schedules:
        with _clock(NOW):
            made = Schedule.objects.create(**{"func": TASK, **fields})
        if made.repeats and made.schedule_type != "O":
            runs[f"django-q2/{made.pk}"] = list(islice(_cluster(made), RUNS))
    async_task("shop.tasks.report", 1)
    async_task("shop.tasks.report", 2)
    return [Schedule, OrmQ], runs


@contextmanager
def _clock(now: datetime) -> Iterator[None]:
    from django.utils import timezone
    from django_q import models
    from django_q.conf import Conf

    def localtime(value: datetime | None = None) -> datetime:
        return timezone.localtime(value or now, ZoneInfo(Conf.TIME_ZONE))

    with mock.patch.object(models, "localtime", localtime):
        yield


def _cluster(schedule: Any) -> Iterator[datetime]:
    """Do what a cluster does with a schedule, on a clock that is always right."""
    run = schedule.next_run
    while True:
        yield run.astimezone(UTC)
        with _clock(run):
            run = schedule.calculate_next_run(run)


def _tasks_db_rows() -> tuple[list[Any], dict[str, Any]]:
    from django_tasks_db.models import DBTaskResult

    from tests.taskapp import tasks

    echo = tasks.echo.using(backend="theirs")
    echo.enqueue(1, two=2)
    echo.using(priority=5, queue_name="mails", run_after=NOW + timedelta(days=2)).enqueue("later")
    echo.using(run_after=NOW - timedelta(days=2)).enqueue("before")
    for text, end in (("running", None), ("good", "set_successful"), ("bad", "set_failed")):
        row = DBTaskResult.objects.get(pk=echo.enqueue(text).id)
        row.claim("worker")
        if end:
            getattr(row, end)(None if end == "set_successful" else ValueError("no"))
    gone = DBTaskResult.objects.get(pk=echo.enqueue("gone").id)
    DBTaskResult.objects.filter(pk=gone.pk).update(task_path="shop.tasks.gone")
    return [DBTaskResult], {}


MAKERS: dict[str, Callable[[], tuple[list[Any], dict[str, Any]]]] = {
    "django_celery_beat": _celery_rows,
    "django_q": _q2_rows,
    "django_tasks_db": _tasks_db_rows,
}


# -- schedules by chance -----------------------------------------------------------------------------------


def _moment_by_chance(chance: random.Random) -> datetime:
    """Return a moment of 2027, mostly within a day of some zone's clock change."""
    changes = [(3, 14, 7), (3, 28, 1), (4, 3, 15), (10, 2, 15), (10, 31, 1), (11, 7, 6)]
    month, day, hour = chance.choice(changes)
    near = datetime(2027, month, day, hour, tzinfo=UTC) - timedelta(minutes=chance.randint(5, 1500))
    return near if chance.random() < 0.8 else near + timedelta(days=chance.randint(0, 300))


def _field(
    chance: random.Random, low: int, high: int, names: tuple[str, ...] = (), wraps: bool = False
) -> str:
    def number() -> str:
        return chance.choice(names) if names and chance.random() < 0.2 else str(chance.randint(low, high))

    def ends() -> str:
        first, last = chance.sample(range(low, high + 1), 2)
        return f"{first}-{last}" if wraps or first < last else f"{last}-{first}"

    def part() -> str:
        shape = chance.random()
        if shape < 0.4:
            return number()
        if shape < 0.6:
            return ends()
        return f"{ends()}/{chance.randint(1, 5)}" if shape < 0.7 else f"*/{chance.randint(1, high - low)}"

    return "*" if chance.random() < 0.35 else ",".join(part() for _ in range(chance.choice((1, 1, 1, 2, 3))))


WEEKDAYS, MONTHS = ("sun", "mon", "fri", "sat"), ("jan", "feb", "jul", "dec")


def _five(chance: random.Random, wraps: bool) -> list[str]:
    bounds = [(0, 59, ()), (0, 23, ()), (1, 31, ()), (1, 12, MONTHS), (0, 6, WEEKDAYS)]
    fields = [_field(chance, low, high, names, wraps) for low, high, names in bounds]
    # Both day fields at once are rare in life, and rules with a month of their own run seldom.
    fields[2] = fields[2] if chance.random() < 0.4 else "*"
    fields[3] = fields[3] if chance.random() < 0.2 else "*"
    return fields


def _celery_by_chance(chance: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Yield crontabs with their next 50 runs by Celery's own class, aware as django-celery-beat makes it."""
    from celery.schedules import crontab

    for _ in range(count):
        fields, zone, start = _five(chance, wraps=True), chance.choice(ZONES), _moment_by_chance(chance)
        minute, hour, day, month, weekday = fields
        try:
            schedule = crontab(minute, hour, weekday, day, month)
        except ValueError:
            continue
        schedule.tz = ZoneInfo(zone)
        runs, last = [], start
        for _run in range(RUNS):
            schedule.nowfun = lambda last=last: last
            last = (last + schedule.remaining_estimate(last.astimezone(schedule.tz))).astimezone(UTC)
            runs.append(last)
        yield {"fields": fields, "zone": zone, "start": start, "runs": runs}


def _q2_by_chance(chance: random.Random, count: int) -> Iterator[dict[str, Any]]:
    """Yield schedules with their next 50 runs by django-q2's own class."""
    from django_q.conf import Conf
    from django_q.models import Schedule

    kinds = [kind for kind, _label in Schedule.TYPE if kind != "O"]
    for _ in range(count):
        Conf.TIME_ZONE = zone = chance.choice(ZONES)
        start = _moment_by_chance(chance)
        start = start if chance.random() < 0.7 else start + timedelta(seconds=chance.randint(1, 59))
        kind, minutes = chance.choice([*kinds, "C", "C", "C"]), chance.randint(1, 3000)
        schedule = Schedule(
            schedule_type=kind, minutes=minutes, next_run=start, cron=" ".join(_five(chance, wraps=False))
        )
        try:
            runs = list(islice(_cluster(schedule), RUNS))
        except ValueError:
            # A day that never comes.
            continue
        facts = {"kind": kind, "minutes": minutes, "cron": schedule.cron, "zone": zone}
        yield {**facts, "start": start, "runs": runs}


if __name__ == "__main__":
    main(*sys.argv[1:])
