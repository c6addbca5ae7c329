"""`letsgo operation list|show|stop|undo`, `letsgo message retry`: bulk operations, and how far they are.

Workers work them off. What is done to dead letters is in dead_letters.py.
"""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from ... import messages, validation
from ...models import BulkOperation, Message
from . import formats
from .call import Call, Verbs

FACTS = (
    "id", "kind", "filter", "to_queue", "over", "by", "reason", "state", "total", "done", "skipped",
    "given_back", "created_at", "finished_at",
)  # fmt: skip
SHOWN = ("id", "kind", "filter", "state", "done", "total", "by", "reason", "created_at", "finished_at")
# The largest --limit of the list.
MOST = 10_000


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("list", list_operations, "lists bulk operations, newest first")
    parser.add_argument("--limit", type=formats.at_most(MOST), default=50, help="at most this many (50)")
    for name, run, help in (
        ("show", show_operation, "shows a bulk operation and how far it is"),
        ("stop", stop_operation, "stops a bulk operation; what it has done stays done"),
        ("undo", undo_operation, "gives back what a bulk operation did and what has not begun"),
    ):
        verbs.add(name, run, help).add_argument("id", type=int, help="the operation's id")


def add_retry(verbs: Verbs) -> None:
    """Add `retry` to the verbs on messages."""
    help = "lets messages that wait for a retry or a delay run now"
    parser = verbs.add("retry", retry, help, destroys=True)
    parser.add_argument("id", type=int, nargs="?", help="one message; otherwise all that the options find")
    add_filters(parser.add_argument)
    add_pace(parser.add_argument)
    parser.add_argument("--state", choices=("retrying", "scheduled"), help="only those that wait for this")


def add_filters(add: Any) -> None:
    """Add the options that choose many messages."""
    add("--type", help="only those of this type")
    add("--queue", help="only those of this queue")
    add(
        "--error",
        metavar="CLASS",
        help="only those whose last error was of this class, with or without its module",
    )
    add("--fingerprint", help="only those of this failure")
    add("--older-than", type=formats.duration, metavar="DURATION", help="only those older than this")


def add_pace(add: Any) -> None:
    """Add how a verb goes through many messages, and why."""
    add("--over", type=formats.duration, metavar="DURATION", help="spread their starts evenly over this time")
    add("--reason", default="", help="why")


def filter_of(call: Call) -> dict[str, Any]:
    """Return the filter that the options say."""
    names = ("type", "queue", "fingerprint", "state", "older_than")
    given = {name: call.options.get(name) for name in names} | {"error_class": call["error"]}
    return {name: value for name, value in given.items() if value is not None}


def retry(call: Call) -> None:
    reason = validation.storable(call["reason"])
    filter = filter_of(call)
    if call["id"] is not None:
        if filter or call["over"]:
            raise CommandError("Give either an id or options, not both.")
        message = messages.retry(call["id"], by=call.by, reason=reason, using=call.using)
        print_retried(call, message)
    elif not filter and not call["over"]:
        raise CommandError("Say which to retry: an id, or --type, --queue, --error, --fingerprint or --over.")
    elif call["over"]:
        begin(call, "retry")
    else:
        call.out.confirm("Retrying all messages that these options find")
        result = messages.retry_many(by=call.by, reason=reason, using=call.using, **filter)
        if call.out.as_json:
            call.out.document({"retried": result.done, "skipped": result.skipped})
        else:
            call.out.line(f"retried {result.done}, skipped {result.skipped}")


def print_retried(call: Call, message: Message) -> None:
    if call.out.as_json:
        call.out.document(formats.facts_of(message, ("id", "type", "queue", "attempts", "visible_at")))
    else:
        call.out.say(f"Message {message.pk} ({message.type}) is due now.")


def begin(call: Call, kind: str) -> None:
    """Begin a bulk operation on what the options find, and print it."""
    call.out.confirm(f"A {kind} of all messages that these options find")
    operation = messages.operate(
        kind,
        over=call["over"],
        by=call.by,
        reason=validation.storable(call["reason"]),
        using=call.using,
        **filter_of(call),
    )
    print_operation(call, operation)


def list_operations(call: Call) -> None:
    rows = BulkOperation.objects.using(call.using).order_by("-pk")[: call["limit"]]
    call.out.rows([facts_of(row) for row in rows], SHOWN)


def show_operation(call: Call) -> None:
    facts = facts_of(messages.find_operation(call["id"], using=call.using))
    if call.out.as_json:
        call.out.document(facts)
    else:
        call.out.facts(formats.labelled({k: v for k, v in facts.items() if v not in (None, "")}))


def stop_operation(call: Call) -> None:
    print_operation(call, messages.stop_operation(call["id"], using=call.using))


def undo_operation(call: Call) -> None:
    print_operation(call, messages.undo_operation(call["id"], using=call.using))


def print_operation(call: Call, operation: BulkOperation) -> None:
    """Print where an operation stands: for programs all of it, for people its id and a sentence."""
    if call.out.as_json:
        call.out.document(facts_of(operation))
        return
    call.out.line(str(operation.pk))
    far = f"{operation.done:,} of {operation.total:,} done" if operation.total else "nothing done yet"
    call.out.say(f"Operation {operation.pk} ({operation.kind}) is {operation.state}: {far}.")
    if operation.finished_at is None and not call.snapshot.workers:
        call.out.say("It waits for a worker, and none is running: run `manage.py runworker`.")


def facts_of(operation: BulkOperation) -> dict[str, Any]:
    """Return all that a program may want to know of an operation."""
    return formats.facts_of(operation, FACTS)
