"""The Django app: its reserved type and its checks, the second of them only with --deploy."""

from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from . import MESSAGE_TYPE
from .signatures import NEEDS_LIBRARY, SECRETS, webhook_secret


class StripeConfig(AppConfig):
    """django_letsgo_worker.contrib.stripe; its label leaves `stripe` to the project."""

    name = "django_letsgo_worker.contrib.stripe"
    label = "letsgo_stripe"
    verbose_name = _("Stripe events")
    default_auto_field = "django.db.models.BigAutoField"
    letsgo_types = (MESSAGE_TYPE,)

    def ready(self) -> None:
        checks.register(check_library, "letsgo_worker")
        checks.register(check_secrets, checks.Tags.security, deploy=True)


def check_library(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report that the stripe library is missing."""
    if find_spec("stripe") is not None:
        return []
    return [checks.Error(NEEDS_LIBRARY, id="letsgo_stripe.E001")]


def check_secrets(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report that no endpoint can accept anything."""
    if any(webhook_secret(mode) for mode in SECRETS):
        return []
    return [
        checks.Warning(
            "Every Stripe event is refused: no webhook secret is set.",
            hint=f"Set {' or '.join(SECRETS.values())} to the signing secret of Stripe's endpoint.",
            id="letsgo_stripe.W001",
        )
    ]
