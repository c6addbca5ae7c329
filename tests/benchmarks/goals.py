"""What this app wants to reach, as ratios to others in the same round and as plain limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from .contestants import POSTGRES, SQLITE
from .figures import Cell, Record, middle, ratio

MILLION = "a million"
PRUNE = Cell(POSTGRES, "prune", "ours")


@dataclass(frozen=True, slots=True)
class Goal:
    """`figure` of a cell, by that of another cell where one is named, is at least or at most `limit`."""

    what: str
    cell: Cell
    limit: float
    beside: Cell | None = None
    figure: str = "rate"
    # A rate is to be high, a time or a cost low.
    is_ceiling: bool = False
    # What the figure is multiplied by first.
    times: float = 1.0

    def value(self, records: Sequence[Record]) -> float | None:
        if self.beside is not None:
            return ratio(records, self.cell, self.beside, self.figure)
        value = middle(records, self.cell, self.figure)
        return None if value is None else value * self.times

    def is_reached(self, value: float) -> bool:
        return value <= self.limit if self.is_ceiling else value >= self.limit


def beside(
    engine: str, workload: str, other: str, limit: float, *, ours: str = "ours", what: str = ""
) -> Goal:
    title = what or f"{workload}, {engine}: {ours} by {other}"
    return Goal(title, Cell(engine, workload, ours), limit, Cell(engine, workload, other))


def between(engine: str, workload: str, case: str, other: str, limit: float, *, ours: str = "ours") -> Goal:
    title = f"{workload}, {engine}: {ours}, {case} by {other}"
    return Goal(title, Cell(engine, workload, ours, case), limit, Cell(engine, workload, ours, other))


def at_most(
    engine: str,
    workload: str,
    figure: str,
    limit: float,
    what: str,
    times: float = 1.0,
    *,
    ours: str = "ours",
) -> Goal:
    title = f"{workload}, {engine}: {what}"
    return Goal(title, Cell(engine, workload, ours), limit, None, figure, is_ceiling=True, times=times)


def two_by_one(engine: str, workload: str, limit: float) -> Goal:
    """Return the goal of two processes beside one, whose workload is named without the 2."""
    title = f"{workload}2, {engine}: ours, two by one"
    return Goal(title, Cell(engine, f"{workload}2", "ours"), limit, Cell(engine, workload, "ours"))


FLEET = Cell(POSTGRES, "fleet", "ours", "32")

GOALS = (
    beside(POSTGRES, "drain", "pgqueuer", 1.1),
    beside(POSTGRES, "drain", "django-tasks-db", 75),
    beside(POSTGRES, "drain", "raw", 0.42),
    beside(POSTGRES, "drain", "raw", 0.5, ours="ours, keeping nothing"),
    beside(POSTGRES, "drain2", "pgqueuer", 1.3),
    beside(POSTGRES, "drain2", "raw", 0.55),
    beside(SQLITE, "drain", "huey, FULL", 7, ours="ours, FULL"),
    beside(SQLITE, "drain", "django-tasks-db", 130),
    beside(POSTGRES, "atomic", "raw", 0.8),
    beside(POSTGRES, "enqueue", "raw", 0.75),
    beside(POSTGRES, "enqueue", "pgqueuer", 1.0),
    beside(POSTGRES, "bulk", "pgqueuer", 1.4),
    beside(POSTGRES, "bulk", "raw", 0.35),
    beside(SQLITE, "bulk", "raw", 0.3),
    at_most(POSTGRES, "pickup", "p50_ms", 2.5, "p50 in ms"),
    at_most(POSTGRES, "pickup", "p99_ms", 5, "p99 in ms"),
    at_most(SQLITE, "pickup", "p50_ms", 4, "p50 in ms"),
    at_most(SQLITE, "pickup", "p99_ms", 10, "p99 in ms"),
    between(POSTGRES, "backlog", MILLION, "ten thousand", 0.9),
    between(SQLITE, "backlog", MILLION, "ten thousand", 0.9),
    between(POSTGRES, "archive", MILLION, "none", 0.9),
    between(SQLITE, "archive", MILLION, "none", 0.9),
    between(POSTGRES, "lanes", "100", "1", 0.7),
    between(POSTGRES, "lanes", "5,000", "1", 0.3),
    between(SQLITE, "lanes", "100", "1", 0.7),
    between(SQLITE, "lanes", "5,000", "1", 0.3),
    Goal("prune, postgres: rows a second beside a drain", PRUNE, 20_000, None, "pruned_per_second"),
    Goal("prune, postgres: the drain beside it by one without", PRUNE, 0.8, None, "rate_kept"),
    between(POSTGRES, "snapshot", "held", "none", 0.7),
    between(POSTGRES, "snapshot", "held", "none", 0.5, ours="ours, one seat"),
    at_most(POSTGRES, "idle", "statements_per_minute", 45, "statements a minute"),
    at_most(POSTGRES, "idle", "cpu_seconds_per_minute", 0.12, "CPU seconds in 30 s", times=0.5),
    at_most(SQLITE, "idle", "cpu_seconds_per_minute", 0.12, "CPU seconds in 30 s", times=0.5),
    at_most(POSTGRES, "drain", "memory_mb", 70, "peak memory in MB"),
    at_most(SQLITE, "drain", "memory_mb", 70, "peak memory in MB"),
    Goal("fleet, postgres: workers woken by a message, p95", FLEET, 3, figure="woken", is_ceiling=True),
    Goal(
        "fleet, postgres: p99 of 32 by one", FLEET, 2, replace(FLEET, case="one"), "p99_ms", is_ceiling=True
    ),
    beside(POSTGRES, "schedules", "raw, our tables", 0.2),
    beside(POSTGRES, "schedules", "procrastinate", 10),
    beside(POSTGRES, "schedules", "django-q2", 10),
    beside(POSTGRES, "schedules", "django-celery-beat", 10),
    at_most(POSTGRES, "schedules", "first_to_last_seconds", 3, "seconds from first to last"),
    two_by_one(POSTGRES, "schedules", 1.5),
    at_most(POSTGRES, "schedules-idle", "statements_per_minute", 65, "statements a minute"),
    at_most(
        POSTGRES,
        "schedules-idle",
        "statements_per_minute",
        10,
        "statements a minute, polling rarely",
        ours="ours, polling rarely",
    ),
    at_most(POSTGRES, "schedules-look", "look_ms", 2, "milliseconds of a look"),
)
