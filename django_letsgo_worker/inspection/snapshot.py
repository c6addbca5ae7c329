"""The queue's database at one instant: each part is read on first use, and then kept.

Problems are found in diagnosis.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cached_property
from uuid import UUID

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Value

from .. import registry, schedules
from ..conf import settings
from ..engines import Engine, Lane, engine_for
from ..models import Clock, PausedType, Process, Queue, ScheduledJob, SchedulesPause
from .evidence import (
    Attempts,
    FailingSchedule,
    Met,
    attempts_and_ended,
    attempts_lately,
    failing_schedules,
    types_met,
)
from .heads import Due, due_and_later, due_by_type, held_by
from .liveness import is_alive, liveness_of
from .work import Work, dead_by_queue, total, work_in


def alias_of_queue() -> str | None:
    """Return the alias that holds our tables; None if the settings name none, which a check reports."""
    try:
        alias = settings().database
    except ImproperlyConfigured:
        return None
    return alias if alias in django_settings.DATABASES else None


class Snapshot:
    """Clock, lanes, processes and schedules, as one page, one command or one scrape shows them."""

    def __init__(self, using: str | None = None, now: datetime | None = None) -> None:
        self.using = using or settings().database
        self._now = now
        self._taken: dict[tuple[str, str], bool] = {}

    @property
    def engine(self) -> Engine:
        return engine_for(self.using)

    @cached_property
    def now(self) -> datetime:
        """The database's clock, read once: with the lanes or the processes, if they are here already."""
        rows = [*(self.__dict__.get("lanes") or ()), *(self.__dict__.get("processes") or ())]
        read_at = (getattr(row, "read_at", None) for row in rows)
        return self._now or next(filter(None, read_at), None) or self.clocks[1]

    @cached_property
    def clocks(self) -> tuple[datetime, datetime, datetime]:
        """The database's clock, and this host's before and after it was asked."""
        before = datetime.now(UTC)
        return before, self.engine.clock(), datetime.now(UTC)

    # -- processes -------------------------------------------------------------------------------------

    @cached_property
    def processes(self) -> list[Process]:
        """The processes of the last day, living ones first."""
        rows = Process.objects.using(self.using).order_by("-heartbeat_at")
        # SQLite's clock is this machine's, which costs no statement.
        if self.engine.connection.vendor != "sqlite":
            rows = rows.annotate(read_at=Clock())
        return list(rows)

    @cached_property
    def living(self) -> list[Process]:
        return [process for process in self.processes if is_alive(process, self.now)]

    @cached_property
    def workers(self) -> list[Process]:
        """The living workers."""
        return [process for process in self.living if process.kind == Process.Kind.WORKER]

    @cached_property
    def silent_workers(self) -> list[Process]:
        """Workers that are silent, and of whose name none lives."""
        there = {process.name for process in self.workers}
        return [
            process
            for process in self.processes
            if process.kind == Process.Kind.WORKER
            and liveness_of(process, self.now) == "silent"
            and process.name not in there
        ]

    @cached_property
    def held(self) -> dict[tuple[UUID, str], int]:
        """How many messages each silent worker still holds, by process and queue."""
        lanes = [lane for lane in self.lanes if any(one.serves(lane.queue) for one in self.silent_workers)]
        return held_by(self.engine, lanes, self.silent_workers)

    @property
    def has_scheduler(self) -> bool:
        return any(process.kind == Process.Kind.SCHEDULER for process in self.living)

    @cached_property
    def types_known(self) -> set[str]:
        """The types with a handler here or in a living worker."""
        return {*registry.types(), *(type for worker in self.workers for type in worker.types or ())}

    def knows(self, type: str) -> bool:
        """Return whether this process or a living worker has a handler for this type."""
        return registry.find(type) is not None or type in self.types_known

    def is_taken(self, queue: str, type: str) -> bool:
        """Return whether a living worker takes messages of this type from this queue."""
        if (queue, type) not in self._taken:
            self._taken[queue, type] = any(
                worker.serves(queue) and type in (worker.types or ()) for worker in self.workers
            )
        return self._taken[queue, type]

    def workers_of(self, queue: str) -> int:
        """Return how many living workers serve a queue."""
        return sum(1 for worker in self.workers if worker.serves(queue))

    # -- attempts --------------------------------------------------------------------------------------

    @cached_property
    def attempts(self) -> list[Attempts]:
        """The attempts of the last quarter of an hour, by queue and type."""
        return attempts_lately(self.using, self.now)

    @cached_property
    def ended(self) -> dict[str, int]:
        """How many messages of each queue ended in the last hour; the attempts are read along."""
        self.attempts, ended = attempts_and_ended(self.using, self.now)
        return ended

    @cached_property
    def met(self) -> list[Met]:
        """The types of which anything ended or failed in the last seven days, by queue."""
        return types_met(self.using, self.now)

    # -- queues ----------------------------------------------------------------------------------------

    @cached_property
    def lanes(self) -> list[Lane]:
        return self.engine.lanes()

    @cached_property
    def _pauses(self) -> tuple[dict[str, Queue], dict[str, PausedType]]:
        """The rows of queues and of paused types, by name, read by one statement."""
        queues = Queue.objects.using(self.using).annotate(is_type=Value(0))
        types = PausedType.objects.using(self.using).annotate(is_type=Value(1))
        names = [field.attname for field in Queue._meta.concrete_fields]
        paused_queues: dict[str, Queue] = {}
        paused_types: dict[str, PausedType] = {}
        rows = queues.values_list("is_type", *names).union(types.values_list("is_type", *names), all=True)
        for is_type, *values in sorted(rows, key=lambda row: row[1 + names.index("name")]):
            name = values[names.index("name")]
            if is_type:
                paused_types[name] = PausedType.from_db(self.using, names, values)
            else:
                paused_queues[name] = Queue.from_db(self.using, names, values)
        return paused_queues, paused_types

    @property
    def queue_rows(self) -> dict[str, Queue]:
        return self._pauses[0]

    @cached_property
    def paused(self) -> set[str]:
        return {name for name, row in self.queue_rows.items() if row.is_paused}

    @property
    def paused_types(self) -> dict[str, PausedType]:
        return self._pauses[1]

    @cached_property
    def due(self) -> list[Due]:
        """What is due, by queue and type."""
        return due_by_type(self.engine, self.lanes, self.now)

    @cached_property
    def waiting(self) -> dict[tuple[str, str], int]:
        """How many messages that nobody holds wait, by queue and type; what is due of them is read along."""
        self.due, later = due_and_later(self.engine, self.lanes, self.now)
        found = {(one.queue, one.type): one.count for one in self.due}
        return found | {key: total((found.get(key, 0), count)) for key, count in later.items()}

    def work(self, names: Iterable[str], *, by_state: bool = True, unknown: bool = False) -> dict[str, Work]:
        """Return the work of each of these queues; `unknown`: count those of unknown types, too."""
        wanted = set(names)
        lanes = [lane for lane in self.lanes if lane.queue in wanted]
        known = self.types_known if unknown else None
        found = work_in(self.engine, lanes, self.now, by_state=by_state, known=known)
        return {name: found.get(name) or Work() for name in wanted}

    @cached_property
    def dead(self) -> dict[str, int]:
        """Dead letters by queue."""
        return dead_by_queue(self.engine)

    # -- schedules -------------------------------------------------------------------------------------

    @cached_property
    def jobs(self) -> list[ScheduledJob]:
        """All schedules, by name, without their payloads."""
        return list(ScheduledJob.objects.using(self.using).defer("payload").order_by("name"))

    @cached_property
    def newest_pause(self) -> SchedulesPause | None:
        """The pause of all schedules that began last, over or not."""
        return schedules.newest_pause(self.using)

    @property
    def schedules_pause(self) -> SchedulesPause | None:
        """The pause that all schedules are in."""
        pause = self.newest_pause
        return None if pause is None or pause.is_over(self.now) else pause

    def holds_back(self, planned_at: datetime) -> bool:
        """Return whether a planned time does not run because all schedules are paused."""
        return self.schedules_pause is not None and self.schedules_pause.holds(planned_at)

    @cached_property
    def failing_schedules(self) -> list[FailingSchedule]:
        """Schedules whose last messages are all dead."""
        return failing_schedules(self.engine)
