"""Queued and scheduled work in the database that a Django project already has.

Only the public names stand here, and lazily: importing this package never imports models.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "enqueue": "messages",
    "aenqueue": "messages",
    "enqueue_many": "messages",
    "handler": "registry",
    "schedule": "declarations",
    "calendar": "calendars",
    "message_type": "typed",
    "Delivery": "delivery",
    "Retry": "outcomes",
    "Snooze": "outcomes",
    "Reject": "outcomes",
    "LetsGoError": "errors",
}

if TYPE_CHECKING:
    from .calendars import calendar as calendar
    from .declarations import schedule as schedule
    from .delivery import Delivery as Delivery
    from .errors import LetsGoError as LetsGoError
    from .messages import aenqueue as aenqueue
    from .messages import enqueue as enqueue
    from .messages import enqueue_many as enqueue_many
    from .outcomes import Reject as Reject
    from .outcomes import Retry as Retry
    from .outcomes import Snooze as Snooze
    from .registry import handler as handler
    from .typed import message_type as message_type

__all__ = [*_HOMES, "__version__"]


# Not for type checkers: to them it would say that every name is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
