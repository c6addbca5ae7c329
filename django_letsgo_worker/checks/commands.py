"""A check of the commands: whether `manage.py` finds ours under their names.

Channels has a runworker, too: of two apps with a command of one name, Django takes the first.
"""

from __future__ import annotations

from typing import Any

from django.core.checks import CheckMessage, Warning, register
from django.core.management import get_commands

from .tags import PROJECT

APP = "django_letsgo_worker"
# What else calls the same.
OTHER_NAMES = {"runworker": "Use `manage.py letsgo worker run`, which is the same, or move"}


@register(PROJECT)
def check_commands(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Say which of our commands are those of another app."""
    owners = get_commands()
    return [
        Warning(
            f"`manage.py {name}` is the command of {owners[name]!r}: it hides that of {APP!r}.",
            hint=f"{OTHER_NAMES.get(name, 'Move')} {APP!r} above {owners[name]!r} in INSTALLED_APPS.",
            id="letsgo_worker.W006",
        )
        for name in ("runworker", "runscheduler", "letsgo")
        if owners[name] != APP
    ]
