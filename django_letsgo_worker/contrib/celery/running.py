"""One run of a task: its function, with the hooks and signals around it.

task.py says what becomes of it in a worker, and what of a run here and now.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from typing import Any

from ... import outcomes
from . import requests, signals, states
from .definition import Definition, attempts_for
from .exceptions import Ignore, Reject, Retry
from .requests import Request


class ExceptionInfo:
    """An exception and its traceback as text, as hooks and signals are given them."""

    def __init__(self, exception: BaseException) -> None:
        self.exception = exception
        self.type = type(exception)
        self.traceback = "".join(traceback.format_exception(exception))

    def __str__(self) -> str:
        return self.traceback


def again(task: Definition, retry: Retry) -> outcomes.Retry:
    delay = task.default_retry_delay if retry.when is None else retry.when
    if isinstance(delay, datetime):
        delay = max(0.0, (delay - datetime.now(UTC)).total_seconds())
    return outcomes.Retry(
        delay, str(retry), max_attempts=retry.max_attempts or attempts_for(task.max_retries)
    )


def run(task: Definition, request: Request) -> Any:
    """Run a task's function as this request; return its value, or raise what it raises.

    Retry, Ignore and Reject are raised too: what becomes of them is the caller's to say.
    """
    facts = {"task_id": request.id, "args": request.args, "kwargs": request.kwargs}
    state, returned = states.IGNORED, None
    with requests.running(request):
        signals.task_prerun.send_robust(sender=task, task=task, **facts)
        try:
            returned = _call(task, request)
            state = states.SUCCESS
            task.on_success(returned, request.id, request.args, request.kwargs)
            signals.task_success.send_robust(sender=task, result=returned)
            _returned(task, request, state, returned, None)
            return returned
        except Retry as retry:
            state, returned = states.RETRY, retry
            _retried(task, request, retry)
            raise
        except (Ignore, Reject):
            raise
        except Exception as error:
            if state != states.SUCCESS:
                state, returned = states.FAILURE, error
                _failed(task, request, error)
            raise
        finally:
            signals.task_postrun.send_robust(sender=task, task=task, retval=returned, state=state, **facts)


def _call(task: Definition, request: Request) -> Any:
    task.before_start(request.id, request.args, request.kwargs)
    try:
        value = task.run_with_retries(*request.args, **request.kwargs)
    except Retry:
        raise
    except Exception as error:
        if request.retry_later is not None:
            raise request.retry_later from error
        raise
    if request.retry_later is not None:
        raise request.retry_later
    return value


def _retried(task: Definition, request: Request, retry: Retry) -> None:
    info, error = ExceptionInfo(retry), retry.exc or retry
    task.on_retry(error, request.id, request.args, request.kwargs, info)
    signals.task_retry.send_robust(sender=task, request=request, reason=retry, einfo=info)
    _returned(task, request, states.RETRY, error, info)


def _failed(task: Definition, request: Request, error: Exception) -> None:
    info = ExceptionInfo(error)
    task.on_failure(error, request.id, request.args, request.kwargs, info)
    signals.task_failure.send_robust(
        sender=task,
        task_id=request.id,
        exception=error,
        args=request.args,
        kwargs=request.kwargs,
        traceback=error.__traceback__,
        einfo=info,
    )
    _returned(task, request, states.FAILURE, error, info)


def _returned(task: Definition, request: Request, state: str, value: Any, info: ExceptionInfo | None) -> None:
    task.after_return(state, value, request.id, request.args, request.kwargs, info)
