"""The handler of contact forms, which tells Slack and sends a mail; a project's own takes its place.

A message may also come from elsewhere than the view, so nothing is taken for granted about its payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email

from ...delivery import Delivery
from ...registry import handler
from ...validation import exact_json, storable
from . import conf
from .form import FIELDS, LONGEST

SLACK = "django_letsgo_worker.contrib.slack"
LONGEST_NAME = 100


@handler("letsgo:contact")
def tell_of_contact(delivery: Delivery) -> None:
    """Announce a contact form in Slack and by mail, where these are configured.

    Slack gets a separate message, made once however often the mail is tried. The mail is sent at least
    once: a worker killed after it was sent, and before that was noted, sends it again.
    """
    facts: Mapping[str, Any] = delivery.payload if isinstance(delivery.payload, dict) else {}
    told = _tell_slack(delivery, facts)
    recipients = conf.recipients()
    if recipients:
        contact_mail(facts, recipients).send()
    elif not told:
        delivery.log.warning(
            "Nobody is told of the contact form in message %s: neither Slack nor an e-mail address is set.",
            delivery.message_id,
        )


def _tell_slack(delivery: Delivery, facts: Mapping[str, Any]) -> bool:
    """Announce the form in Slack; return whether Slack is to hear of contact forms."""
    if not apps.is_installed(SLACK):
        return False
    from ..slack import conf as slack_conf
    from ..slack import notices, outbox

    if not slack_conf.notifies("contact"):
        return False
    outbox.announce(f"contact {delivery.message_id}", notices.contact(facts))
    return True


def contact_mail(facts: Mapping[str, Any], recipients: list[str]) -> EmailMessage:
    """Return the mail, to be sent from DEFAULT_FROM_EMAIL; replies go to the address in the form."""
    address = reply_address(facts.get("email"))
    return EmailMessage(
        subject=f"Contact form: {one_line(facts.get('name')) or 'no name'}",
        body=_body(facts),
        to=recipients,
        reply_to=[address] if address else None,
    )


def one_line(value: Any) -> str:
    """Return text that is safe in a header: printable, on one line, not long."""
    text = "".join(sign if sign.isprintable() else " " for sign in storable(str(value or "")))
    return " ".join(text.split())[:LONGEST_NAME]


def reply_address(value: Any) -> str:
    """Return an address that is safe in a header; empty when it is invalid."""
    if not isinstance(value, str) or len(value) > LONGEST["email"] or not value.isprintable():
        return ""
    try:
        validate_email(value)
    except ValidationError:
        return ""
    return value


def _body(facts: Mapping[str, Any]) -> str:
    lines = []
    for field in FIELDS:
        if field != "message" and facts.get(field) not in (None, ""):
            value = facts[field]
            shown = one_line(value) if isinstance(value, str) else exact_json(value)
            lines.append(f"{field}: {shown}")
    return storable("\n".join([*lines, "", str(facts.get("message") or "")]))
