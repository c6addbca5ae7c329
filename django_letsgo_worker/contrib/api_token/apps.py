"""The Django app and its checks; it has no tables and no messages.

That no key is set is no error: the project may only verify, or not call its API at all.
"""

from importlib.util import find_spec
from typing import Any

from django.apps import AppConfig
from django.core import checks
from django.utils.translation import gettext_lazy as _

from ...errors import LetsGoError
from . import NEEDS_LIBRARY, conf


class ApiTokenConfig(AppConfig):
    """django_letsgo_worker.contrib.api_token as an entry of INSTALLED_APPS."""

    name = "django_letsgo_worker.contrib.api_token"
    label = "letsgo_api_token"
    verbose_name = _("Access tokens")

    def ready(self) -> None:
        checks.register(check_library, "letsgo_worker")
        checks.register(check_keys, "letsgo_worker")


def check_library(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report that PyJWT or cryptography is missing."""
    if find_spec("jwt") is not None and find_spec("cryptography") is not None:
        return []
    return [checks.Error(NEEDS_LIBRARY, id="letsgo_api_token.E001")]


def check_keys(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Report a key that cannot be used."""
    try:
        from .keys import signing_key, verifying_keys

        given = conf.read()
        verifying_keys(given)
        if given.private_key:
            signing_key(given)
    except ImportError:
        return []  # check_library says it
    except LetsGoError as error:
        return [checks.Error(str(error), id="letsgo_api_token.E002")]
    return []
