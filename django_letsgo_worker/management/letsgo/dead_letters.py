"""`letsgo dead list|show|redrive|discard`: dead letters, one by one or all that match.

Redriving and discarding are done by the verbs; here the rows are selected, a batch at a time.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.management.base import CommandError
from django.db.models import Q, QuerySet

from ... import messages, validation
from ...engines import AtLeast
from ...errors import MessageNotFound
from ...inspection import BATCH, MOST_COUNTED, count_capped, ended_until, state_of
from ...messages import BulkResult
from ...models import ArchivedMessage, DeadLetter
from ...outcomes import attempts_of
from . import formats, operations
from .call import Call, Verbs
from .messages import add_filters, add_id_and_payload, print_messages, print_one, without_long_columns

# The options that choose dead letters.
NARROWING = ("type", "queue", "error", "fingerprint", "older_than", "limit")
# How long to wait for what becomes of one that was redriven first, and how often to look, in seconds.
PATIENCE = 30.0
LOOK_SECONDS = 0.1


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("list", list_dead, "lists dead letters, newest first")
    add_filters(parser.add_argument)
    parser.add_argument("--error", metavar="CLASS", help="only those whose last error was of this class")
    parser.add_argument(
        "--payload", action="store_true", dest="shows_payload", help="show payloads, headers and results"
    )
    parser = verbs.add("show", show_dead, "shows a dead letter with its errors")
    add_id_and_payload(parser.add_argument)
    help = "makes dead letters live messages again"
    parser = verbs.add("redrive", redrive, help, destroys=True)
    _add_choice(parser)
    operations.add_pace(parser.add_argument)
    parser.add_argument(
        "--one-first", action="store_true", help="only the oldest of them; wait, and say what became of it"
    )
    _add_choice(verbs.add("discard", discard, "deletes dead letters", destroys=True))


def _add_choice(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("ids", metavar="ID", type=int, nargs="*", help="these; otherwise all that the options find")
    add("--all", action="store_true", help="all dead letters")
    operations.add_filters(add)
    add("--limit", type=formats.at_most(2**31), help="at most this many, oldest first")


# -- looking ---------------------------------------------------------------------------------------------


def list_dead(call: Call) -> None:
    limit: int = call["limit"]
    rows = without_long_columns(_matching(call), private=call["shows_payload"])
    found = list(rows.order_by("-finished_at")[: limit + 1])
    print_messages(call, found[:limit], len(found) > limit)


def show_dead(call: Call) -> None:
    message = messages.find(call["id"], using=call.using)
    if not isinstance(message, ArchivedMessage) or message.outcome != "dead":
        raise MessageNotFound(call["id"], "dead letter")
    print_one(call, message)


def _matching(call: Call) -> QuerySet[Any]:
    rows: QuerySet[Any] = DeadLetter.objects.using(call.using)
    for name in ("queue", "type"):
        if call[name] is not None:
            rows = rows.filter(**{name: validation.check_name(name, call[name])})
    if call["error"] is not None:
        error = validation.storable(call["error"])
        rows = rows.filter(Q(error_class=error) | Q(error_class__endswith=f".{error}"))
    if call.options.get("fingerprint") is not None:
        rows = rows.filter(error_fingerprint=validation.storable(call["fingerprint"]))
    if call.options.get("older_than") is not None:
        rows = rows.filter(finished_at__lte=call.clock - call["older_than"])
    return rows


# -- changing --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Deed:
    """An operation on dead letters: on one, or on many at once."""

    verb: str
    doing: str
    done: str
    one: Callable[[Call, int], object]
    many: Callable[[Call, Sequence[int]], BulkResult]
    asks_about_one: bool


REDRIVE = Deed(
    verb="redrive",
    doing="Redriving",
    done="redriven",
    one=lambda call, id: messages.redrive(id, by=call.by, reason=_reason(call), using=call.using),
    many=lambda call, ids: messages.redrive_many(ids, by=call.by, reason=_reason(call), using=call.using),
    asks_about_one=False,
)
DISCARD = Deed(
    verb="discard",
    doing="Discarding",
    done="discarded",
    one=lambda call, id: messages.discard(id, using=call.using),
    many=lambda call, ids: messages.discard_many(ids, using=call.using),
    asks_about_one=True,
)


def _reason(call: Call) -> str:
    return validation.storable(call["reason"])


def redrive(call: Call) -> None:
    if call["one_first"]:
        _redrive_one_first(call)
    elif call["over"] is not None:
        if call["ids"] or call["limit"] is not None:
            raise CommandError("--over is for all that the options find: without ids and --limit.")
        operations.begin(call, "redrive")
    else:
        _do(call, REDRIVE)


def _redrive_one_first(call: Call) -> None:
    """Redrive the oldest that matches, and say what became of it; the exit code is 1 unless it succeeded."""
    if call["ids"] or call["over"] is not None:
        raise CommandError("--one-first is for the oldest that the options find: without ids and --over.")
    letter = _matching(call).order_by("finished_at").first()
    if letter is None:
        raise CommandError("No dead letter matches.")
    messages.redrive(letter.pk, by=call.by, reason=_reason(call), using=call.using)
    became = _what_became_of(call, letter.pk)
    if call.out.as_json:
        call.out.document(became)
    else:
        call.out.line(_sentence_of(became))
    if became["state"] != "succeeded":
        raise CommandError("It did not succeed.")


def _what_became_of(call: Call, id: int) -> dict[str, Any]:
    """Wait until a redriven message has ended, or waits for its next attempt, but no longer than 30 s."""
    give_up = time.monotonic() + PATIENCE
    while True:
        message = messages.find(id, using=call.using)
        state = state_of(message, call.engine.clock())
        if isinstance(message, ArchivedMessage) or state == "retrying" or time.monotonic() > give_up:
            break
        time.sleep(LOOK_SECONDS)
    last = attempts_of(message.errors)[-1:] if state != "succeeded" else []
    error = f"{last[0]['class']}: {last[0]['message']}" if last else ""
    return {"id": id, "type": message.type, "state": state, "error": error}


def discard(call: Call) -> None:
    _do(call, DISCARD)


def _sentence_of(became: dict[str, Any]) -> str:
    """Return what became of a message that was redriven first, for people."""
    said = {
        "succeeded": "succeeded",
        "dead": f"is a dead letter again: {became['error']}",
        "retrying": f"failed again, and waits for its next attempt: {became['error']}",
        "running": "still runs",
        "ready": "has not begun: does a worker serve its queue?",
    }
    return formats.printable(f"Message {became['id']} {said.get(became['state'], became['state'])}")


def _do(call: Call, deed: Deed) -> None:
    ids: list[int] = list(dict.fromkeys(call["ids"]))
    narrowed = [name for name in NARROWING if call[name] is not None]
    if ids and (narrowed or call["all"]):
        raise CommandError("Give either ids or options, not both.")
    if not ids and not narrowed and not call["all"]:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in NARROWING)
        raise CommandError(f"Say which to {deed.verb}: ids, {options} or --all.")
    if not ids:
        _do_to_matching(call, deed)
    elif len(ids) == 1:
        _do_to_one(call, deed, ids[0])
    else:
        _confirm(call, deed, len(ids))
        with call.out.progress(deed.verb, len(ids)) as advance:
            result = _in_batches(call, deed, _chunks(ids), advance)
        _report(call, deed, result)


def _do_to_one(call: Call, deed: Deed, id: int) -> None:
    if deed.asks_about_one:
        _require(call, id)
        _confirm(call, deed, 1)
    deed.one(call, id)
    _report(call, deed, BulkResult(done=1, skipped=0))


def _require(call: Call, id: int) -> None:
    if not 0 < id < 2**63 or not DeadLetter.objects.using(call.using).filter(pk=id).exists():
        raise MessageNotFound(id, "dead letter")


def _do_to_matching(call: Call, deed: Deed) -> None:
    count = count_capped(_matching(call).order_by("finished_at"), call["limit"])
    if count > 1 or (count and deed.asks_about_one):
        _confirm(call, deed, count)
    batches = ended_until(_matching(call), call.clock, call["limit"])
    with call.out.progress(deed.verb, None if isinstance(count, AtLeast) else count) as advance:
        result = _in_batches(call, deed, ([row.pk for row in batch] for batch in batches), advance)
    _report(call, deed, result)


def _confirm(call: Call, deed: Deed, count: int) -> None:
    many = f"more than {MOST_COUNTED:,} dead letters" if isinstance(count, AtLeast) else ""
    call.out.confirm(f"{deed.doing} {many or formats.counted(count, 'dead letter')}")


def _chunks(ids: Sequence[int]) -> Iterator[list[int]]:
    for start in range(0, len(ids), BATCH):
        yield list(ids[start : start + BATCH])


def _in_batches(
    call: Call, deed: Deed, batches: Iterator[list[int]], advance: Callable[[int], None]
) -> BulkResult:
    done = skipped = 0
    for ids in batches:
        result = deed.many(call, ids)
        done, skipped = done + result.done, skipped + result.skipped
        advance(len(ids))
    return BulkResult(done=done, skipped=skipped)


def _report(call: Call, deed: Deed, result: BulkResult) -> None:
    if call.out.as_json:
        call.out.document({deed.done: result.done, "skipped": result.skipped})
    else:
        call.out.line(f"{deed.done} {result.done}, skipped {result.skipped}")
