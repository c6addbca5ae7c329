"""What this app hears from the core, and whether it becomes a notice.

A dead letter is followed by a message of ours, in the transaction that makes it one. Receivers run on the
worker's own thread, after the fact is in the database: they only enqueue. A worker killed between the two
says nothing in Slack; the log, the admin and `letsgo doctor` do.
"""

from __future__ import annotations

import hashlib
from typing import Any

from ... import registry, signals
from ...delivery import Delivery
from ...models import Message, ScheduledJob
from . import conf, notices
from .outbox import DEAD, TYPE, announce


def connect() -> None:
    """Listen; to do so twice changes nothing."""
    prefix = "django_letsgo_worker.contrib.slack"
    registry.follow_deaths(DEAD, wants_death)
    signals.unknown_type.connect(on_unknown_type, Message, dispatch_uid=f"{prefix}.unknown")
    signals.schedule_failed.connect(on_schedule_failed, ScheduledJob, dispatch_uid=f"{prefix}.schedule")
    signals.delivery_finished.connect(on_delivery_finished, Delivery, dispatch_uid=f"{prefix}.finished")


def wants_death(type: str, schedule: str | None) -> bool:
    """Whether to announce a dead letter; never one of Slack's own: that would never end."""
    if type in (TYPE, DEAD):
        return False
    return conf.notifies("dead") or (schedule is not None and conf.notifies("schedules"))


def on_unknown_type(queue: str, type: str, **kwargs: Any) -> None:
    """Announce, once a day, that messages wait whose type a worker does not know."""
    if type not in (TYPE, DEAD) and conf.notifies("unknown"):
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
