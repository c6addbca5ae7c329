"""The order of measurements: round after round, and in each one every contestant next to the others.

So a machine that becomes slower for a while does so for all of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from . import stage
from .contestants import Contestant
from .figures import Record
from .scale import Scale
from .stores import Store
from .workloads import Workload


def measure(
    store: Store,
    contestants: Sequence[Contestant],
    workloads: Sequence[Workload],
    scale: Scale,
    say: Callable[[str], None],
) -> Iterator[Record]:
    """Yield a record for each measurement; one that failed carries an error in place of figures."""
    templates: dict[str, str] = {}
    for number in range(scale.rounds):
        for workload in workloads:
            if number >= workload.most_rounds:
                continue
            for case in workload.cases:
                for contestant in rotated(taking_part(contestants, workload), number):
                    say(f"round {number + 1}: {contestant.engine}, {workload.name} {case} {contestant}")
                    yield _one(store, templates, contestant, workload, case, number, scale)


def taking_part(contestants: Sequence[Contestant], workload: Workload) -> list[Contestant]:
    return [
        contestant
        for contestant in contestants
        if workload.name in contestant.takes_part_in and contestant.engine in workload.engines
    ]


def rotated(contestants: list[Contestant], by: int) -> list[Contestant]:
    """Return them in an order that lets each be the first in turn."""
    by %= len(contestants) or 1
    return contestants[by:] + contestants[:by]


def _one(
    store: Store,
    templates: dict[str, str],
    contestant: Contestant,
    workload: Workload,
    case: str,
    number: int,
    scale: Scale,
) -> Record:
    record: Record = {
        "engine": contestant.engine,
        "workload": workload.name,
        "case": case,
        "contestant": contestant.name,
        "round": number + 1,
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    try:
        if contestant.name not in templates:
            templates[contestant.name] = stage.install(contestant, store)
        with stage.opened(
            contestant, scale, store, templates[contestant.name], logged=workload.logged
        ) as set_up:
            try:
                return {**record, "figures": workload.measure(set_up, case)}
            except Exception as error:
                return {**record, "error": f"{type(error).__name__}: {error}{words(set_up)}"}
    except Exception as error:
        return {**record, "error": f"{type(error).__name__}: {error}"}


def words(set_up: stage.Stage) -> str:
    """Return what the processes last wrote, for people."""
    logs = [set_up.client.started, *set_up.workers]
    return "".join(f"\n--- {one.log.name}\n{text}" for one in logs if (text := one.last_words()))
