"""The handler of contact forms; a project's own takes its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import apps

from ...delivery import Delivery
from ...registry import handler
from . import conf
from .mails import contact_mail

SLACK = "django_letsgo_worker.contrib.slack"


@handler("letsgo:contact")
def tell_of_contact(delivery: Delivery) -> None:
    """Announce a contact form in Slack and by mail, where these are configured.

    Slack is a message of its own, made once however often the mail is tried. The mail is sent at least
    once: a worker killed after it was sent, and before that was noted, sends it again.
    """
    facts: Mapping[str, Any] = delivery.payload if isinstance(delivery.payload, dict) else {}
    told = _tell_slack(delivery, facts)
    recipients = conf.recipients()
    if recipients:
        contact_mail(facts, recipients).send()
    elif not told:
        delivery.log.warning(
            "Nobody is told of the contact form in message %s: neither Slack nor a mail address is set.",
            delivery.message_id,
        )


def _tell_slack(delivery: Delivery, facts: Mapping[str, Any]) -> bool:
    """Return whether Slack is to hear of contact forms."""
    if not apps.is_installed(SLACK):
        return False
    from ..slack import conf as slack_conf
    from ..slack import notices, outbox

    if not slack_conf.notifies("contact"):
        return False
    outbox.announce(f"contact {delivery.message_id}", notices.contact(facts))
    return True
