"""Tasks: a function with Celery's options and calls, each call of which is a message.

definition.py has what it is while it runs, running.py runs it, result.py reads what became of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial, wraps
from typing import Any, NoReturn

from django.db import DEFAULT_DB_ALIAS, transaction

from ... import functions, outcomes, policies, registry
from ...conf import settings
from ...delivery import Delivery
from ...registry import Handler
from . import canvas, options, requests, running, sending, states, values
from .canvas import Signature
from .definition import Definition, attempts_for
from .exceptions import Ignore, Reject, Retry
from .result import AsyncResult, EagerResult


class Task(Definition):
    """A task: call it as a function, or enqueue it with delay() or apply_async().

    Its class may be one of the project's, by `base=`, with other defaults and with the hooks of Celery.
    `function` is what it runs, `name` its name, `app` returns the Celery app, and `chosen` are its options.
    """

    def __init__(
        self, function: Callable[..., Any], name: str, app: Callable[[], Any], **chosen: Any
    ) -> None:
        super().__init__(function, name, app, **chosen)
        self.register()

    def register(self) -> None:
        """Make it the handler of its type; again, when the settings of its app say where it goes."""
        registry.add(
            Handler(
                type=self.type,
                function=_handler_of(self),
                retry_on=(),
                atomic=self.atomic,
                registered=functions.place_of(self.function),
                **policies.checked(
                    **sending.registered_destination(self),
                    max_attempts=attempts_for(self.retries_allowed),
                    on_dead=self.on_dead,
                ),
            )
        )

    # -- calls ----------------------------------------------------------------------------------------------

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Enqueue a call with `args` and `kwargs`, in the caller's transaction; return its result."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **call: Any
    ) -> AsyncResult:
        """Enqueue a call with `args` and `kwargs`; it exists if and only if the caller's transaction commits.

        Options of the `call`: not before `countdown`, seconds, or `eta`, an aware datetime; not begun after
        `expires`, seconds or an aware datetime; `queue`, `priority` (larger is sooner), `ignore_result`.
        Raises TypeError for arguments that the function does not take, InvalidMessage for what JSON cannot
        hold, and UnsupportedCelery for options of Celery's that are not here.
        """
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        if self.is_eager:
            return self.apply(*sending.as_received(self, args, kwargs), **call)
        return sending.send(self, args, kwargs, call)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> None:
        """Enqueue a call with `args` and `kwargs`, to run after the commit: as delay() does anyway."""
        self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **call: Any
    ) -> None:
        """Enqueue a call, as apply_async() with `args`, `kwargs` and `call`, to run after the commit."""
        if self.is_eager or settings().database != DEFAULT_DB_ALIAS:
            transaction.on_commit(partial(self.apply_async, args, kwargs, **call))
        else:
            # In the transaction itself: a process that dies behind the commit would lose it.
            self.apply_async(args, kwargs, **call)

    def apply(
        self,
        args: Iterable[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        throw: bool | None = None,
        retries: int = 0,
        **call: Any,
    ) -> EagerResult:
        """Run it here and now with `args` and `kwargs`; return what became of it.

        A retry is run at once, `retries` counts them. With `throw`, by default what `task_eager_propagates`
        says, an exception is raised and not kept in the result. Options of the `call` change nothing.
        """
        options.check_of_call(self.name, call)
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        throw = self.app.conf.task_eager_propagates if throw is None else throw
        request = requests.eager(self.name, args, kwargs, retries=retries)
        try:
            return EagerResult(request.id, running.run(self, request), states.SUCCESS)
        except Exception as error:
            if throw:
                raise
            if isinstance(error, Retry):
                return self.apply(args, kwargs, retries=retries + 1)
            return EagerResult(request.id, error, _state_of(error), str(running.ExceptionInfo(error)))

    # -- signatures -----------------------------------------------------------------------------------------

    def signature(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **call: Any
    ) -> Signature:
        """Return a call with `args`, `kwargs` and the options `call`, for later or for a chain."""
        immutable = bool(call.pop("immutable", False))
        return Signature(self, args, kwargs, call.pop("options", None) or call, immutable=immutable)

    subtask = signature

    def s(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call with `args` and `kwargs`; in a chain the result before stands in front."""
        return Signature(self, args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature:
        """Return a call with `args` and `kwargs` only, whatever a chain has returned before."""
        return Signature(self, args, kwargs, immutable=True)

    def chunks(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse chunks, whatever `args` and `kwargs`."""
        canvas.refuse("chunks")

    def map(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse a map, whatever `args` and `kwargs`."""
        canvas.refuse("map")

    def starmap(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse a map, whatever `args` and `kwargs`."""
        canvas.refuse("starmap")

    def replace(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse to be replaced, whatever `args` and `kwargs`."""
        canvas.refuse("replace")

    def AsyncResult(self, id: str, **options: Any) -> AsyncResult:  # noqa: N802 - Celery's name
        """Return the result of this `id`; `options` are Celery's, and change nothing."""
        return AsyncResult(id)


def _handler_of(task: Task) -> Callable[[Delivery], Any]:
    """Return the function that a worker calls with a delivery; its attribute `task` is the task."""

    @wraps(task.function)
    def handle(delivery: Delivery) -> Any:
        args, kwargs = values.arguments_of(delivery.payload)
        request = requests.of_delivery(
            delivery, task.name, args, kwargs, ignore_result=task.ignores_its_result
        )
        try:
            value = running.run(task, request)
        except Retry as retry:
            # Its cause stands in the traceback that is kept.
            raise running.again(task, retry) from (retry.exc or retry)
        except Ignore:
            return None
        except Reject as reject:
            raise outcomes.Snooze(1) if reject.requeue else outcomes.Reject(str(reject)) from reject
        kept = values.plain(f"The return value of {task.name}", value)
        canvas.follow(delivery, kept)
        return None if request.ignore_result else kept

    handle.task = task  # type: ignore[attr-defined]
    return handle


def _state_of(error: Exception) -> str:
    if isinstance(error, Ignore):
        return states.IGNORED
    return states.REJECTED if isinstance(error, Reject) else states.FAILURE
