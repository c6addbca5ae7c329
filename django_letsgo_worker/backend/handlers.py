"""A task as a handler: registered, and called with its context, its signal and its JSON around it.

The worker does claims, outcomes and retries, as for any other handler.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from functools import wraps
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async

from .. import registry, validation
from ..delivery import Delivery
from ..functions import lazy_kind
from ..outcomes import Reject
from ..registry import Handler
from .compat import (
    BaseTaskBackend,
    InvalidTaskBackend,
    Task,
    TaskContext,
    TaskResult,
    normalize_json,
    task_backends,
    task_started,
)
from .tasks import policy_of, type_of


class UnfitReturnValue(Reject, TypeError):
    """A task's return value that JSON cannot hold; another attempt would repeat the work in vain."""


def register(task: Task[..., Any], options: dict[str, Any], *, type: str | None = None) -> None:
    """Make a task the handler of its type, unless it already is; `options` are those of its backend."""
    type = type or type_of(task)
    known = task_behind(registry.find(type))
    if known is None or known.func is not task.func:
        policy = policy_of(task, options)
        function = _awaitable(task) if iscoroutinefunction(task.func) else _plain(task)
        registry.add(
            Handler(
                type=type, function=function, queue=task.queue_name, priority=int(task.priority), **policy
            )
        )


def task_behind(handler: Handler | None) -> Task[..., Any] | None:
    """Return the task that a handler was made from."""
    return getattr(handler.function, "task", None) if handler is not None else None


def sender_of(result: TaskResult[..., Any]) -> type[BaseTaskBackend]:
    """Return the class of a result's backend, the sender of its signals."""
    try:
        return type(task_backends[result.backend])
    except InvalidTaskBackend:
        # It was enqueued under other settings than those of this worker.
        return BaseTaskBackend


def as_json(value: Any) -> Any:
    """Return a value as it comes back from JSON; TypeError or ValueError if Django cannot make JSON of it."""
    try:
        return json.loads(json.dumps(normalize_json(value)))
    except RecursionError:
        raise ValueError("Nested too deeply, or within itself.") from None


def _plain(task: Task[..., Any]) -> Any:
    @wraps(task.func)
    def handle(delivery: Delivery) -> Any:
        from . import results

        result = results.begun(task, delivery)
        task_started.send_robust(sender=sender_of(result), task_result=result)
        value = task.call(*_arguments(task, result), **result.kwargs)
        return _kept_later(task, value) if isawaitable(value) else _kept(task, value)

    handle.task = task  # type: ignore[attr-defined]
    return handle


def _awaitable(task: Task[..., Any]) -> Any:
    @wraps(task.func)
    async def handle(delivery: Delivery) -> Any:
        from . import results

        result = await sync_to_async(results.begun)(task, delivery)
        await task_started.asend_robust(sender=sender_of(result), task_result=result)
        return _kept(task, await task.acall(*_arguments(task, result), **result.kwargs))

    handle.task = task  # type: ignore[attr-defined]
    return handle


def _arguments(task: Task[..., Any], result: TaskResult[..., Any]) -> list[Any]:
    return [TaskContext(task_result=result), *result.args] if task.takes_context else result.args


async def _kept_later(task: Task[..., Any], value: Awaitable[Any]) -> Any:
    """Await the coroutine of an async function behind a plain decorator; the handler's caller awaits this."""
    return _kept(task, await value)


def _kept(task: Task[..., Any], value: Any) -> Any:
    """Return a task's return value as it will be read later, or end the task."""
    if lazy_kind(value) is not None:
        # Nothing has run: the worker says so.
        return value
    try:
        value = as_json(value)
        validation.encode("It", value, None)
    except (TypeError, ValueError) as error:
        raise UnfitReturnValue(f"The return value of {task.module_path} cannot be kept. {error}") from error
    return value
