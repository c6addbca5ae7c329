"""The gauges of a scrape, read from the database: queues, dead letters, processes, schedules, problems.

The state of the rows comes from inspection; here it becomes metrics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..inspection import LIVE_STATES, Snapshot, liveness_of, problems_in, queue_names
from ..models import Process, ScheduledJob
from .metrics import Key

# How many schedules show their next run, soonest first.
MOST_SCHEDULES = 1_000


class Gauges:
    """Reads the gauges of one database. A queue once seen stays, at 0 when it is empty."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._seen: set[str] = {"default"}

    def read(self) -> dict[Key, float]:
        """Return all gauges, by a few short statements on the calling thread's connection."""
        snapshot = Snapshot(self.using)
        self._see(snapshot)
        values: dict[Key, float] = {}
        values.update(self._queues(snapshot))
        values.update(_processes(snapshot))
        values.update(_schedules(self.using))
        values.update(_problems(snapshot))
        return values

    def _see(self, snapshot: Snapshot) -> None:
        self._seen.update(queue_names(snapshot))

    def _queues(self, snapshot: Snapshot) -> Iterator[tuple[Key, float]]:
        for name, work in snapshot.work(self._seen, unknown=True).items():
            for state in LIVE_STATES:
                yield ("letsgo_queue_messages", (name, state)), int(getattr(work, state))
            waited = 0.0 if work.oldest_ready is None else (snapshot.now - work.oldest_ready).total_seconds()
            yield ("letsgo_queue_oldest_ready_seconds", (name,)), waited
            yield ("letsgo_queue_unknown_messages", (name,)), int(work.unknown)
            yield ("letsgo_queue_workers", (name,)), snapshot.workers_of(name)
            yield ("letsgo_queue_paused", (name,)), name in snapshot.paused
        for name in {*self._seen, *snapshot.dead}:
            yield ("letsgo_dead_letters", (name,)), int(snapshot.dead.get(name, 0))


def _processes(snapshot: Snapshot) -> Iterator[tuple[Key, float]]:
    counts = Counter(
        (row.kind, "silent" if liveness_of(row, snapshot.now) == "silent" else row.state)
        for row in snapshot.processes
    )
    for kind in Process.Kind.values:
        for state in (*Process.State.values, "silent"):
            yield ("letsgo_processes", (kind, state)), counts[kind, state]


def _schedules(using: str) -> Iterator[tuple[Key, float]]:
    rows = ScheduledJob.objects.using(using)
    enabled = rows.filter(enabled=True)
    yield ("letsgo_schedules", ("off",)), rows.filter(enabled=False).count()
    yield ("letsgo_schedules", ("on",)), enabled.filter(problem="").count()
    yield ("letsgo_schedules", ("broken",)), enabled.exclude(problem="").count()
    planned = enabled.exclude(next_run_at=None).order_by("next_run_at")
    for name, next_run_at in planned.values_list("name", "next_run_at")[:MOST_SCHEDULES]:
        assert next_run_at is not None
        yield ("letsgo_schedule_next_run_timestamp_seconds", (name,)), next_run_at.timestamp()


def _problems(snapshot: Snapshot) -> Iterator[tuple[Key, float]]:
    counts = Counter((problem.code, problem.severity) for problem in problems_in(snapshot))
    for labels, count in counts.items():
        yield ("letsgo_problems", labels), count
