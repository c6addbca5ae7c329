"""Which Task a message is: the registered one, or one that is imported by the path in its type.

What is imported must be a Task: no row can name any other callable.
"""

from __future__ import annotations

import importlib
import logging
import pkgutil
from contextlib import suppress
from typing import Any

from django.utils.module_loading import import_string

from .. import registry
from ..conf import settings
from .compat import Task, task_backends
from .handlers import register, task_behind
from .tasks import PREFIX, LetsGoTask

logger = logging.getLogger("django_letsgo_worker.tasks")


def ours() -> list[str]:
    """Return the aliases of the project's backends whose tasks are ours."""
    return [alias for alias in task_backends if _is_ours(task_backends.settings[alias])]


def _is_ours(params: dict[str, Any]) -> bool:
    # What cannot be imported Django reports, when it is asked for; others' modules may raise anything.
    with suppress(Exception):
        tasks = getattr(import_string(params.get("BACKEND", "")), "task_class", None)
        return isinstance(tasks, type) and issubclass(tasks, LetsGoTask)
    return False


def discover() -> None:
    """Import tasks.py of every installed app, unless AUTODISCOVER leaves it out."""
    if "tasks" not in settings().autodiscover:
        return
    for module in registry.modules_named("tasks"):
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] == module.partition(".")[0]:
                raise
            # A reusable app may bring tasks for another queue, which the project has no use for.
            logger.warning("%s is left out: it needs %s, which is not installed.", module, error.name)


def task_of(type: str) -> Task[..., Any]:
    """Return the task of a type, imported and registered if need be; ImportError when there is none."""
    known = task_behind(registry.find(type))
    if known is not None:
        return known
    path = type.removeprefix(PREFIX)
    try:
        found = pkgutil.resolve_name(path)
    except (ImportError, AttributeError, ValueError) as error:
        raise ImportError(f"The task {path} cannot be imported: {error}") from error
    if not isinstance(found, Task):
        raise ImportError(f"{path} is no task.")
    register(found, _options_for(found), type=type)
    return found


def _options_for(task: Task[..., Any]) -> dict[str, Any]:
    """Return OPTIONS of its backend, or, for a task that was enqueued by using(backend=...), of our first."""
    aliases = ours()
    alias = task.backend if task.backend in aliases else next(iter(aliases), None)
    return task_backends[alias].options if alias else {}
