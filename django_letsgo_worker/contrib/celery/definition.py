"""The definition of a task: its options, and what it can ask for and is told while it runs.

task.py adds how it is called; running.py runs it.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import update_wrapper
from types import MethodType
from typing import Any, ClassVar, NoReturn

from ... import functions
from ...validation import check_name
from . import ids, options, requests, states, values
from .exceptions import Ignore, MaxRetriesExceededError, Reject, Retry, UnsupportedCelery
from .requests import Request
from .result import AsyncResult, EagerResult, progress_text

Exceptions = Sequence[type[BaseException]]

# "For ever": the most attempts that a message may have.
MOST_ATTEMPTS = 32_000


def attempts_for(max_retries: int | None) -> int:
    """Return how many attempts so many retries are."""
    return MOST_ATTEMPTS if max_retries is None else min(max_retries + 1, MOST_ATTEMPTS)


class Definition:
    """A task without its calls: `function` is what it runs, `name` its name, and `chosen` are its options.

    `app` is called for the Celery app whose settings count for it.
    """

    MaxRetriesExceededError: ClassVar[Any] = MaxRetriesExceededError

    bind: bool = False
    max_retries: int | None = 3
    default_retry_delay: float = 180
    autoretry_for: Exceptions = ()
    dont_autoretry_for: Exceptions = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    queue: str | None = None
    priority: int | None = None
    ignore_result: bool | None = None
    expires: float | datetime | None = None
    typing: bool = True
    atomic: bool = False
    on_dead: str | None = None

    def __init__(
        self, function: Callable[..., Any], name: str, app: Callable[[], Any], **chosen: Any
    ) -> None:
        options.check_of_task(name, chosen)
        options.check_of_task(name, options.refused_of_class(type(self)))
        self.function, self.name, self._app = function, name, app
        for option in options.OF_TASKS & chosen.keys():
            setattr(self, option, chosen[option])
        update_wrapper(self, function)
        self.run: Callable[..., Any] = MethodType(function, self) if self.bind else function
        self._check()

    def _check(self) -> None:
        check_name("type", self.type)
        if functions.is_async(self.function):
            raise UnsupportedCelery(
                f"The task {self.name} is async, which Celery knows nothing of: write it as a @handler, or "
                "as a task of django.tasks."
            )
        if (why := functions.unfit(self.function, atomic=self.atomic)) is not None:
            raise TypeError(f"The task {self.name} {why}.")

    @property
    def type(self) -> str:
        """The type of its messages."""
        return ids.PREFIX + self.name

    @property
    def app(self) -> Any:
        """The Celery app whose settings count for it."""
        return self._app()

    @property
    def request(self) -> Request:
        """The run that is going on in this context; an empty request where there is none."""
        return requests.current()

    @property
    def retries_allowed(self) -> int | None:
        """How often it may run again, None for ever: what `retry_kwargs` say, else `max_retries`."""
        limit: int | None = self.retry_kwargs.get("max_retries", self.max_retries)
        return limit

    @property
    def ignores_its_result(self) -> bool:
        """Whether nothing of its return value is kept, unless a call says otherwise."""
        return self.app.conf.task_ignore_result if self.ignore_result is None else bool(self.ignore_result)

    @property
    def is_eager(self) -> bool:
        """Whether its calls run at once, in the caller's process, as `task_always_eager` says."""
        return bool(self.app.conf.task_always_eager)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        with requests.running(Request(task=self.name, args=args, kwargs=kwargs)):
            return self.run_with_retries(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **call: Any
    ) -> AsyncResult:
        """Enqueue a call with `args` and `kwargs` and the options `call`."""
        raise NotImplementedError

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **call: Any
    ) -> EagerResult:
        """Run it here and now with `args` and `kwargs`; options of the `call` change nothing."""
        raise NotImplementedError

    # -- inside a run ---------------------------------------------------------------------------------------

    def run_with_retries(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function with `args` and `kwargs`; exceptions of `autoretry_for` become retries."""
        try:
            return self.run(*args, **kwargs)
        except (Retry, Ignore, Reject):
            raise
        except tuple(self.dont_autoretry_for):
            raise
        except tuple(self.autoretry_for) as error:
            asked = dict(self.retry_kwargs)
            if self.retry_backoff:
                asked["countdown"] = self.pause_before_retry()
            raise self.retry(exc=error, **asked) from error  # type: ignore[arg-type]

    def pause_before_retry(self) -> float:
        """Return Celery's pause: doubling with each retry, and any part of that with `retry_jitter`."""
        factor = max(1.0, float(self.retry_backoff))
        # The exponent is capped: 2.0 ** 32000 would overflow.
        seconds = int(min(self.retry_backoff_max, factor * 2.0 ** min(self.request.retries, 60)))
        return random.randint(0, seconds) if self.retry_jitter else seconds

    def retry(
        self,
        args: Any = None,
        kwargs: Any = None,
        exc: Exception | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **others: Any,
    ) -> Retry:
        """Run this again after `countdown` seconds, at `eta`, or after `default_retry_delay`: raises Retry.

        After the last of `max_retries`, by default those of the task, it raises `exc`, if given, or
        MaxRetriesExceededError. Without `throw` the Retry is returned, and counts when the task ends. Where
        the task was called as a function, `exc` is raised. UnsupportedCelery for `args`, `kwargs` and
        `others`: a message keeps its own.
        """
        if args is not None or kwargs is not None or others:
            raise UnsupportedCelery(
                f"A retry of {self.name} has the arguments, queue and priority of its message: for others "
                "call apply_async(), and return."
            )
        request = self.request
        if request.called_directly:
            _raise(exc or Retry("Task can be retried"))
        limit = self.max_retries if max_retries is None else max_retries
        if limit is not None and request.retries >= limit:
            _raise(exc or self._exceeded(request))
        when = eta if eta is not None else self.default_retry_delay if countdown is None else countdown
        attempts = attempts_for(limit)
        retry = Retry(exc=exc, when=when, is_eager=request.is_eager, max_attempts=attempts)
        if throw:
            raise retry
        request.retry_later = retry
        return retry

    def _exceeded(self, request: Request) -> Exception:
        # Without the arguments, which would stand in logs.
        exceeded: Exception = self.MaxRetriesExceededError(
            f"Can't retry {self.name}[{request.id}]", task_args=request.args, task_kwargs=request.kwargs
        )
        return exceeded

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **others: Any
    ) -> None:
        """Say how far it is: `meta` with "current" and "total" is a fraction.

        `state` and all of `meta` are shown beside it, as long as they have 200 bytes. It is written with the
        next heartbeat of the worker. UnsupportedCelery for another `task_id`, for `others`, and for a `state`
        in which a task ends.
        """
        request = self.request
        if others or (task_id is not None and task_id != request.id):
            raise UnsupportedCelery(
                "A task says how far it is itself: call update_state() with state= and meta=."
            )
        if state in states.ALL_STATES - {states.STARTED}:
            raise UnsupportedCelery(
                f"A task is not made {state} by update_state(): return, raise an exception or call retry()."
            )
        if request.delivery is not None:
            plain = values.plain("meta", meta)
            text = progress_text(state or states.STARTED, plain)
            request.delivery.progress(_fraction(plain), text)

    # -- hooks, for classes of the project ------------------------------------------------------------------

    def before_start(self, task_id: Any, args: Any, kwargs: Any) -> None:
        """Called before the function, with `task_id`, `args` and `kwargs`."""

    def on_success(self, retval: Any, task_id: Any, args: Any, kwargs: Any) -> None:
        """Called with what the function returned, `retval`, and `task_id`, `args` and `kwargs`."""

    def on_retry(self, exc: Any, task_id: Any, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when it will run again; `einfo` is the traceback, `exc` what it is retried for."""

    def on_failure(self, exc: Any, task_id: Any, args: Any, kwargs: Any, einfo: Any) -> None:
        """Called when it has failed for good; `exc` is the exception, `einfo` the traceback."""

    def after_return(
        self, status: str, retval: Any, task_id: Any, args: Any, kwargs: Any, einfo: Any
    ) -> None:
        """Called last, with the state as `status` and the value or exception as `retval`."""


def _raise(error: Exception) -> NoReturn:
    """Raise an exception from the one that is being handled, unless that is it."""
    handled = sys.exception()
    if handled is None or handled is error:
        raise error
    raise error from handled


def _fraction(meta: Any) -> float:
    with suppress(TypeError, KeyError, ValueError, ZeroDivisionError):
        return min(1.0, max(0.0, float(meta["current"]) / float(meta["total"])))
    return 0.0
