"""The vitals of a process's loops, and from them liveness and readiness: sentences about what is wrong.

Nothing here changes what is watched; which address says so is the monitor's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial

from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from ..scheduler import Scheduler
from ..worker import Supervisor, Worker
from .background import Question
from .metrics import Key

APP = "django_letsgo_worker"
# How long an answer about the database is believed, and how long one waits for it, in seconds.
BELIEVED_FOR = 1.0
PATIENCE = 3.0
# A loop that has not come round for this long, beyond its own rest, has stalled; in seconds. A round may
# wait for locks and connections.
STUCK_AFTER = 60.0
WORKER, SCHEDULER, PARENT = "worker", "scheduler", "supervisor"


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """The state of one loop; `turned_at` is on the monotonic clock, which all processes of a host share."""

    name: str
    turned_at: float
    longest_turn: float
    is_draining: bool = False
    values: dict[Key, float] = field(default_factory=dict)


Look = Callable[[], Vitals]
Watchable = Worker | Scheduler | Supervisor


def look_at(subject: Watchable) -> Look:
    """Return the function that reads the vitals of a worker, a scheduler or a supervisor."""
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
        # One that broke down has stalled at once.
        turned_at=float("-inf") if loop.error is not None else loop.stats.at,
        longest_turn=STUCK_AFTER + (worker.options.poll_seconds or 0.0),
        is_draining=worker.stopping.is_set(),
        values=values,
    )


def _scheduler(scheduler: Scheduler) -> Vitals:
    return Vitals(
        name=SCHEDULER,
        turned_at=scheduler.turned_at,
        longest_turn=STUCK_AFTER + scheduler.look_seconds,
        is_draining=scheduler.stop.is_set(),
    )


def _supervisor(supervisor: Supervisor) -> Vitals:
    return Vitals(
        name=PARENT,
        turned_at=supervisor.turned_at,
        longest_turn=STUCK_AFTER,
        is_draining=supervisor.stopping.is_set(),
    )


def stuck(vitals: Iterable[Vitals]) -> list[str]:
    """Return a sentence for each loop that has stalled."""
    now = time.monotonic()
    return [f"The {one.name} loop has stalled." for one in vitals if now - one.turned_at > one.longest_turn]


class Readiness:
    """The reasons why no work should be expected of this process now."""

    def __init__(self, using: str) -> None:
        self._using = using
        # Reads the files of all migrations, so once: a running process has the code that it has.
        self._wanted = set(MigrationLoader(None).graph.leaf_nodes(APP))
        self._question = Question(using, self._missing, BELIEVED_FOR)

    def problems(self, vitals: list[Vitals], is_draining: Callable[[], bool]) -> list[str]:
        found = stuck(vitals)
        names = {one.name for one in vitals}
        if not names or (PARENT in names and WORKER not in names):
            found.append("It is starting.")
        if is_draining() or any(one.is_draining for one in vitals):
            found.append("It is draining.")
        missing = self._question.answer(PATIENCE)
        if missing is None:
            found.append("The database does not answer.")
        elif missing:
            found.append("Migrations are not applied.")
        return found

    def _missing(self) -> list[str]:
        applied = MigrationRecorder(connections[self._using]).applied_migrations()
        return [name for app, name in self._wanted if (app, name) not in applied]
