"""Rounds of a scheduler: find what is due or was edited, and attend to it in groups, one transaction each.

changes decides what becomes of a row, attending takes groups apart; the scheduler knows when to look.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models.signals import post_delete, post_save

from .. import planning, processes
from ..engines import engine_for
from ..errors import InvalidSchedule
from ..models import Message, Process, ScheduledJob, SchedulesPause, needs_a_look_sql
from ..planning import Watch
from . import overlap
from .attending import attend
from .changes import Round, change_of, mended
from .locking import alias_of
from .pausing import pauses_at

JOBS, PAUSES = ScheduledJob._meta.db_table, SchedulesPause._meta.db_table
# Broken rows are tried again with every look, so that they recover by themselves; a few at a time, so that
# a thousand of them do not hold up the others.
BROKEN_AT_ONCE = 20
# The same of edited rows: a mass edit is worked off over several looks.
EDITED_AT_ONCE = 100
# So few that what is due meanwhile waits less than a tenth of a second.
MENDED_AT_ONCE = 100

# A row's id, its next run, and how late that may be.
Due = tuple[int, datetime | None, timedelta]


@dataclass(frozen=True, slots=True)
class Look:
    """What one statement tells of the schedules."""

    clock: datetime
    # The next run of all that work; None when there is none, or when nothing fires.
    next_run_at: datetime | None
    # Whether rows were edited, are to be switched on again, or have something to settle.
    has_edits: bool

    @classmethod
    def of(cls, answers: Sequence[Any], *, using: str | None = None) -> Look:
        """Read the answers to looked_for()."""
        clock, next_run_at, has_edits, is_paused = answers
        read = engine_for(alias_of(using)).dialect.read_moment
        moment = read(clock)
        assert moment is not None
        return cls(moment, None if is_paused else read(next_run_at), bool(has_edits))

    @property
    def seconds_until_next(self) -> float:
        """The seconds until the next run; endless when there is none."""
        if self.next_run_at is None:
            return float("inf")
        return (self.next_run_at - self.clock).total_seconds()

    @property
    def is_due(self) -> bool:
        return self.seconds_until_next <= 0


def look(*, using: str | None = None) -> Look:
    """Ask for the clock, for the next planned time, and whether rows need attention: one statement."""
    engine = engine_for(alias_of(using))
    sql = f"SELECT {', '.join(looked_for(using=using))}"
    return Look.of(engine.execute(sql, {"now": engine.dialect.now_param(None)})[0], using=using)


def looked_for(*, using: str | None = None) -> tuple[str, ...]:
    """Return what a look asks for, as expressions of SQL."""
    engine = engine_for(alias_of(using))
    clock = engine.clock_sql
    return (
        clock,
        f"(SELECT next_run_at FROM {JOBS} WHERE enabled AND problem = '' AND next_run_at IS NOT NULL"
        " ORDER BY next_run_at LIMIT 1)",
        f"EXISTS (SELECT 1 FROM {JOBS} WHERE {needs_a_look_sql(engine.connection.vendor, clock)})",
        f"EXISTS (SELECT 1 FROM {PAUSES} WHERE resumed_at IS NULL"
        f" AND (resume_at IS NULL OR resume_at > {clock}))",
    )


def connect() -> None:
    """Have the schedulers told of every schedule that is saved or deleted, where that is possible."""
    for signal in (post_save, post_delete):
        signal.connect(_tell_schedulers, sender=ScheduledJob, dispatch_uid="letsgo_tell_schedulers")
    post_delete.connect(overlap.release_of_deleted, sender=ScheduledJob, dispatch_uid="letsgo_release")


def _tell_schedulers(using: str, **kwargs: Any) -> None:
    engine_for(using).tell_of_schedules()


def fire_due(
    now: datetime | None = None,
    *,
    using: str | None = None,
    limit: int = 1_000,
    edits: bool = True,
    awake_since: datetime | None = None,
) -> list[Message]:
    """Fire every planned time that has come, and return the messages made.

    One transaction per 500 schedules: an error of one row is noted in its `problem`, and stops no other. One
    call fires at most `limit` schedules that are due, the earliest first, and then attends to at most 100
    that were edited since they were planned; `edits=False` leaves those for another call.

    `awake_since` is since when the caller has fired all that was due: what was planned later is on time.
    """
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    due = _due(clock, alias, limit)
    edited = _edited(clock, alias) if edits else []
    if not due and not edited:
        return []
    round = _round(alias, clock, now, _awake_since(due, clock, awake_since, alias))
    ids = [] if round.is_paused else [pk for pk, *_ in due]
    made = attend(ids, round, change_of)
    attended = set(ids)
    return made + attend([pk for pk in edited if pk not in attended], round, change_of)


def _round(using: str, clock: datetime, now: datetime | None, awake_since: datetime | None = None) -> Round:
    # All pauses that are kept: what an edit replaced may have been due long ago.
    pauses = pauses_at(clock, using)
    return Round(using, Watch(clock, awake_since, pauses.past), now, is_paused=pauses.is_paused)


def _due(clock: datetime, using: str, limit: int) -> list[Due]:
    """Return the rows that are due, whatever was edited: through the index, the earliest first."""
    rows = ScheduledJob.objects.using(using).filter(problem="").due(clock).order_by("next_run_at", "pk")
    return list(rows.values_list("pk", "next_run_at", "misfire_grace")[:limit])


def _awake_since(found: Sequence[Due], clock: datetime, own: datetime | None, using: str) -> datetime | None:
    """Return since when any scheduler has fired all that was due; asked only where something is late."""
    if own is None or not any(next_run_at and next_run_at + grace < clock for _, next_run_at, grace in found):
        return own
    alive = Process.objects.using(using).filter(
        kind=Process.Kind.SCHEDULER,
        state=Process.State.RUNNING,
        awake_since__isnull=False,
        heartbeat_at__gte=clock - processes.silent_after(Process.Kind.SCHEDULER),
    )
    return min([own, *(since for since in alive.values_list("awake_since", flat=True) if since)])


def resume_due(now: datetime | None = None, *, using: str | None = None) -> int:
    """Switch on the schedules that were switched off until now; return how many. Each round does so too."""
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    ids = list(ScheduledJob.objects.using(alias).to_resume(clock).values_list("pk", flat=True))
    if ids:
        attend(ids, _round(alias, clock, now), change_of)
    return len(ids)


def mend_plans(after: int = 0, now: datetime | None = None, *, using: str | None = None) -> int | None:
    """Plan again what was planned while the clock was ahead: a next run beyond what the rule gives from now.

    One call looks at 100 schedules with ids above `after`, and returns the last of them, or None when none
    is left. What was fired meanwhile does not fire again; a next run set by hand stays.
    """
    alias = alias_of(using)
    clock = now or engine_for(alias).clock()
    round = Round(alias, Watch(clock), now)
    rows = ScheduledJob.objects.using(alias).filter(enabled=True, pk__gt=after).order_by("pk")
    looked_at = list(rows.defer("payload")[:MENDED_AT_ONCE])
    attend([job.pk for job in looked_at if _is_ahead(job, clock)], round, mended)
    return looked_at[-1].pk if len(looked_at) == MENDED_AT_ONCE else None


def _is_ahead(job: ScheduledJob, clock: datetime) -> bool:
    try:
        return planning.mend(job, clock) is not None
    except InvalidSchedule:
        # The row is broken, which firing it reports.
        return False


def _edited(clock: datetime, using: str) -> list[int]:
    """Return rows to attend to beside those that are due."""
    rows = ScheduledJob.objects.using(using).needing_a_look(clock)
    # In random order: rows that only look edited, or that another scheduler has, then block no others.
    working, broken = rows.filter(problem=""), rows.exclude(problem="")
    ids = list(working.order_by("?").values_list("pk", flat=True)[:EDITED_AT_ONCE])
    return ids + list(broken.order_by("?").values_list("pk", flat=True)[:BROKEN_AT_ONCE])
