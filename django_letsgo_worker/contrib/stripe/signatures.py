"""The check of a webhook request: from its body and signature to Stripe's event, or to a refusal.

Secrets are read at each request, so that one can change without a restart. Nothing is written here.
"""

from __future__ import annotations

import json
import re
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from .. import setting

SECRETS = {"LIVE": "LETSGO_STRIPE_LIVE_WEBHOOK_KEY", "TEST": "LETSGO_STRIPE_TEST_WEBHOOK_KEY"}
# Stripe's bound, and its library's default: an older signature may be a replay.
TOLERANCE_SECONDS = 300
NEEDS_LIBRARY = (
    "django_letsgo_worker.contrib.stripe needs the stripe library: "
    "pip install 'django-letsgo-worker[stripe]'."
)

_ID = re.compile(r"[\x21-\x7e]{1,200}")


class Refused(Exception):
    """A request that is no event for this endpoint; the sentence may be shown to its sender."""


def webhook_secret(mode: str) -> str:
    """Return the secret of the LIVE or TEST endpoint, empty when none is set; the environment wins."""
    return str(setting(SECRETS[mode]) or "").strip()


def verified_event(body: bytes, signature: str, mode: str) -> dict[str, Any]:
    """Return the event that Stripe signed for the LIVE or TEST endpoint.

    Raises Refused when it is not, ImproperlyConfigured without the stripe library.
    """
    secret = webhook_secret(mode)
    if not secret:
        raise Refused(f"No webhook secret is configured for {mode.lower()} events.")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Refused("The body is not UTF-8 text.") from None
    # The comparison of the library is for ASCII only, and ends in a TypeError for the rest.
    if not signature.isascii() or not _is_signed(text, signature, secret):
        raise Refused("The signature is missing, wrong or too old.")
    return _event_of(text, mode)


def _is_signed(text: str, signature: str, secret: str) -> bool:
    try:
        import stripe
    except ImportError:
        raise ImproperlyConfigured(NEEDS_LIBRARY) from None
    try:
        stripe.WebhookSignature.verify_header(text, signature, secret, TOLERANCE_SECONDS)
    except (stripe.SignatureVerificationError, ValueError):
        return False
    return True


def _event_of(text: str, mode: str) -> dict[str, Any]:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("The body is not JSON.") from None
    if not isinstance(event, dict) or event.get("object", "event") != "event":
        raise Refused("The body is not a Stripe event.")
    if not isinstance(event.get("id"), str) or not _ID.fullmatch(event["id"]):
        raise Refused("The event has no usable id.")
    if not isinstance(event.get("type"), str) or not event["type"]:
        raise Refused("The event has no type.")
    if event.get("livemode", mode == "LIVE") is not (mode == "LIVE"):
        raise Refused(f"This endpoint accepts only {mode.lower()} events.")
    return event
