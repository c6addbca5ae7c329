"""django-celery-beat: celery's beat, with its schedules in the database."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from .base import POSTGRES, DjangoContestant, module


class CeleryBeat(DjangoContestant):
    name, engine = "django-celery-beat", POSTGRES
    guarantee = "What was fired is written back within 3 minutes: until then a beat that dies fires it again."
    configuration = (
        "DatabaseScheduler, one PeriodicTask for each; broker: kombu's sqlalchemy in the same database, so "
        "that a message is as durable as everybody's."
    )
    needs = ("django_celery_beat", "celery", "sqlalchemy")
    distribution = "django-celery-beat"
    settings: dict[str, Any] = {"INSTALLED_APPS": ["django_celery_beat"]}
    table = "kombu_message"
    made_sql = f"SELECT count(*) FROM {table}"
    seconds_per_schedule = 0.005
    takes_part_in = frozenset({"schedules"})

    def environment(self, url: str) -> dict[str, str]:
        broker = url.replace("postgres://", "sqla+postgresql+psycopg://", 1)
        return {**super().environment(url), "LETSGO_BENCH_BROKER": broker}

    def scheduler(self, url: str) -> list[str]:
        app = "tests.benchmarks.handlers.celery_beat"
        kind = "django_celery_beat.schedulers:DatabaseScheduler"
        return module("celery", "--app", app, "beat", "--scheduler", kind, "--loglevel", "WARNING")

    def install(self) -> None:
        """Install the broker's tables, too."""
        from tests.benchmarks.handlers.celery_beat import app

        super().install()
        with app.connection() as connection:
            connection.SimpleQueue("celery").close()

    def schedule(self, number: int, due: datetime) -> None:
        from django_celery_beat.models import IntervalSchedule, PeriodicTask, PeriodicTasks

        daily = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.DAYS)
        PeriodicTask.objects.bulk_create(
            PeriodicTask(
                name=f"bench-{n}",
                task="noop",
                kwargs=f'{{"n": {n}}}',
                interval=daily,
                last_run_at=due - timedelta(days=1),
            )
            for n in range(number)
        )
        PeriodicTasks.update_changed()
