"""What a worker tells by its signals, told on: the end of a task, and types that may be tasks.

Nothing here decides or writes.
"""

from __future__ import annotations

import logging
from typing import Any

from ..delivery import Delivery
from ..errors import MessageNotFound
from ..signals import delivery_finished, message_died, unknown_type
from .compat import TaskResult, task_finished
from .discovery import task_of
from .handlers import sender_of
from .tasks import PREFIX

logger = logging.getLogger("django_letsgo_worker.tasks")

ENDS = ("succeeded", "dead", "expired")
# Types that were looked for, found or not: to import a module that fails is to run it again.
_looked_for: set[str] = set()


def connect() -> None:
    """Listen to the worker; once, however often it is called."""
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
    """Send task_finished for a task that no delivery tells of: its worker died each time."""
    from . import results

    if delivery is None and type.startswith(PREFIX):
        try:
            result = results.result_of(results.find(message_id), task_of(type))
        except (MessageNotFound, ImportError):
            # The settings keep no dead letters, or nobody knows the task: there is nothing to send.
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
    """Import a task that waits and that this worker does not know; once."""
    if not type.startswith(PREFIX) or type in _looked_for:
        return
    _looked_for.add(type)
    try:
        task_of(type)
    except BaseException:  # a module may do anything, SystemExit included
        logger.warning("Messages of the type %s wait: there is no such task here.", type, exc_info=True)
    else:
        logger.info("Found the task of the type %s.", type)
