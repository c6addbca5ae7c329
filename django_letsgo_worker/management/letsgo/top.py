"""`letsgo top`: queues, workers and rates, refreshed until Ctrl-C.

In a pipe, and as JSON, they are printed once.
"""

from __future__ import annotations

import argparse
import contextlib
import threading
from collections import Counter
from datetime import timedelta
from typing import Any

from django.db import reset_queries

from ...conf import settings
from ...inspection import MOST_COUNTED, facts_of_queues, used_queues
from ...models import ArchivedMessage, Process
from . import formats, overview, queues, workers
from .call import Call, Verbs

# The length of time over which rates are measured, in seconds.
WINDOW = 60.0


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("top", top, "shows queues, workers and rates, refreshed until Ctrl-C")
    parser.add_argument(
        "--interval", type=interval, default=timedelta(seconds=2), help="the time between two refreshes (2s)"
    )


def interval(text: str) -> timedelta:
    """Read a duration that is long enough for refreshes not to be a load."""
    length = formats.duration(text)
    if not length:
        raise argparse.ArgumentTypeError("at least 1s")
    return length


def top(call: Call) -> None:
    if call.out.as_json:
        call.out.document(_look(call))
    elif not call.out.is_terminal:
        _print(call, _look(call))
    else:
        with contextlib.suppress(KeyboardInterrupt):
            _watch(call)


def _watch(call: Call) -> None:
    stop: threading.Event = call.options.get("stop") or threading.Event()
    while True:
        # Under DEBUG Django keeps each statement.
        reset_queries()
        # A call reads the clock once.
        this = Call(call.options, call.out)
        facts = _look(this)
        call.out.clear()
        _print(this, facts)
        if stop.wait(call["interval"].total_seconds()):
            return


def _look(call: Call) -> dict[str, Any]:
    rates = _rates(call)
    active = used_queues(call.snapshot) | {queue for rate in rates.values() for queue in rate or ()}
    return {
        "at": call.clock,
        "queues": [
            queues.facts_of(queue, call) | _rates_of(queue.row.name, rates)
            for queue in facts_of_queues(call.snapshot, active)
        ],
        "workers": [
            workers.facts_of(row, call)
            for row in call.snapshot.processes
            if row.kind == "worker" and row.state != Process.State.STOPPED
        ],
        "schedulers": overview.counted_processes(call)["schedulers"],
    }


def _rates(call: Call) -> dict[str, dict[str, float] | None]:
    """Return the rates by name and queue; None where ended messages are not kept."""
    kept = {"succeeded": settings().keep_succeeded_for, "dead": settings().keep_dead_for}
    return {
        f"{outcome}_per_minute": _per_minute(call, outcome) if days else None
        for outcome, days in kept.items()
    }


def _rates_of(queue: str, rates: dict[str, dict[str, float] | None]) -> dict[str, float | None]:
    return {name: None if rate is None else rate.get(queue, 0.0) for name, rate in rates.items()}


def _per_minute(call: Call, outcome: str) -> dict[str, float]:
    """Return how many messages of each queue end this way per minute, from the newest ten thousand."""
    since = call.clock - timedelta(seconds=WINDOW)
    rows = ArchivedMessage.objects.using(call.using).filter(outcome=outcome, finished_at__gt=since)
    newest = list(rows.order_by("-finished_at").values_list("queue", "finished_at")[:MOST_COUNTED])
    span = WINDOW
    if len(newest) == MOST_COUNTED:
        span = max((call.clock - newest[-1][1]).total_seconds(), 0.001)
    return {queue: count * 60 / span for queue, count in Counter(queue for queue, _ in newest).items()}


def _print(call: Call, facts: dict[str, Any]) -> None:
    seats = [row for row in facts["workers"] if row["liveness"] == "living"]
    busy, all_seats = sum(row["busy"] for row in seats), sum(row["seats"] for row in seats)
    alive = f"{formats.counted(len(seats), 'worker')}, {busy} of {formats.counted(all_seats, 'seat')} busy"
    schedulers = formats.counted(facts["schedulers"]["living"], "scheduler")
    call.out.line(f"{formats.as_text(facts['at'])}  {alive}, {schedulers}")
    work = [overview.for_people(queue) for queue in facts["queues"]]
    rates = [name for name in work[0] if name.endswith("_per_minute")] if work else []
    there = [workers.for_people(row) for row in facts["workers"]]
    for rows, columns in ((work, (*overview.SHOWN, *rates)), (there, workers.SHOWN)):
        if rows:
            call.out.line("")
            call.out.table(rows, columns)
