"""The handlers of this app: one sends to Slack, the others announce; a project's own take their place."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ... import messages
from ...delivery import Delivery
from ...errors import MessageNotFound
from ...outcomes import Reject, Snooze
from ...registry import handler
from . import client, conf, notices, turns
from .outbox import DEAD, QUEUE, TYPE, announce, send_slack_message

# Seconds: the first tries soon, for a slip of the network; the last spread over hours, for an outage.
BACKOFF = [2, 10, 60, 300, 900, 1_800, 3_600]
# The most dead letters of one type, or one schedule, that are announced within an hour.
MOST_DEAD, DEAD_WINDOW = 10, timedelta(hours=1)


@handler(TYPE, queue=QUEUE, max_attempts=12, backoff=BACKOFF)
def send_to_slack(delivery: Delivery) -> None:
    """Send one message when it is its turn; nothing happens when Slack has been switched off since."""
    url = conf.slack_url()
    if not url:
        delivery.log.info("LETSGO_SLACK_URL is not set: message %s is not sent.", delivery.message_id)
        return
    problem, url = conf.problem_of(url), ""
    if problem:
        raise Reject(problem)
    given = delivery.payload if isinstance(delivery.payload, dict) else {}
    body = {key: given[key] for key in ("text", "blocks") if given.get(key)}
    if not body:
        raise Reject("The message has neither text nor blocks.")
    with turns.my_turn() as turn:
        answer = client.post(body)
        if answer.status == 429:
            turn.pause(answer.retry_after)
    _judge(answer)


def _judge(answer: client.Answer) -> None:
    """Return if Slack took it; else raise the error that decides what becomes of the message."""
    if 200 <= answer.status < 300:
        return
    if answer.status == 429:
        raise Snooze(answer.retry_after)
    said = f"Slack answered {answer.status}{f' ({answer.word})' if answer.word else ''}"
    if answer.status >= 500 or answer.status in (408, 425):
        raise client.SlackFailed(said)
    if 300 <= answer.status < 400:
        raise Reject(f"{said}: redirects are not followed.")
    raise Reject(f"{said}.")


@handler(DEAD, queue=QUEUE, atomic=True)
def announce_dead_letter(delivery: Delivery) -> None:
    """Tell Slack of a dead letter, unless it has heard of enough like it; atomic, so that it is told once."""
    if not isinstance(delivery.payload, dict):
        raise Reject("The payload does not describe a dead letter.")
    type, schedule = str(delivery.payload.get("type")), delivery.headers.get("schedule")
    text = notices.dead_letter(delivery.payload, _attempt(delivery.payload.get("message")), schedule)
    announce(f"dead {type} {schedule or ''}", text, most=MOST_DEAD, per=DEAD_WINDOW)


def _attempt(message_id: Any) -> int | None:
    """Return at which attempt a message died; None where dead letters are not kept, or this one is gone."""
    try:
        errors = messages.find(message_id).errors
    except MessageNotFound:
        return None
    last = errors[-1] if errors else None
    return last.get("attempt") if isinstance(last, dict) else None


@handler("letsgo:tenant:new", atomic=True)
def announce_new_tenant(delivery: Delivery) -> None:
    """Tell Slack of a new tenant; atomic, so that it is told once."""
    if conf.notifies("tenant"):
        send_slack_message(notices.tenant("New tenant", delivery.payload))


@handler("letsgo:tenant:deleted", atomic=True)
def announce_deleted_tenant(delivery: Delivery) -> None:
    """Tell Slack of a tenant that was deleted; atomic, so that it is told once."""
    if conf.notifies("tenant"):
        send_slack_message(notices.tenant("Tenant deleted", delivery.payload))
