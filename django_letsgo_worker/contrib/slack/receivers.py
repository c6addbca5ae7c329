"""What this app hears from the core, and whether it becomes a notice.

Receivers run on the worker's own thread, after the fact is in the database: they only enqueue. A worker
killed between the two says nothing in Slack; the log, the admin and `letsgo doctor` do.
"""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import Any

from ... import messages, signals
from ...delivery import Delivery
from ...errors import MessageNotFound
from ...models import Message, ScheduledJob
from . import conf, notices
from .outbox import TYPE, announce

# Of one type, or one schedule, so many dead letters are announced within an hour.
MOST_DEAD, DEAD_WINDOW = 10, timedelta(hours=1)


def connect() -> None:
    """Listen; to do so twice changes nothing."""
    prefix = "django_letsgo_worker.contrib.slack"
    signals.message_died.connect(on_message_died, Message, dispatch_uid=f"{prefix}.died")
    signals.unknown_type.connect(on_unknown_type, Message, dispatch_uid=f"{prefix}.unknown")
    signals.schedule_failed.connect(on_schedule_failed, ScheduledJob, dispatch_uid=f"{prefix}.schedule")
    signals.delivery_finished.connect(on_delivery_finished, Delivery, dispatch_uid=f"{prefix}.finished")


def on_message_died(
    message_id: int, type: str, queue: str, errors: list[Any], delivery: Delivery | None, **kwargs: Any
) -> None:
    """Announce a dead letter, unless it is a Slack message itself: that would never end."""
    if type == TYPE or not (conf.notifies("dead") or conf.notifies("schedules")):
        return
    schedule = delivery.schedule if delivery is not None else _schedule_of(message_id)
    if not conf.notifies("dead") and schedule is None:
        return
    text = notices.dead_letter(message_id, type, queue, errors, schedule)
    announce(f"dead {type} {schedule or ''}", text, most=MOST_DEAD, per=DEAD_WINDOW)


def _schedule_of(message_id: int) -> str | None:
    """Return the schedule of a message that died without a delivery: its worker did, or nobody knew it."""
    try:
        found = messages.find(message_id)
    except MessageNotFound:  # dead letters are not kept here
        return None
    return found.headers.get("schedule") if found.planned_at else None


def on_unknown_type(queue: str, type: str, **kwargs: Any) -> None:
    """Announce, once a day, that messages wait whose type a worker does not know."""
    if type != TYPE and conf.notifies("unknown"):
        announce(f"unknown {queue} {type}", notices.unknown_type(queue, type))


def on_schedule_failed(schedule: ScheduledJob, problem: str, **kwargs: Any) -> None:
    """Announce, once a day for each problem, that a schedule is broken."""
    if problem and conf.notifies("schedules"):
        mark = hashlib.blake2b(problem.encode("utf-8", "replace")).hexdigest()
        announce(f"schedule {schedule.pk} {mark}", notices.broken_schedule(schedule.name, problem))


def on_delivery_finished(delivery: Delivery, outcome: str, **kwargs: Any) -> None:
    """Announce an event of Stripe's once it was handled, whoever's handler that was."""
    if delivery.type != "letsgo:stripe" or outcome != "succeeded" or not isinstance(delivery.payload, dict):
        return
    if conf.notifies_of_stripe(str(delivery.payload.get("type"))):
        announce(f"stripe {delivery.message_id}", notices.stripe(delivery.payload))
