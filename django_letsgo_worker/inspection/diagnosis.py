"""Problems that keep work from being done: each has a code for programs and a sentence for people.

Problems of settings and code are found by the checks. Each door decides which problems it shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db.models import Count, Max, Q

from .. import schedules
from ..engines import AtLeast, Lane
from ..errors import InvalidSchedule
from ..models import Message, ScheduledJob
from ..validation import counted
from .lengths import how_far, length
from .snapshot import Snapshot
from .work import MOST_COUNTED, types_waiting

# How late a schedule may be, and how far apart clocks may be, before it is reported.
LATE = timedelta(minutes=1)
SKEW = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `about` is the name of a queue, a type or a schedule, or empty."""

    code: str
    about: str
    sentence: str


def problems(snapshot: Snapshot) -> list[Problem]:
    """Return the problems of queues, types and schedules that a glance at the system should show."""
    return _found(snapshot, _queues, _types, _broken_schedules, _no_scheduler)


def further_problems(snapshot: Snapshot) -> list[Problem]:
    """Return further, silent problems, which are searched for only on request."""
    return _found(snapshot, _no_worker, _missing_schedules, _schedules, _leases, _clocks)


def _found(snapshot: Snapshot, *searches: Callable[[Snapshot], Iterator[Problem]]) -> list[Problem]:
    return [problem for search in searches for problem in search(snapshot)]


# -- at a glance -----------------------------------------------------------------------------------------


def _queues(snapshot: Snapshot) -> Iterator[Problem]:
    for queue in snapshot.queues:
        row, name = queue.row, queue.row.name
        if row.is_paused:
            by = f" by {row.paused_by}" if row.paused_by else ""
            why = f": {row.pause_reason}" if row.pause_reason else ""
            yield Problem("queue_paused", name, f"Queue {name!r} is paused{by}{why}.")
        if queue.work.ready and not queue.workers:
            ready = counted(queue.work.ready, "ready message")
            sentence = f"Queue {name!r} has {ready}, but no living worker serves it."
            yield Problem("queue_without_worker", name, sentence)


def _types(snapshot: Snapshot) -> Iterator[Problem]:
    waiting = types_waiting(snapshot.using, snapshot.lanes, until=snapshot.now)
    for type, queue in sorted(waiting.items()):
        if type not in snapshot.types_known:
            sentence = f"No process has a handler for {type!r}, but queue {queue!r} has such messages."
            yield Problem("unknown_type", type, sentence)


def _broken_schedules(snapshot: Snapshot) -> Iterator[Problem]:
    for job in snapshot.jobs:
        if job.state == "broken":
            sentence = f"Schedule {job.name!r} is broken: {job.problem}"
            yield Problem("schedule_broken", job.name, sentence)


def _no_scheduler(snapshot: Snapshot) -> Iterator[Problem]:
    on = sum(1 for job in snapshot.jobs if job.state == "on" and does_something(job.name))
    if on and not snapshot.has_scheduler:
        are_on = counted(on, "schedule is", "schedules are")
        sentence = f"No scheduler is running, but {are_on} on: run `manage.py runscheduler`."
        yield Problem("no_scheduler", "", sentence)


def does_something(name: str) -> bool:
    """Return whether a schedule does anything: the built-in one only logs a line until it is handled."""
    return name != schedules.BUILT_IN or schedules.is_built_in_used()


# -- on closer inspection --------------------------------------------------------------------------------


def _no_worker(snapshot: Snapshot) -> Iterator[Problem]:
    if not snapshot.workers:
        sentence = "No worker is running, so nothing is handled: run `manage.py runworker`."
        yield Problem("no_worker", "", sentence)


def _missing_schedules(snapshot: Snapshot) -> Iterator[Problem]:
    if snapshot.has_scheduler:
        return
    for name in sorted(filter(does_something, declared_names() - {job.name for job in snapshot.jobs})):
        sentence = f"Schedule {name!r} is declared in code, but no scheduler is running to add it."
        yield Problem("schedule_missing", name, sentence)


def declared_names() -> set[str]:
    """Return the names of schedules declared in code; none if they cannot be read, which a check reports."""
    try:
        return {declared.name for declared in schedules.declared_in_code()}
    except InvalidSchedule:
        return set()


def _schedules(snapshot: Snapshot) -> Iterator[Problem]:
    for job in snapshot.jobs:
        if job.state == "completed" and job.last_run_at is None:
            sentence = f"Schedule {job.name!r} is on and will never fire."
            yield Problem("schedule_never_fires", job.name, sentence)
        if job.state != "on":
            continue
        if job.type not in snapshot.types_known:
            sentence = f"Schedule {job.name!r} enqueues {job.type!r}, but no process has a handler for it."
            yield Problem("schedule_of_unknown_type", job.name, sentence)
        if snapshot.has_scheduler and is_late(job, snapshot.now):
            assert job.next_run_at is not None
            due = how_far(job.next_run_at, snapshot.now)
            yield Problem(
                "schedule_late", job.name, f"Schedule {job.name!r} was due {due} and has not fired."
            )


def is_late(job: ScheduledJob, now: datetime) -> bool:
    """Return whether a schedule should have fired a while ago."""
    return job.next_run_at is not None and job.next_run_at < now - LATE


def _leases(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the queues with messages leased to dead processes, as far as they are counted."""
    counts: Counter[str] = Counter()
    until: dict[str, datetime] = {}
    capped: set[str] = set()
    for lane in snapshot.lanes:
        looked, held, last = _held_by_others(snapshot, lane)
        if held:
            counts[lane.queue] += held
            until[lane.queue] = max(last, until.get(lane.queue, last))
            if looked == MOST_COUNTED:
                capped.add(lane.queue)
    for queue, count in sorted(counts.items()):
        count = AtLeast(count) if queue in capped else count
        messages = counted(count, "message is", "messages are")
        lapse = f"the last lease lapses {how_far(until[queue], snapshot.now)}"
        sentence = f"In queue {queue!r} {messages} leased to dead processes; {lapse}."
        yield Problem("lease_of_dead_process", queue, sentence)


def _held_by_others(snapshot: Snapshot, lane: Lane) -> tuple[int, int, datetime]:
    """Return how many messages were examined, how many are leased to the dead, and their last lease's end."""
    rows = Message.objects.using(snapshot.using).filter(queue=lane.queue, priority=lane.priority)
    # In the order of the index: otherwise a planner that thinks the lane is short may scan the table.
    leased = rows.filter(visible_at__gt=snapshot.now).order_by("visible_at")[:MOST_COUNTED]
    living = [process.pk for process in snapshot.living]
    dead = Q(leased_by__isnull=False) & ~Q(leased_by__in=living)
    facts = leased.aggregate(
        looked=Count("pk"), held=Count("pk", filter=dead), last=Max("visible_at", filter=dead)
    )
    return facts["looked"], facts["held"], facts["last"]


def _clocks(snapshot: Snapshot) -> Iterator[Problem]:
    before = datetime.now(UTC)
    clock = snapshot.engine.clock()
    after = datetime.now(UTC)
    # The time that the query took is not skew.
    ahead, behind = clock - after, before - clock
    if max(ahead, behind) > SKEW:
        off = length(max(ahead, behind).total_seconds())
        where = "ahead of" if ahead > behind else "behind"
        sentence = f"The database's clock is {off} {where} that of this host; all times are the database's."
        yield Problem("clock_skew", "", sentence)
