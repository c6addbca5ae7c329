"""Tasks that succeed or fail, and one for each package that schedules."""

from datetime import timedelta

from apscheduler.triggers.interval import IntervalTrigger
from crontask import cron
from django.contrib.auth.models import User
from django.tasks import task
from django_periodic_tasks import exactly_once, scheduled_task
from django_scheduled_tasks import periodic_task


@task
def add(one: int, other: int) -> int:
    return one + other


@task(max_attempts=1)
def divide(one: int, other: int) -> float:
    return one / other


@task(takes_context=True, backoff=0)
def succeed_later(context) -> int:
    if context.attempt == 1:
        raise ConnectionError("not yet")
    return context.attempt


@cron(IntervalTrigger(seconds=1))
@task
def by_crontask() -> None: ...


@periodic_task(interval=timedelta(seconds=1), call_args=("north",))
@task
def by_scheduled_tasks(region: str) -> str:
    return region


@scheduled_task(cron="0 5 1 1 *", name="new year", args=["north"])
@task
def by_periodic_tasks(region: str) -> str:
    return region


@scheduled_task(cron="0 5 1 1 *", name="new user")
@task
@exactly_once
def one_user() -> None:
    User.objects.create(username="one")
