"""The contact form: its fields and their limits, read from a request's body as JSON or as a form.

No database is needed here; what becomes of a form is the view's and the handler's.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from django.core.exceptions import BadRequest, SuspiciousOperation, ValidationError
from django.core.validators import validate_email
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from ...errors import InvalidMessage
from ...validation import encode, show
from . import conf

REQUIRED = ("name", "email", "message")
OPTIONAL = ("query", "tenantId", "identityId", "timestamp")
FIELDS = (*REQUIRED, *OPTIONAL)
# People do not see it; only a robot fills it in.
HONEYPOT = "website"
# Sent along by Django's forms.
IGNORED = ("csrfmiddlewaretoken",)
# Named as the field when the request as a whole is wrong.
BODY = "body"

LONGEST = {"name": 200, "email": 254, "message": 20_000, "tenantId": 200, "identityId": 200, "timestamp": 64}
LONGEST_QUERY_BYTES = 8 * 1024
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


class Refused(Exception):
    """A form that is not accepted; `errors` has a sentence for each field that is wrong."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


def read(request: HttpRequest) -> dict[str, Any]:
    """Return the fields of a request; Refused when it is too large, or neither JSON nor a form."""
    most = conf.max_bytes()
    kind = request.content_type or ""
    if _announced_bytes(request) > most:
        _refuse(_too_large(most))
    try:
        if kind == MULTIPART:
            return _multipart(request)
        raw = request.read(most + 1)
        if len(raw) > most:
            _refuse(_too_large(most))
        if kind == FORM:
            return QueryDict(raw, encoding="utf-8").dict()
    except (SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError, ValueError):
        _refuse("The form cannot be read.")
    if kind != "application/json":
        _refuse("Send JSON (application/json) or a form.")
    return _json(raw)


def _announced_bytes(request: HttpRequest) -> int:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length) if length.isascii() and length.isdecimal() else 0


def _multipart(request: HttpRequest) -> dict[str, Any]:
    # Its length was announced, or Django reads nothing.
    for field in request.FILES:
        raise Refused({field: f"{field} must be text, not a file."})
    return request.POST.dict()


def _json(raw: bytes) -> dict[str, Any]:
    try:
        # Bytes would be read as UTF-16 and UTF-32, too.
        given = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        _refuse("The body is not JSON.")
    if not isinstance(given, dict):
        _refuse("The body must be a JSON object.")
    return given


def _too_large(most: int) -> str:
    return f"The body is too large: at most {most} bytes are accepted."


def _refuse(sentence: str) -> NoReturn:
    raise Refused({BODY: sentence})


def is_from_a_robot(given: Mapping[str, Any]) -> bool:
    """Whether the field that people do not see was filled in."""
    value = given.get(HONEYPOT)
    return bool(value.strip() if isinstance(value, str) else value)


def clean(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload; Refused names every field that is missing, unknown or wrong."""
    errors: dict[str, str] = {}
    for key in given:
        if key not in FIELDS and key != HONEYPOT and key not in IGNORED:
            errors[show(key)[1:-1]] = f"{show(key)} is not a field of the contact form."
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
        raise ValueError(f"{field} is not an e-mail address.") from None
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
