"""`letsgo message list|show|cancel`: messages, live ones and archived ones.

What can be done to dead letters stands in dead_letters.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.db.models import Q, QuerySet

from ... import messages, validation
from ...models import ArchivedMessage, Message
from . import reading
from .call import Call, Verbs
from .message_facts import (
    as_lines,
    error_lines,
    facts_of,
    private_facts_of,
    without_long_columns,
)

LIVE_STATES = ("ready", "running", "retrying", "scheduled")
OUTCOMES = tuple(ArchivedMessage._meta.get_field("outcome").flatchoices)
MOST = 100_000


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("list", list_messages, "lists live messages, or those that ended in one way")
    add_filters(parser.add_argument)
    outcomes = [str(value) for value, _label in OUTCOMES]
    parser.add_argument("--state", choices=[*LIVE_STATES, *outcomes], help="(any live one)")
    parser.add_argument(
        "--payload", action="store_true", dest="shows_payload", help="with payloads, headers and results"
    )
    parser = verbs.add("show", show_message, "shows one message, live or archived")
    add_id_and_payload(parser.add_argument)
    parser = verbs.add("cancel", cancel_message, "archives a live message as cancelled")
    parser.add_argument("id", type=int)


def add_filters(add: Any) -> None:
    """Add what lists of messages are narrowed by."""
    add("--queue", help="of this queue only")
    add("--type", help="of this type only")
    add("--limit", type=reading.at_most(MOST), default=50, help="at most so many (50)")


def add_id_and_payload(add: Any) -> None:
    add("id", type=int)
    add("--payload", action="store_true", dest="shows_payload", help="show payload, headers and result, too")


# -- list ------------------------------------------------------------------------------------------------


def list_messages(call: Call) -> None:
    limit: int = call["limit"]
    found = list(_archived(call, limit + 1) if _is_outcome(call["state"]) else _live(call, limit + 1))
    print_messages(call, found[:limit], len(found) > limit)


def _is_outcome(state: str | None) -> bool:
    return state is not None and state not in LIVE_STATES


def print_messages(call: Call, found: list[Any], is_more: bool) -> None:
    """Print messages as rows; `is_more` says that there are others."""
    rows = [facts_of(row, call.clock) for row in found]
    shown = ["id", "state", "type", "queue", "priority", "attempts", "visible_at"]
    if found and isinstance(found[0], ArchivedMessage):
        shown[-1:] = ["finished_at", "error_class"]
    if call["shows_payload"]:
        for facts, row in zip(rows, found, strict=True):
            facts |= private_facts_of(row)
        shown.append("payload")
    call.out.rows(rows, shown)
    if is_more:
        call.out.say(f"These are the first {len(rows)}; --limit shows more.")


def _narrowed(rows: QuerySet[Any], call: Call) -> QuerySet[Any]:
    for name in ("queue", "type"):
        if call[name] is not None:
            rows = rows.filter(**{name: validation.check_name(name, call[name])})
    return without_long_columns(rows, private=call["shows_payload"])


def _archived(call: Call, limit: int) -> QuerySet[Any]:
    rows = ArchivedMessage.objects.using(call.using).filter(outcome=call["state"])
    return _narrowed(rows, call).order_by("-finished_at")[:limit]


def _live(call: Call, limit: int) -> Iterator[Message]:
    """Yield live messages lane by lane, in the order of claims: no lane is sorted, its index is followed."""
    rows = _narrowed(Message.objects.using(call.using), call)
    if call["state"] is not None:
        rows = rows.filter(_state(call))
    lanes = [lane for lane in call.engine.lanes() if call["queue"] in (None, lane.queue)]
    for lane in sorted(lanes, key=lambda lane: (-lane.priority, lane.queue)):
        in_lane = rows.filter(queue=lane.queue, priority=lane.priority).order_by("visible_at")[:limit]
        for message in in_lane:
            yield message
            limit -= 1
        if not limit:
            return


def _state(call: Call) -> Q:
    """In SQL, what Message.state_at() says."""
    if call["state"] == "ready":
        return Q(visible_at__lte=call.clock)
    later = Q(visible_at__gt=call.clock)
    if call["state"] == "running":
        return later & Q(leased_by__isnull=False)
    waiting = later & Q(leased_by__isnull=True)
    return waiting & (Q(attempts=0) if call["state"] == "scheduled" else ~Q(attempts=0))


# -- show, cancel ----------------------------------------------------------------------------------------


def show_message(call: Call) -> None:
    print_one(call, messages.find(call["id"], using=call.using))


def print_one(call: Call, message: Message | ArchivedMessage) -> None:
    """Print all that is known of one message; its payload only when that was asked for."""
    facts = {**facts_of(message, call.clock), "errors": message.errors}
    if call["shows_payload"]:
        facts |= private_facts_of(message)
    if call.out.as_json:
        call.out.document(facts)
        return
    call.out.facts(as_lines(facts))
    for line in error_lines(facts["errors"]):
        call.out.line(line)
    if not call["shows_payload"]:
        call.out.say("The payload is not shown: --payload shows it.")


def cancel_message(call: Call) -> None:
    message = messages.cancel(call["id"], using=call.using)
    if call.out.as_json:
        call.out.document(facts_of(message, call.clock))
    else:
        was_running = message.leased_by is not None
        what = "its code may run on, but can record nothing" if was_running else "it will not run"
        call.out.say(f"Message {message.pk} ({message.type}) was cancelled: {what}.")
