"""The Django app: finds handlers when Django is ready. No model, no database here."""

from django.apps import AppConfig
from django.core.checks import register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _


class LetsGoWorkerConfig(AppConfig):
    """django_letsgo_worker as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker"
    label = "django_letsgo_worker"
    verbose_name = _("Background work")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import checks, logs, registry

        register(checks.check_all, "letsgo_worker")
        logs.connect()
        registry.autodiscover(self._imports())

    def _imports(self) -> tuple[str, ...]:
        from . import conf

        try:
            return conf.settings().imports
        except ImproperlyConfigured:
            # `manage.py check` says it in one sentence; here it would end in a traceback.
            return ()
