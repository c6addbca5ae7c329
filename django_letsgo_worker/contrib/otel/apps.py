"""The Django app: its carrier takes the place of the core's `trace`; and the check that it is used.

Without OpenTelemetry's API the core's own stays, which passes the headers on.
"""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from ...conf import settings

NAME = "trace"


class OpenTelemetryConfig(AppConfig):
    """django_letsgo_worker.contrib.otel as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.otel"
    label = "letsgo_otel"
    verbose_name = _("OpenTelemetry")

    def ready(self) -> None:
        register(check_otel, self.label)
        try:
            from . import spans
        except ImportError:
            return
        spans.connect(NAME)


def check_otel(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report why there would be no spans."""
    try:
        import opentelemetry.trace  # noqa: F401
    except ImportError:
        return [
            Error(
                "django_letsgo_worker.contrib.otel needs opentelemetry-api, which is not installed.",
                hint="python -m pip install 'django-letsgo-worker[otel]'",
                id="letsgo_otel.E001",
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
            "django_letsgo_worker.contrib.otel is installed, and LETSGO_WORKER['CONTEXT'] does not name "
            "'trace': there are no spans.",
            hint="Add 'trace' to CONTEXT, in the first place.",
            id="letsgo_otel.W001",
        )
    ]
