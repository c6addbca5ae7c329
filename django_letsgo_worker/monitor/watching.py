"""What a worker, a scheduler or a parent of workers shows of itself without a signal.

Read at the moment of asking; nothing here changes what is watched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from ..scheduler import Scheduler
from ..worker import Supervisor, Worker
from .metrics import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How one loop is; `turned_at` is on the monotonic clock, which all processes of a host share."""

    name: str
    turned_at: float
    longest_turn: float
    is_draining: bool = False
    values: dict[Key, float] = field(default_factory=dict)


Look = Callable[[], Vitals]
Watchable = Worker | Scheduler | Supervisor

# A loop that has not come round for so long, beyond its own rest, is stuck; in seconds. A round may wait
# for locks and connections.
STUCK_AFTER = 60.0
WORKER, SCHEDULER, PARENT = "worker", "scheduler", "parent of the workers"


def look_at(subject: Watchable) -> Look:
    """Return how to look at it."""
    if isinstance(subject, Worker):
        return partial(_worker, subject)
    if isinstance(subject, Scheduler):
        return partial(_scheduler, subject)
    return partial(_supervisor, subject)


def _worker(worker: Worker) -> Vitals:
    loop = worker.loop
    values: dict[Key, float] = {
        ("letsgo_seats", ()): worker.options.seats,
        ("letsgo_seats_busy", ()): len(worker.inflight.in_state("running")),
    }
    for result, count in loop.stats.results.items():
        values["letsgo_polls_total", (result,)] = count
    return Vitals(
        name=WORKER,
        # One that broke down turns no more, however short the time.
        turned_at=float("-inf") if loop.error is not None else loop.stats.at,
        longest_turn=STUCK_AFTER + (worker.options.poll_seconds or 0.0),
        is_draining=worker.stopping.is_set(),
        values=values,
    )


def _scheduler(scheduler: Scheduler) -> Vitals:
    return Vitals(
        name=SCHEDULER,
        turned_at=scheduler.turned_at,
        longest_turn=STUCK_AFTER,
        is_draining=scheduler.stop.is_set(),
    )


def _supervisor(supervisor: Supervisor) -> Vitals:
    return Vitals(
        name=PARENT,
        turned_at=supervisor.turned_at,
        longest_turn=STUCK_AFTER,
        is_draining=supervisor.stopping.is_set(),
    )
