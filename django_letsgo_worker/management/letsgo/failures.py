"""`letsgo failures list|show`: what fails, in groups, while it is still retried and when it is dead.

inspection finds the groups and counts their messages; nothing is changed here.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from ... import inspection
from ...engines import AtLeast
from ...inspection import FAILURE_STATES, FailureGroup
from ...outcomes import own_frames
from . import formats
from .call import Call, Verbs

MOST = 200
# As much of a fingerprint as a list shows: enough to name one.
PREFIX = 12
SHOWN = ("fingerprint", "state", "type", "error", "retrying", "dead", "count", "first_at", "last_at")


def add_to(verbs: Verbs) -> None:
    add = verbs.add("list", list_failures, "lists failures, the one met last first").add_argument
    add("--type", help="only those of this type")
    add("--queue", help="only those with messages in this queue, and only these are counted")
    add(
        "--since",
        type=formats.duration_or_moment,
        help="only those met within this duration, such as 2h, or since this time",
    )
    add("--state", choices=FAILURE_STATES, help="only those whose messages are retried, are dead, or neither")
    add("--limit", type=formats.at_most(MOST), default=50, help="at most this many (50)")
    parser = verbs.add("show", show_failure, "shows a failure with its last traceback, and what can be done")
    parser.add_argument("fingerprint", help="its beginning is enough if no other begins so")
    parser.add_argument("--type", help="of this type, if several have the fingerprint")


def facts_of(group: FailureGroup) -> dict[str, Any]:
    """Return a failure for programs; `capped`: the true numbers of its messages may be larger."""
    return {
        "fingerprint": group.fingerprint,
        "type": group.type,
        "state": group.state,
        "error_class": group.error_class,
        "message": group.message,
        "retrying": group.retrying,
        "dead": group.dead,
        "capped": isinstance(group.retrying, AtLeast) or isinstance(group.dead, AtLeast),
        "count": group.count,
        "first_at": group.first_at,
        "last_at": group.last_at,
        "began": group.began,
        "versions": list(group.versions),
        "trend": list(group.trend),
        "last_message_id": group.message_id,
    }


def list_failures(call: Call) -> None:
    since = call["since"]
    found = inspection.failures(
        call.using,
        type=call["type"],
        queue=call["queue"],
        since=call.clock - since if isinstance(since, timedelta) else since,
        state=call["state"],
        limit=call["limit"],
    )
    if call.out.as_json:
        call.out.document([facts_of(group) for group in found])
        return
    call.out.rows([_for_people(group) for group in found], SHOWN)
    if found and len(found) == call["limit"]:
        call.out.say(f"There may be more than these {call['limit']}; --limit shows up to {MOST}.")


def _for_people(group: FailureGroup) -> dict[str, Any]:
    return {**facts_of(group), "fingerprint": group.fingerprint[:PREFIX], "error": group.title}


def show_failure(call: Call) -> None:
    group = inspection.failure(call["fingerprint"], call["type"], using=call.using)
    facts = facts_of(group) | {"messages": list(group.samples)}
    if call.out.as_json:
        call.out.document(facts | {"last_traceback": group.traceback, "commands": _commands(group)})
        return
    hidden = ("capped", "trend", "messages")
    shown = {name: value for name, value in facts.items() if name not in hidden}
    call.out.facts(formats.labelled(shown | {"messages": list(group.samples)}))
    if group.traceback:
        call.out.line("")
        for line in own_frames(group.traceback).splitlines():
            call.out.line(formats.printable(line))
    for command in _commands(group):
        call.out.say(f"To {command['verb']}: {command['command']}")


def _commands(group: FailureGroup) -> list[dict[str, str]]:
    """Return what can be done about its messages, one of its dead letters first."""
    commands = []
    which = f"--fingerprint {group.fingerprint} --type {group.type}"
    if group.dead:
        commands.append({"verb": "redrive", "command": f"letsgo dead redrive {which} --one-first"})
    if group.retrying:
        commands.append({"verb": "retry", "command": f"letsgo message retry {which}"})
    return commands
