"""Celery's exceptions that tasks raise and callers catch, and the one that refuses what is not here."""

from __future__ import annotations

import builtins
from datetime import datetime
from typing import Any

from ...errors import LetsGoError


class UnsupportedCelery(LetsGoError, NotImplementedError):
    """Something of Celery's that has no counterpart here; the sentence says what to do instead."""


class CeleryError(LetsGoError):
    """Root of the errors that have Celery's names."""


class TaskError(CeleryError):
    """A task did not do what it should; also an error of another process that cannot be made again here."""


class MaxRetriesExceededError(TaskError):
    """A task asked for a retry, and has none left; `task_args` and `task_kwargs` are its arguments."""

    def __init__(self, *args: Any, task_args: Any = (), task_kwargs: Any = None) -> None:
        self.task_args = task_args
        self.task_kwargs = task_kwargs or {}
        super().__init__(*args)


class NotRegistered(TaskError, KeyError):
    """No task of this name is known here."""

    def __init__(self, name: str) -> None:
        super().__init__(f"No task is named {name!r}: is its module imported?")
        self.name = name

    def __str__(self) -> str:
        # KeyError would show its repr.
        return str(self.args[0])


class TimeoutError(TaskError, builtins.TimeoutError):
    """A result was not there in time."""


class TaskRevokedError(TaskError):
    """The task was cancelled, or had not begun when it expired: there is no result."""


class TaskPredicate(CeleryError):
    """What a task raises on purpose."""


class Retry(TaskPredicate):
    """Raised by a task's retry(): run it again, after so many seconds or at a moment.

    `when` is a number of seconds or an aware datetime, `exc` the exception that made the task ask for it,
    `max_attempts` how often the task may run in all, None for what the task says.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | None = None,
        *,
        max_attempts: int | None = None,
        is_eager: bool = False,
    ) -> None:
        self.message, self.exc, self.when = message, exc, when
        self.max_attempts, self.is_eager = max_attempts, is_eager
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """Return when it runs again, for people."""
        return f"at {self.when}" if isinstance(self.when, datetime) else f"in {self.when}s"

    def __str__(self) -> str:
        if self.message:
            return self.message
        return f"Retry {self.humanize()}" + (f": {self.exc!r}" if self.exc is not None else "")


class Ignore(TaskPredicate):
    """Raised by a task that has nothing to say: it ends, and counts as done."""


class Reject(TaskPredicate):
    """Raised by a task to give its message up, which is then a dead letter.

    `reason` is text for people. With `requeue` the same attempt begins again in a second.
    """

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason, self.requeue = reason, requeue
        super().__init__(reason, requeue)

    def __str__(self) -> str:
        return "" if self.reason is None else str(self.reason)
