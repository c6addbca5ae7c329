"""What one page reads once, whoever of its columns and filters asks: clock, lanes, pauses, workers.

What is made of it is up to the pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from django.http import HttpRequest

from .. import processes, queues, registry
from ..conf import settings
from ..engines import Lane, engine_for
from ..models import Process


@dataclass(frozen=True, slots=True)
class Worker:
    """A living worker, as far as it matters to a message that waits."""

    queues: frozenset[str] | None
    types: frozenset[str]

    def takes(self, queue: str, type: str) -> bool:
        return type in self.types and (self.queues is None or queue in self.queues)


class Reading:
    """The state of the queue as one page shows it; everything is read when first asked for."""

    def __init__(self, using: str) -> None:
        self.using = using
        self.engine = engine_for(using)
        # The ids that a list of live messages was narrowed to, once they were looked for.
        self.found: list[int] | None = None

    @cached_property
    def now(self) -> datetime:
        return self.engine.clock()

    @cached_property
    def lanes(self) -> list[Lane]:
        return self.engine.lanes()

    @cached_property
    def paused(self) -> set[str]:
        return queues.paused(using=self.using)

    @cached_property
    def living(self) -> list[Process]:
        return processes.living(now=self.now, using=self.using)

    @cached_property
    def workers(self) -> list[Worker]:
        return [
            Worker(None if p.queues is None else frozenset(p.queues), frozenset(p.types or ()))
            for p in self.living
            if p.kind == Process.Kind.WORKER
        ]

    @property
    def has_scheduler(self) -> bool:
        return any(process.kind == Process.Kind.SCHEDULER for process in self.living)

    def knows(self, type: str) -> bool:
        """Whether this process or a living worker has a handler of this type."""
        return registry.find(type) is not None or any(type in worker.types for worker in self.workers)

    def is_taken(self, queue: str, type: str) -> bool:
        return any(worker.takes(queue, type) for worker in self.workers)


def reading(request: HttpRequest) -> Reading:
    """Return the reading of this request's page."""
    found: Reading | None = getattr(request, "_letsgo_reading", None)
    if found is None:
        found = Reading(settings().database)
        request._letsgo_reading = found  # type: ignore[attr-defined]
    return found
