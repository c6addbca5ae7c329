"""The settings of this app, from the environment or Django's settings, read at each call.

The URL is a secret: no sentence made here contains it.
"""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from .. import setting, setting_names

SWITCHES = ("contact", "stripe", "dead", "unknown", "schedules", "problems", "tenant")
# The events of Stripe's that a person wants to hear of; an invoice alone causes half a dozen more.
STRIPE_EVENTS = (
    "customer.subscription.created",
    "customer.subscription.deleted",
    "customer.subscription.paused",
    "customer.subscription.resumed",
    "customer.subscription.trial_will_end",
    "invoice.finalization_failed",
    "invoice.paid",
    "invoice.payment_action_required",
    "invoice.payment_failed",
)
ALL = "all"


def slack_url() -> str:
    """Return LETSGO_SLACK_URL, empty when Slack is off."""
    value = setting("LETSGO_SLACK_URL")
    return value.strip() if isinstance(value, str) else ""


def slack_is_on() -> bool:
    return bool(slack_url())


def problem_of(url: str) -> str:
    """Return a sentence on what is wrong with the URL, without it; empty when nothing is."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "LETSGO_SLACK_URL is not a URL."
    if not url.isascii() or not url.isprintable() or " " in url or not host:
        return "LETSGO_SLACK_URL is not a URL."
    if parts.username is not None or parts.password is not None:
        return "LETSGO_SLACK_URL must not contain a user name or a password."
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(host)):
        return ""
    return "LETSGO_SLACK_URL must begin with https:// (http:// only for this machine, in tests)."


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def switches() -> tuple[str, ...]:
    """Return the kinds of notices that LETSGO_SLACK_NOTIFY names; all by default."""
    names = setting_names("LETSGO_SLACK_NOTIFY", SWITCHES)
    return SWITCHES if ALL in names else names


def notifies(switch: str) -> bool:
    """Whether Slack is on, and is to hear of this kind."""
    return slack_is_on() and switch in switches()


def notifies_of_stripe(event: str) -> bool:
    """Whether Slack is to hear of this event of Stripe's."""
    if not notifies("stripe"):
        return False
    events = setting_names("LETSGO_SLACK_STRIPE_EVENTS", STRIPE_EVENTS)
    return event in events or ALL in events
