"""The runs of schedules: the results of the last ones, and the times of the next ones.

Planning decides when a schedule runs; what runs in the next day together is in agenda.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from zoneinfo import ZoneInfo

from django.db.models import Value

from .. import planning, schedules
from ..models import ArchivedMessage, Message, Occurrence, ScheduledJob
from ..recurrence import Recurrence
from ..validation import END_OF_TIME
from .work import state_of

# So many selects one statement has on every database; SQLite takes 500.
JOBS_AT_ONCE = 250
# The columns that results are told from: those of all messages, and those that only ended ones have.
BOTH, ENDED = ("pk", "attempts", "visible_at", "leased_by"), ("outcome", "seconds", "error_class")


@dataclass(frozen=True, slots=True)
class Run:
    """One occurrence and, if it still exists, its message."""

    occurrence: Occurrence
    message: Message | ArchivedMessage | None

    def result(self, now: datetime) -> str:
        """Return an outcome, a live message's state, skipped, or pruned."""
        if self.occurrence.message_id is None:
            return "skipped"
        return state_of(self.message, now) if self.message else "pruned"


def newest_runs(job_ids: Sequence[int], count: int, *, using: str) -> dict[int, list[Run]]:
    """Return the newest occurrences of each of these schedules, newest first, by two statements."""
    found: dict[int, list[Run]] = {job_id: [] for job_id in job_ids}
    for start in range(0, len(job_ids), JOBS_AT_ONCE):
        occurrences = _newest(job_ids[start : start + JOBS_AT_ONCE], count, using)
        for run in _with_messages(occurrences, using):
            found[run.occurrence.scheduled_job_id].append(run)
    return found


def last_runs(job_id: int, count: int, *, using: str) -> list[Run]:
    """Return the newest occurrences of one schedule, newest first."""
    return newest_runs([job_id], count, using=using)[job_id]


def _newest(job_ids: Sequence[int], count: int, using: str) -> list[Occurrence]:
    """Return the newest occurrences: for each schedule one descent into the index, whatever its history."""
    columns = ", ".join(field.attname for field in Occurrence._meta.concrete_fields)
    sql = " UNION ALL ".join(
        f"SELECT * FROM (SELECT {columns} FROM {Occurrence._meta.db_table} "
        f"WHERE scheduled_job_id = {int(job_id)} ORDER BY planned_at DESC LIMIT {int(count)}) last{place}"
        for place, job_id in enumerate(job_ids)
    )
    rows = list(Occurrence.objects.using(using).raw(sql))
    return sorted(rows, key=lambda row: row.planned_at, reverse=True)


def _with_messages(occurrences: Sequence[Occurrence], using: str) -> list[Run]:
    ids = [row.message_id for row in occurrences if row.message_id is not None]
    found = _messages(ids, using) if ids else {}
    return [Run(row, None if row.message_id is None else found.get(row.message_id)) for row in occurrences]


def _messages(ids: Sequence[int], using: str) -> dict[int, Message | ArchivedMessage]:
    """Return these messages, live or ended, with what their results are told from, by one statement."""
    columns = ArchivedMessage._meta.concrete_fields
    nothing = {column.name: Value(None, column) for column in columns if column.name in ENDED}
    live = Message.objects.using(using).filter(pk__in=ids).annotate(**nothing)
    ended = ArchivedMessage.objects.using(using).filter(pk__in=ids)
    rows = live.values_list(*BOTH, *ENDED).union(ended.values_list(*BOTH, *ENDED), all=True)
    found: dict[int, Message | ArchivedMessage] = {}
    for *both, outcome, seconds, error_class in rows:
        facts = dict(zip(BOTH, both, strict=True))
        if outcome is None:
            found.setdefault(facts["pk"], Message(**facts))
        else:
            ended_as = ArchivedMessage(**facts, outcome=outcome, seconds=seconds, error_class=error_class)
            found[facts["pk"]] = ended_as
    return found


def is_held_back(message: Message | ArchivedMessage) -> bool:
    """Whether a message has no time to start at yet: it waits for earlier ones of its schedule."""
    return message.visible_at == END_OF_TIME


def waits_for(job: ScheduledJob, *, using: str) -> int | None:
    """Return the message that a schedule's waiting one is held back for: the oldest, or None.

    It lives, or it was cancelled and its code may still run.
    """
    assert job.waiting_message_id is not None
    live = Message.objects.using(using).filter(scheduled_job_id=job.pk).exclude(pk=job.waiting_message_id)
    oldest = live.order_by("pk").values_list("pk", flat=True).first()
    return min((id for id, *_where in job.waiting_behind or ()), default=None) if oldest is None else oldest


def next_runs(job: ScheduledJob, count: int, now: datetime) -> list[datetime]:
    """Return the next planned times; for a schedule that is off, those that it would have if it were on.

    So it is for one that was edited since it was planned, or was never saved. Raises InvalidSchedule.
    """
    if job.enabled and (planning.is_planned(job) or planning.carries_on(job)):
        return list(_until_over(job, job.next_runs(count)))
    anchor = planning.plan(job, now).anchor
    recurrence = Recurrence.parse(job.schedule, job.timezone, anchor=anchor)
    first = planning.first_run(job, recurrence, now)
    if first is None:
        return []
    times = [first, *islice(recurrence.occurrences_after(first), max(0, count - 1))]
    within = (moment for moment in times if job.ends_at is None or moment <= job.ends_at)
    return list(_until_over(job, within))


def _until_over(job: ScheduledJob, moments: Iterable[datetime]) -> Iterator[datetime]:
    """Yield planned times until max_runs of them run; those on excluded days do not."""
    left = None if job.max_runs is None else job.max_runs - job.runs
    for moment in moments:
        if left is not None:
            if left <= 0:
                return
            left -= not planning.exclusion(job, moment)
        yield moment


def unrecorded(job: ScheduledJob, start: datetime, end: datetime, *, using: str) -> int:
    """Count the planned times of a schedule, from `start` to `end`, that a backfill would make up for.

    Raises InvalidSchedule, also where they are more than it takes.
    """
    planned = set(schedules.planned_between(job, start, end))
    occurrences = Occurrence.objects.using(using).filter(scheduled_job=job, planned_at__range=(start, end))
    recorded = occurrences.values_list("planned_at", flat=True).iterator() if planned else ()
    return len(planned.difference(recorded))


def clock_change(recurrence: Recurrence, moment: datetime) -> str:
    """Return what a clock change does to a run.

    It is "moved" where the time that is named is left out, "first" or "second" where the clock shows the
    time twice, and else nothing.
    """
    if recurrence.is_moved(moment):
        return "moved"
    local = moment.astimezone(ZoneInfo(recurrence.timezone))
    if local.replace(fold=0).utcoffset() == local.replace(fold=1).utcoffset():
        return ""
    return "second" if local.fold else "first"
