"""Signatures, and chains of them: when a task has succeeded, the next is enqueued with what it returned.

Groups, chords and callbacks are refused here, each in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

from ... import registry
from ...delivery import Delivery
from . import sending, values
from .definition import Definition
from .exceptions import NotRegistered, UnsupportedCelery
from .ids import PREFIX
from .options import check_of_call
from .result import AsyncResult, EagerResult


class Signature:
    """A call of a task, kept for later: its arguments and its options.

    With `immutable`, a chain does not put the result of the task before in front of the arguments.
    """

    def __init__(
        self,
        task: Definition | str,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        *,
        immutable: bool = False,
    ) -> None:
        self._task = task
        self.args, self.kwargs = tuple(args or ()), dict(kwargs or {})
        self.options, self.immutable = dict(options or {}), immutable

    @property
    def type(self) -> Definition:
        """The task; NotRegistered if it was given by a name that nobody knows here."""
        return task_named(self._task) if isinstance(self._task, str) else self._task

    @property
    def task(self) -> str:
        """The name of the task."""
        return self._task if isinstance(self._task, str) else self._task.name

    def clone(self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Signature:
        """Return a copy with `args` before its own and `kwargs` over its own, unless it is immutable."""
        if self.immutable:
            return Signature(self._task, self.args, self.kwargs, self.options, immutable=True)
        return Signature(self._task, (*args, *self.args), {**self.kwargs, **(kwargs or {})}, self.options)

    def set(self, *, immutable: bool | None = None, **options: Any) -> Signature:
        """Change the `options` of the call, and whether it is `immutable`; return itself."""
        self.options.update(options)
        self.immutable = self.immutable if immutable is None else immutable
        return self

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Enqueue it, with `args` before its own and `kwargs` merged over its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Enqueue it, as the task's apply_async() does; `options` go over its own."""
        call = self.clone(args, kwargs)
        return self.type.apply_async(call.args, call.kwargs, **{**self.options, **options})

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult:
        """Run it here and now, as the task's apply() does, with `args`, `kwargs` and `options`."""
        call = self.clone(args, kwargs)
        return self.type.apply(call.args, call.kwargs, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.clone(args, kwargs)
        return self.type(*call.args, **call.kwargs)

    def __or__(self, other: Any) -> chain:
        return chain(self, other)

    def __repr__(self) -> str:
        return f"<Signature of {self.task}>"

    def link(self, callback: Any) -> NoReturn:
        """Refuse a `callback`."""
        refuse("link")

    def link_error(self, errback: Any) -> NoReturn:
        """Refuse an `errback`."""
        refuse("link_error")

    on_error = link_error


class chain:  # noqa: N801 - Celery's name
    """Tasks one after the other: each is enqueued when the one before has succeeded, with its result.

    `tasks` are signatures, chains, or one list of them.
    """

    def __init__(self, *tasks: Any) -> None:
        if len(tasks) == 1 and isinstance(tasks[0], Iterable):
            tasks = tuple(tasks[0])
        self.tasks = [step for task in tasks for step in _steps_of(task)]
        if not self.tasks:
            raise UnsupportedCelery("A chain of no tasks does nothing: give it at least one signature.")

    def __or__(self, other: Any) -> chain:
        return chain(*self.tasks, other)

    def __call__(self, *args: Any, **kwargs: Any) -> AsyncResult:
        return self.apply_async(args, kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Enqueue the first task, with `args` before its own and `kwargs` merged over its own."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """Enqueue the first task, with `args`, `kwargs` and `options`; the result is that of the last."""
        first, *rest = self.tasks
        if not rest:
            return first.apply_async(args, kwargs, **options)
        if first.type.is_eager:
            return self.apply(args, kwargs)
        call = first.clone(args, kwargs)
        chained = {"root": None, "parent": None, "step": 0, "rest": [_as_json(step) for step in rest]}
        return sending.send(first.type, call.args, call.kwargs, {**first.options, **options}, chained=chained)

    def apply(
        self, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> EagerResult:
        """Run all here and now, the first with `args`, `kwargs` and `options`; return the last result."""
        first, *rest = self.tasks
        result = first.apply(args, kwargs, **options)
        for step in rest:
            before, result = result, step.apply((result.get(),))
            result.parent = before
        return result

    def __repr__(self) -> str:
        return f"<chain of {' | '.join(step.task for step in self.tasks)}>"


def signature(
    task: Any,
    args: Iterable[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    immutable: bool = False,
) -> Signature:
    """Return a call of a `task`, given as itself or by its name, with `args`, `kwargs` and `options`.

    An `immutable` one takes no result of the task before in a chain.
    """
    return Signature(task, args, kwargs, options, immutable=immutable)


def task_named(name: str) -> Definition:
    """Return the task of a name; NotRegistered if nobody knows it here."""
    handler = registry.find(PREFIX + name)
    if handler is None:
        raise NotRegistered(name)
    task: Definition = handler.function.task  # type: ignore[attr-defined]
    return task


# -- chains on their way ------------------------------------------------------------------------------------


def follow(delivery: Delivery, returned: Any) -> None:
    """Enqueue the task that comes after this delivery in its chain, given what this one `returned`, as JSON.

    It happens before the delivery is acknowledged, so no step is lost. An attempt that is repeated since its
    worker died in between enqueues nothing twice: the next message has a key of its chain and step, unique
    while it lives, and looked for among those that have ended.
    """
    payload = delivery.payload
    chained = payload.get("chain") if isinstance(payload, dict) else None
    if not chained or not chained["rest"]:
        return
    step, *rest = chained["rest"]
    call = Signature(
        step["task"],
        step["args"],
        step["kwargs"],
        values.native(step["options"]),
        immutable=step["immutable"],
    ).clone((returned,))
    root = delivery.message_id if chained["root"] is None else chained["root"]
    chained = {"root": root, "parent": delivery.message_id, "step": chained["step"] + 1, "rest": rest}
    sending.send(call.type, call.args, call.kwargs, call.options, chained=chained, after=delivery)


def _steps_of(task: Any) -> list[Signature]:
    if isinstance(task, chain):
        return task.tasks
    if isinstance(task, Signature):
        return [task]
    raise UnsupportedCelery(f"A chain is made of signatures, such as add.s(1), not of {task!r}.")


def _as_json(step: Signature) -> dict[str, Any]:
    # Before anything is enqueued.
    check_of_call(step.type.name, step.options)
    return {
        "task": step.task,
        "args": list(step.args),
        "kwargs": step.kwargs,
        "immutable": step.immutable,
        "options": step.options,
    }


# -- what is not here ---------------------------------------------------------------------------------------

REFUSED = {
    "group": "enqueue its tasks in a loop; the last to finish can see that in a row of yours",
    "chord": "let each task count itself off in a row of yours, and the last one enqueue what follows",
    "chunks": "enqueue a message for each chunk, in a loop",
    "map": "enqueue a message for each item, or loop over them in one task",
    "starmap": "enqueue a message for each item, or loop over them in one task",
    "link": "write a chain, first.s(...) | second.s(), or call second.delay() at the end of the first task",
    "link_error": "name a type in on_dead= of the task: its message is enqueued when this one is dead",
    "replace": "call apply_async() of the other task, and return",
    "add_to_chord": "there are no chords",
}


def refuse(what: str) -> NoReturn:
    """Raise UnsupportedCelery about a part of Celery's canvas, with what to do instead."""
    raise UnsupportedCelery(f"{what} is not supported here: {REFUSED[what]}.")


def group(*tasks: Any, **options: Any) -> NoReturn:
    """Refuse a group of `tasks`, whatever its `options`."""
    refuse("group")


def chord(*tasks: Any, **options: Any) -> NoReturn:
    """Refuse a chord of `tasks`, whatever its `options`."""
    refuse("chord")
