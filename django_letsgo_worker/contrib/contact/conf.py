"""The settings of this app, from the environment or Django's settings, read at each call.

A value that cannot be read is ImproperlyConfigured; `manage.py check` says so before anybody posts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

from .. import setting

DEFAULT_MAX_BYTES = 64 * 1024
DEFAULT_RATE = "10/m"
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


@dataclass(frozen=True, slots=True)
class Rate:
    """The most posts from one address within a number of seconds."""

    posts: int
    seconds: int


def max_bytes() -> int:
    """Return LETSGO_CONTACT_MAX_BYTES, the longest body of a request."""
    value = setting("LETSGO_CONTACT_MAX_BYTES", DEFAULT_MAX_BYTES)
    if isinstance(value, str) and value.strip().isascii() and value.strip().isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ImproperlyConfigured("LETSGO_CONTACT_MAX_BYTES must be a whole number of bytes, at least 1.")
    return value


def rate() -> Rate | None:
    """Return LETSGO_CONTACT_RATE, as in "10/m" or "5/10m"; None when it is off (None, "" or "off")."""
    value = setting("LETSGO_CONTACT_RATE", DEFAULT_RATE)
    if value is None or value in ("", "off", "none", "None"):
        return None
    found = isinstance(value, str) and re.fullmatch(r"(\d{1,6})/(\d{0,4})([smhd])", value.strip(), re.ASCII)
    if not found or not int(found[1]) or (found[2] and not int(found[2])):
        raise ImproperlyConfigured('LETSGO_CONTACT_RATE must look like "10/m", "100/h" or "5/10m".')
    return Rate(int(found[1]), int(found[2] or 1) * SECONDS[found[3]])


def recipients() -> list[str]:
    """Return LETSGO_CONTACT_EMAIL, one address or several; none means that no mail is sent."""
    value = setting("LETSGO_CONTACT_EMAIL") or []
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)) or not all(isinstance(part, str) for part in parts):
        raise ImproperlyConfigured("LETSGO_CONTACT_EMAIL must be an e-mail address, or a list of them.")
    addresses = [part.strip() for part in parts if part.strip()]
    for address in addresses:
        try:
            validate_email(address)
        except ValidationError:
            raise ImproperlyConfigured("LETSGO_CONTACT_EMAIL must be an e-mail address.") from None
    return addresses
