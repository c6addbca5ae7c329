"""Problems of schedules: no scheduler, all paused, broken, failing, of unknown types, missing, late, never.

They are counted in SQL, equal causes together: there may be a hundred thousand schedules.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from .. import schedules
from ..engines import AtLeast
from ..errors import InvalidSchedule
from ..models import ScheduledJob, SchedulesPause
from .actions import action, manage
from .evidence import FailingSchedule, Plans, plans_by_type
from .lengths import at_clock, how_far, number
from .liveness import liveness_of
from .problem import Problem, did_you_mean, problem
from .snapshot import Snapshot

# How late a schedule may be before that is a problem.
LATE = timedelta(minutes=1)
# How many causes of broken schedules are told apart, and how many names of missing ones are asked for.
MOST_CAUSES, MOST_NAMES = 50, 10_000
# How many that never fire are counted.
MOST_LISTED = 1_000
# The rows that never fire, unless a scheduler has yet to plan them.
NEVER = Q(problem="", next_run_at__isnull=True, last_run_at__isnull=True)


def does_something(name: str) -> bool:
    """Return whether a schedule does anything: the built-in one only logs a line until it is handled."""
    return name != schedules.BUILT_IN or schedules.is_built_in_used()


def declared_names() -> set[str]:
    """Return the names of schedules declared in code; none if they cannot be read, which a check reports."""
    try:
        return {declared.name for declared in schedules.declared_in_code()}
    except InvalidSchedule:
        return set()


def is_late(job: ScheduledJob, snapshot: Snapshot) -> bool:
    """Return whether a schedule should have fired a while ago."""
    is_past = job.next_run_at is not None and job.next_run_at < snapshot.now - LATE
    return is_past and _could_fire(snapshot)


def _could_fire(snapshot: Snapshot) -> bool:
    """Return whether schedulers were free to fire what came a while ago: no pause of all was in the way."""
    pause, now = snapshot.newest_pause, snapshot.now
    return pause is None or (pause.is_over(now) and (pause.ended_at or now) < now - LATE)


def troubled(snapshot: Snapshot) -> Q:
    """Return the condition of the schedules that a problem is about, but for the lack of a scheduler."""
    late, failing = snapshot.now - LATE, [one.name for one in snapshot.failing_schedules]
    wrong = ~Q(problem="") | Q(name__in=failing)
    if _could_fire(snapshot):
        wrong |= Q(next_run_at__lt=late)
    unknown = Q(next_run_at__isnull=False) & ~Q(type__in=snapshot.types_known)
    never = NEVER & ~Q(pk__in=_to_look_at(snapshot))
    left_out = Q() if schedules.is_built_in_used() else ~Q(name=schedules.BUILT_IN)
    return Q(enabled=True) & left_out & (wrong | unknown | never)


def _on(snapshot: Snapshot) -> QuerySet[ScheduledJob]:
    rows = ScheduledJob.objects.using(snapshot.using).filter(enabled=True)
    return rows if schedules.is_built_in_used() else rows.exclude(name=schedules.BUILT_IN)


def _others(name: str, count: int) -> str:
    """Return a subject: one schedule, or one and how many others."""
    others = AtLeast(count - 1) if isinstance(count, AtLeast) else count - 1
    if not others:
        return _("Schedule %(name)r") % {"name": name}
    text = ngettext("Schedule %(name)r and %(count)s other", "Schedule %(name)r and %(count)s others", others)
    return text % {"name": name, "count": number(others)}


# -- all that are on -----------------------------------------------------------------------------------------


def of_plans(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield what the rows that are on tell together: one statement for all, by type."""
    without = "" if schedules.is_built_in_used() else schedules.BUILT_IN
    by_type = plans_by_type(snapshot.engine, without, snapshot.now - LATE)
    late = [one for one in by_type if one.late and _could_fire(snapshot)]
    on = sum(one.planned for one in by_type)
    if on and not snapshot.has_scheduler:
        yield _no_scheduler(snapshot, on, sum(one.late for one in late))
    elif late:
        yield _late(snapshot, late)
    if snapshot.schedules_pause is not None:
        yield _paused(snapshot.schedules_pause, snapshot.now, on)
    for one in by_type:
        if one.planned and one.type not in snapshot.types_known:
            yield _unknown(snapshot, one)
    if any(one.broken for one in by_type):
        yield from _broken(snapshot)
    if any(one.never for one in by_type):
        yield from _never(snapshot)


