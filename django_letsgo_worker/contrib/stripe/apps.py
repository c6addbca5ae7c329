"""contrib.stripe as an entry of INSTALLED_APPS: its reserved type and its checks. No view, no model here."""

from django.apps import AppConfig
from django.core.checks import Tags, register
from django.utils.translation import gettext_lazy as _

from .event_types import MESSAGE_TYPE


class StripeConfig(AppConfig):
    """django_letsgo_worker.contrib.stripe; its label leaves `stripe` to the project."""

    name = "django_letsgo_worker.contrib.stripe"
    label = "letsgo_stripe"
    verbose_name = _("Stripe events")
    default_auto_field = "django.db.models.BigAutoField"
    letsgo_types = (MESSAGE_TYPE,)

    def ready(self) -> None:
        from . import checks

        register(checks.check_library, "letsgo_worker")
        register(checks.check_secrets, Tags.security, deploy=True)
