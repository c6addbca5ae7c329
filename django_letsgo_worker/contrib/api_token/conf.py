"""The settings of this app, read at each call: keys are rotated without a restart.

Whether a key can be used is decided in keys.py.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .. import setting
from . import TokenKeyUnusable

PRIVATE_KEY = "LETSGO_API_TOKEN_PRIVATE_KEY"
KEY_ID = "LETSGO_API_TOKEN_KEY_ID"
PUBLIC_KEYS = "LETSGO_API_TOKEN_PUBLIC_KEYS"
AUDIENCE = "LETSGO_API_AUDIENCE"
URL = "LETSGO_API_URL"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The settings; a key is PEM text or the path of a file, empty when it is not set.

    `public_keys` are those of other issuers, and of our own past, by their key ids.
    """

    private_key: str = field(repr=False)
    key_id: str
    audience: str
    public_keys: Mapping[str, str] = field(repr=False)


def read() -> Settings:
    """Return the settings as they are now; the environment wins. Raises TokenKeyUnusable."""
    return Settings(
        private_key=_text(PRIVATE_KEY),
        key_id=_text(KEY_ID),
        audience=_text(AUDIENCE) or "letsgo:service",
        public_keys=_public_keys(),
    )


def api_url(path: str = "") -> str:
    """Return LETSGO_API_URL, without a slash at its end, and `path` below it.

    Raises ImproperlyConfigured when it is not set: a token must not go to a guessed address.
    """
    base = _text(URL).rstrip("/")
    if not base:
        raise ImproperlyConfigured(f"{URL} is not set.")
    return f"{base}/{path.lstrip('/')}" if path else base


def _text(name: str) -> str:
    value = setting(name) or ""
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).strip()


def _public_keys() -> dict[str, str]:
    given: Any = setting(PUBLIC_KEYS) or {}
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except ValueError:
            given = None
    if isinstance(given, Mapping) and all(isinstance(kid, str) and kid for kid in given):
        return {kid: str(key).strip() for kid, key in given.items()}
    raise TokenKeyUnusable(PUBLIC_KEYS, "it must be a mapping of key ids to keys, or the JSON of one")
