"""The tasks of this backend: their options beyond Django's own, and refusals of what no worker could run.

__init__.py says which message a task becomes; handlers.py runs it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import Any

from .. import validation
from ..errors import InvalidMessage
from ..functions import unfit
from ..hints import no_option
from ..registry import checked
from .compat import InvalidTask, Task

# A message of such a type is a task; what follows is its module path.
PREFIX = "letsgo:task:"
LONGEST_PATH = 255 - len(PREFIX)
# Options of one task, and in capitals, in OPTIONS, of all tasks of a backend.
POLICY = ("max_attempts", "backoff", "timeout", "atomic", "on_dead")
# The arguments of Django's own using().
USING = frozenset({"priority", "queue_name", "run_after", "backend"})


@dataclass(frozen=True, slots=True, kw_only=True)
class LetsGoTask(Task):  # type: ignore[type-arg]
    """A task with the options of a handler; None means what OPTIONS of its backend say.

    `max_attempts` is from 1 to 32000; `backoff` the pause before the next: "1m", "10m", "1h", seconds, a list
    of them, or a function; `timeout` is in seconds. `atomic` runs a plain function in one transaction with
    its acknowledgement. `on_dead` is the type of a message that follows the death of a task. With
    `unique_key` at most one task of this function and key waits or runs; enqueueing another gives the result
    of that one.
    """

    max_attempts: int | None = None
    backoff: Any = field(default=None, hash=False)
    timeout: float | None = None
    atomic: bool | None = None
    on_dead: str | None = None
    unique_key: str | None = None

    def using(self, *, unique_key: str | None = None, **changes: Any) -> Task[..., Any]:
        """Return a copy with other defaults: another `unique_key`, or `changes`, which are Django's own.

        Those are priority, queue_name, run_after (here a timedelta from then, too) and backend.
        """
        if unknown := sorted(set(changes) - USING):
            raise TypeError(no_option("using()", unknown, {*USING, "unique_key"}))
        # Not super(): with slots, dataclass() makes a second class, which that would not find.
        changed: Any = Task.using(self, **changes)
        copy: Task[..., Any] = changed if unique_key is None else replace(changed, unique_key=unique_key)
        return copy


def type_of(task: Task[..., Any]) -> str:
    """Return the type of a task's messages."""
    return PREFIX + task.module_path


def copy_of(task: Task[..., Any], **changes: Any) -> Task[..., Any]:
    """Return a copy without validating it: settings may have changed since the task was enqueued.

    Changes of fields that this class of task does not have are left out.
    """
    copy = object.__new__(type(task))
    for one in fields(task):
        object.__setattr__(copy, one.name, changes.get(one.name, getattr(task, one.name)))
    return copy


def dated(task: Task[..., Any]) -> Task[..., Any]:
    """Return the task as Django can validate it: Django knows no run_after but a datetime."""
    is_known = task.run_after is None or isinstance(task.run_after, datetime)
    return task if is_known else copy_of(task, run_after=None)


def visibility_of(task: Task[..., Any]) -> dict[str, Any]:
    """Return run_after in the words of enqueue(); a timedelta counts from then."""
    run_after: Any = task.run_after
    if run_after is None:
        return {}
    if isinstance(run_after, timedelta):
        return {"delay": validation.check_seconds("run_after", run_after)}
    return {"visible_at": validation.check_moment("run_after", run_after)}


def policy_of(task: Task[..., Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a task's handler: its own, else those of its backend (InvalidMessage)."""
    policy = {}
    for name in POLICY:
        own = getattr(task, name, None)
        policy[name] = options.get(name.upper()) if own is None else own
    atomic = policy.pop("atomic")
    if not (atomic is None or isinstance(atomic, bool)):
        raise InvalidMessage(f"atomic is True or False, not {validation.show(atomic)}.")
    return {**checked(**policy), "atomic": bool(atomic)}


def check(task: Task[..., Any], options: dict[str, Any]) -> None:
    """Refuse a task that Django accepts and no worker could run (InvalidTask)."""
    try:
        _check_place(task)
        validation.check_name("queue", task.queue_name)
        visibility_of(task)
        key = getattr(task, "unique_key", None)
        if key is not None:
            validation.check_unique_key(key)
        atomic = policy_of(task, options)["atomic"]
    except InvalidMessage as error:
        raise InvalidTask(str(error)) from None
    if (why := unfit(task.func, atomic=atomic)) is not None:
        raise InvalidTask(f"The task {task.module_path} {why}.")


def _check_place(task: Task[..., Any]) -> None:
    if task.func.__module__ == "__main__":
        raise InvalidTask(f"Workers cannot import {task.module_path}: define the task in a module.")
    try:
        validation.check_name("type", type_of(task))
    except InvalidMessage:
        raise InvalidTask(
            f"Workers cannot import {validation.show(task.module_path)}: the path of a task is at most "
            f"{LONGEST_PATH} ASCII letters, digits, underscores and dots."
        ) from None
