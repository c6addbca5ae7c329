"""The workload of pruning: drains of a worker that prunes beside them, and of one to which nothing is old.

Both drain the same database in turn, so that one filling of the archive does. No comparing, no tables.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

from .figures import Figures
from .stage import Stage

TURNS = 3
# One mark for so many messages.
EVERY = 50
# The archived messages ended 8 to 14 days ago: kept for so many days all are old, or none is.
KEEP_OF_DEFAULT, KEEP_OF_A_MONTH = 7, 30


@dataclass(frozen=True, slots=True)
class Drain:
    rate: float
    pruned_per_second: float


def prune(stage: Stage, case: str) -> Figures:
    stage.client.do("archive_by_age", number=stage.scale.old)
    without, beside = [], []
    for _ in range(TURNS):
        without.append(_drain(stage, KEEP_OF_A_MONTH))
        beside.append(_drain(stage, KEEP_OF_DEFAULT))
    command = stage.client.do("prune")
    return {
        "number": stage.scale.old,
        "rate": median(one.rate for one in beside),
        "rate_kept": median(one.rate / other.rate for one, other in zip(beside, without, strict=True)),
        "pruned_per_second": median(one.pruned_per_second for one in beside),
        "pruned_by_command_per_second": command["rate"],
    }


def _drain(stage: Stage, keep_days: int) -> Drain:
    """Fill, and drain by a worker that keeps archived messages for so many days."""
    wanted = max(stage.contestant.pace * stage.scale.drain_seconds, stage.scale.fewest)
    number = round(wanted / EVERY) * EVERY
    done = stage.tallies.handled()
    stage.database.execute(stage.contestant.forget_upkeep_sql)
    stage.client.do("fill", number=number, handler="noop")
    worker = stage.start_worker("prune", every=EVERY, LETSGO_WORKER_KEEP_SUCCEEDED_FOR=str(keep_days))
    stage.wait(lambda: stage.tallies.handled() > done, "the first message to be handled")
    begun, old = max(marks[0][1] for marks in stage.tallies.marks()), _old(stage)
    stage.wait(lambda: stage.tallies.handled() >= done + number, f"{number} messages to be handled")
    stage.wait(stage.is_settled, "all messages to be acknowledged")
    window = stage.tallies.window_between(begun, time.monotonic_ns())
    pruned = old - _old(stage)
    stage.end(worker)
    return Drain(window.rate, pruned / window.seconds)


def _old(stage: Stage) -> int:
    """Return how many are left of the archived messages, whose ids are below zero and end with -1."""
    return stage.database.number(f"SELECT -COALESCE(min(id), 0) FROM {stage.contestant.archive_table}")
