"""What `manage.py check` says about this app's settings."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from . import conf


def check_contact(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Return everything that is wrong with the settings."""
    found: list[checks.CheckMessage] = []
    for read in (conf.max_bytes, conf.rate, conf.recipients):
        try:
            read()
        except ImproperlyConfigured as error:
            found.append(checks.Error(str(error), id="letsgo_contact.E001"))
    return found
