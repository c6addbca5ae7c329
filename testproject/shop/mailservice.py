"""A mail service as one finds them outside: it knows idempotency keys, and its replies can get lost.

It keeps what it sent in a table, so that the demonstration and the tests can count.
"""

from __future__ import annotations

from django.db.models import F

from .models import Mail


class ReplyLost(Exception):
    """The service did not answer in time. Whether it sent the mail, nobody here can know."""

    on_purpose = True  # see `lines`


def send(to: str, subject: str, *, idempotency_key: str, loses_reply: bool = False) -> None:
    """Send a mail, once for each key; `loses_reply` sends it too, and then raises ReplyLost."""
    mail, _ = Mail.objects.get_or_create(
        idempotency_key=idempotency_key, defaults={"to": to, "subject": subject}
    )
    Mail.objects.filter(pk=mail.pk).update(requests=F("requests") + 1)
    if loses_reply:
        raise ReplyLost("The mail service did not answer in time.")
