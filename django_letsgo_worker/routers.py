"""A database router that sends this app's models and tables to the alias that LETSGO_WORKER names.

Verbs name their alias themselves; this serves Django's own access: Message.objects, the admin, migrate.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps

from .conf import settings

APP = "django_letsgo_worker"


class LetsGoRouter:
    """An entry of DATABASE_ROUTERS; it has no opinion on other apps.

    The `further_aliases` of a subclass get the tables, too: for `enqueue(using=...)`.
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
        # Related rows are where their row is.
        of_row: str | None = None if instance is None else instance._state.db
        return of_row or settings().database


def _is_ours(app_label: str) -> bool:
    """Return whether an app's rows are written together with messages: ours, or an optional app's."""
    try:
        name = apps.get_app_config(app_label).name
    except LookupError:
        # An app that only migrations still know.
        return False
    return name == APP or name.startswith(f"{APP}.")
