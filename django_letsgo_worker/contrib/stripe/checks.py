"""What `manage.py check` says about contrib.stripe; the second one only with --deploy.

No database is needed here.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.core import checks

from .conf import SECRETS, webhook_secret
from .signatures import NEEDS_LIBRARY


def check_library(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Say that the stripe library is missing."""
    if find_spec("stripe") is not None:
        return []
    return [checks.Error(NEEDS_LIBRARY, id="letsgo_stripe.E001")]


def check_secrets(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Say that no endpoint can accept anything."""
    if any(webhook_secret(mode) for mode in SECRETS):
        return []
    return [
        checks.Warning(
            "Every Stripe event is refused: no webhook secret is set.",
            hint=f"Set {' or '.join(SECRETS.values())} to the signing secret of Stripe's endpoint.",
            id="letsgo_stripe.W001",
        )
    ]
