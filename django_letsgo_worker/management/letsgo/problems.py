"""What keeps work from being done: each problem a code for programs and a sentence for people.

The numbers come from counting.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ... import registry, schedules
from ...checks import types_waiting
from ...models import Process, ScheduledJob
from . import showing
from .call import Call
from .liveness import liveness


def problems(
    call: Call, queues: Sequence[dict[str, Any]], processes: Sequence[Process], jobs: Sequence[ScheduledJob]
) -> list[dict[str, Any]]:
    """Return all that is wrong: objects of code, about (a queue, type or schedule) and sentence."""
    living = [row for row in processes if liveness(row, call.clock) == "living"]
    found = [
        *_about_queues(queues),
        *_about_types(call, living),
        *_about_schedules(jobs, living),
    ]
    return [{"code": code, "about": about, "sentence": sentence} for code, about, sentence in found]


def _about_queues(queues: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str, str]]:
    for queue in queues:
        name = queue["name"]
        if queue["state"] == "paused":
            by = f" by {queue['paused_by']}" if queue["paused_by"] else ""
            why = f": {queue['pause_reason']}" if queue["pause_reason"] else ""
            yield "queue_paused", name, f"Queue {name!r} is paused{by}{why}."
        if queue["ready"] and not queue["workers"]:
            ready = showing.counted(queue["ready"], "ready message")
            yield "queue_without_worker", name, f"Queue {name!r} has {ready} and no living worker serves it."


def _about_types(call: Call, living: Sequence[Process]) -> Iterator[tuple[str, str, str]]:
    known = types_known(living)
    for type, queue in sorted(types_waiting(call.using, until=call.clock).items()):
        if type not in known:
            yield (
                "unknown_type",
                type,
                f"Nobody has a handler of {type!r}, and queue {queue!r} has messages of it.",
            )


def types_known(living: Sequence[Process]) -> set[str]:
    """Return the types that have a handler here or in a living worker."""
    return {*registry.types(), *(type for process in living for type in process.types or ())}


def is_missed(name: str) -> bool:
    """Whether a schedule does anything: the built-in one only logs a line until a project has its handler."""
    return name != schedules.BUILT_IN or schedules.is_built_in_used()


def _about_schedules(
    jobs: Sequence[ScheduledJob], living: Sequence[Process]
) -> Iterator[tuple[str, str, str]]:
    for job in jobs:
        if job.state == "broken":
            yield "schedule_broken", job.name, f"Schedule {job.name!r} is broken: {job.problem}"
    on = sum(1 for job in jobs if job.state == "on" and is_missed(job.name))
    if on and not any(process.kind == "scheduler" for process in living):
        yield (
            "no_scheduler",
            "",
            f"No scheduler lives, and {showing.counted(on, 'schedule is', 'schedules are')} on: "
            "run `manage.py runscheduler`.",
        )
