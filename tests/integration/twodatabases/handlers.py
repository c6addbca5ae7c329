"""Its handlers, which enqueue a next message without naming a database, as handlers do."""

from __future__ import annotations

from typing import Any

from django.dispatch import receiver

from django_letsgo_worker import Delivery, aenqueue, enqueue, handler
from django_letsgo_worker.signals import delivery_finished


@handler("follow:sync")
def follow(delivery: Delivery) -> None:
    enqueue("follow:last", {"after": delivery.type})


@handler("follow:async")
async def follow_async(delivery: Delivery) -> None:
    await aenqueue("follow:last", {"after": delivery.type})


@handler("follow:last")
def last(delivery: Delivery) -> None:
    pass


@receiver(delivery_finished)
def follow_signal(delivery: Delivery, **kwargs: Any) -> None:
    """Enqueue from where outcomes are announced, which is another thread than the handlers'."""
    if delivery.type == "follow:sync":
        enqueue("follow:last", {"after": "signal"})
