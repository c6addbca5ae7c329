"""What `manage.py check` says about contrib.api_token: a missing library, keys that cannot be used.

That no key is set is no error: the project may only verify, or not call its API at all.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from django.core import checks

from django_letsgo_worker.errors import LetsGoError

from . import NEEDS_LIBRARY, conf


def check_library(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Say that PyJWT or cryptography is missing."""
    if find_spec("jwt") is not None and find_spec("cryptography") is not None:
        return []
    return [checks.Error(NEEDS_LIBRARY, id="letsgo_api_token.E001")]


def check_keys(app_configs: Any, **kwargs: Any) -> list[checks.CheckMessage]:
    """Say which key cannot be used."""
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
