"""Schedules as Sentry's monitors: a check-in when a planned time fires, another when its message has ended.

A scheduler sends the first, a worker the second: that both mean the same is in the check-in's id alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from math import ceil
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import sentry_sdk
from django.utils.text import slugify
from sentry_sdk.crons import capture_checkin

from ...conf import settings
from ...delivery import Delivery
from ...errors import InvalidSchedule
from ...models import ArchivedMessage, Message, Occurrence, ScheduledJob
from ...recurrence import Recurrence
from ...signals import delivery_finished, message_died, occurrence_fired
from . import conf
from .deliveries import is_listening, trace_in

# What Sentry takes: the length of a slug, and of the margin and the run time, in minutes.
LONGEST_SLUG = 50
MOST_MINUTES = 7 * 24 * 60

# By the outcome of an attempt. Sentry waits on, from then, for one that is to be repeated.
STATUSES = {
    "succeeded": "ok", "dead": "error", "expired": "error", "retry": "in_progress", "snoozed": "in_progress",
}  # fmt: skip
# By the reason of a planned time that was skipped. Sentry knows no holidays, and would miss it; of an edit,
# a switch or a pause people know.
SKIPPED = {"misfire": "error", "overlap": "error", "deadline": "error", "excluded": "ok"}

UNITS = (("day", 24 * 60), ("hour", 60), ("minute", 1))
MACROS = {"@midnight": "@daily"}
# Five fields, bare or within cron(...); # and ? are left out with the L and W below.
FIELDS = re.compile(r"(?:cron\()? *((?:[\w*/,-]+ ){4}[\w*/,-]+) *\)?", re.IGNORECASE)
WEEKDAYS = re.compile("SUN|MON|TUE|WED|THU|FRI|SAT")


def connect() -> None:
    """Connect to the core's signals; a second call changes nothing."""
    prefix = "django_letsgo_worker.contrib.sentry"
    occurrence_fired.connect(on_occurrence, ScheduledJob, dispatch_uid=f"{prefix}.occurrence")
    delivery_finished.connect(on_finished, Delivery, dispatch_uid=f"{prefix}.finished")
    message_died.connect(on_died, Message, dispatch_uid=f"{prefix}.died")


def is_watched(schedule: str | None) -> bool:
    """Whether Sentry is to be told of a schedule, by its name."""
    return schedule is not None and is_listening() and conf.checks_in(schedule)


# -- what is reported ----------------------------------------------------------------------------------------


def on_occurrence(occurrence: Occurrence, message: Message | None, schedule: ScheduledJob, **kw: Any) -> None:
    """Report that a planned time fired, or why it was skipped; a backfilled one is not reported."""
    if occurrence.is_backfill or not is_watched(schedule.name):
        return
    reason = occurrence.skipped_because.partition(":")[0]
    status = SKIPPED.get(reason) if message is None else "in_progress"
    if status is not None:
        headers = {} if message is None else message.headers
        _check_in(schedule.name, occurrence.planned_at, status, headers, config_of(schedule))


def on_finished(delivery: Delivery, outcome: str, **kwargs: Any) -> None:
    """Report what became of the message of a planned time."""
    if delivery.planned_at is None or "backfill" in delivery.headers or outcome not in STATUSES:
        return
    if is_watched(delivery.schedule):
        _check_in(str(delivery.schedule), delivery.planned_at, STATUSES[outcome], delivery.headers)


def on_died(message_id: int, delivery: Delivery | None, **kwargs: Any) -> None:
    """Report a message whose workers died each time: no attempt of it has ended."""
    if delivery is not None or not conf.check_ins():
        return
    # Not its payload, which may be what nobody can read.
    planned = ArchivedMessage.objects.using(settings().database).filter(
        pk=message_id, planned_at__isnull=False
    )
    for planned_at, headers in planned.values_list("planned_at", "headers"):
        if planned_at and "backfill" not in headers and is_watched(headers.get("schedule")):
            _check_in(headers["schedule"], planned_at, "error", headers)


def _check_in(
    schedule: str,
    planned_at: datetime,
    status: str,
    headers: Mapping[str, Any],
    config: dict[str, Any] | None = None,
) -> None:
    """Send a check-in, in the trace of its message: by that Sentry shows the errors that belong to it."""
    with sentry_sdk.isolation_scope():
        sentry_sdk.continue_trace(trace_in(dict(headers)))
        capture_checkin(
            monitor_slug=slug_of(schedule),
            check_in_id=_id_of(schedule, planned_at),
            status=status,
            monitor_config=config,
        )


def _id_of(schedule: str, planned_at: datetime) -> str:
    """Return the id of all check-ins of a planned time; no other project of the world has the same."""
    options = sentry_sdk.get_client().options
    where = f"{options.get('dsn')}|{options.get('environment')}"
    return uuid5(NAMESPACE_URL, f"{where}|{schedule}|{planned_at.isoformat()}").hex


# -- monitors ------------------------------------------------------------------------------------------------


def slug_of(schedule: str) -> str:
    """Return the slug of the monitor of a schedule: its name in small letters, digits, - and _."""
    slug = slugify(re.sub(r"[^\w]+", "-", schedule))
    if slug and len(slug) <= LONGEST_SLUG and not slug.isdigit():
        return slug
    mark = hashlib.blake2b(schedule.encode(), digest_size=4).hexdigest()
    return f"{slug[: LONGEST_SLUG - 9] or 'schedule'}-{mark}"


def config_of(job: ScheduledJob) -> dict[str, Any] | None:
    """Return what Sentry makes or brings in step the monitor by; None if it does not know such schedules."""
    schedule = _schedule_of(job)
    if schedule is None:
        return None
    config = {
        "schedule": schedule,
        "timezone": job.timezone,
        # Until then it is on time for us, too.
        "checkin_margin": _minutes(job.misfire_grace),
    }
    if job.deadline is not None:
        config["max_runtime"] = _minutes(job.deadline + timedelta(minutes=job.spread))
    return config


def _minutes(length: timedelta) -> int:
    return min(max(1, ceil(length.total_seconds() / 60)), MOST_MINUTES)


def _schedule_of(job: ScheduledJob) -> dict[str, Any] | None:
    text = " ".join(job.schedule.split())
    lower = text.lower()
    if lower.startswith(("rate", "@every")):
        return _interval_of(job)
    if lower.startswith("@"):
        return {"type": "crontab", "value": MACROS.get(lower, lower)}
    match = FIELDS.fullmatch(text)
    if match is None or _has_odd_days(match[1]):
        return None
    return {"type": "crontab", "value": match[1]}


def _has_odd_days(fields: str) -> bool:
    """Whether its days are told by L or W, which not all versions of Sentry know."""
    _minute, _hour, month_days, _month, week_days = fields.upper().split()
    return any(letter.isalpha() for letter in month_days + WEEKDAYS.sub("", week_days))


def _interval_of(job: ScheduledJob) -> dict[str, Any] | None:
    """Return an interval of whole minutes in its largest unit; Sentry knows no seconds."""
    try:
        recurrence = Recurrence.parse(job.schedule, job.timezone)
    except InvalidSchedule:
        return None
    first, second = islice(recurrence.occurrences_after(datetime(2000, 1, 1, tzinfo=UTC)), 2)
    minutes, rest = divmod((second - first).total_seconds(), 60)
    if rest or not minutes:
        return None
    unit, length = next((unit, length) for unit, length in UNITS if not minutes % length)
    return {"type": "interval", "value": int(minutes // length), "unit": unit}
