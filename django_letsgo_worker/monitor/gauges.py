"""What the database is asked for a scrape: queues, dead letters, processes, schedules.

Every statement is bound to an index, and counts no further than CAP rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import datetime

from .. import processes, queues, registry
from ..engines import ARCHIVE, TABLE, Engine, Lane, engine_for
from ..models import Process, ScheduledJob
from .metrics import Key

# How many rows of a lane, and how many dead letters, are counted; more are shown as so many.
CAP = 10_000
# How many schedules show their next run, the soonest first.
MOST_SCHEDULES = 1_000
STATES = ("ready", "running", "retrying", "scheduled")

# In the order of the index: else a planner that takes the lane for short may read the whole table.
READY = f"""
SELECT COUNT(*), COALESCE(SUM(CASE WHEN type IN ({{known}}) THEN 0 ELSE 1 END), 0)
FROM (SELECT type FROM {TABLE}
      WHERE queue = %(queue)s AND priority = %(priority)s AND visible_at <= %(now)s
      ORDER BY visible_at LIMIT {CAP}) ready
"""
LATER = f"""
SELECT COUNT(*), COUNT(leased_by),
       COALESCE(SUM(CASE WHEN leased_by IS NULL AND attempts > 0 THEN 1 ELSE 0 END), 0)
FROM (SELECT leased_by, attempts FROM {TABLE}
      WHERE queue = %(queue)s AND priority = %(priority)s AND visible_at > %(now)s
      ORDER BY visible_at LIMIT {CAP}) later
"""
DEAD = f"""
SELECT queue, COUNT(*)
FROM (SELECT queue FROM {ARCHIVE} WHERE outcome = 'dead' ORDER BY finished_at DESC LIMIT {CAP}) dead
GROUP BY queue
"""


class Gauges:
    """Reads the gauges of one database. Queues that were seen once stay, at 0 when they are empty."""

    def __init__(self, using: str) -> None:
        self.using = using
        self._seen: set[str] = {"default"}

    def read(self) -> dict[Key, float]:
        """Return all of them, by a few short statements on the calling thread's connection."""
        engine = engine_for(self.using)
        now = engine.clock()
        lanes = engine.lanes()
        rows = list(Process.objects.using(self.using).all())
        living = [process for process in rows if processes.is_alive(process, now)]
        workers = [process for process in living if process.kind == Process.Kind.WORKER]
        self._see(lanes, workers)
        values: dict[Key, float] = {}
        values.update(self._queues(engine, lanes, workers, now))
        values.update(_dead_letters(engine, self._seen))
        values.update(_processes(rows, living))
        values.update(_schedules(self.using))
        return values

    def _see(self, lanes: list[Lane], workers: list[Process]) -> None:
        self._seen |= {lane.queue for lane in lanes}
        self._seen |= {name for worker in workers for name in worker.queues or ()}
        self._seen |= {handler.queue for handler in registry.handlers() if handler.queue}

    def _queues(
        self, engine: Engine, lanes: list[Lane], workers: list[Process], now: datetime
    ) -> Iterator[tuple[Key, float]]:
        paused = queues.paused(using=self.using)
        self._seen |= paused
        known = {*registry.types(), *(type for worker in workers for type in worker.types or ())}
        work = {name: Work() for name in self._seen}
        for lane in lanes:
            work[lane.queue].count(engine, lane, sorted(known), now)
        for name, found in work.items():
            for state in STATES:
                yield ("letsgo_queue_messages", (name, state)), min(CAP, found.states[state])
            yield ("letsgo_queue_oldest_ready_seconds", (name,)), found.oldest_ready_seconds
            yield ("letsgo_queue_unknown_messages", (name,)), min(CAP, found.unknown)
            serving = sum(1 for worker in workers if worker.queues is None or name in worker.queues)
            yield ("letsgo_queue_workers", (name,)), serving
            yield ("letsgo_queue_paused", (name,)), name in paused


class Work:
    """What one queue has to do, summed over its lanes."""

    def __init__(self) -> None:
        self.states: Counter[str] = Counter()
        self.unknown = 0
        self.oldest_ready_seconds = 0.0

    def count(self, engine: Engine, lane: Lane, known: list[str], now: datetime) -> None:
        params = {"queue": lane.queue, "priority": lane.priority, "now": engine.moment(now)}
        types = {f"type{place}": type for place, type in enumerate(known)}
        marks = ", ".join(f"%({name})s" for name in types) or "NULL"
        ready, unknown = engine.execute(READY.format(known=marks), {**params, **types})[0]
        later, running, retrying = engine.execute(LATER, params)[0]
        self.states.update(ready=ready, running=running, retrying=int(retrying))
        self.states["scheduled"] += later - running - int(retrying)
        self.unknown += int(unknown)
        first = lane.next_visible_at
        if first is not None:
            self.oldest_ready_seconds = max(self.oldest_ready_seconds, (now - first).total_seconds())


def _dead_letters(engine: Engine, seen: set[str]) -> Iterator[tuple[Key, float]]:
    dead = dict.fromkeys(seen, 0) | dict(engine.execute(DEAD, {}))
    for queue, count in dead.items():
        yield ("letsgo_dead_letters", (queue,)), count


def _processes(processes: list[Process], living: list[Process]) -> Iterator[tuple[Key, float]]:
    alive = {process.pk for process in living}
    counts: Counter[tuple[str, str]] = Counter()
    for process in processes:
        is_silent = process.pk not in alive and process.state != Process.State.STOPPED
        counts[process.kind, "silent" if is_silent else process.state] += 1
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
