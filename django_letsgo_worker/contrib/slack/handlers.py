"""The handlers of this app: one sends to Slack, two announce tenants; a project's own take their place."""

from __future__ import annotations

from ...delivery import Delivery
from ...outcomes import Reject, Snooze
from ...registry import handler
from . import client, conf, notices, turns
from .outbox import TYPE, send_slack_message

# Seconds: the first tries soon, for a slip of the network; the last spread over hours, for an outage.
BACKOFF = [2, 10, 60, 300, 900, 1_800, 3_600]


@handler(TYPE, queue="letsgo-slack", max_attempts=12, backoff=BACKOFF)
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
        raise Reject("It has neither text nor blocks.")
    with turns.my_turn() as turn:
        answer = client.post(body)
        if answer.status == 429:
            turn.pause(answer.retry_after)
    _judge(answer)


def _judge(answer: client.Answer) -> None:
    """Return if Slack took it; else say what is to become of the message."""
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
