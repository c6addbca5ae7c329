"""`letsgo type list|pause|resume`: list the types of messages, and hold back one kind of work.

The counting is done in inspection.
"""

from __future__ import annotations

from typing import Any

from ... import messages, validation
from ...engines import AtLeast
from ...hints import suggestion
from ...inspection import TypeFacts, facts_of_types
from ...models import PausedType
from . import formats
from .call import Call, Verbs

PAUSE = ("paused_at", "paused_by", "pause_reason", "resume_at")


def add_to(verbs: Verbs) -> None:
    verbs.add("list", list_types, "lists the types with a handler, with waiting messages or a pause")
    parser = verbs.add("pause", pause_type, "stops workers from claiming messages of a type")
    parser.add_argument("name", help="the type's name")
    parser.add_argument("--reason", default="", help="why")
    parser.add_argument(
        "--for", type=formats.duration, dest="duration", help="resume automatically after this long"
    )
    parser = verbs.add("resume", resume_type, "lets workers claim messages of a type again")
    parser.add_argument("name", help="the type's name")


def list_types(call: Call) -> None:
    shown = (
        "name",
        "state",
        "waiting",
        "ended_per_minute",
        "failed_share",
        "last_success",
        "workers",
        "paused_by",
        "pause_reason",
        "resume_at",
    )
    call.out.rows([_facts_of(type) for type in facts_of_types(call.snapshot)], shown)


def _facts_of(type: TypeFacts) -> dict[str, Any]:
    """Return a type for programs; `capped`: more may wait."""
    pause, rate = type.pause or PausedType(), type.rate
    return {
        "name": type.name,
        "state": "paused" if type.pause else "open",
        "waiting": type.waiting,
        "capped": isinstance(type.waiting, AtLeast),
        "queues": list(type.queues),
        "ended_per_minute": round(rate.per_minute, 3) if rate else 0.0,
        "failed_share": round(rate.failed_share, 3) if rate and rate.attempts else None,
        "last_success": type.last_success,
        "workers": list(type.workers),
        **formats.facts_of(pause, PAUSE),
    }


def pause_type(call: Call) -> None:
    name = _name(call)
    # A command line may hold bytes that are not text, which no column takes.
    reason = validation.storable(call["reason"])
    paused = messages.pause_type(name, by=call.by, reason=reason, seconds=call["duration"], using=call.using)
    [facts] = facts_of_types(call.snapshot, [name])
    if not (facts.is_known or facts.waiting):
        like = suggestion(name, call.snapshot.types_known)
        call.out.say(f"Nothing has a handler for {name!r}, and no such message was met.{like}")
    if call.out.as_json:
        call.out.document(formats.facts_of(paused, ("name", *PAUSE)))
    else:
        until = "" if paused.resume_at is None else f" until {formats.as_text(paused.resume_at)}"
        call.out.say(f"Type {name!r} is paused{until}; running handlers finish.")


def resume_type(call: Call) -> None:
    name = _name(call)
    was_paused = messages.resume_type(name, by=call.by, using=call.using)
    if call.out.as_json:
        call.out.document({"name": name, "was_paused": was_paused})
    else:
        call.out.say(f"Type {name!r} {'resumed' if was_paused else 'was not paused'}.")


def _name(call: Call) -> str:
    return validation.check_name("type", call["name"])
