"""Rows are read with Django's own ways, and signals are heard."""

# Django's stubs know the type of a column through mypy's plugin only.
# pyright: basic

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from django.db.models import QuerySet
from django.dispatch import receiver

from django_letsgo_worker import Delivery
from django_letsgo_worker.models import DeadLetter, Message, ScheduledJob
from django_letsgo_worker.routers import LetsGoRouter
from django_letsgo_worker.signals import delivery_finished


def read_rows(now: datetime) -> str:
    assert_type(Message.objects.filter(queue="mails").first(), Message | None)
    return Message.objects.get(pk=7).state_at(now)


def state_of(job: ScheduledJob) -> str:
    assert_type(job.next_runs(), list[datetime])
    assert_type(job.state, str)
    return job.state


def newest_error() -> str:
    letter = DeadLetter.objects.order_by("-finished_at").first()
    return "" if letter is None else letter.error_class


def waiting_in(queue: str) -> QuerySet[Message]:
    return Message.objects.filter(queue=queue).order_by("visible_at")


@receiver(delivery_finished)
def note(sender: Any, *, delivery: Delivery, outcome: str, **facts: Any) -> None:
    delivery.log.info("It %s.", outcome)


class Everywhere(LetsGoRouter):
    further_aliases = ("reports",)
