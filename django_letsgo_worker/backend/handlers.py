"""A task as a handler: registered, and called with its context, its signal and its JSON around it.

The worker does claims, outcomes and retries, as for any other handler.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Mapping, Sequence
from functools import partial, wraps
from inspect import isawaitable, iscoroutinefunction
from typing import Any

from asgiref.sync import sync_to_async

from .. import functions, payloads, registry, validation
from ..delivery import Delivery
from ..errors import InvalidMessage
from ..outcomes import Reject
from ..registry import Handler
from .compat import (
    BaseTaskBackend,
    InvalidTaskBackend,
    Task,
    TaskResult,
    normalize_json,
    task_backends,
    task_started,
)
from .tasks import LetsGoTaskContext, Rules, type_of


class UnfitReturnValue(Reject, TypeError):
    """A task's return value that JSON cannot hold; another attempt would repeat the work in vain."""


def register(task: Task[..., Any], rules: Rules, *, type: str | None = None) -> None:
    """Make a task the handler of its type, unless it already is; `rules` are those of its backend."""
    type = type or type_of(task)
    known = task_behind(registry.find(type))
    if known is not None and known.func is task.func:
        if known.backend != task.backend:
            return
        # As it was decorated: a copy may be for another queue.
        task = known
    policy = rules.policy_of(task)
    if known is task and _policies.get(type) == policy:
        return
    _policies[type] = policy
    function = _awaitable(task) if iscoroutinefunction(task.func) else _plain(task)
    facts = {"queue": task.queue_name, "priority": int(task.priority), **policy}
    registry.add(Handler(type=type, function=function, check=partial(_check_payload, task), **facts))


# With which options each type was registered: the settings may have changed since.
_policies: dict[str, dict[str, Any]] = {}


def _check_payload(task: Task[..., Any], payload: Any) -> None:
    from . import results

    args, kwargs = results.arguments_of(payload)
    if (why := why_not_called(task, args, kwargs)) is not None:
        raise InvalidMessage(why)


def why_not_called(task: Task[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str | None:
    """Return a sentence if a task cannot be called with these arguments, else None."""
    context = [None] if task.takes_context else []
    why = functions.misfit(task.func, *context, *args, **kwargs)
    return why and f"The task {task.module_path} cannot be called so: {why}."


def changed(name: str, task: Task[..., Any]) -> Any:
    """Return what using() made of a task's field, or None where that is as it was decorated."""
    known = task_behind(registry.find(type_of(task)))
    value = getattr(task, name)
    return None if known is not None and value == getattr(known, name) else value


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


def payload_of(args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the payload of a call; TypeError or ValueError if neither Django nor ENCODER makes it JSON."""
    args, kwargs = payloads.written(list(args)), payloads.written(dict(kwargs))
    return {"args": as_json(args), "kwargs": as_json(kwargs)}


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
        value = task.call(*_arguments(task, result, delivery), **result.kwargs)
        return _kept_later(task, value) if isawaitable(value) else _kept(task, value)

    handle.task = task  # type: ignore[attr-defined]
    return handle


def _awaitable(task: Task[..., Any]) -> Any:
    @wraps(task.func)
    async def handle(delivery: Delivery) -> Any:
        from . import results

        result = await sync_to_async(results.begun)(task, delivery)
        await task_started.asend_robust(sender=sender_of(result), task_result=result)
        return _kept(task, await task.acall(*_arguments(task, result, delivery), **result.kwargs))

    handle.task = task  # type: ignore[attr-defined]
    return handle


def _arguments(task: Task[..., Any], result: TaskResult[..., Any], delivery: Delivery) -> list[Any]:
    if not task.takes_context:
        return result.args
    return [LetsGoTaskContext(task_result=result, delivery=delivery), *result.args]


async def _kept_later(task: Task[..., Any], value: Awaitable[Any]) -> Any:
    """Await the coroutine of an async function behind a plain decorator; the handler's caller awaits this."""
    return _kept(task, await value)


def _kept(task: Task[..., Any], value: Any) -> Any:
    """Return a task's return value as it will be read later, or end the task."""
    if functions.lazy_kind(value) is not None:
        # Nothing has run: the worker says so.
        return value
    try:
        value = as_json(value)
        validation.encode("It", value, None)
    except (TypeError, ValueError) as error:
        raise UnfitReturnValue(f"The return value of {task.module_path} cannot be kept. {error}") from error
    return value
