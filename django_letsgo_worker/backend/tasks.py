"""The tasks of this backend: their options beyond Django's own, and refusals of what no worker could run.

__init__.py says which message a task becomes; handlers.py runs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from .. import validation
from ..delivery import Delivery
from ..errors import InvalidMessage
from ..functions import unfit
from ..hints import no_option
from ..policies import NO_POLICIES, Policies, checked
from .compat import InvalidTask, Task, TaskContext

P = ParamSpec("P")
R = TypeVar("R")

# A message of such a type is a task; what follows is its module path.
PREFIX = "letsgo:task:"
LONGEST_PATH = 255 - len(PREFIX)
# Options of one task, and in capitals, in OPTIONS, of all tasks of a backend.
POLICY = (
    "max_attempts", "backoff", "timeout", "atomic", "retry_on", "give_up_on", "succeed_on", "on_dead",
    "unique", "keep_for",
)  # fmt: skip
# The arguments of Django's own using().
USING = frozenset({"priority", "queue_name", "run_after", "backend"})

# What people who come from Celery look for.
_INSTEAD = {
    "delay": "Enqueue it with enqueue().",
    "delay_on_commit": "Enqueue it with enqueue(): it waits for the commit of the transaction.",
    "apply_async": "Enqueue it with enqueue(); using() takes the options.",
    "apply": "Call the function here and now with call().",
    "s": "At the end of a task call enqueue() of the next one.",
}

if TYPE_CHECKING:
    TaskOf = Task
else:

    class TaskOf:
        """Django's Task, which is generic to type checkers only."""

        def __class_getitem__(cls, parameters: Any) -> type:
            return Task


@dataclass(frozen=True, slots=True, kw_only=True)
class LetsGoTask(TaskOf[P, R]):
    """A task with the options of a handler; None means what OPTIONS of its backend say.

    `max_attempts` is from 1 to 32000; `backoff` the pause before the next: "1m", "10m", "1h", seconds, a list
    of them, or a function; `timeout` is in seconds. `atomic` runs a plain function in one transaction with
    its acknowledgement. `retry_on`, `give_up_on` and `succeed_on` are exception classes or their dotted
    paths: with `retry_on` any other is final, one of `give_up_on` always is, and with one of `succeed_on` the
    task counts as done. `on_dead` is the type of a message that follows the death of a task. `keep_for` is
    for how many days its result is kept, unless it died. With `unique_key` at most one task of this function
    and key waits or runs, with `unique="arguments"` one for each set of arguments; enqueueing another gives
    the result of that one.
    """

    max_attempts: int | None = None
    backoff: Any = field(default=None, hash=False)
    timeout: float | None = None
    atomic: bool | None = None
    retry_on: Any = field(default=None, hash=False)
    give_up_on: Any = field(default=None, hash=False)
    succeed_on: Any = field(default=None, hash=False)
    on_dead: str | None = None
    unique: str | None = None
    keep_for: float | None = None
    unique_key: str | None = None

    def using(self, *, unique_key: str | None = None, **changes: Any) -> LetsGoTask[P, R]:
        """Return a copy with other defaults: another `unique_key`, or `changes`, which are Django's own.

        Those are priority, queue_name, run_after (here a timedelta from then, too) and backend.
        """
        if unknown := sorted(set(changes) - USING):
            raise TypeError(no_option("using()", unknown, {*USING, "unique_key"}))
        # Not super(): with slots, dataclass() makes a second class, which that would not find.
        changed: Any = Task.using(self, **changes)
        copy: LetsGoTask[P, R] = changed if unique_key is None else replace(changed, unique_key=unique_key)
        return copy

    def enqueue_many(self, calls: Iterable[Sequence[Any] | Mapping[str, Any]]) -> list[str]:
        """Enqueue this task once for each of `calls`, a tuple of arguments or a dictionary of named ones.

        Returns the ids of their results, in order; get_result() takes one. It is one statement for some
        thousand tasks, and all of them or none are enqueued; no signal is sent for each. TypeError or
        ValueError for arguments that the function does not take, or that JSON or a database cannot hold.
        """
        arguments = [((), call) if isinstance(call, Mapping) else (tuple(call), {}) for call in calls]
        in_bulk = getattr(self.get_backend(), "enqueue_many", None)
        if in_bulk is None:
            return [Task.enqueue(self, *args, **kwargs).id for args, kwargs in arguments]
        ids: list[str] = in_bulk(self, arguments)
        return ids

    def call(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now with `args` and `kwargs`.

        A context among these becomes one of ours, whatever backend calls.
        """
        result: R = Task.call(self, *_in_our_context(self, args), **kwargs)
        return result

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            hint = f" {_INSTEAD[name]}" if name in _INSTEAD else ""
            raise AttributeError(f"A task has no {name!r}.{hint}", name=name, obj=self)

    async def acall(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call an async function here and now with `args` and `kwargs`: see call()."""
        result: R = await Task.acall(self, *_in_our_context(self, args), **kwargs)
        return result


@dataclass(frozen=True, slots=True, kw_only=True)
class LetsGoTaskContext(TaskContext):  # type: ignore[type-arg, misc]
    """What a task with takes_context=True is given: Django's `task_result` and `attempt`, and more.

    `delivery` is the attempt as a handler gets it, None where another backend runs the task.
    """

    delivery: Delivery | None = None

    @property
    def max_attempts(self) -> int:
        """The number of attempts that are allowed."""
        return self.attempt if self.delivery is None else self.delivery.max_attempts

    @property
    def is_last_attempt(self) -> bool:
        """Whether a failure now is the end of the task."""
        return self.attempt >= self.max_attempts

    def progress(self, fraction: float, text: str = "") -> None:
        """Say how far the work is: see Delivery.progress()."""
        if self.delivery is not None:
            self.delivery.progress(fraction, text)


def _in_our_context(task: Task[..., Any], args: Sequence[Any]) -> Sequence[Any]:
    if not task.takes_context or not args or isinstance(args[0], LetsGoTaskContext):
        return args
    return LetsGoTaskContext(task_result=args[0].task_result), *args[1:]


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


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings of a backend say about its tasks: for all, and by patterns of their module paths."""

    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    patterns: Policies = NO_POLICIES

    def policy_of(self, task: Task[..., Any] | None) -> dict[str, Any]:
        """Return the options of a task's handler (InvalidMessage).

        Each is the patterns', else the task's own, else that of all tasks.
        """
        policy = {}
        for name in POLICY:
            own = getattr(task, name, None)
            policy[name] = self.options.get(name.upper()) if own is None else own
        atomic = policy.pop("atomic")
        if not (atomic is None or isinstance(atomic, bool)):
            raise InvalidMessage(f"atomic is True or False, not {validation.show(atomic)}.")
        ruled = {} if task is None else self.patterns.of(task.module_path)
        return {**checked(by_path=True, **policy), "atomic": bool(atomic), **ruled}


def check(task: Task[..., Any], rules: Rules) -> None:
    """Refuse a task that Django accepts and no worker could run (InvalidTask)."""
    try:
        _check_place(task)
        validation.check_name("queue", task.queue_name)
        visibility_of(task)
        key = getattr(task, "unique_key", None)
        if key is not None:
            validation.check_unique_key(key)
        atomic = rules.policy_of(task)["atomic"]
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
