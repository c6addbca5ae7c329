"""Stripe's webhooks as messages: every event becomes one message of the type `letsgo:stripe`.

Nothing here calls Stripe. A project's handlers choose by the event's own type:
`@handler("letsgo:stripe", where={"type": "invoice.paid"})`.
"""

from .amounts import decimal_amount, format_amount
from .event_types import EVENT_TYPES, MESSAGE_TYPE

__all__ = ["EVENT_TYPES", "MESSAGE_TYPE", "decimal_amount", "format_amount"]