def _no_scheduler(snapshot: Snapshot, on: int, late: int) -> Problem:
    gone = [process for process in snapshot.processes if process.kind == "scheduler"]
    silent = [process for process in gone if liveness_of(process, snapshot.now) == "silent"][:3]
    ages = [{"name": one.name, "when": how_far(one.heartbeat_at, snapshot.now)} for one in silent]
    names = ", ".join(_("%(name)s fell silent %(when)s") % age for age in ages)
    command = manage("runscheduler")
    sentence = ngettext(
        "No scheduler is running%(silent)s, but %(count)s schedule is on%(late)s: run `%(command)s`.",
        "No scheduler is running%(silent)s, but %(count)s schedules are on%(late)s: run `%(command)s`.",
        on,
    ) % {
        "silent": f" ({names})" if names else "",
        "count": number(on),
        "late": _(", %(count)s of them late") % {"count": number(late)} if late else "",
        "command": command,
    }
    since = max((one.heartbeat_at for one in gone), default=None)
    run, look = action("run", command), action("look", place="scheduledjob")
    return problem("no_scheduler", "", sentence, run, look, since=since, count=on)


def _late(snapshot: Snapshot, late: Sequence[Plans]) -> Problem:
    name, count = min(one.first_late or "" for one in late), sum(one.late for one in late)
    due = min(one.next_run_at or snapshot.now for one in late)
    sentence = ngettext(
        "%(schedules)s was due %(when)s and has not fired, though a scheduler lives: "
        "read the log of `manage.py runscheduler`.",
        "%(schedules)s were due, the first %(when)s, and have not fired, though a scheduler lives: "
        "read the log of `manage.py runscheduler`.",
        count,
    ) % {"schedules": _others(name, count), "when": how_far(due, snapshot.now)}
    look = action("look", manage("letsgo", "schedule", "show", name), "scheduledjob", q=name)
    return problem("schedule_late", name, sentence, look, since=due, count=count)


def _paused(pause: SchedulesPause, now: datetime, on: int) -> Problem:
    command = manage("letsgo", "schedule", "resume-all")
    held = ngettext(
        "%(count)s schedule is on and does not run; `%(command)s` ends the pause.",
        "%(count)s schedules are on and do not run; `%(command)s` ends the pause.",
        on,
    ) % {"count": number(on), "command": command}
    resume = action("resume", command, "scheduledjob")
    sentence = f"{pause_in_words(pause, now)} {held}"
    return problem("schedules_paused", "schedules", sentence, resume, since=pause.paused_at, count=on)


def pause_in_words(pause: SchedulesPause, now: datetime) -> str:
    """Return the sentence that says who paused all schedules, since when, until when and why."""
    clauses = {
        "by": _(" by %(name)s") % {"name": pause.paused_by} if pause.paused_by else "",
        "since": _(" since %(when)s") % {"when": at_clock(pause.paused_at, now)} if pause.paused_at else "",
        "until": _(", until %(when)s") % {"when": at_clock(pause.resume_at, now)} if pause.resume_at else "",
        "why": f": {pause.pause_reason}" if pause.pause_reason else "",
    }
    return _("All schedules are paused%(by)s%(since)s%(until)s%(why)s.") % clauses


def _unknown(snapshot: Snapshot, plans: Plans) -> Problem:
    type, name, count = plans.type, plans.first or "", plans.planned
    off = manage("letsgo", "schedule", "disable", name)
    sentence = ngettext(
        "%(schedules)s enqueues %(type)r, but no process has a handler for it: deploy one, or `%(off)s`.",
        "%(schedules)s enqueue %(type)r, but no process has a handler for it: deploy one, or `%(off)s`.",
        count,
    ) % {"schedules": _others(name, count), "type": type, "off": off}
    sentence += did_you_mean(type, snapshot.types_known)
    look = action("look", manage("letsgo", "schedule", "list"), "scheduledjob", type=type)
    disable = action("disable", off)
    since = plans.changed_at
    return problem("schedule_of_unknown_type", name, sentence, look, disable, since=since, count=count)


