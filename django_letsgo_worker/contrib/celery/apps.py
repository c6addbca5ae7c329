"""The Django app: finds tasks and declares schedules when Django is ready; checks of Celery's settings."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from ...conf import Settings, settings
from . import app, beat, conf


class CeleryConfig(AppConfig):
    """django_letsgo_worker.contrib.celery as an entry of INSTALLED_APPS."""

    name = app.NAME
    label = "letsgo_celery"
    verbose_name = _("Celery's interface")

    def ready(self) -> None:
        register(check_settings, self.label)
        try:
            found = settings()
        except ImproperlyConfigured:
            # `manage.py check` reports it in one sentence.
            found = Settings()
        if "tasks" in found.autodiscover:
            app.current_app().autodiscover_tasks()
        for one in app.all_apps():
            one.get_ready()
            for task in one.tasks.values():
                # Again: now the settings of its app, such as task_routes, may be asked.
                task.register()
            beat.declare(one)


def check_settings(**kwargs: Any) -> list[CheckMessage]:
    """Report settings of Celery's that change nothing here, and those that ask for what cannot be."""
    found: list[CheckMessage] = []
    for one in app.all_apps():
        for name in conf.pickling(one.conf):
            found.append(
                Error(
                    f"{name} asks for another serializer than JSON, and messages are JSON.",
                    hint="Remove it, and send text, numbers, lists, dictionaries; of a row its primary key.",
                    id="letsgo_celery.E002",
                )
            )
        if names := conf.without_effect(one.conf):
            found.append(
                Warning(
                    f"{', '.join(names)} {'has' if len(names) == 1 else 'have'} no effect here.",
                    hint="docs/coming-from/celery.md says what there is instead.",
                    id="letsgo_celery.W001",
                )
            )
    return found
