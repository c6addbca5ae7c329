"""A database router: sends this app's models and tables to the alias that LETSGO_WORKER names.

The verbs name their alias themselves; this is for Django's own ways: Message.objects, the admin, migrate.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps

from .conf import settings

APP = "django_letsgo_worker"


class LetsGoRouter:
    """An entry of DATABASE_ROUTERS; it has no opinion on other apps.

    `further_aliases` of a subclass get the tables, too: those that `enqueue(using=...)` names.
    """

    further_aliases: tuple[str, ...] = ()

    def db_for_read(self, model: Any, **hints: Any) -> str | None:
        return self._home_of(model, **hints)

    def db_for_write(self, model: Any, **hints: Any) -> str | None:
        return self._home_of(model, **hints)

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        if not _is_ours(app_label):
            return None
        return db in (settings().database, *self.further_aliases)

    def _home_of(self, model: Any, *, instance: Any = None, **hints: Any) -> str | None:
        if not _is_ours(model._meta.app_label):
            return None
        # What belongs to a row is where that row is.
        of_row: str | None = None if instance is None else instance._state.db
        return of_row or settings().database


def _is_ours(app_label: str) -> bool:
    """Whether these are rows that are written together with messages: ours, or an optional app's."""
    try:
        name = apps.get_app_config(app_label).name
    except LookupError:
        # Only migrations remember it.
        return False
    return name == APP or name.startswith(f"{APP}.")
