"""Tasks that return, fail, or say what they were given."""

from __future__ import annotations

import asyncio
from functools import wraps

from django_letsgo_worker import Snooze
from tests.testapp.models import Effect, Entry

from .framework import TAKES_OPTIONS, task

UNFIT = {
    "a set": {1},
    "a function": print,
    "NaN": [float("nan")],
    "NUL": {"a": "\0"},
    "a surrogate": "\ud800",
}


@task
def echo(*args, **kwargs):
    return [list(args), kwargs]


@task
def write(n):
    Entry.objects.create(n=n, receipt=0, attempt=0, process=0)


@task
async def write_later(n):
    await asyncio.sleep(0)
    await Entry.objects.acreate(n=n, receipt=0, attempt=0, process=0)
    return await Entry.objects.acount()


def plainly(function):
    """A decorator that knows nothing of async functions."""

    @wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


@task
@plainly
async def write_behind_a_decorator(n):
    await Entry.objects.acreate(n=n, receipt=0, attempt=0, process=0)
    return (await Entry.objects.acount(),)


@task
@plainly
def loop_over_nothing(n):
    yield Entry.objects.create(n=n, receipt=0, attempt=0, process=0)


@task
def fail(text="no"):
    raise ValueError(text)


@task
def fail_in_strange_text():
    raise ValueError("NUL \0 and a surrogate \ud800")


@task
def snooze_once():
    if not Entry.objects.exists():
        write.func(1)
        raise Snooze(3600)


@task
def leave():
    raise SystemExit("enough")


@task(backend="once", queue_name="mails")
def fail_once():
    raise LookupError("gone")


@task
def return_what_is_unfit(name):
    write.func(1)
    return UNFIT[name]


@task(takes_context=True)
def say_where(context, fails=0):
    """Fail so often, then return what the context says of this attempt and of those before."""
    result = context.task_result
    if context.attempt <= fails:
        raise ValueError(f"attempt {context.attempt}")
    return {
        "attempt": context.attempt,
        "id": result.id,
        "status": result.status,
        "errors": [error.exception_class_path for error in result.errors],
        "workers": len(set(result.worker_ids)),
        "in order": result.last_attempted_at >= result.started_at >= result.enqueued_at,
    }


@task(takes_context=True)
async def say_where_later(context, fails=0):
    return say_where.func(context, fails)


if TAKES_OPTIONS:

    @task(max_attempts=3, backoff=[0, 3600], timeout=60, unique_key="only one")
    def patient():
        raise ValueError("not yet")

    @task(atomic=True, backoff=[3600])
    def write_and_fail(n):
        Effect.objects.create(n=n, receipt=0)
        raise ValueError("after the row")
