"""The Django app, its carrier, and the check that it is used.

The carrier gives each delivery a scope that knows its message, and that ends with it. Nothing travels with a
message; what is sent to Sentry is the SDK's business.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.core.checks import CheckMessage, Error, Warning, register
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from ... import context
from ...conf import settings
from ...delivery import Delivery

NAME = "sentry"


class SentryConfig(AppConfig):
    """django_letsgo_worker.contrib.sentry as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.sentry"
    label = "letsgo_sentry"
    verbose_name = _("Sentry")

    def ready(self) -> None:
        register(check_sentry, self.label)
        context.register(NAME, ScopeOfDelivery())


class ScopeOfDelivery:
    """The carrier that CONTEXT names "sentry"."""

    def capture(self) -> dict[str, Any]:
        return {}

    def restore(self, delivery: Delivery) -> AbstractContextManager[None]:
        return _scope_of(delivery)


@contextmanager
def _scope_of(delivery: Delivery) -> Iterator[None]:
    import sentry_sdk

    with sentry_sdk.isolation_scope() as scope:
        scope.set_tag("message_type", delivery.type)
        scope.set_tag("queue", delivery.queue)
        scope.set_tag("attempt", str(delivery.attempt))
        scope.set_tag("message_id", str(delivery.message_id))
        yield


def check_sentry(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Report why handlers would run without a scope."""
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
            hint="Add 'sentry' to CONTEXT, in the first place.",
            id="letsgo_sentry.W001",
        )
    ]
