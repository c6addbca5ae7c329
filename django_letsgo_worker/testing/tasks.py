"""Backends of django.tasks for tests that need no database: tasks run at once, or are only noted down.

Tasks are checked as by the backend of production; running and noting down is Django's own. A module
by itself, since it loads Django's task framework, which other tests need not have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .. import validation
from ..backend import LetsGoBackend, handlers
from ..backend.compat import BaseTaskBackend, Task, TaskResult
from ..conf import settings

if TYPE_CHECKING:
    from django.tasks.backends import dummy, immediate
else:
    # Those of the framework that is in use: Django's, or its backport.
    home = BaseTaskBackend.__module__.rpartition(".")[0]
    dummy, immediate = import_module(f"{home}.dummy"), import_module(f"{home}.immediate")


class _Checking(LetsGoBackend):
    """The checks of production, and then another backend's enqueue()."""

    django: type[BaseTaskBackend]
    # Results of these are known only where they were made, if at all.
    supports_get_result = False

    def enqueue(  # type: ignore[override]
        self, task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> TaskResult[..., Any]:
        """TypeError or ValueError for arguments that JSON or a database cannot hold, as in production."""
        arguments = handlers.payload_of(args, kwargs)
        validation.encode("payload", arguments, settings().max_payload_bytes)
        return self.django.enqueue(self, task, **arguments)

    def get_result(self, result_id: str) -> TaskResult[..., Any]:
        """Return the answer of Django's backend behind this one."""
        return self.django.get_result(self, result_id)


class ImmediateBackend(_Checking, immediate.ImmediateBackend):  # type: ignore[misc]
    """Runs each task inside enqueue(), once: no database, no retry, and no wait for run_after."""

    django = immediate.ImmediateBackend


class RecordingBackend(_Checking, dummy.DummyBackend):  # type: ignore[misc]
    """Runs nothing: `results` of the backend lists what was enqueued, and clear() empties it."""

    django = dummy.DummyBackend
