"""The mail of a contact form; what people wrote goes into no header that it could break.

A message may also come from elsewhere than the view, so nothing is taken for granted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.core.validators import validate_email

from ...validation import exact_json, storable
from .fields import FIELDS, LONGEST

LONGEST_NAME = 100


def contact_mail(facts: Mapping[str, Any], recipients: list[str]) -> EmailMessage:
    """Return the mail, to be sent from DEFAULT_FROM_EMAIL; replies go to whoever filled the form in."""
    address = reply_address(facts.get("email"))
    return EmailMessage(
        subject=f"Contact form: {one_line(facts.get('name')) or 'somebody'}",
        body=_body(facts),
        to=recipients,
        reply_to=[address] if address else None,
    )


def one_line(value: Any) -> str:
    """Return text that is safe in a header: printable, on one line, not long."""
    text = "".join(sign if sign.isprintable() else " " for sign in storable(str(value or "")))
    return " ".join(text.split())[:LONGEST_NAME]


def reply_address(value: Any) -> str:
    """Return an address that is safe in a header; empty when it is none."""
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
