"""Slack's markup, and the words of each notice in it: pure functions from facts to text.

Every fact is escaped, so that nobody can mention a channel or fake a link, and cut; a payload may lack any
of them. When a notice is sent is decided in outbox.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from django.apps import apps

from ...validation import storable

STRIPE = "django_letsgo_worker.contrib.stripe"
UNKNOWN = "unknown"


class Mrkdwn(str):
    """Text that is Slack's markup already, and is not escaped again."""

    __slots__ = ()


def escape(value: Any) -> Mrkdwn:
    """Return a value as it is to be read: &, < and > are escaped, unless it is markup already."""
    if isinstance(value, Mrkdwn):
        return value
    text = str(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return Mrkdwn(text)


def mrkdwn(template: str, *values: Any) -> Mrkdwn:
    """Return markup with values filled in: mrkdwn("*{}* has paid", name). The values are escaped."""
    return Mrkdwn(template.format(*(escape(value) for value in values)))


def short(value: Any, longest: int = 200) -> str:
    """Return a value as one line that is not too long; empty for None."""
    line = "" if value is None else " ".join(storable(str(value)).split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def quoted(value: Any, longest: int = 3_000) -> Mrkdwn:
    """Return text as a quotation, line by line, cut when it is too long."""
    text = storable(str(value)).strip()
    text = text if len(text) <= longest else f"{text[: longest - 1]}…"
    return Mrkdwn("\n".join(f"> {escape(line)}" for line in text.splitlines()))


def _facts(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _first(facts: Mapping[str, Any], *keys: str) -> str:
    """Return the first of the keys that has text or a number, as a line; empty when none has."""
    for key in keys:
        value = facts.get(key)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and short(value):
            return short(value)
    return ""


def _lines(*lines: str) -> Mrkdwn:
    return Mrkdwn("\n".join(line for line in lines if line))


def contact(payload: Any) -> Mrkdwn:
    """Return the notice of a contact form."""
    facts = _facts(payload)
    name, email = _first(facts, "name") or UNKNOWN, _first(facts, "email") or "no address"
    about = [("tenant", _first(facts, "tenantId")), ("identity", _first(facts, "identityId"))]
    return _lines(
        mrkdwn("*Contact form*: {} ({})", name, email),
        quoted(facts.get("message") or ""),
        mrkdwn("{}", ", ".join(f"{label} {value}" for label, value in about if value)),
    )


def tenant(what: str, payload: Any) -> Mrkdwn:
    """Return the notice of a tenant that is new or deleted; the facts may stand under `tenant`."""
    facts = {**_facts(payload), **_facts(_facts(payload).get("tenant"))}
    tenant_id = _first(facts, "tenantId", "id")
    name = _first(facts, "displayName", "name") or tenant_id or UNKNOWN
    by = _first(facts, "email", "identityId", "createdBy", "deletedBy")
    return mrkdwn(
        "*{}*: {}{}{}",
        what,
        name,
        f" ({tenant_id})" if tenant_id and tenant_id != name else "",
        f", by {by}" if by else "",
    )


def stripe(payload: Any) -> Mrkdwn:
    """Return the notice of an event of Stripe's: what, how much, and who."""
    event = _facts(payload)
    thing = _facts(_facts(event.get("data")).get("object"))
    mode = " (test)" if event.get("stripeMode") == "TEST" else ""
    amount = _amount(thing, paid=event.get("type") == "invoice.paid")
    person = (_first(thing, "customer_name"), _first(thing, "customer_email"))
    who = ", ".join(part for part in person if part) or _first(thing, "customer")
    number = _first(thing, "number", "id")
    return mrkdwn(
        "*Stripe*{}: {}{}{}{}",
        mode,
        _first(event, "type") or UNKNOWN,
        f", {amount}" if amount else "",
        f", {who}" if who else "",
        f", {number}" if number else "",
    )


def _amount(thing: Mapping[str, Any], *, paid: bool) -> str:
    keys = ("amount_paid", "total") if paid else ("amount_due", "amount", "amount_paid")
    currency = thing.get("currency")
    amount = next((thing[key] for key in keys if isinstance(thing.get(key), int)), None)
    if amount is None or isinstance(amount, bool) or not isinstance(currency, str):
        return ""
    if apps.is_installed(STRIPE):
        try:
            return str(import_module(f"{STRIPE}.amounts").format_amount(amount, currency))
        except ValueError:  # no currency
            return ""
    # The event came by other means: how many decimals a currency has is not known here.
    return f"{amount} of the smallest unit of {short(currency, 10).upper()}"


def dead_letter(payload: Any, attempt: int | None, schedule: str | None) -> Mrkdwn:
    """Return the notice of a message that was given up, with the first line of its last error."""
    facts = _facts(payload)
    words = str(facts.get("error") or "").strip().splitlines()
    kind = _first(facts, "error_class").rpartition(".")[2]
    return _lines(
        mrkdwn(
            "*Dead letter*: message {} of type `{}` in the queue `{}`{}{}",
            _first(facts, "message") or UNKNOWN,
            _first(facts, "type") or UNKNOWN,
            _first(facts, "queue") or UNKNOWN,
            f" of the schedule {short(schedule)}" if schedule else "",
            f", attempt {attempt}" if attempt else "",
        ),
        quoted(": ".join(part for part in (kind, short(words[0], 300) if words else "") if part)),
    )


def unknown_type(queue: str, type: str) -> Mrkdwn:
    """Return the notice of messages that wait because no handler is known."""
    return mrkdwn(
        "*Unknown type*: messages of type `{}` wait in the queue `{}`, and a worker there has no handler "
        "for them.",
        short(type),
        short(queue),
    )


def problem(sentence: str) -> Mrkdwn:
    """Return the notice of something that is wrong, in the words of every door."""
    return mrkdwn("*Problem*: {}", short(sentence, 1_000))


def broken_schedule(name: str, problem: str) -> Mrkdwn:
    """Return the notice of a schedule that cannot be planned or fired."""
    return _lines(mrkdwn("*Broken schedule*: {}", short(name)), quoted(short(problem, 1_000)))
