"""Celery's interface over this queue: the tasks of a Celery project run with one import changed.

Celery itself is not needed. A task is a handler of the type `celery:` and its name, a call of it a message.
What cannot be carried over is refused with UnsupportedCelery, a sentence that says what to do instead.
"""

from . import exceptions, schedules, signals, states
from .app import Celery, current_app, current_task, shared_task
from .canvas import Signature, chain, chord, group, signature
from .exceptions import Ignore, MaxRetriesExceededError, Reject, Retry, UnsupportedCelery
from .result import AsyncResult, EagerResult
from .schedules import crontab, schedule
from .task import Task

__all__ = [
    "AsyncResult",
    "Celery",
    "EagerResult",
    "Ignore",
    "MaxRetriesExceededError",
    "Reject",
    "Retry",
    "Signature",
    "Task",
    "UnsupportedCelery",
    "chain",
    "chord",
    "crontab",
    "current_app",
    "current_task",
    "exceptions",
    "group",
    "schedule",
    "schedules",
    "shared_task",
    "signals",
    "signature",
    "states",
]
