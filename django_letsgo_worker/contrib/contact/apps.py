"""The Django app: its reserved type and its checks."""

from django.apps import AppConfig
from django.core.checks import register
from django.utils.translation import gettext_lazy as _


class ContactConfig(AppConfig):
    """django_letsgo_worker.contrib.contact as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.contact"
    label = "letsgo_contact"
    verbose_name = _("Contact form")
    default_auto_field = "django.db.models.BigAutoField"
    letsgo_types = ("letsgo:contact",)

    def ready(self) -> None:
        from . import checks

        register(checks.check_contact, "letsgo_worker")
