"""The Django app, and the checks that its carrier is used and its setting can be read.

What is sent to Sentry, and how much of it, is the SDK's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from ... import context
from ...conf import settings
from . import conf

NAME = "sentry"


class SentryConfig(AppConfig):
    """django_letsgo_worker.contrib.sentry as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.sentry"
    label = "letsgo_sentry"
    verbose_name = _("Sentry")

    def ready(self) -> None:
        register(check_sentry, self.label)
        try:
            from . import deliveries, monitors
        except ImportError:
            context.carrier(NAME, capture=lambda: None, restore=nullcontext)
            return
        deliveries.connect(NAME)
        monitors.connect()


def check_sentry(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report why handlers would run without a scope, or a schedule without its monitor."""
    return [*_check_library(), *_check_settings()]


def _check_library() -> Iterator[CheckMessage]:
    try:
        import sentry_sdk  # noqa: F401
    except ImportError:
        yield Error(
            "django_letsgo_worker.contrib.sentry needs sentry-sdk, which is not installed.",
            hint="python -m pip install 'django-letsgo-worker[sentry]'",
            id="letsgo_sentry.E001",
        )


def _check_settings() -> Iterator[CheckMessage]:
    try:
        conf.check_ins()
    except ImproperlyConfigured as error:
        yield Error(str(error), id="letsgo_sentry.E002")
    try:
        is_used = NAME in settings().context
    except ImproperlyConfigured:
        return
    if not is_used:
        yield Warning(
            "django_letsgo_worker.contrib.sentry is installed, and LETSGO_WORKER['CONTEXT'] does not name "
            "'sentry': deliveries share one scope.",
            hint="Add 'sentry' to CONTEXT, in the first place.",
            id="letsgo_sentry.W001",
        )
