"""A typical external mail service: it knows idempotency keys, and its replies can get lost.

It keeps what it sent in a table, so that the demonstration and the tests can count.
"""

from __future__ import annotations

from django.db.models import F

from .models import Mail


class ReplyLost(Exception):
    """The service did not answer in time; it may or may not have sent the mail."""

    on_purpose = True  # see `lines`


def send(to: str, subject: str, *, idempotency_key: str, loses_reply: bool = False) -> None:
    """Send a mail, once for each key; with `loses_reply` send it and then raise ReplyLost."""
    mail, _ = Mail.objects.get_or_create(
        idempotency_key=idempotency_key, defaults={"to": to, "subject": subject}
    )
    Mail.objects.filter(pk=mail.pk).update(requests=F("requests") + 1)
    if loses_reply:
        raise ReplyLost("The mail service did not answer in time.")
