"""System checks of this app: its library is there, and its carrier is in use."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from ...conf import settings
from .scopes import NAME


def check_sentry(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Say what keeps Sentry from surrounding handlers."""
    if find_spec("sentry_sdk") is None:
        return [
            Error(
                "django_letsgo_worker.contrib.sentry needs sentry-sdk, which is not installed.",
                hint="python -m pip install 'django-letsgo-worker[sentry]'",
                id="letsgo_sentry.E001",
            )
        ]
    try:
        is_used = NAME in settings().context
    except ImproperlyConfigured:
        return []
    if is_used:
        return []
    return [
        Warning(
            "django_letsgo_worker.contrib.sentry is installed, and LETSGO_WORKER['CONTEXT'] does not name "
            "'sentry': deliveries share one scope.",
            hint="Add 'sentry' to CONTEXT, as the first.",
            id="letsgo_sentry.W001",
        )
    ]
