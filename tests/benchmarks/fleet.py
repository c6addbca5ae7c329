"""The workloads of a fleet: many workers and schedulers on one PostgreSQL, at rest and with a backlog.

Only public commands and tables are used, and the server's log. No comparing, no tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from statistics import mean

from .figures import Figures, percentile
from .serverlog import Entry, bursts, entries
from .stage import Stage

# What a claim says, and no other statement.
CLAIM = "looked AS MATERIALIZED"
# The fleet: so many worker processes, and so many schedulers.
WORKERS, SCHEDULERS = 32, 8
WAITING = """
SELECT coalesce(sum(cardinality(string_to_array(listeners, ' '))), 0) FROM django_letsgo_worker_idlequeue
WHERE name = 'default'
"""
CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'letsgo_worker'"
PINGS_TO_WARM = 5
# The pause between two messages is longer, and that between two claims for one message shorter.
PING_PAUSE, SILENCE = 0.2, timedelta(seconds=0.1)
# How many messages each mark stands for while a backlog is drained.
EVERY = 50


def at_rest(stage: Stage, case: str) -> Figures:
    """Send one message after the other to a fleet that has nothing to do; then leave it in peace."""
    stage.store.log_durations(stage.database)
    _start(stage, *((1, 0) if case == "one" else (WORKERS, SCHEDULERS)))
    stage.client.do("ping", number=PINGS_TO_WARM, pause=PING_PAUSE)
    begin = _log_size(stage)
    stage.client.do("ping", number=stage.scale.pings, pause=PING_PAUSE)
    waits = [(begun - sent) / 1e6 for sent, begun in stage.tallies.pickups()[PINGS_TO_WARM:]]
    claims = (entry for entry in _since(stage, begin) if CLAIM in entry.words and entry.is_statement)
    woken = [len({claim.session for claim in burst}) for burst in bursts(claims, SILENCE)]
    time.sleep(stage.scale.calm_seconds)
    begin = _log_size(stage)
    time.sleep(stage.scale.idle_seconds)
    asked = sum(entry.is_statement for entry in _since(stage, begin))
    return {
        "number": len(waits),
        **{f"p{share}_ms": percentile(waits, share) for share in (50, 95, 99)},
        "woken": percentile(woken, 95),
        "statements_per_minute": asked / stage.scale.idle_seconds * 60,
        "connections": stage.database.number(CONNECTED),
    }


def drain(stage: Stage, case: str) -> Figures:
    """Give a backlog to so many processes as the case says; a claim is one statement with its settlements."""
    stage.store.log_durations(stage.database)
    _start(stage, int(case), 0)
    number = int(stage.contestant.pace * stage.scale.drain_seconds)
    begin, cpu = _log_size(stage), stage.store.cpu_seconds()
    filled = time.monotonic_ns()
    stage.client.do("fill", number=number, handler="noop")
    slack = int(case) * EVERY
    stage.wait(lambda: stage.tallies.handled() >= number - slack, f"{number} messages to be handled")
    stage.wait(stage.is_settled, "all messages to be acknowledged")
    settled = time.monotonic_ns()
    claims = [entry.ms for entry in _since(stage, begin) if CLAIM in entry.words and entry.is_statement]
    return {
        "number": number,
        "rate": number / (settled - filled) * 1e9,
        "claim_ms": mean(claims),
        "messages_a_claim": number / len(claims),
        "server_cpu_per_thousand": (stage.store.cpu_seconds() - cpu) / number * 1000,
    }


def _start(stage: Stage, workers: int, schedulers: int) -> None:
    """Start a fleet, and wait until each worker is at rest."""
    for _ in range(workers):
        stage.start_worker("fleet", every=EVERY)
    for _ in range(schedulers):
        stage.start_scheduler(0, datetime.now(UTC))
    stage.wait(lambda: stage.database.number(WAITING) == min(workers, 4), f"{workers} workers to rest")


def _log_size(stage: Stage) -> int:
    return int(stage.store.log.stat().st_size)


def _since(stage: Stage, begin: int) -> Iterator[Entry]:
    """Yield what the server's log tells since it had this size."""
    with stage.store.log.open() as log:
        log.seek(begin)
        yield from entries(log.read())
