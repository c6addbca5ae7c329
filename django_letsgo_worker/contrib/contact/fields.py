"""What a contact form may say: its fields, how long they may be, and what is wrong with them.

Pure: no request, no database.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from ...errors import InvalidMessage
from ...validation import encode, show

REQUIRED = ("name", "email", "message")
OPTIONAL = ("query", "tenantId", "identityId", "timestamp")
FIELDS = (*REQUIRED, *OPTIONAL)
# What people do not see, and only a robot fills in.
HONEYPOT = "website"
# What Django's forms bring along.
IGNORED = ("csrfmiddlewaretoken",)
# The field that is named when it is the request as a whole that is wrong.
BODY = "body"

LONGEST = {"name": 200, "email": 254, "message": 20_000, "tenantId": 200, "identityId": 200, "timestamp": 64}
LONGEST_QUERY_BYTES = 8 * 1024


class Refused(Exception):
    """The form cannot be taken; `errors` has a sentence for each field that is wrong."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


def is_from_a_robot(given: Mapping[str, Any]) -> bool:
    """Whether the field that people do not see was filled in."""
    value = given.get(HONEYPOT)
    return bool(value.strip() if isinstance(value, str) else value)


def clean(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload; Refused names every field that is missing, unknown or wrong."""
    errors: dict[str, str] = {}
    for key in given:
        if key not in FIELDS and key != HONEYPOT and key not in IGNORED:
            errors[show(key)[1:-1]] = f"{show(key)} is no field of the contact form."
    payload: dict[str, Any] = {}
    for field in FIELDS:
        value = given.get(field)
        if value is None or (isinstance(value, str) and not value.strip()):
            if field in REQUIRED:
                errors[field] = f"{field} is required."
            continue
        try:
            payload[field] = READERS[field](field, value)
            encode(field, payload[field], None)
        except (ValueError, InvalidMessage) as error:
            errors[field] = str(error)
    if errors:
        raise Refused(errors)
    return payload


def _text(field: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{field} must be text.")
    if len(value) > LONGEST[field]:
        raise ValueError(f"{field} is longer than {LONGEST[field]} characters.")
    return value


def _line(field: str, value: Any) -> str:
    line = _text(field, value).strip()
    if any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in line):
        raise ValueError(f"{field} must be one line, without control characters.")
    return line


def _email(field: str, value: Any) -> str:
    address = _line(field, value)
    try:
        validate_email(address)
    except ValidationError:
        raise ValueError(f"{field} is no e-mail address.") from None
    return address


def _query(field: str, value: Any) -> Any:
    encode(field, value, LONGEST_QUERY_BYTES)
    return value


def _timestamp(field: str, value: Any) -> Any:
    return value if type(value) in (int, float) else _line(field, value)


READERS: dict[str, Callable[[str, Any], Any]] = {
    "name": _line,
    "email": _email,
    "message": _text,
    "query": _query,
    "tenantId": _line,
    "identityId": _line,
    "timestamp": _timestamp,
}
