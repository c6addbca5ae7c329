"""The workloads of schedulers: a crowd that is due at one moment, and schedulers that have nothing to do.

Only public commands and tables are used. No comparing, no tables.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from statistics import mean

from .figures import Figures
from .serverlog import looks
from .stage import Stage

# The end of a crowd is seen so exactly, as a share of how long it took: counting rows is work, too.
RESOLUTION = 0.01
# So long a scheduler asks for nothing when it has nothing to do; one that begins asks all the while.
CALM_SECONDS = 0.7


def crowd(stage: Stage, case: str) -> Figures:
    return _crowd(stage, schedulers=1)


def crowd2(stage: Stage, case: str) -> Figures:
    return _crowd(stage, schedulers=2)


def _crowd(stage: Stage, schedulers: int) -> Figures:
    number = stage.scale.crowd
    lead = stage.scale.lead_seconds + number * stage.contestant.seconds_per_schedule
    due = (datetime.now(UTC) + timedelta(seconds=lead + 1)).replace(microsecond=0)
    _schedule(stage, number, due)
    for _ in range(schedulers):
        stage.start_scheduler(number, due)
    time.sleep(max(0.0, due.timestamp() - time.time()))
    cpu, server_cpu = stage.workers_cpu_seconds(), stage.store.cpu_seconds()
    figures = _fired(stage, number, due)
    thousands = figures["number"] / 1000
    figures["scheduler_cpu_per_thousand"] = (stage.workers_cpu_seconds() - cpu) / thousands
    if server_cpu is not None:
        figures["server_cpu_per_thousand"] = (stage.store.cpu_seconds() - server_cpu) / thousands
    return figures


def _schedule(stage: Stage, number: int, due: datetime) -> None:
    """Add so many schedules; the database then knows their table as well as one of every day."""
    stage.client.do("schedule", number=number, due=due.isoformat())
    stage.database.analyze()


def _fired(stage: Stage, number: int, due: datetime) -> Figures:
    """Wait until all have fired, or as many as can in the time that there is.

    The time counts from the first message on, as its row or its sight tells.
    """
    one = stage.contestant
    stage.wait(lambda: _made(stage), "the first message to be made")
    begun, seen = time.time(), _made(stage)
    if one.first_made_sql:
        begun, seen = stage.database.moment(one.first_made_sql), 0

    def is_over() -> bool:
        passed = time.time() - begun
        time.sleep(RESOLUTION * max(0.0, passed))
        return _made(stage) >= number or passed > stage.scale.crowd_seconds

    stage.wait(is_over, f"{number} messages to be made")
    seconds, made = time.time() - begun, _made(stage)
    if made > number or begun < due.timestamp():
        early = due.timestamp() - begun
        raise ValueError(f"{number} schedules made {made} messages, the first {early:.3f} s before its time.")
    if seen == made:
        raise ValueError("No message was made after the first look: too few schedules.")
    figures = {
        "number": made,
        "rate": (made - seen) / seconds,
        "first_to_last_seconds": seconds,
        "first_after_ms": (begun - due.timestamp()) * 1000,
    }
    return figures if made == number else {**figures, "left": number - made}


def _made(stage: Stage) -> int:
    return stage.database.number(stage.contestant.made_sql)


def idle(stage: Stage, case: str) -> Figures:
    """Count what a scheduler asks while none of its schedules is due."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    _schedule(stage, stage.scale.quiet, tomorrow)
    _start_calmly(stage, stage.scale.quiet, tomorrow)
    time.sleep(stage.scale.calm_seconds)
    minutes = stage.scale.idle_seconds / 60
    statements, cpu = stage.store.statements(), stage.workers_cpu_seconds()
    time.sleep(stage.scale.idle_seconds)
    return {
        "statements_per_minute": (stage.store.statements() - statements) / minutes,
        "cpu_seconds_per_minute": (stage.workers_cpu_seconds() - cpu) / minutes,
        "memory_mb": stage.workers_peak_megabytes(),
    }


def look(stage: Stage, case: str) -> Figures:
    """Measure the database's time of looks at many schedules, none of them due."""
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    _schedule(stage, stage.scale.many_quiet, tomorrow)
    stage.store.log_durations(stage.database)
    begin = _start_calmly(stage, stage.scale.many_quiet, tomorrow)
    time.sleep(stage.scale.idle_seconds)

    def seen() -> list[float]:
        with stage.store.log.open() as log:
            log.seek(begin)
            return looks(log.read(), "django_letsgo_worker_scheduledjob")

    stage.wait(seen, "a look at the schedules")
    times = seen()
    return {"number": len(times), "look_ms": mean(times), "longest_look_ms": max(times)}


def _start_calmly(stage: Stage, number: int, due: datetime) -> int:
    """Start a scheduler whose statements are logged; return the size of the log when it has begun."""
    before = _log_size(stage)
    stage.start_scheduler(number, due)
    stage.wait(lambda: _log_size(stage) > before, "a scheduler to ask the database")

    def is_calm() -> bool:
        size = _log_size(stage)
        time.sleep(CALM_SECONDS)
        return _log_size(stage) == size

    stage.wait(is_calm, "a scheduler to have nothing to do")
    return _log_size(stage)


def _log_size(stage: Stage) -> int:
    return int(stage.store.log.stat().st_size)
