"""Tasks made with our own decorator: every option of it, on every version of Django."""

from __future__ import annotations

import threading

from django_letsgo_worker.backend import LetsGoTaskContext, task
from tests.testapp.models import Entry

# What the tests wait for, and what they let go on.
HAS_SAID, MAY_END = threading.Event(), threading.Event()


@task
def add(a, b=0):
    return a + b


@task(
    priority=5, queue_name="mails", max_attempts=4, backoff=0, timeout=60, atomic=True, retry_on=(),
    on_dead="letsgo:scheduled", keep_for=1, unique="arguments",
)  # fmt: skip
def everything(n):
    Entry.objects.create(n=n, receipt=0, attempt=0, process=0)
    if n < 0:
        raise ValueError(n)


@task(takes_context=True, max_attempts=2, backoff=0)
def limits(context: LetsGoTaskContext, fails: bool = False):
    said = [context.attempt, context.max_attempts, context.is_last_attempt]
    if fails and not context.is_last_attempt:
        raise ValueError(said)
    return said


@task(takes_context=True)
async def limits_later(context):
    return [context.attempt, context.max_attempts, context.is_last_attempt]


@task(takes_context=True)
def long(context):
    context.progress(0.4, "the second file")
    HAS_SAID.set()
    MAY_END.wait(60)


@task(queue_name="sums")
def sums(a=0, b=0):
    return a + b
