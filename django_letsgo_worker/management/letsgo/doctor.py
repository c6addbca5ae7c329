"""`letsgo doctor`: all that keeps work from being done without a word, in one list.

What `status` says too is found in problems.py, and what settings and code have wrong by checks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from django.core.checks import run_checks
from django.core.checks.registry import registry as all_checks
from django.core.management.base import CommandError
from django.db.models import Count, Max, Q

from ... import schedules
from ...checks import alias_of_queue
from ...engines import AtLeast, Lane
from ...errors import InvalidSchedule
from ...models import Message, Process, ScheduledJob
from .. import startup
from . import showing
from .call import Call, Verbs
from .counting import MOST, work_of_queues
from .liveness import liveness, processes
from .problems import is_missed, problems, types_known

# A code, what it is about, and a sentence.
Found = tuple[str, str, str]

# How late a schedule may be, and how far clocks may be apart, before somebody is told.
LATE = timedelta(minutes=1)
SKEW = timedelta(seconds=2)


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("doctor", doctor, "lists all that is wrong, and exits with 1 if anything is")
    # They are among what it lists.
    parser.set_defaults(skip_checks=True)


def doctor(call: Call) -> None:
    found = [*_as_objects(_about_code()), *_about_rows(call)]
    if call.out.as_json:
        call.out.document(found)
    for problem in [] if call.out.as_json else found:
        call.out.line(f"! {showing.printable(problem['sentence'])}")
    if found:
        raise CommandError(f"{showing.counted(len(found), 'thing is', 'things are')} wrong.")
    call.out.say("Nothing is wrong.")


def _as_objects(found: Iterable[Found]) -> list[dict[str, Any]]:
    return [{"code": code, "about": about, "sentence": sentence} for code, about, sentence in found]


def _about_code() -> Iterator[Found]:
    """Yield what the checks find that are ours, those for deployments included."""
    tags = [tag for tag in all_checks.tags_available(True) if tag.startswith("letsgo_")]
    for message in run_checks(tags=tags, include_deployment_checks=True):
        if not message.is_silenced():
            about = "" if message.obj is None else str(message.obj)
            yield message.id or "", about, " ".join(filter(None, (message.msg, message.hint)))


def _about_rows(call: Call) -> list[dict[str, Any]]:
    if alias_of_queue() is None:
        # Checks have said so.
        return []
    try:
        startup.require_tables(call.using)
    except CommandError as error:
        return _as_objects([("not_migrated", "", str(error))])
    rows = processes(call)
    jobs = list(ScheduledJob.objects.using(call.using).defer("payload").order_by("name"))
    living = [row for row in rows if liveness(row, call.clock) == "living"]
    further = (
        *_about_processes(jobs, living),
        *_about_schedules(call, jobs, living),
        *_about_leases(call, living),
        *_about_clock(call),
    )
    return [*problems(call, work_of_queues(call, rows), rows, jobs), *_as_objects(further)]


def _about_processes(jobs: Sequence[ScheduledJob], living: Sequence[Process]) -> Iterator[Found]:
    kinds = {process.kind for process in living}
    if "worker" not in kinds:
        yield "no_worker", "", "No worker lives, so nothing is handled: run `manage.py runworker`."
    if "scheduler" not in kinds:
        for name in sorted(filter(is_missed, _declared_names() - {job.name for job in jobs})):
            sentence = f"Schedule {name!r} is declared in code, and no scheduler lives that would add it."
            yield "schedule_missing", name, sentence


def _declared_names() -> set[str]:
    try:
        return {declared.name for declared in schedules.declared_in_code()}
    except InvalidSchedule:
        # Checks have said so.
        return set()


def _about_schedules(call: Call, jobs: Sequence[ScheduledJob], living: Sequence[Process]) -> Iterator[Found]:
    known = types_known(living)
    has_scheduler = any(process.kind == "scheduler" for process in living)
    for job in jobs:
        if job.state == "completed" and job.last_run_at is None:
            yield "schedule_never_fires", job.name, f"Schedule {job.name!r} is on and will never fire."
        if job.state != "on":
            continue
        if job.type not in known:
            sentence = f"Schedule {job.name!r} enqueues {job.type!r}, and nobody has a handler of it."
            yield "schedule_of_unknown_type", job.name, sentence
        if has_scheduler and job.next_run_at is not None and job.next_run_at < call.clock - LATE:
            due = showing.how_far(job.next_run_at, call.clock)
            yield "schedule_late", job.name, f"Schedule {job.name!r} was due {due} and has not fired."


def _about_leases(call: Call, living: Sequence[Process]) -> Iterator[Found]:
    """Yield the queues whose messages are leased to processes that live no more, as far as it is counted."""
    counts: Counter[str] = Counter()
    until: dict[str, datetime] = {}
    capped: set[str] = set()
    for lane in call.engine.lanes():
        looked, held, last = _held_by_others(call, lane, [process.pk for process in living])
        if held:
            counts[lane.queue] += held
            until[lane.queue] = max(last, until.get(lane.queue, last))
            if looked == MOST:
                capped.add(lane.queue)
    for queue, count in sorted(counts.items()):
        count = AtLeast(count) if queue in capped else count
        messages = showing.counted(count, "message is", "messages are")
        lapse = f"the last lease lapses {showing.how_far(until[queue], call.clock)}"
        sentence = f"In queue {queue!r} {messages} leased to processes that live no more; {lapse}."
        yield "lease_of_dead_process", queue, sentence


def _held_by_others(call: Call, lane: Lane, living: Sequence[Any]) -> tuple[int, int, datetime]:
    """Return how many were looked at, how many of them others hold, and when the last lease lapses."""
    rows = Message.objects.using(call.using).filter(queue=lane.queue, priority=lane.priority)
    # In the order of the index: else a planner that takes the lane for short may read the whole table.
    leased = rows.filter(visible_at__gt=call.clock).order_by("visible_at")[:MOST]
    dead = Q(leased_by__isnull=False) & ~Q(leased_by__in=living)
    facts = leased.aggregate(
        looked=Count("pk"), held=Count("pk", filter=dead), last=Max("visible_at", filter=dead)
    )
    return facts["looked"], facts["held"], facts["last"]


def _about_clock(call: Call) -> Iterator[Found]:
    before = datetime.now(UTC)
    clock = call.engine.clock()
    after = datetime.now(UTC)
    # What the question took is nobody's fault.
    ahead, behind = clock - after, before - clock
    if max(ahead, behind) > SKEW:
        off = showing.length(max(ahead, behind).total_seconds())
        where = "ahead of" if ahead > behind else "behind"
        sentence = f"The database's clock is {off} {where} that of this host; all times are the database's."
        yield "clock_skew", "", sentence
