"""What `manage.py check` says about this app before anything runs.

Only facts that can be known without a database stand here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from .conf import settings


def check_all(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return everything that is wrong with the settings."""
    try:
        alias = settings().database
    except ImproperlyConfigured as error:
        return [checks.Error(str(error), id="letsgo_worker.E001")]
    return [*_check_database(alias), *_check_time_zone(alias)]


def _check_database(alias: str) -> Iterator[checks.CheckMessage]:
    if alias not in django_settings.DATABASES:
        yield checks.Error(
            f"LETSGO_WORKER names the database {alias!r}, which is not one.", id="letsgo_worker.E002"
        )


def _check_time_zone(alias: str) -> Iterator[checks.CheckMessage]:
    if not django_settings.USE_TZ:
        yield checks.Error(
            "django_letsgo_worker needs USE_TZ = True: without it nobody can say when a stored time is.",
            id="letsgo_worker.E003",
        )
    zone = django_settings.DATABASES.get(alias, {}).get("TIME_ZONE")
    if zone not in (None, "UTC"):
        yield checks.Error(
            f"django_letsgo_worker needs its database in UTC, but TIME_ZONE of {alias!r} is {zone!r}.",
            hint="Remove TIME_ZONE from this entry of DATABASES.",
            id="letsgo_worker.E004",
        )
