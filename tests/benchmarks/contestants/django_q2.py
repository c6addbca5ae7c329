"""django-q2, on its broker in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .base import POSTGRES, DjangoContestant, module


class DjangoQ2(DjangoContestant):
    name, engine = "django-q2", POSTGRES
    guarantee = "A run is made exactly once: one transaction makes all that are due, whatever their number."
    configuration = "Its scheduler(), called each 0.1 s (30 s in a cluster), ORM broker in the same database."
    needs = ("django_q",)
    distribution = "django-q2"
    settings: dict[str, Any] = {
        "INSTALLED_APPS": ["django.contrib.contenttypes", "django_q"],
        "Q_CLUSTER": {"name": "bench", "orm": "default", "log_level": "WARNING"},
    }
    table = "django_q_ormq"
    made_sql = f"SELECT count(*) FROM {table}"
    # All can be seen at once; this column says when each was written.
    first_made_sql = f"SELECT extract(epoch FROM min(lock)) FROM {table}"
    takes_part_in = frozenset({"schedules"})

    def scheduler(self, url: str) -> list[str]:
        return module("tests.benchmarks.handlers.django_q2")

    def schedule(self, number: int, due: datetime) -> None:
        from django_q.models import Schedule

        Schedule.objects.bulk_create(
            Schedule(
                name=f"bench-{n}",
                func="tests.benchmarks.handlers.django_q2.noop",
                kwargs=f"{{'n': {n}}}",
                schedule_type=Schedule.DAILY,
                next_run=due,
            )
            for n in range(number)
        )
