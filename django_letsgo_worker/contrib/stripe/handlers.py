"""A handler for each type of event that LetsGo lists, so that `letsgo handlers` shows what may come.

It logs one line; a project's own handler with the same `where` takes its place.
"""

from __future__ import annotations

from collections.abc import Callable

from django_letsgo_worker.delivery import Delivery
from django_letsgo_worker.registry import handler

from . import EVENT_TYPES, MESSAGE_TYPE


def _stub(event_type: str) -> Callable[[Delivery], None]:
    def log_event(delivery: Delivery) -> None:
        event = delivery.payload
        delivery.log.info(
            "Stripe event %s %s (%s): this project has no handler for it.",
            event_type,
            event.get("id"),
            event.get("stripeMode"),
        )

    log_event.__name__ = log_event.__qualname__ = f"log_{event_type.replace('.', '_')}"
    return log_event


for _event_type in EVENT_TYPES:
    handler(MESSAGE_TYPE, where={"type": _event_type})(_stub(_event_type))
