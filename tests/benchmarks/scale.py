"""How much is measured: enough to say something, or just enough to see that all of it works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    rounds: int
    # How long one enqueues, and how long a backlog should last at a contestant's pace.
    enqueue_seconds: float
    drain_seconds: float
    # Messages that are picked up, one by one or under load, and that load.
    pings: int
    load_per_second: int
    # Messages that wait all the while, and those that are archived.
    waiting: dict[str, int]
    # The share of them that a producer must be able to keep waiting.
    least_left: float
    archived: int
    # Queues that a backlog is spread over.
    queues: dict[str, int]
    # Archived messages that are old, to be pruned.
    old: int
    # How long a snapshot is held, under which load.
    hold_seconds: float
    hold_per_second: int
    # How long an idle worker is left alone before it is watched, and watched.
    calm_seconds: float
    idle_seconds: float
    # Schedules that are due at one moment, how long is waited for all their messages, and how long before it
    # their schedulers start.
    crowd: int
    crowd_seconds: float
    lead_seconds: float
    # Schedules that are not due: some, and many.
    quiet: int
    many_quiet: int
    # The least number of messages of a backlog, for the slow ones.
    fewest: int
    # How long anything may take.
    patience_seconds: float


FULL = Scale(
    rounds=3,
    enqueue_seconds=3.0,
    drain_seconds=5.0,
    pings=100,
    load_per_second=100,
    waiting={"ten thousand": 10_000, "a hundred thousand": 100_000, "a million": 1_000_000},
    least_left=0.2,
    archived=1_000_000,
    queues={"1": 1, "100": 100, "5,000": 5_000},
    old=10_000_000,
    hold_seconds=60.0,
    hold_per_second=2_000,
    calm_seconds=5.0,
    idle_seconds=60.0,
    crowd=10_000,
    crowd_seconds=120.0,
    lead_seconds=5.0,
    quiet=1_000,
    many_quiet=100_000,
    fewest=1_000,
    patience_seconds=300.0,
)
QUICK = Scale(
    rounds=1,
    enqueue_seconds=0.2,
    drain_seconds=0.1,
    pings=5,
    load_per_second=50,
    waiting={"ten thousand": 1_000, "a hundred thousand": 2_000, "a million": 4_000},
    least_left=0.0,
    archived=2_000,
    queues={"1": 1, "100": 10, "5,000": 50},
    old=20_000,
    hold_seconds=0.9,
    hold_per_second=200,
    calm_seconds=0.2,
    idle_seconds=1.0,
    crowd=50,
    crowd_seconds=30.0,
    lead_seconds=2.0,
    quiet=20,
    many_quiet=200,
    fewest=100,
    patience_seconds=60.0,
)
