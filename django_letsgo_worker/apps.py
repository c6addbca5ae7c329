"""The Django app: finds handlers and tasks when Django is ready. No model, no database here."""

from importlib.util import find_spec

from django.apps import AppConfig
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _


class LetsGoWorkerConfig(AppConfig):
    """django_letsgo_worker as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker"
    label = "django_letsgo_worker"
    verbose_name = _("Background work")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Checks register themselves.
        from . import checks, logs, registry  # noqa: F401

        logs.connect()
        registry.autodiscover(*self._modules())
        # Django 5.2 has tasks only where their backport is installed.
        if find_spec("django.tasks") or find_spec("django_tasks"):
            from . import backend

            backend.connect()

    def _modules(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return which modules of each app are imported here, and which beside them."""
        from . import conf

        try:
            settings = conf.settings()
        except ImproperlyConfigured:
            # `manage.py check` says it in one sentence; here it would end in a traceback.
            settings = conf.Settings()
        # Tasks are the backend's: nobody imports them where it is not in use.
        return tuple(name for name in settings.autodiscover if name != "tasks"), settings.imports
