"""The Django app: its reserved type, and the check of its settings."""

from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from . import conf


class ContactConfig(AppConfig):
    """django_letsgo_worker.contrib.contact as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.contact"
    label = "letsgo_contact"
    verbose_name = _("Contact form")
    default_auto_field = "django.db.models.BigAutoField"
    letsgo_types = ("letsgo:contact",)

    def ready(self) -> None:
        checks.register(check_contact, "letsgo_worker")


def check_contact(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return everything that is wrong with the settings."""
    found: list[checks.CheckMessage] = []
    for read in (conf.max_bytes, conf.rate, conf.recipients):
        try:
            read()
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), id="letsgo_contact.E001"))
    return found
