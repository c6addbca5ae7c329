"""The ledger of a schedule: what is recorded of it, and what of that breaks a promise.

The promises are those that test_crowds.py numbers; it shows as well that whatever breaks one is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile

from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, ScheduledJob


@dataclass
class Ledger:
    """What is recorded of one schedule, and what may be asked of it."""

    job: ScheduledJob
    # What was planned after this moment is to be recorded.
    since: datetime
    occurrences: list[Occurrence] = field(default_factory=list)
    messages: list[Message | ArchivedMessage] = field(default_factory=list)
    is_edited: bool = False
    is_backfilled: bool = False
    # Times in between were planned while all schedules were paused.
    paused: tuple[datetime, datetime] | None = None

    @property
    def fired(self) -> list[Occurrence]:
        return [one for one in self.occurrences if not one.skipped_because]

    def planned(self) -> list[datetime]:
        """Return the planned times of the present rule that have come."""
        job = self.job
        if job.next_run_at is None:
            return []
        # Edits of the rule move the anchor; a row that is switched on is planned from then on.
        since = max(self.since, job.anchor or self.since, job.switched_at or self.since)
        times = job.recurrence.occurrences_after(since)
        return list(takewhile(lambda moment: moment < job.next_run_at, times))

    def recorded(self) -> Iterator[datetime]:
        """Yield the times that fired, and those that a record of skipped ones counts, up to its own."""
        for one in self.occurrences:
            if not one.skipped_because:
                yield one.planned_at
                continue
            interval = next(self.job.recurrence.occurrences_after(one.planned_at)) - one.planned_at
            yield from (one.planned_at - interval * n for n in range(one.skipped_count))


def doubled(ledger: Ledger) -> list[object]:
    """Return planned times with several occurrences."""
    counts = Counter(one.planned_at for one in ledger.occurrences)
    return [moment for moment, count in counts.items() if count > 1]


def different(ledger: Ledger) -> list[object]:
    """Return what only the messages or only the occurrences have, or have more often."""
    messages = Counter((message.planned_at, message.pk) for message in ledger.messages)
    occurrences = Counter((one.planned_at, one.message_id) for one in ledger.fired)
    return [*(messages - occurrences), *(occurrences - messages)]


def lost(ledger: Ledger) -> list[object]:
    recorded = set(ledger.recorded())
    return [moment for moment in ledger.planned() if moment not in recorded]


def made_up(ledger: Ledger) -> list[object]:
    """Return what is recorded and was not planned, or is recorded again."""
    if ledger.is_edited:
        # What its former rules gave is recorded, too.
        return []
    recorded = Counter(ledger.recorded())
    if ledger.is_backfilled:
        # A time that was backfilled in a pause counts among the paused ones, too.
        recorded = Counter(set(recorded))
    return [*(recorded - Counter(ledger.planned()))]


def ran_in_the_pause(ledger: Ledger) -> list[object]:
    if ledger.paused is None:
        return []
    begin, end = ledger.paused
    return [one.planned_at for one in ledger.fired if begin < one.planned_at < end and not one.is_backfill]


def broken(ledger: Ledger) -> list[object]:
    return [ledger.job.problem] if ledger.job.problem else []


CHECKS = (doubled, different, lost, made_up, ran_in_the_pause, broken)


def complaints(ledger: Ledger) -> dict[str, list[object]]:
    """Return which of the invariants a schedule breaks, and where."""
    return {check.__name__: wrong for check in CHECKS if (wrong := check(ledger))}


def read_ledgers(since: datetime) -> list[Ledger]:
    ledgers = {job.pk: Ledger(job, since) for job in ScheduledJob.objects.order_by("pk")}
    for occurrence in Occurrence.objects.order_by("planned_at"):
        ledgers[occurrence.scheduled_job_id].occurrences.append(occurrence)
    for table in (Message, ArchivedMessage):
        for message in table.objects.exclude(scheduled_job_id=None):
            ledgers[message.scheduled_job_id].messages.append(message)
    return list(ledgers.values())
