"""`letsgo queue list|pause|resume|purge`: list, pause, resume and empty queues.

The counting is done in inspection.
"""

from __future__ import annotations

from typing import Any

from ... import messages, queues, validation
from ...engines import AtLeast
from ...inspection import QueueFacts, facts_of_queues
from . import formats
from .call import Call, Verbs

PAUSE = ("paused_at", "paused_by", "pause_reason", "resume_at")
COUNTS = ("ready", "running", "scheduled", "retrying")


def add_to(verbs: Verbs) -> None:
    verbs.add("list", list_queues, "lists the queues and their work")
    parser = verbs.add("pause", pause_queue, "stops workers from claiming from a queue")
    parser.add_argument("name", help="the queue's name")
    parser.add_argument("--reason", default="", help="why")
    parser.add_argument(
        "--for", type=formats.duration, dest="duration", help="resume automatically after this long"
    )
    parser = verbs.add("resume", resume_queue, "lets workers claim from a queue again")
    parser.add_argument("name", help="the queue's name")
    help = "deletes all live messages of a queue, running ones included"
    parser = verbs.add("purge", purge_queue, help, destroys=True)
    parser.add_argument("name", help="the queue's name")


def list_queues(call: Call) -> None:
    shown = (
        "name",
        "state",
        "ready",
        "running",
        "scheduled",
        "retrying",
        "failed_share",
        "dead",
        "workers",
        "pause_reason",
    )
    call.out.rows([facts_of(queue, call) for queue in facts_of_queues(call.snapshot)], shown)


def facts_of(queue: QueueFacts, call: Call) -> dict[str, Any]:
    """Return a queue for programs; `capped`: the true counts may be larger."""
    failed = queue.failed_share
    counts = {name: getattr(queue.work, name) for name in COUNTS} | {"dead": queue.dead}
    oldest = queue.work.oldest_ready
    return {
        "name": queue.row.name,
        "state": "paused" if queue.row.is_paused else "open",
        **counts,
        "capped": any(isinstance(count, AtLeast) for count in counts.values()),
        "failed_share": None if failed is None else round(failed, 3),
        "ended_per_minute": round(queue.per_minute, 3),
        "oldest_ready_seconds": None if oldest is None else (call.clock - oldest).total_seconds(),
        **formats.facts_of(queue.row, PAUSE),
        "workers": queue.workers,
    }


def pause_queue(call: Call) -> None:
    # A command line may hold bytes that are not text, which no column takes.
    reason = validation.storable(call["reason"])
    queue = queues.pause(call["name"], by=call.by, reason=reason, seconds=call["duration"], using=call.using)
    if call.out.as_json:
        call.out.document(formats.facts_of(queue, ("name", *PAUSE)))
    else:
        until = "" if queue.resume_at is None else f" until {formats.as_text(queue.resume_at)}"
        call.out.say(f"Queue {queue.name!r} is paused{until}; running handlers finish.")


def resume_queue(call: Call) -> None:
    name = _name(call)
    was_paused = queues.resume(name, using=call.using)
    if call.out.as_json:
        call.out.document({"name": name, "was_paused": was_paused})
    else:
        call.out.say(f"Queue {name!r} {'resumed' if was_paused else 'was not paused'}.")


def purge_queue(call: Call) -> None:
    name, started = _name(call), call.clock
    call.out.confirm(f"Deleting all live messages of the queue {name!r}")
    deleted = 0
    with call.out.progress("purge") as advance:
        while batch := messages.purge_batch(name, until=started, using=call.using):
            deleted += batch
            advance(batch)
    result: dict[str, Any] = {"name": name, "deleted": deleted}
    if call.out.as_json:
        call.out.document(result)
    else:
        call.out.line(f"deleted {deleted}")


def _name(call: Call) -> str:
    return validation.check_name("queue", call["name"])
