"""Small optional apps around the queue, each off unless it is in INSTALLED_APPS; and how they read a setting.

The core knows none of them, and each works without the others; one that finds another installed may use it.
"""

from typing import Any

import environ
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured


def setting(name: str, default: Any = None, *, may_be_empty: bool = False) -> Any:
    """Return a setting: a variable of the environment wins over Django's settings.

    An empty variable counts only where that may be an answer.
    """
    env = environ.Env()
    if env.ENVIRON.get(name) or (may_be_empty and name in env.ENVIRON):
        return env.str(name)
    return getattr(settings, name, default)


def setting_names(name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    """Return a setting that is a list of names, or text with commas between them (ImproperlyConfigured)."""
    value = setting(name, default, may_be_empty=True)
    if value is None:
        return default
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple, set, frozenset)) or not all(isinstance(v, str) for v in value):
        raise ImproperlyConfigured(f"{name} must be a list of names.")
    return tuple(value)
