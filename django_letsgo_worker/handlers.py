"""The handlers that come with the app; a project's handler for the same type takes precedence.

The built-in schedule that sends such messages is in schedules.
"""

from __future__ import annotations

from .delivery import Delivery
from .registry import handler


@handler("letsgo:scheduled")
def log_scheduled_event(delivery: Delivery) -> None:
    """Log that a scheduled event has arrived; its timestamp is the planned time."""
    payload = delivery.payload if isinstance(delivery.payload, dict) else {}
    planned_at = delivery.planned_at or delivery.enqueued_at
    delivery.log.info(
        "WORKER RECEIVED SCHEDULED EVENT ID %s WITH TIMESTAMP %s",
        payload.get("id", delivery.message_id),
        payload.get("time", planned_at.isoformat()),
    )
