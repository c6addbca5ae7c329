"""Slack messages on important events; an optional app, silent until LETSGO_SLACK_URL is set.

Each is sent by a separate message of the queue, so that a Slack that is down fails nothing else.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {"send_slack_message": "outbox", "Mrkdwn": "notices", "escape": "notices", "mrkdwn": "notices"}

if TYPE_CHECKING:
    from .notices import Mrkdwn as Mrkdwn
    from .notices import escape as escape
    from .notices import mrkdwn as mrkdwn
    from .outbox import send_slack_message as send_slack_message

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
