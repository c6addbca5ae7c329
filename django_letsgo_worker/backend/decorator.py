"""@task: a task of Django's, on every supported version, with all options of this backend.

The tasks that it makes are in tasks.py. Nothing is enqueued here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, Literal, TypedDict, Unpack, overload

from ..hints import with_hints
from ..policies import ExceptionsByPath
from .tasks import LetsGoTask, LetsGoTaskContext, P, R


class TaskOptions(TypedDict, total=False):
    """The options of @task but takes_context, for type checkers."""

    priority: int
    queue_name: str
    backend: str
    max_attempts: int | None
    backoff: Any
    timeout: float | None
    atomic: bool | None
    retry_on: ExceptionsByPath | None
    give_up_on: ExceptionsByPath | None
    succeed_on: ExceptionsByPath | None
    on_dead: str | None
    unique: Literal["arguments"] | None
    keep_for: float | None
    unique_key: str | None


@overload
def task(function: Callable[P, R], /) -> LetsGoTask[P, R]: ...


@overload
def task(
    *, takes_context: Literal[True], **options: Unpack[TaskOptions]
) -> Callable[[Callable[Concatenate[LetsGoTaskContext, P], R]], LetsGoTask[P, R]]: ...


@overload
def task(
    *, takes_context: Literal[False] = False, **options: Unpack[TaskOptions]
) -> Callable[[Callable[P, R]], LetsGoTask[P, R]]: ...


@with_hints("@task")
def task(
    function: Any = None,
    /,
    *,
    takes_context: bool = False,
    priority: int = 0,
    queue_name: str = "default",
    backend: str = "default",
    max_attempts: int | None = None,
    backoff: Any = None,
    timeout: float | None = None,
    atomic: bool | None = None,
    retry_on: ExceptionsByPath | None = None,
    give_up_on: ExceptionsByPath | None = None,
    succeed_on: ExceptionsByPath | None = None,
    on_dead: str | None = None,
    unique: str | None = None,
    keep_for: float | None = None,
    unique_key: str | None = None,
) -> Any:
    """Make a task of the function below, as django.tasks.task does, with the options of this backend.

    `priority` (-100 to 100, larger is sooner), `queue_name`, `backend` (an alias of TASKS) and
    `takes_context` are Django's; with the last the function is given a LetsGoTaskContext first. The others
    are those of LetsGoTask, and None means what OPTIONS of the backend say.

    Raises InvalidTask for a function that cannot be a task and for invalid options, InvalidTaskBackend for an
    alias that TASKS does not have.
    """

    def decorate(function: Any) -> Any:
        return LetsGoTask(
            func=function, takes_context=takes_context, priority=priority, queue_name=queue_name,
            backend=backend, max_attempts=max_attempts, backoff=backoff, timeout=timeout, atomic=atomic,
            retry_on=retry_on, give_up_on=give_up_on, succeed_on=succeed_on, on_dead=on_dead, unique=unique,
            keep_for=keep_for, unique_key=unique_key,
        )  # fmt: skip

    return decorate if function is None else decorate(function)
