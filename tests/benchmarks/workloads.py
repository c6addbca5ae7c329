"""The workloads: what is done on a stage, and the figures that come of it.

Rates are messages a second, times milliseconds where the name ends in _ms. No comparing, no tables.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .contestants import ENGINES, POSTGRES
from .figures import Figures, percentile
from .fleet import at_rest as fleet_at_rest
from .fleet import drain as fleet_drain
from .pruning import prune
from .scheduling import crowd, crowd2, look
from .scheduling import idle as scheduler_idle
from .stage import Stage

# How many marks the handlers of one backlog make.
MARKS = 500
# One mark for so many messages, where nobody knows how many they will be.
EVERY = 50
# The commit of each message is the limit there.
ATOMIC_PACE = 2_000
# The second worker may start later than the first.
LATE_SECONDS = 1.0
PING_PAUSE = 0.1
PINGS_TO_WARM = 2


def enqueue(stage: Stage, case: str) -> Figures:
    return stage.client.do("one_by_one", seconds=stage.scale.enqueue_seconds)


def bulk(stage: Stage, case: str) -> Figures:
    return stage.client.do("in_bulk", seconds=stage.scale.enqueue_seconds)


def drain(stage: Stage, case: str) -> Figures:
    return _drain(stage, "drain", _backlog(stage, stage.contestant.pace * stage.scale.drain_seconds))


def drain2(stage: Stage, case: str) -> Figures:
    seconds = stage.scale.drain_seconds + LATE_SECONDS
    return _drain(stage, "drain2", _backlog(stage, 2 * stage.contestant.pace * seconds), workers=2)


def atomic(stage: Stage, case: str) -> Figures:
    return _drain(stage, "atomic", _backlog(stage, ATOMIC_PACE * stage.scale.drain_seconds), handler="effect")


def archive(stage: Stage, case: str) -> Figures:
    if case != "none":
        stage.client.do("archive", number=stage.scale.archived)
    return drain(stage, case)


def lanes(stage: Stage, case: str) -> Figures:
    number = _backlog(stage, stage.contestant.pace * stage.scale.drain_seconds)
    return _drain(stage, "lanes", number, queues=stage.scale.queues[case])


def _backlog(stage: Stage, wanted: float) -> int:
    """Return a number of messages that the marks divide."""
    number = max(int(wanted), stage.scale.fewest)
    return number if number < MARKS else -(-number // MARKS) * MARKS


def _drain(
    stage: Stage, workload: str, number: int, *, handler: str = "noop", workers: int = 1, queues: int = 0
) -> Figures:
    every = max(1, number // MARKS)
    stage.client.do("fill", number=number, handler=handler, queues=queues)
    for _ in range(workers):
        stage.start_worker(workload, every=every)
    stage.wait(lambda: stage.tallies.handled() > 0, "the first message to be handled")
    before, cpu, server_cpu = stage.tallies.handled(), stage.workers_cpu_seconds(), stage.store.cpu_seconds()
    settled = _settled(stage, number, slack=workers * every)
    window, thousands = stage.tallies.window_until(settled, number), max(number - before, 1) / 1000
    last = max(marks[-1][1] for marks in stage.tallies.marks())
    figures = {
        "number": number,
        "rate": window.rate,
        "seconds": window.seconds,
        "settled_after_ms": (settled - last) / 1e6,
        "worker_cpu_per_thousand": (stage.workers_cpu_seconds() - cpu) / thousands,
        "memory_mb": stage.workers_peak_megabytes(),
    }
    if server_cpu is not None:
        figures["server_cpu_per_thousand"] = (stage.store.cpu_seconds() - server_cpu) / thousands
    return figures


def _settled(stage: Stage, number: int, slack: int) -> int:
    """Wait until so many messages are handled, and all are acknowledged; return when.

    The database is left alone until `slack` messages, which have made no mark yet, are all that may be left.
    """
    stage.wait(lambda: stage.tallies.handled() >= number - slack, f"{number} messages to be handled")
    stage.wait(stage.is_settled, "all messages to be acknowledged")
    return time.monotonic_ns()


def pickup(stage: Stage, case: str) -> Figures:
    _start_and_warm(stage, "pickup")
    stage.client.do("ping", number=stage.scale.pings, pause=PING_PAUSE)
    return _latencies(stage)


def load(stage: Stage, case: str) -> Figures:
    number = 5 * stage.scale.pings
    _start_and_warm(stage, "load")
    stage.client.do("ping_under_load", number=number, per_second=stage.scale.load_per_second)
    stage.wait(lambda: stage.tallies.picked_up() >= number + PINGS_TO_WARM, "all messages to be picked up")
    return _latencies(stage)


def _start_and_warm(stage: Stage, workload: str) -> None:
    stage.start_worker(workload)
    stage.client.begin("ping", number=PINGS_TO_WARM, pause=PING_PAUSE)
    stage.wait(lambda: stage.tallies.picked_up() >= PINGS_TO_WARM, "the first messages to be picked up")
    stage.client.answer()


def _latencies(stage: Stage) -> Figures:
    waits = [(begun - sent) / 1e6 for sent, begun in stage.tallies.pickups()[PINGS_TO_WARM:]]
    return {
        "number": len(waits),
        **{f"p{share}_ms": percentile(waits, share) for share in (50, 95, 99)},
        "max_ms": max(waits),
    }


def backlog(stage: Stage, case: str) -> Figures:
    """Drain while as many messages as the case says stay waiting: a producer puts back what is taken."""
    depth, seconds = stage.scale.waiting[case], max(stage.scale.drain_seconds, 0.5)
    stage.client.do("fill", number=depth, handler="noop")
    stage.start_worker("backlog", every=EVERY)
    stage.wait(lambda: stage.tallies.handled() > 0, "the first message to be handled")
    answer = stage.client.do("keep_waiting", depth=depth, seconds=seconds)
    left = answer["enqueued"] - stage.tallies.handled()
    if left < depth * stage.scale.least_left:
        # It is the producer's rate that would be told then.
        raise ValueError(f"Nobody could keep {depth} messages waiting: at the end there were {left}.")
    window = stage.tallies.window_between(answer["begun"], answer["ended"])
    return {"waiting": depth, "left": left, "rate": window.rate}


def snapshot(stage: Stage, case: str) -> Figures:
    """Work under a constant load for a while, analysed twice, then as fast as can be.

    In the case "held" another session holds a snapshot from before all that.
    """
    stage.start_worker("snapshot", every=EVERY)
    stage.client.do("fill", number=EVERY, handler="noop")
    stage.wait(lambda: stage.tallies.handled() >= EVERY, "the first messages to be handled")
    if case == "held":
        with stage.store.old_snapshot(stage.database, stage.contestant.table):
            return _load_and_burst(stage)
    return _load_and_burst(stage)


def _load_and_burst(stage: Stage) -> Figures:
    scale, third = stage.scale, stage.scale.hold_seconds / 3
    stage.client.begin("offer", per_second=scale.hold_per_second, seconds=scale.hold_seconds)
    for _ in range(2):
        time.sleep(third)
        stage.database.analyze()
    offered = stage.client.answer()["enqueued"] + EVERY
    behind = offered - stage.tallies.handled()
    number = _backlog(stage, stage.contestant.pace * max(scale.drain_seconds / 2, 0.5))
    filled = stage.client.do("fill", number=number, handler="noop")["filled_at"]
    settled = _settled(stage, offered + number, slack=EVERY)
    window = stage.tallies.window_between(filled, settled)
    return {"offered": offered, "behind": behind, "rate": window.rate}


def idle(stage: Stage, case: str) -> Figures:
    _start_and_warm(stage, "idle")
    time.sleep(stage.scale.calm_seconds)
    minutes, cpu = stage.scale.idle_seconds / 60, stage.workers_cpu_seconds()
    statements = stage.store.statements()
    time.sleep(stage.scale.idle_seconds)
    figures = {
        "cpu_seconds_per_minute": (stage.workers_cpu_seconds() - cpu) / minutes,
        "memory_mb": stage.workers_peak_megabytes(),
    }
    if statements is not None:
        figures["statements_per_minute"] = (stage.store.statements() - statements) / minutes
    return figures


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    measure: Callable[[Stage, str], Figures]
    cases: Sequence[str] = ("",)
    # More than these say nothing new, and they take long.
    most_rounds: int = 100
    # Whether the server's log is wanted.
    logged: bool = False
    engines: Sequence[str] = ENGINES
    # The contestant that rates are told beside, where it is another than in all workloads.
    ceiling: str = ""


WORKLOADS = (
    Workload("enqueue", enqueue),
    Workload("bulk", bulk),
    Workload("drain", drain),
    Workload("drain2", drain2),
    Workload("atomic", atomic),
    Workload("pickup", pickup),
    Workload("load", load),
    Workload("backlog", backlog, ("ten thousand", "a hundred thousand", "a million")),
    Workload("archive", archive, ("none", "a million")),
    Workload("lanes", lanes, ("1", "100", "5,000")),
    Workload("prune", prune, most_rounds=1, engines=(POSTGRES,)),
    Workload("snapshot", snapshot, ("none", "held"), most_rounds=2),
    Workload("idle", idle, most_rounds=1, logged=True),
    Workload("fleet", fleet_at_rest, ("one", "32"), most_rounds=2, engines=(POSTGRES,)),
    Workload("fleet-drain", fleet_drain, ("2", "8", "32"), most_rounds=2, engines=(POSTGRES,)),
    Workload("schedules", crowd, ceiling="raw, our tables"),
    Workload("schedules2", crowd2),
    Workload("schedules-idle", scheduler_idle, most_rounds=1, logged=True, engines=(POSTGRES,)),
    Workload("schedules-look", look, most_rounds=1, engines=(POSTGRES,)),
)
