"""The body of a request, JSON or a form, as a dictionary; too large or unreadable ones are refused."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from django.core.exceptions import BadRequest, SuspiciousOperation
from django.http import HttpRequest, QueryDict
from django.http.multipartparser import MultiPartParserError
from django.http.request import UnreadablePostError

from . import conf
from .fields import BODY, Refused

FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"


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
    return f"The body is too large: at most {most} bytes are taken."


def _refuse(sentence: str) -> NoReturn:
    raise Refused({BODY: sentence})
