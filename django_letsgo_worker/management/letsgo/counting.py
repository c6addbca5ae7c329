"""How much work each queue has, counted through the indexes and no further than ten thousand.

What is wrong with a queue is found in problems.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from django.db.models import Count, Q

from ... import queues
from ...engines import AtLeast, Lane
from ...models import DeadLetter, Message, Process, Queue
from .call import Call
from .liveness import liveness

MOST = 10_000
PAUSE = ("paused_at", "paused_by", "pause_reason", "resume_at")
COUNTS = ("ready", "running", "scheduled", "retrying", "dead")


def work_of_queues(
    call: Call, processes: Iterable[Process], also: Iterable[str] = ()
) -> list[dict[str, Any]]:
    """Return each queue's counts, its pause, and how many living workers serve it; `also` those named.

    A count beyond ten thousand is at least ten thousand, as it is written, and `capped` says so.
    """
    lanes, dead = call.engine.lanes(), _dead(call)
    rows = {row.name: row for row in Queue.objects.using(call.using).all()}
    workers = [row for row in processes if row.kind == "worker" and liveness(row, call.clock) == "living"]
    return [
        _work(
            call,
            rows.get(name) or Queue(name=name),
            [lane for lane in lanes if lane.queue == name],
            dead[name],
        )
        | {"workers": sum(1 for worker in workers if serves(worker, name))}
        for name in sorted({*queues.names(using=call.using), *dead, *also})
    ]


def serves(worker: Process, queue: str) -> bool:
    return worker.queues is None or queue in worker.queues


def _work(call: Call, queue: Queue, lanes: list[Lane], dead: int) -> dict[str, Any]:
    counts: Counter[str] = Counter(dead=dead)
    for lane in lanes:
        counts += _in_lane(call, lane)
    due = [lane.next_visible_at for lane in lanes if lane.next_visible_at is not None]
    oldest = min((moment for moment in due if moment <= call.clock), default=None)
    return {
        "name": queue.name,
        "state": "paused" if queue.is_paused else "open",
        **{name: AtLeast(MOST) if counts[name] > MOST else counts[name] for name in COUNTS},
        "capped": any(counts[name] > MOST for name in COUNTS),
        "oldest_ready_seconds": None if oldest is None else (call.clock - oldest).total_seconds(),
        **{name: getattr(queue, name) for name in PAUSE},
    }


def _in_lane(call: Call, lane: Lane) -> Counter[str]:
    rows = Message.objects.using(call.using).filter(queue=lane.queue, priority=lane.priority)
    # In the order of the index: else a planner that takes the lane for short may read the whole table.
    rows = rows.order_by("visible_at")
    waiting, untried = Q(leased_by__isnull=True), Q(attempts=0)
    later = rows.filter(visible_at__gt=call.clock)[: MOST + 1].aggregate(
        running=Count("pk", filter=~waiting),
        scheduled=Count("pk", filter=waiting & untried),
        retrying=Count("pk", filter=waiting & ~untried),
    )
    return Counter(ready=rows.filter(visible_at__lte=call.clock)[: MOST + 1].count(), **later)


def _dead(call: Call) -> Counter[str]:
    """Return the newest dead letters, ten thousand at most, by queue."""
    newest = DeadLetter.objects.using(call.using).order_by("-finished_at")
    return Counter(newest.values_list("queue", flat=True)[: MOST + 1])
