"""`letsgo enqueue`: one message, by hand.

What may be a message is checked by the verb.
"""

from __future__ import annotations

from ... import messages, registry
from ...models import Message
from . import reading, showing
from .call import Call, Verbs
from .message_facts import facts_of


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("enqueue", enqueue_message, "enqueues a message and prints its id")
    add = parser.add_argument
    add("type")
    add("payload", nargs="?", metavar="JSON|@FILE|-", help="null by default")
    add("--queue", help="(that of the type's handler)")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--delay", type=reading.duration, help="as 90s 10m 1h30m 2d")
    when.add_argument("--at", type=reading.moment, help="an ISO time with its zone, instead of a delay")
    add("--priority", type=int, help="from -100 to 100, larger is sooner (that of the handler)")
    add("--max-attempts", type=int, help="(that of the handler)")
    add("--deadline", type=reading.duration_or_moment, help="no attempt begins later: a duration or a time")
    add("--unique-key", help="one live message of this type and key; the one that lives is returned")


def enqueue_message(call: Call) -> None:
    message = messages.enqueue(
        call["type"],
        reading.payload(call["payload"]),
        delay=call["delay"],
        visible_at=call["at"],
        queue=call["queue"],
        priority=call["priority"],
        max_attempts=call["max_attempts"],
        deadline=call["deadline"],
        unique_key=call["unique_key"],
        using=call.using,
    )
    print_message(call, message)


def print_message(call: Call, message: Message) -> None:
    """Print the id of a message that was enqueued, or all its facts as JSON; tell people what it is."""
    if call.out.as_json:
        call.out.document({**facts_of(message, call.clock), "created": message.created})
    else:
        call.out.line(str(message.pk))
        news = "was enqueued in" if message.created else "lives already in"
        when = f"visible at {showing.as_text(message.visible_at)}"
        call.out.say(f"Message {message.pk} ({message.type}) {news} queue {message.queue!r}, {when}.")
    if registry.find(message.type) is None:
        call.out.say(f"No handler of the type {message.type!r} is known here.")
