"""What the tests of schedules share: a moment to start from, and short ways to add, fire and look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Occurrence, ScheduledJob

T0 = datetime(2027, 3, 1, 9, 0, 30, 250_000, tzinfo=UTC)
SECOND, MINUTE, HOUR, DAY = timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

# What no person decides: it is found out anew wherever a schedule is brought in. A new column is decided by
# people until it stands here.
FOUND_OUT = {
    "id", "planned_from", "problem", "last_run_at", "version", "created_at", "updated_at", "declared_in_code",
    "next_planned_at", "unsettled", "runs", "waiting_message_id", "waiting_behind",
}  # fmt: skip
DECIDED = [field.name for field in ScheduledJob._meta.concrete_fields if field.name not in FOUND_OUT]
YEAR = datetime.now(UTC).year
SOON = datetime(YEAR + 1, 6, 1, 12, 0, 0, 250, tzinfo=UTC)
# Values that no schedule has by itself, by column, or by its kind.
CHOSEN: dict[str, Any] = {
    "name": "chosen",
    "schedule": "rate(5 minutes)",
    "timezone": "Europe/Berlin",
    "misfire": "skip",
    "overlap": "skip",
    "except_on": "12-24..01-02",
    "enabled": False,
    "starts_at": SOON - timedelta(days=3000),
    "anchor": SOON - timedelta(days=400),
    "switched_at": SOON - timedelta(days=300),
}
BY_KIND: dict[str, Any] = {
    "DateTimeField": SOON,
    "DurationField": timedelta(seconds=77.5),
    "JSONField": {"b": [1.50, None], "a": True},
    "SmallIntegerField": 7,
    "PositiveSmallIntegerField": 7,
    "BooleanField": True,
    "PositiveIntegerField": 7,
    "CharField": "chosen",
    "TextField": "chosen",
}


def chosen(column: str) -> Any:
    """Return a value for a column that no schedule has by itself."""
    return CHOSEN.get(column, BY_KIND.get(ScheduledJob._meta.get_field(column).get_internal_type()))


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
