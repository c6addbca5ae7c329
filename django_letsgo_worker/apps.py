"""The Django app: finds handlers and tasks when Django is ready. No model, no database here."""

import sys
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import Error, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import import_string
from django.utils.translation import gettext_lazy as _

from .errors import UnfitTasks


class LetsGoWorkerConfig(AppConfig):
    """django_letsgo_worker as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker"
    label = "django_letsgo_worker"
    verbose_name = _("Background work")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        # Checks register themselves.
        from . import checks, conf, logs, registry, schedules  # noqa: F401

        logs.connect()
        schedules.connect()
        try:
            chosen = conf.settings()
        except ImproperlyConfigured:
            # `manage.py check` reports it in one sentence, and no worker starts; what declares schedules and
            # tasks would end in a traceback.
            return
        # Modules named `tasks` are imported by the backend, and only where it is in use.
        registry.autodiscover(chosen.imports, names=[name for name in chosen.autodiscover if name != "tasks"])
        if _names_our_tasks():
            _connect_tasks()


def _names_our_tasks() -> bool:
    """Return whether TASKS names a class of ours; otherwise nothing imports our backend."""
    tasks = getattr(settings, "TASKS", None)
    backends = tasks.values() if isinstance(tasks, dict) else ()
    return any(_is_ours(params.get("BACKEND")) for params in backends if isinstance(params, dict))


def _is_ours(path: Any) -> bool:
    root = path.partition(".")[0] if isinstance(path, str) else ""
    if root in ("", "django", "django_tasks", __package__):
        return root == __package__
    try:
        # A project's own class on top of ours imports ours.
        import_string(path)
    except UnfitTasks:
        return True
    except Exception:  # other modules may raise anything; Django reports it when it needs them
        return False
    return f"{__package__}.backend" in sys.modules


def _connect_tasks() -> None:
    try:
        from . import backend
    except UnfitTasks as error:
        unfit = Error(str(error), id="letsgo_tasks.E003")
        register(lambda **kwargs: [unfit])
    else:
        backend.connect()
