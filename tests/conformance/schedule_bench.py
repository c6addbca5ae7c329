"""What the tests of schedules share: a moment to start from, and short ways to add, fire and look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Occurrence, ScheduledJob

T0 = datetime(2027, 3, 1, 9, 0, 30, 250_000, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def add(name: str = "report", schedule: str = "rate(5 minutes)", **fields: Any) -> ScheduledJob:
    """Add a schedule at T0."""
    return schedules.add(name, schedule, fields.pop("type", "report:new"), now=T0, **fields)


def row(name: str = "report") -> ScheduledJob:
    return ScheduledJob.objects.get(name=name)


def raw(name: str = "report", **columns: Any) -> None:
    """Edit a row past save() and past the verbs."""
    assert ScheduledJob.objects.filter(name=name).update(**columns) == 1


def fire(now: datetime) -> list[datetime]:
    """Run one round at `now`; return the planned times of the messages made."""
    return [message.planned_at for message in schedules.fire_due(now)]


def occurrences(name: str = "report") -> list[tuple[datetime, str, int]]:
    """What became of each planned time: (planned at, why skipped or "", how many)."""
    rows = Occurrence.objects.filter(scheduled_job__name=name).order_by("planned_at")
    return [(o.planned_at, o.skipped_because.partition(":")[0], o.skipped_count) for o in rows]


def snapshot() -> list[dict[str, Any]]:
    """All that the tables of schedules hold."""
    return [*ScheduledJob.objects.order_by("pk").values(), *Occurrence.objects.order_by("pk").values()]
