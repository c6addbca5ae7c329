"""Helpers for a project's tests: handle what is due, fire schedules, and ask what was enqueued.

Only the public names stand here, and lazily: the pytest plugin beside them is loaded before Django is ready.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "drain": "due",
    "fire_due": "due",
    "occurrences_between": "due",
    "assert_enqueued": "assertions",
    "ImmediateBackend": "tasks",
    "RecordingBackend": "tasks",
}

if TYPE_CHECKING:
    from .assertions import assert_enqueued as assert_enqueued
    from .due import drain as drain
    from .due import fire_due as fire_due
    from .due import occurrences_between as occurrences_between
    from .tasks import ImmediateBackend as ImmediateBackend
    from .tasks import RecordingBackend as RecordingBackend

__all__ = list(_HOMES)


# Not for type checkers: to them it would say that every name is there.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
