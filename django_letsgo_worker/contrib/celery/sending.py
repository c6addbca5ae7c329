"""Calls on their way into the queue: arguments checked, queue and priority chosen, one message enqueued.

options.py has the words of a call, routes.py those of `task_routes`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from django.apps import apps
from django.db import Error

from ... import functions
from ...delivery import Delivery
from ...validation import private
from . import ids, options, requests, result, routes, values
from .definition import Definition
from .result import AsyncResult

PLACES = ("queue", "priority")


@private(Error, TypeError)
def send(
    task: Definition,
    args: Iterable[Any],
    kwargs: Mapping[str, Any],
    call: Mapping[str, Any],
    *,
    chained: Mapping[str, Any] | None = None,
    after: Delivery | None = None,
) -> AsyncResult:
    """Enqueue a call of a task with the options `call`, whatever the settings say about eager ones.

    `chained` is its place in a chain; the result of one that begins is that of its last task. `after` is the
    delivery that it follows in one: nothing is enqueued if an earlier attempt of that has done so.
    """
    from ... import messages

    options.check_of_call(task.name, call)
    _check_arguments(task, args, kwargs)
    payload: dict[str, Any] = {"args": list(args), "kwargs": dict(kwargs)}
    said: dict[str, Any] = {}
    if chained is not None:
        payload["chain"] = chained
    if chained is not None and after is not None:
        root, step = chained["root"], chained["step"]
        said["unique_key"] = result.key_of(root, step)
        if after.receipt > 1 and result.step_of(task.type, root, step, after.enqueued_at) is not None:
            return AsyncResult(ids.id_of(root, step))
    if "ignore_result" in call:
        said["headers"] = {requests.HEADER: {"ignore_result": bool(call["ignore_result"])}}
    said.update(_in_our_words(task, args, kwargs, call))
    message = messages.enqueue(task.type, values.plain(f"A call of {task.name}", payload), **said)
    is_first = chained is not None and after is None
    return AsyncResult(ids.id_of(message.pk, len(chained["rest"]) if chained is not None and is_first else 0))


@private(TypeError)
def as_received(
    task: Definition, args: Iterable[Any], kwargs: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a call as a worker would give them to the task."""
    _check_arguments(task, args, kwargs)
    payload = {"args": list(args), "kwargs": dict(kwargs)}
    return values.arguments_of(values.plain(f"A call of {task.name}", payload))


def registered_destination(task: Definition) -> dict[str, Any]:
    """Return queue and priority of messages that other code makes for a task, such as a schedule by hand."""
    own = {place: getattr(task, place) for place in PLACES}
    if not apps.apps_ready:
        # The settings of a Celery app are not read while they are being made.
        return own
    return _first(own, routes.by_name(task.app.conf.task_routes, task.name), _defaults(task))


def destination(
    task: Definition, args: Iterable[Any], kwargs: Mapping[str, Any], call: Mapping[str, Any]
) -> dict[str, Any]:
    """Return queue and priority of a call: its own, else the task's, those of `task_routes`, the defaults."""
    own = {place: getattr(task, place) for place in PLACES}
    routed = routes.route(task.app.conf.task_routes, task.name, args, kwargs, call)
    return _first(call, own, routed, _defaults(task))


def _defaults(task: Definition) -> dict[str, Any]:
    conf = task.app.conf
    return {"queue": conf.task_default_queue, "priority": conf.task_default_priority}


def _first(*given: Mapping[str, Any]) -> dict[str, Any]:
    """Return each place as the first says that says it."""
    return {
        place: next((one[place] for one in given if one.get(place) is not None), None) for place in PLACES
    }


def _in_our_words(
    task: Definition, args: Iterable[Any], kwargs: Mapping[str, Any], call: Mapping[str, Any]
) -> dict[str, Any]:
    expires = call.get("expires")
    said = {**call, **destination(task, args, kwargs, call)}
    said["expires"] = task.expires if expires is None else expires
    return options.as_message(said)


def _check_arguments(task: Definition, args: Iterable[Any], kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments that the function does not take (TypeError), as Celery does."""
    if task.typing:
        why = functions.misfit(task.run, *args, **kwargs)
        if why is not None:
            raise TypeError(f"The task {task.name} cannot be called so: {why}.")
