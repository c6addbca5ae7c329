"""Tasks made with our decorator keep the types of their functions, with every option of it."""

from __future__ import annotations

from datetime import timedelta
from typing import assert_type

from django.utils import timezone

from django_letsgo_worker import Delivery, enqueue, handler, schedule, schedules
from django_letsgo_worker.backend import LetsGoTaskContext, task
from django_letsgo_worker.models import ScheduledJob


@task
def add(a: int, b: int = 0) -> int:
    return a + b


@task(
    priority=5,
    queue_name="sums",
    backend="default",
    max_attempts=3,
    backoff=[1, 5.5],
    timeout=2.5,
    atomic=True,
    retry_on=(ConnectionError, "urllib3.exceptions.HTTPError"),
    give_up_on=ValueError,
    succeed_on="django.core.exceptions.ObjectDoesNotExist",
    on_dead="task:died",
    unique="arguments",
    keep_for=0.5,
)
def total(*numbers: float) -> float:
    return sum(numbers)


@task(takes_context=True, max_attempts=2)
def copy(context: LetsGoTaskContext, path: str) -> bool:
    assert_type(context.is_last_attempt, bool)
    assert_type(context.max_attempts, int)
    assert_type(context.attempt, int)
    assert_type(context.delivery, Delivery | None)
    context.progress(0.5, path)
    return True


@schedule("@daily", args=[7], kwargs={"b": 2}, queue="sums")
@task(unique_key="one")
async def later(a: int, *, b: int = 0) -> str:
    return str(a + b)


@handler("note", succeed_on=LookupError, unique="arguments", keep_for=0)
def note() -> None: ...


@handler("copied")
def copied(delivery: Delivery) -> None:
    delivery.progress(1.0, "done")
    delivery.progress("half")  # type: ignore[arg-type]


def enqueue_all() -> None:
    assert_type(add.enqueue(1, b=2).return_value, int)
    assert_type(copy.enqueue("a").return_value, bool)
    assert_type(total.call(1, 2.5), float)
    assert_type(add.enqueue_many([(1, 2), {"a": 3}]), list[str])
    assert_type(add.get_result("an id").return_value, int)
    quick = add.using(priority=9, queue_name="sums", run_after=timedelta(minutes=5), unique_key="7")
    assert_type(quick.enqueue(1).return_value, int)
    add.using(run_after=timezone.now()).enqueue(1)
    add.enqueue("1")  # type: ignore[arg-type]
    add.enqueue(c=1)  # type: ignore[call-arg]
    copy.enqueue(7)  # type: ignore[arg-type]
    task(max_attempt=3)  # type: ignore[call-overload]
    task(unique="key")  # type: ignore[call-overload]
    enqueue("note")


def plan_all() -> None:
    assert_type(schedules.add("sums", "@daily", add, args=[1], kwargs={"b": 2}), ScheduledJob)
    schedules.ensure("sums", "@hourly", add, args=(1,))
    schedules.update("sums", type=total, args=[1, 2])
