"""The planned times that have come: each becomes a message, or the reason why there is none.

Call it with the rows locked, in a transaction. A whole group is asked about, and written, in few statements.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from django.db import transaction

from .. import messages, planning
from ..engines import NEW_OCCURRENCE, NewRow, engine_for
from ..models import Message, Occurrence, ScheduledJob
from ..planning import Planned, spread_delay
from ..signals import occurrence_fired
from . import failing, overlap
from .changes import Change, Round, go_on
from .overlap import Earlier

SCHEDULED = "letsgo:scheduled"
# The largest number that the column can hold on every engine.
HIGHEST_COUNT = 2**31 - 1


@dataclass(slots=True, eq=False)
class Record:
    """What is written of one planned time."""

    change: Change
    planned: Planned
    earlier: Earlier
    # Its message, if it becomes one.
    row: NewRow | None = None
    message: Message | None = None
    # The message waits until those before it have ended.
    is_held: bool = False
    # Somebody asked for it, long after.
    is_backfill: bool = False


@dataclass(frozen=True, slots=True)
class Known:
    """What the database knows about the planned times of a group."""

    occurrences: set[tuple[int, datetime]]
    earlier: dict[int, Earlier]


def read_known(changes: Sequence[Change], round: Round) -> Known:
    """Ask which of the planned times have an occurrence already, and what of their schedules lives."""
    coming = [change for change in changes if change.planned]
    pairs = [(change.job.pk, planned.planned_at) for change in coming for planned in change.planned]
    # The clock stepped back, or next_run_at was set back: what was decided once stays so.
    known = set(engine_for(round.using).known_occurrences(pairs)) if pairs else set()
    careful = [change.job for change in coming if change.job.overlap != ScheduledJob.Overlap.ALLOW]
    return Known(known, overlap.earlier_messages(careful, round.using))


def records_of(change: Change, known: Known, round: Round) -> list[Record]:
    """Decide the planned times of one row that have no occurrence yet, and change the row accordingly.

    Raises InvalidMessage for a row that cannot become a message.
    """
    job, records = change.job, []
    earlier = known.earlier.get(job.pk, Earlier())
    # Of what comes twice, under a former plan and the present one, the first counts.
    coming = {planned.planned_at: planned for planned in reversed(change.planned)}
    new = [
        left
        for _, planned in sorted(coming.items())
        if (left := planned.without(_recorded(planned, job, known, round.using)))
    ]
    last = next((planned for planned in reversed(new) if not planned.skipped_because), None)
    for planned in new:
        record = _record_of(change, planned, earlier, round, is_last=planned is last)
        if record is None:
            # There were as many runs as there may be; what came later is none of them.
            go_on(change, None)
            break
        records.append(record)
    fired = sum(record.row is not None for record in records)
    if fired:
        change.set(last_run_at=round.clock)
        if job.enabled and planning.has_no_runs_left(job):
            go_on(change, None)
    return records


def _recorded(planned: Planned, job: ScheduledJob, known: Known, using: str) -> set[datetime]:
    """Return which of the times that a decision is about have an occurrence already."""
    if planned.span is None:
        return {planned.planned_at} if (job.pk, planned.planned_at) in known.occurrences else set()
    within = (planned.span.first, planned.planned_at)
    rows = Occurrence.objects.using(using).filter(scheduled_job_id=job.pk, planned_at__range=within)
    return set(rows.values_list("planned_at", flat=True))


def _record_of(
    change: Change, planned: Planned, earlier: Earlier, round: Round, *, is_last: bool
) -> Record | None:
    """Decide one planned time; None if the schedule has no runs left."""
    job, record = change.job, Record(change, planned, earlier)
    if planned.skipped_because:
        return record
    if planning.has_no_runs_left(job):
        return None
    why = (
        _reason(job, planned.planned_at, round.clock)
        or earlier.reason(job.overlap, is_last=is_last)
        or failing.reason(change, round)
    )
    if why:
        record.planned = replace(planned, skipped_because=why, skipped_count=1)
        return record
    record.is_held = earlier.holds(job.overlap)
    record.row = _row(job, planned.planned_at, round, is_held=record.is_held)
    earlier.add(is_held=record.is_held)
    change.set(runs=job.runs + 1)
    return record


def _reason(job: ScheduledJob, planned_at: datetime, clock: datetime) -> str:
    if job.deadline is not None and visible_at(job, planned_at) + job.deadline <= clock:
        return "deadline: it had passed when this was noticed"
    return ""


def _row(job: ScheduledJob, planned_at: datetime, round: Round, *, is_held: bool) -> NewRow:
    visible = visible_at(job, planned_at)
    # A message that may start at once is given the database's clock: workers who remember how far they have
    # read would look past one from before.
    starts_at = overlap.HELD if is_held else None if visible <= round.clock else visible
    return row_of(job, planned_at, visible, starts_at)


def write(records: Sequence[Record], round: Round) -> list[Message]:
    """Write the messages and occurrences of a group, and hold back what waits; return the messages."""
    fired = [record for record in records if record.row is not None]
    for record in fired:
        if record.earlier.replaced:
            overlap.replace_earlier(record.change.job, record.earlier, round)
    made = messages.enqueue_occurrences(
        [record.row for record in fired if record.row], round.using, round.now
    )
    for record, message in zip(fired, made, strict=True):
        record.message = message
        if record.is_held:
            overlap.hold(record.change.job, message, round.using)
    _insert([_values(record, round.clock) for record in records], records, round.using)
    return made


def _insert(rows: Sequence[tuple[Any, ...]], records: Sequence[Record], using: str) -> None:
    ids = engine_for(using).insert_occurrences(rows) if rows else []
    if occurrence_fired.has_listeners(ScheduledJob):
        announce = partial(_announce, list(zip(records, ids, rows, strict=True)), using)
        transaction.on_commit(announce, using=using, robust=True)


def _values(record: Record, clock: datetime) -> tuple[Any, ...]:
    """Return the values of an occurrence, in the order of NEW_OCCURRENCE."""
    planned, message = record.planned, record.message
    return (
        record.change.job.pk,
        planned.planned_at,
        clock,
        None if message is None else message.pk,
        planned.skipped_because,
        min(planned.skipped_count, HIGHEST_COUNT),
        record.is_backfill,
    )


def _announce(recorded: Iterable[tuple[Record, int, tuple[Any, ...]]], using: str) -> None:
    for record, id, values in recorded:
        occurrence = Occurrence.from_db(using, ("id", *NEW_OCCURRENCE), (id, *values))
        job = occurrence.scheduled_job = record.change.job
        occurrence_fired.send_robust(
            ScheduledJob, occurrence=occurrence, message=record.message, schedule=job
        )


def visible_at(job: ScheduledJob, planned_at: datetime) -> datetime:
    """Return when the message of a planned time may start: the deadline counts from here."""
    return planned_at + spread_delay(job.pk, planned_at, job.spread)


def row_of(
    job: ScheduledJob,
    planned_at: datetime,
    visible: datetime,
    starts_at: datetime | None,
    **headers: Any,
) -> NewRow:
    """Return the message of a planned time; it starts at once if `starts_at` is None.

    Its deadline counts from `visible`. Raises InvalidMessage.
    """
    return messages.occurrence_row(
        job,
        planned_at,
        payload_of(job, planned_at),
        visible_at=starts_at,
        deadline=None if job.deadline is None else visible + job.deadline,
        **headers,
    )


def payload_of(job: ScheduledJob, planned_at: datetime) -> Any:
    """Return the row's payload; a scheduled event without one says which event it is.

    Its id is the same however often it is asked for, so that a receiver can tell events apart by it.
    """
    if job.type != SCHEDULED or job.payload is not None:
        return job.payload
    time = planned_at.isoformat()
    return {"id": str(uuid5(NAMESPACE_URL, f"letsgo:{job.pk}:{time}")), "time": time, "schedule": job.name}
