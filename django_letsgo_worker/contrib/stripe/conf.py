"""The settings of contrib.stripe, read when they are needed: a secret can change without an import.

What the secrets are used for is signatures.py's.
"""

from __future__ import annotations

import environ
from django.conf import settings

SECRETS = {"LIVE": "LETSGO_STRIPE_LIVE_WEBHOOK_KEY", "TEST": "LETSGO_STRIPE_TEST_WEBHOOK_KEY"}


def webhook_secret(mode: str) -> str:
    """Return the secret of the LIVE or TEST endpoint, empty when none is set; the environment wins."""
    name = SECRETS[mode]
    return str(environ.Env().str(name, default="") or getattr(settings, name, None) or "").strip()
