"""`letsgo worker list|stop|forget`: the processes that handle messages.

They are asked to stop through their rows; inspection decides which ones are living.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from ... import processes
from ...inspection import liveness_of
from ...models import Process
from . import formats
from .call import Call, Verbs

COLUMNS = (
    "id", "kind", "name", "host", "pid", "queues", "excluded_queues", "types", "seats", "busy", "version",
    "started_at", "heartbeat_at", "state", "stop_requested",
)  # fmt: skip
SHOWN = ("name", "liveness", "state", "host", "pid", "serves", "busy", "seats", "version", "heartbeat_at")


def add_to(verbs: Verbs) -> None:
    verbs.add("list", list_workers, "lists the workers of the last day: living, silent, stopped")
    parser = verbs.add("stop", stop_worker, "asks a worker, or a scheduler, to drain and stop")
    parser.add_argument("name", metavar="NAME_OR_ID", help="the process, as `worker list` names it")
    parser = verbs.add("forget", forget_worker, "deletes the row of a worker, or a scheduler, that is silent")
    parser.add_argument("name", help="the silent process, as `worker list` names it")


def list_workers(call: Call) -> None:
    rows = [facts_of(row, call) for row in call.snapshot.processes if row.kind == "worker"]
    if call.out.as_json:
        call.out.document(rows)
    else:
        call.out.rows([for_people(row) for row in rows], SHOWN)


def facts_of(row: Process, call: Call) -> dict[str, Any]:
    """Return the facts of a process for programs."""
    return {**formats.facts_of(row, COLUMNS), "liveness": liveness_of(row, call.clock)}


def for_people(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a process with the queues that it serves, as SHOWN lists them."""
    queues, excluded = facts["queues"], facts["excluded_queues"]
    if queues is None:
        return facts | {"serves": f"all but {formats.as_text(excluded)}" if excluded else "all"}
    return facts | {"serves": [queue for queue in queues if queue not in excluded]}


def stop_worker(call: Call) -> None:
    process = _chosen(call)
    if not processes.request_stop(process.pk, using=call.using):
        raise CommandError(f"The {process.kind} {process.name!r} has stopped meanwhile.")
    process.stop_requested = True
    if call.out.as_json:
        call.out.document(facts_of(process, call))
        return
    call.out.say(f"The {process.kind} {process.name!r} ({process.pk}) was asked to stop.")
    if liveness_of(process, call.clock) == "silent":
        call.out.say("No recent heartbeat: if the process is dead, this request has no effect.")


def forget_worker(call: Call) -> None:
    name: str = call["name"]
    count = processes.forget(name, now=call.clock, using=call.using)
    if call.out.as_json:
        call.out.document({"name": name, "forgotten": count})
    else:
        call.out.say(
            f"{formats.counted(count, 'silent process', 'silent processes')} named {name!r} forgotten."
        )


def _chosen(call: Call) -> Process:
    """Return the one process with this id, else the one with this name, living ones first."""
    asked: str = call["name"]
    rows = [row for row in call.snapshot.processes if liveness_of(row, call.clock) != "stopped"]
    found = [row for row in rows if row.pk == _id(asked)] or _meant(
        [row for row in rows if row.name == asked], call
    )
    if not found:
        raise CommandError(f"There is no running worker or scheduler named {asked!r}.")
    if len(found) > 1:
        ids = ", ".join(str(row.pk) for row in found)
        many = formats.counted(len(found), "process is", "processes are")
        raise CommandError(f"{many} named {asked!r}; give the id of one: {ids}.")
    return found[0]


def _id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _meant(named: list[Process], call: Call) -> list[Process]:
    """Choose among processes of one name: a worker and its scheduler share one, as do restarted ones."""
    for kind in ("worker", "scheduler"):
        for state in ("living", "silent"):
            alike = [row for row in named if row.kind == kind and liveness_of(row, call.clock) == state]
            if alike:
                return alike
    return []
