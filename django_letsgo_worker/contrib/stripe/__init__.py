"""Stripe's webhooks as messages: every event becomes one message of the type `letsgo:stripe`.

Nothing here calls Stripe. A project's handlers choose by the event's own type:
`@handler("letsgo:stripe", where={"type": "invoice.paid"})`.
"""

from .amounts import decimal_amount, format_amount

__all__ = ["EVENT_TYPES", "MESSAGE_TYPE", "decimal_amount", "format_amount"]

MESSAGE_TYPE = "letsgo:stripe"

# The events' own types that LetsGo lists.
EVENT_TYPES = (
    "customer.created",
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "customer.subscription.updated",
    "invoice.created",
    "invoice.finalized",
    "invoice.finalization_failed",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
    "invoice.upcoming",
    "invoice.updated",
    "payment_intent.created",
    "payment_intent.succeeded",
    "subscription_schedule.aborted",
    "subscription_schedule.canceled",
    "subscription_schedule.completed",
    "subscription_schedule.created",
    "subscription_schedule.expiring",
    "subscription_schedule.released",
    "subscription_schedule.updated",
)
