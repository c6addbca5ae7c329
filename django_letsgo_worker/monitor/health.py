"""Whether a process lives, and whether it is ready: sentences about what is wrong, none when all is well.

Which address says so is the server's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from django.db import connections
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder

from .background import Question
from .watching import PARENT, WORKER, Vitals

APP = "django_letsgo_worker"
# How long an answer about the database is believed, and how long one waits for it, in seconds.
BELIEVED_FOR = 1.0
PATIENCE = 3.0


def stuck(vitals: Iterable[Vitals]) -> list[str]:
    """Return a sentence for each loop that does not turn."""
    now = time.monotonic()
    return [
        f"The loop of the {one.name} does not turn."
        for one in vitals
        if now - one.turned_at > one.longest_turn
    ]


class Readiness:
    """Tells why no work should be expected of this process now."""

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
