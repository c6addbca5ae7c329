"""contrib.api_token as an entry of INSTALLED_APPS: its checks. It has no tables and no messages."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _


class ApiTokenConfig(AppConfig):
    """django_letsgo_worker.contrib.api_token."""

    name = "django_letsgo_worker.contrib.api_token"
    label = "letsgo_api_token"
    verbose_name = _("Access tokens")

    def ready(self) -> None:
        from . import checks

        register(checks.check_library, "letsgo_worker")
        register(checks.check_keys, "letsgo_worker")