def _broken(snapshot: Snapshot) -> Iterator[Problem]:
    causes = (
        _on(snapshot).exclude(problem="").values("problem")
        .annotate(count=Count("pk"), first=Min("name"), since=Max("next_run_at"))
        .order_by("-count", "first")
    )  # fmt: skip
    for cause in causes[:MOST_CAUSES]:
        name, count = cause["first"], cause["count"]
        show = manage("letsgo", "schedule", "show", name)
        sentence = ngettext(
            "%(schedules)s is broken: %(problem)s. Correct it: `%(show)s`.",
            "%(schedules)s are broken: %(problem)s. Correct it: `%(show)s`.",
            count,
        ) % {"schedules": _others(name, count), "problem": cause["problem"].rstrip("."), "show": show}
        edit = action("edit", show, "scheduledjob", q=name)
        yield problem("schedule_broken", name, sentence, edit, since=cause["since"], count=count)


def _never(snapshot: Snapshot) -> Iterator[Problem]:
    unplanned = _on(snapshot).filter(NEVER).exclude(pk__in=_to_look_at(snapshot)).order_by("name")
    rows = list(unplanned.values_list("name", "updated_at")[: MOST_LISTED + 1])
    if rows:
        count = AtLeast(MOST_LISTED) if len(rows) > MOST_LISTED else len(rows)
        name, since = rows[0][0], min(updated_at for _name, updated_at in rows)
        off = manage("letsgo", "schedule", "disable", name)
        sentence = ngettext(
            "%(schedules)s is on and will never fire: change when it runs, or `%(off)s`.",
            "%(schedules)s are on and will never fire: change when it runs, or `%(off)s`.",
            count,
        ) % {"schedules": _others(name, count), "off": off}
        edit = action("edit", manage("letsgo", "schedule", "show", name), "scheduledjob", q=name)
        yield problem(
            "schedule_never_fires", name, sentence, edit, action("disable", off),
            since=since, count=count,
        )  # fmt: skip


def _to_look_at(snapshot: Snapshot) -> Any:
    """Return rows that a scheduler has not planned yet: whether they will fire is not known."""
    rows = ScheduledJob.objects.using(snapshot.using).needing_a_look(snapshot.now)
    return rows.filter(enabled=True, next_run_at__isnull=True).values("pk")


# -- missing and failing -------------------------------------------------------------------------------------


def missing(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield what the code declares and no row says, where no scheduler lives to bring it in step."""
    names = set(filter(does_something, declared_names()))
    if snapshot.has_scheduler or not names:
        return
    lacking = sorted(names - _there(snapshot, names))
    if lacking:
        count, command = len(lacking), manage("runscheduler")
        sentence = ngettext(
            "%(schedules)s is declared in code, but no scheduler is running to add it: run `%(command)s`.",
            "%(schedules)s are declared in code, but no scheduler is running to add them: run `%(command)s`.",
            count,
        ) % {"schedules": _others(lacking[0], count), "command": command}
        yield problem("schedule_missing", lacking[0], sentence, action("run", command), count=count)


def _there(snapshot: Snapshot, names: Collection[str]) -> set[str]:
    rows = ScheduledJob.objects.using(snapshot.using).filter(declared_in_code=True)
    if len(names) <= 500:
        rows = ScheduledJob.objects.using(snapshot.using).filter(name__in=names)
    return set(rows.values_list("name", flat=True)[:MOST_NAMES])


def failing(snapshot: Snapshot) -> Iterator[Problem]:
    """Yield the schedules whose last three messages are dead, together where the type is the same."""
    by_type: dict[str, list[FailingSchedule]] = {}
    for one in snapshot.failing_schedules:
        by_type.setdefault(one.type, []).append(one)
    for type, alike in by_type.items():
        name, count = alike[0].name, len(alike)
        run = manage("letsgo", "schedule", "run", name)
        listed = manage("letsgo", "dead", "list", "--type", type)
        sentence = ngettext(
            "%(schedules)s fails: its last 3 messages, of %(type)r, are dead. "
            "Look at why with `%(listed)s`; once it is mended, `%(run)s`.",
            "%(schedules)s fail: of each the last 3 messages, of %(type)r, are dead. "
            "Look at why with `%(listed)s`; once it is mended, `%(run)s`.",
            count,
        ) % {"schedules": _others(name, count), "type": type, "listed": listed, "run": run}
        look = action("look", listed, "deadletter", type=type)
        since = min(one.since for one in alike)
        yield problem("schedule_failing", name, sentence, look, action("run", run), since=since, count=count)
