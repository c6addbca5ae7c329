"""The way of a notice into the queue: from the core's signals to a message that its handler sends.

A dead letter is followed by a message of ours, in the transaction that makes it one. Receivers run on the
worker's own thread, after the fact is in the database: they only enqueue. A worker killed between the two
says nothing in Slack; the log, the admin and `letsgo doctor` do. Nothing here talks to Slack, and the URL is
not part of a message.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.utils import timezone

from ... import registry, signals
from ...conf import settings
from ...delivery import Delivery
from ...errors import InvalidMessage
from ...inspection import ERROR, Problem
from ...messages import enqueue
from ...models import ArchivedMessage, Message, ScheduledJob
from . import conf, notices

TYPE = "letsgo:slack"
# Follows each dead letter that is to be announced, in the transaction that makes it one.
DEAD = "letsgo:slack:dead"
QUEUE = "letsgo-slack"
# A notice that could not be sent for so long is of no use: it is archived as expired.
USEFUL_FOR = timedelta(days=1)

# What is wrong with these, Slack cannot be told.
OURS = (TYPE, DEAD, QUEUE)
# Problems that are announced when they arise, by the kind of notice that does it.
SAID_OTHERWISE = {"type_unknown": "unknown", "schedule_broken": "schedules"}

Blocks = Sequence[Mapping[str, Any]]


def send_slack_message(
    text: str | Blocks | None = None, blocks: Blocks | None = None, *, unique_key: str | None = None
) -> Message | None:
    """Send text, or Block Kit blocks, to Slack; None, and nothing happens, when LETSGO_SLACK_URL is unset.

    It is enqueued on the queue `letsgo-slack`: it exists if the caller's transaction commits, and is sent at
    least once. Text is escaped (&, <, >) unless mrkdwn() made it; blocks are sent as they are, with the text
    for notifications. With `unique_key` it is sent once while a message of this key still waits.
    InvalidMessage when there is nothing to send.
    """
    if text is not None and not isinstance(text, str):
        text, blocks = None, text
    payload = _payload(text, blocks)
    if not conf.slack_is_on():
        return None
    return enqueue(TYPE, payload, unique_key=unique_key, deadline=USEFUL_FOR)


def _payload(text: str | None, blocks: Blocks | None) -> dict[str, Any]:
    if not (text and text.strip()) and not blocks:
        raise InvalidMessage("A Slack message needs text or blocks.")
    payload: dict[str, Any] = {}
    if text:
        payload["text"] = str(notices.escape(text))
    if blocks:
        if isinstance(blocks, Mapping) or not all(isinstance(block, Mapping) for block in blocks):
            raise InvalidMessage("The blocks of a Slack message are a list of dictionaries.")
        payload["blocks"] = [dict(block) for block in blocks]
    return payload


def announce(about: str, text: str, *, most: int = 1, per: timedelta = USEFUL_FOR) -> Message | None:
    """Send text unless `most` notices about the same were sent, or are waiting, within `per`.

    A fact repeated each minute, and a thousand dead letters of one cause, must not flood a channel.
    """
    if not conf.slack_is_on():
        return None
    mark = hashlib.blake2b(about.encode("utf-8", "replace"), digest_size=16).hexdigest()
    keys = [f"{mark}:{number}" for number in range(most)]
    alias = settings().database
    # Waiting ones first: one that is archived between the two queries is seen twice, not never.
    waiting = Message.objects.using(alias).filter(type=TYPE, unique_key__in=keys)
    used = set(waiting.values_list("unique_key", flat=True))
    sent = ArchivedMessage.objects.using(alias).filter(
        type=TYPE, finished_at__gte=timezone.now() - per, unique_key__in=keys
    )
    used |= set(sent.values_list("unique_key", flat=True))
    free = [key for key in keys if key not in used]
    return send_slack_message(text, unique_key=free[0]) if free else None


def connect() -> None:
    """Connect to the core's signals; a second call changes nothing."""
    prefix = "django_letsgo_worker.contrib.slack"
    registry.follow_deaths(DEAD, wants_death)
    signals.unknown_type.connect(on_unknown_type, Message, dispatch_uid=f"{prefix}.unknown")
    signals.schedule_failed.connect(on_schedule_failed, ScheduledJob, dispatch_uid=f"{prefix}.schedule")
    signals.problems_found.connect(
        on_problems, Problem, dispatch_uid=f"{prefix}.problems", wants=partial(conf.notifies, "problems")
    )
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


def on_problems(problems: Sequence[Problem], **kwargs: Any) -> None:
    """Announce, once a day, each error of the list of problems that no other notice is about."""
    if not conf.notifies("problems"):
        return
    for problem in problems:
        is_said = conf.notifies(SAID_OTHERWISE.get(problem.code, ""))
        if problem.severity == ERROR and not is_said and problem.about not in OURS:
            announce(f"problem {problem.code} {problem.about}", notices.problem(problem.sentence))


def on_delivery_finished(delivery: Delivery, outcome: str, **kwargs: Any) -> None:
    """Announce an event of Stripe's once it was handled, by any handler."""
    if delivery.type != "letsgo:stripe" or outcome != "succeeded" or not isinstance(delivery.payload, dict):
        return
    if conf.notifies_of_stripe(str(delivery.payload.get("type"))):
        announce(f"stripe {delivery.message_id}", notices.stripe(delivery.payload))
