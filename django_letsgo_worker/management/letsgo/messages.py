"""`letsgo message list|show|why|cancel`, `letsgo enqueue`, `letsgo prune`: messages, live and archived ones.

Verbs check what a message may be; operations on dead letters are in dead_letters.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.core.management.base import CommandError
from django.db.models import QuerySet

from ... import inspection, messages, registry, validation
from ...inspection import LIVE_STATES, in_state, state_of
from ...models import ArchivedMessage, Message, Progress
from ...processes import progress_of
from ...redaction import redacted
from . import formats
from .call import Call, Verbs

OUTCOMES = tuple(ArchivedMessage._meta.get_field("outcome").flatchoices)
# The largest --limit of a list.
MOST = 100_000
FACTS = (
    "id", "type", "queue", "priority", "visible_at", "enqueued_at", "deadline", "attempts", "max_attempts",
    "receipt", "deaths", "leased_by", "leased_at", "first_started_at", "unique_key", "scheduled_job_id",
    "planned_at",
)  # fmt: skip
ENDED = ("outcome", "finished_at", "seconds", "error_class", "error_fingerprint")
# These may be personal data.
PRIVATE = ("payload", "headers", "result")


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("list", list_messages, "lists live messages, or those with one state or outcome")
    add_filters(parser.add_argument)
    outcomes = [str(value) for value, _label in OUTCOMES]
    parser.add_argument(
        "--state", choices=[*LIVE_STATES, *outcomes], help="only those in this state (all live ones)"
    )
    parser.add_argument(
        "--payload", action="store_true", dest="shows_payload", help="show payloads, headers and results"
    )
    parser = verbs.add("show", show_message, "shows one message, live or archived")
    add_id_and_payload(parser.add_argument)
    parser = verbs.add("why", why_message, "says why a message does not run, or what became of it")
    parser.add_argument("id", type=int, help="the message's id")
    parser = verbs.add("cancel", cancel_message, "archives a live message as cancelled")
    parser.add_argument("id", type=int, help="the message's id")


def add_filters(add: Any) -> None:
    """Add the options that narrow lists of messages."""
    add("--queue", help="only those of this queue")
    add("--type", help="only those of this type")
    add("--limit", type=formats.at_most(MOST), default=50, help="at most this many (50)")


def add_id_and_payload(add: Any) -> None:
    add("id", type=int, help="the message's id")
    add("--payload", action="store_true", dest="shows_payload", help="show payload, headers and result, too")


# -- list ------------------------------------------------------------------------------------------------


def list_messages(call: Call) -> None:
    limit: int = call["limit"]
    found = list(_archived(call, limit + 1) if _is_outcome(call["state"]) else _live(call, limit + 1))
    print_messages(call, found[:limit], len(found) > limit)


def _is_outcome(state: str | None) -> bool:
    return state is not None and state not in LIVE_STATES


def print_messages(call: Call, found: list[Any], is_more: bool) -> None:
    """Print messages as rows; `is_more`: there are further ones."""
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
    """Yield live messages lane by lane, in the order of claims: by the index, without sorting."""
    rows = _narrowed(Message.objects.using(call.using), call)
    if call["state"] is not None:
        rows = rows.filter(in_state(call["state"], call.clock))
    lanes = [lane for lane in call.snapshot.lanes if call["queue"] in (None, lane.queue)]
    for lane in sorted(lanes, key=lambda lane: (-lane.priority, lane.queue)):
        in_lane = rows.filter(queue=lane.queue, priority=lane.priority).order_by("visible_at")[:limit]
        for message in in_lane:
            yield message
            limit -= 1
        if not limit:
            return


# -- show, why, cancel -----------------------------------------------------------------------------------


def show_message(call: Call) -> None:
    print_one(call, messages.find(call["id"], using=call.using))


def print_one(call: Call, message: Message | ArchivedMessage) -> None:
    """Print all facts of one message; its payload only on request."""
    progress = progress_of(message, call.using)
    facts = {**facts_of(message, call.clock), **_said_of(progress), "errors": message.errors}
    if call["shows_payload"]:
        facts |= private_facts_of(message)
    if call.out.as_json:
        call.out.document(facts)
        return
    call.out.facts(as_lines(facts))
    for line in error_lines(facts["errors"]):
        call.out.line(line)
    if not call["shows_payload"]:
        call.out.say("The payload is hidden; --payload shows it.")


def _said_of(progress: Progress | None) -> dict[str, Any]:
    """Return how far a running message is, if it has said so."""
    return {} if progress is None else {"progress": progress.fraction, "progress_text": progress.text}


def why_message(call: Call) -> None:
    found = inspection.explain(call["id"], call.using)
    if call.out.as_json:
        call.out.document({"id": call["id"], **asdict(found)})
    if found.code == "not_found":
        raise CommandError(found.sentence)
    if not call.out.as_json:
        for line in _why_lines(found):
            call.out.line(line)


def _why_lines(found: inspection.Explanation) -> Iterator[str]:
    """Yield the sentence, what to do, and what happened, with the traceback of the newest failure."""
    yield formats.printable(found.sentence)
    if found.actions:
        yield from ("", "What to do:")
        yield from (f"  {one['verb']:<9}{one['command']}" for one in found.actions if one["command"])
    yield from ("", "What happened:")
    newest = next((one for one in reversed(found.timeline) if one.get("traceback")), None)
    for event in found.timeline:
        said = formats.printable(event["sentence"])
        yield f"  {formats.moment_text(event['at'])}  {event['event']:<9}  {said}"
        if event is newest:
            trace = formats.printable(event["traceback"], keep="\n\t").rstrip()
            yield from (f"      {line}" for line in trace.splitlines())


def cancel_message(call: Call) -> None:
    message = messages.cancel(call["id"], using=call.using)
    if call.out.as_json:
        call.out.document(facts_of(message, call.clock))
    else:
        was_running = message.leased_by is not None
        what = "its code may keep running, but cannot record an outcome" if was_running else "it will not run"
        call.out.say(f"Message {message.pk} ({message.type}) was cancelled: {what}.")


# -- enqueue ---------------------------------------------------------------------------------------------


def add_enqueue(verbs: Verbs) -> None:
    parser = verbs.add("enqueue", enqueue_message, "enqueues a message and prints its id")
    add = parser.add_argument
    add("type", help="the type of the message, which chooses its handler")
    add("payload", nargs="?", metavar="JSON|@FILE|-", help="its payload (null by default)")
    add("--queue", help="the handler's by default")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--delay", type=formats.duration, help="such as 90s, 10m, 1h30m or 2d")
    when.add_argument("--at", type=formats.moment, help="an ISO time with its zone, instead of a delay")
    add("--priority", type=int, help="from -100 to 100, larger is sooner (the handler's by default)")
    add("--max-attempts", type=int, help="the handler's by default")
    add("--deadline", type=formats.duration_or_moment, help="no attempt starts after this duration or time")
    add("--unique-key", help="at most one live message of this type and key; if there is one, print its id")
    add(
        "--wait",
        nargs="?",
        type=formats.duration,
        const=True,
        metavar="DURATION",
        help="wait for its end, such as 90s at most, and print its outcome; exit with 1 unless it succeeded",
    )


def enqueue_message(call: Call) -> None:
    message = messages.enqueue(
        call["type"],
        formats.payload(call["payload"]),
        delay=call["delay"],
        visible_at=call["at"],
        queue=call["queue"],
        priority=call["priority"],
        max_attempts=call["max_attempts"],
        deadline=call["deadline"],
        unique_key=call["unique_key"],
        using=call.using,
    )
    if call["wait"] is None:
        print_message(call, message)
    else:
        _print_end(call, message)


def _print_end(call: Call, message: Message) -> None:
    """Wait for the end of a message and print its outcome; CommandError unless it succeeded."""
    if not call.out.as_json:
        print_message(call, message)
    try:
        ended = message.wait(None if call["wait"] is True else call["wait"])
    except TimeoutError as error:
        raise CommandError(str(error)) from None
    if ended is None:
        raise CommandError(f"Message {message.pk} has ended, and nothing of it was kept.")
    if call.out.as_json:
        call.out.document({**facts_of(ended, call.clock), "created": message.created})
    else:
        call.out.line(str(ended.outcome))
    if ended.outcome != "succeeded":
        raise CommandError(inspection.explain(ended.pk, call.using).sentence)


def print_message(call: Call, message: Message) -> None:
    """Print the id of an enqueued message, or all its facts as JSON, and a remark for people."""
    if call.out.as_json:
        call.out.document({**facts_of(message, call.clock), "created": message.created})
    else:
        call.out.line(str(message.pk))
        news = "was enqueued in" if message.created else "is already live in"
        when = f"visible at {formats.as_text(message.visible_at)}"
        call.out.say(f"Message {message.pk} ({message.type}) {news} queue {message.queue!r}, {when}.")
    if registry.find(message.type) is None:
        call.out.say(f"No handler for the type {message.type!r} is known here.")


# -- prune -----------------------------------------------------------------------------------------------


def add_prune(verbs: Verbs) -> None:
    verbs.add("prune", prune, "deletes old archived messages and occurrences")


def prune(call: Call) -> None:
    deleted = 0
    with call.out.progress("prune") as advance:
        for batch in messages.Pruning(call.using).batches():
            deleted += batch
            advance(batch)
    if call.out.as_json:
        call.out.document({"deleted": deleted})
    else:
        call.out.line(f"deleted {deleted}")


# -- facts -----------------------------------------------------------------------------------------------


def facts_of(message: Message | ArchivedMessage, now: datetime) -> dict[str, Any]:
    """Return the short facts of a message; those of its end are None while it is live."""
    is_over = isinstance(message, ArchivedMessage)
    ended = formats.facts_of(message, ENDED) if is_over else dict.fromkeys(ENDED)
    return {"state": state_of(message, now), **formats.facts_of(message, FACTS), **ended}


def private_facts_of(message: Message | ArchivedMessage) -> dict[str, Any]:
    """Return the private facts, masked; a live message has no result."""
    return {name: redacted(getattr(message, name, None)) for name in PRIVATE}


def without_long_columns(rows: QuerySet[Any], *, private: bool) -> QuerySet[Any]:
    """Defer what a list does not show: errors and, unless requested, the private columns."""
    hidden = {"errors"} if private else {"errors", *PRIVATE}
    return rows.defer(*(field.name for field in rows.model._meta.concrete_fields if field.name in hidden))


def as_lines(facts: dict[str, Any]) -> dict[str, str]:
    """Return the facts that are set, for people; errors are printed separately."""
    said = {name: value for name, value in facts.items() if name != "errors" and value not in (None, "")}
    return formats.labelled(said)


def error_lines(errors: Any) -> list[str]:
    """Return the record of failed attempts and redrives as lines, tracebacks included."""
    lines: list[str] = []
    for entry in errors if isinstance(errors, list) else []:
        known = entry if isinstance(entry, dict) else {}
        if known.get("redrive"):
            by = f" by {known['by']}" if known.get("by") else ""
            reason = f": {known['reason']}" if known.get("reason") else ""
            lines += ["", formats.printable(f"Redriven {known.get('at', '?')}{by}{reason}")]
            continue
        attempt, at, name, said = (known.get(key, "?") for key in ("attempt", "at", "class", "message"))
        head = f"#{attempt} {formats.recorded(at)} {name}: {said}"
        lines += ["", formats.printable(head)]
        trace = formats.printable(str(known.get("traceback") or ""), keep="\n\t").rstrip()
        lines += [f"    {line}" for line in trace.splitlines()]
    return lines
