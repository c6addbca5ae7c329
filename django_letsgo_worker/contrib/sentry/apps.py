"""The Django app: its carrier, and the check that it is used."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _

from ... import context


class SentryConfig(AppConfig):
    """django_letsgo_worker.contrib.sentry as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.sentry"
    label = "letsgo_sentry"
    verbose_name = _("Sentry")

    def ready(self) -> None:
        from . import checks, scopes

        register(checks.check_sentry, self.label)
        context.register(scopes.NAME, scopes.ScopeOfDelivery())
