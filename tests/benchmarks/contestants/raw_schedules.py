"""Raw SQL that fires the schedules of our own tables: the ceiling of the workloads of schedulers.

Not a scheduler: it reads no rule, decides about no misfire, overlap or edit, and wakes nobody. It writes
the same rows, with the same indexes, as our scheduler must.
"""

from __future__ import annotations

from .base import POSTGRES, module
from .ours import Ours


class RawSchedules(Ours):
    guarantee = "A run is made exactly once: its message, its occurrence and the next run are one commit."
    takes_part_in = frozenset({"schedules"})

    def __init__(self, engine: str) -> None:
        super().__init__(engine, "raw, our tables")

    @property
    def configuration(self) -> str:  # type: ignore[override]
        how = "one statement" if self.engine == POSTGRES else "set-based SQL"
        return f"500 due rows in a transaction: {how} for messages, occurrences and next runs."

    def scheduler(self, url: str) -> list[str]:
        return module(f"tests.benchmarks.handlers.raw_{self.engine}_schedules", url)
