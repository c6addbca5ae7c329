"""Find the tasks of a project, and the Task of a message; pass on what a worker's signals say about tasks.

An object that is imported by the path in a type must be a Task: no row can name any other callable.
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
from ..delivery import Delivery
from ..errors import MessageNotFound
from ..signals import delivery_finished, message_died, unknown_type
from .compat import Task, TaskResult, task_backends, task_finished
from .handlers import register, sender_of, task_behind
from .tasks import PREFIX, LetsGoTask, Rules

logger = logging.getLogger("django_letsgo_worker.tasks")

ENDS = ("succeeded", "dead", "expired")
# Types that were looked for, found or not: importing a module that failed would run it again.
_looked_for: set[str] = set()


def ours() -> list[str]:
    """Return the aliases of the project's backends whose tasks are ours."""
    return [alias for alias in task_backends if _is_ours(task_backends.settings[alias])]


def _is_ours(params: dict[str, Any]) -> bool:
    # Django reports a backend that cannot be imported when it is asked for; other modules may raise anything.
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
        raise ImportError(f"{path} is not a task.")
    register(found, _rules_for(found), type=type)
    return found


def _rules_for(task: Task[..., Any]) -> Rules:
    """Return the rules of its backend, or of our first for one that was enqueued by using(backend=...)."""
    aliases = ours()
    alias = task.backend if task.backend in aliases else next(iter(aliases), None)
    return getattr(task_backends[alias], "rules", Rules()) if alias else Rules()


# -- a worker's signals, passed on ---------------------------------------------------------------------------


def connect() -> None:
    """Listen to the worker's signals; once, however often it is called."""
    delivery_finished.connect(report_end, dispatch_uid="django_letsgo_worker.backend.end")
    message_died.connect(report_death, dispatch_uid="django_letsgo_worker.backend.death")
    unknown_type.connect(look_for, dispatch_uid="django_letsgo_worker.backend.unknown")


def report_end(
    delivery: Delivery,
    outcome: str,
    seconds: float,
    exception: BaseException | None,
    result: Any,
    **kwargs: Any,
) -> None:
    """Send task_finished for a delivery that was a task's last."""
    from . import results

    if outcome in ENDS and delivery.type.startswith(PREFIX):
        task = task_of(delivery.type)
        _send_finished(results.ended(task, delivery, outcome, seconds, result, exception), exception)


def report_death(message_id: int, type: str, delivery: Delivery | None, **kwargs: Any) -> None:
    """Send task_finished for a task without a delivery to report it: its worker died each time."""
    from . import results

    if delivery is None and type.startswith(PREFIX):
        try:
            result = results.result_of(results.find(message_id), task_of(type))
        except (MessageNotFound, ImportError):
            # The settings keep no dead letters, or the task is unknown here: there is nothing to send.
            return
        _send_finished(result, None)


def _send_finished(result: TaskResult[..., Any], error: BaseException | None) -> None:
    if error is None:
        task_finished.send_robust(sender=sender_of(result), task_result=result)
        return
    traceback = error.__traceback__
    try:
        # Django's own receiver, and error trackers like it, ask sys.exc_info() for what went wrong.
        raise error
    except BaseException:
        task_finished.send_robust(sender=sender_of(result), task_result=result)
    finally:
        error.__traceback__ = traceback


def look_for(type: str, **kwargs: Any) -> None:
    """Import, once, a task that waits and that this worker does not know."""
    if not type.startswith(PREFIX) or type in _looked_for:
        return
    _looked_for.add(type)
    try:
        task_of(type)
    except BaseException:  # a module may do anything, SystemExit included
        logger.warning("Messages of the type %s wait: there is no such task here.", type, exc_info=True)
    else:
        logger.info("Found the task of the type %s.", type)
