"""Django's task framework under one name: django.tasks, or on Django 5.2 its backport django_tasks.

The two are never mixed: their classes, errors and signals are different objects. Names that versions
of the backport spell differently are found here, and a version that lacks them is refused.
"""

from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..errors import UnfitTasks

if TYPE_CHECKING or find_spec("django.tasks"):
    from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import TASK_REFRESH_ATTRS, TaskError
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
else:

    def _named(module: str, *names: str) -> Any:
        """Return what a module of the backport has under the first of these names that it knows."""
        try:
            found = import_module(f"django_tasks{module}")
        except ImportError as error:
            raise UnfitTasks(_version(), str(error)) from error
        for name in names:
            if hasattr(found, name):
                return getattr(found, name)
        raise UnfitTasks(_version(), f"{found.__name__} has no {names[0]}")

    def _version() -> str | None:
        try:
            return metadata.version("django-tasks")
        except metadata.PackageNotFoundError:
            return None

    TaskContext = _named("", "TaskContext")
    TaskResult = _named("", "TaskResult")
    TaskResultStatus = _named("", "TaskResultStatus")
    task_backends = _named("", "task_backends")
    BaseTaskBackend = _named(".backends.base", "BaseTaskBackend")
    Task = _named(".base", "Task")
    TASK_REFRESH_ATTRS = _named(".base", "TASK_REFRESH_ATTRS")
    TaskError = _named(".base", "TaskError")
    InvalidTask = _named(".exceptions", "InvalidTask", "InvalidTaskError")
    InvalidTaskBackend = _named(".exceptions", "InvalidTaskBackend", "InvalidTaskBackendError")
    TaskResultDoesNotExist = _named(".exceptions", "TaskResultDoesNotExist")
    task_enqueued = _named(".signals", "task_enqueued")
    task_finished = _named(".signals", "task_finished")
    task_started = _named(".signals", "task_started")
    normalize_json = _named(".utils", "normalize_json")
    if not hasattr(TaskResultStatus, "SUCCESSFUL"):
        # 0.12 has the words of Django's own, and passes options of @task() on.
        raise UnfitTasks(_version(), "its TaskResultStatus has no SUCCESSFUL")

__all__ = [
    "TASK_REFRESH_ATTRS",
    "BaseTaskBackend",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "normalize_json",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
