"""`letsgo schedule list|show|next|add|delete|enable|disable|run|backfill`: show and change schedules.

Files of schedules are written and read in schedule_files.py; all are paused in schedule_pauses.py.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError

from ... import planning, schedules
from ...errors import InvalidSchedule, ScheduleNotFound
from ...inspection import counted_by_liveness, last_runs
from ...inspection import next_runs as runs_of
from ...models import ScheduledJob
from ...recurrence import Recurrence
from ...redaction import redacted
from . import formats
from .call import Call, Verbs
from .messages import print_message
from .schedule_pauses import say_if_paused

NEXT_RUNS = 5
# The columns that people decide on, then those of schedulers and of the switch; the payload may be personal.
COLUMNS = (
    *[name for name in schedules.DECIDED if name in {"name", *planning.FIELDS} - {"payload"}],
    "next_run_at", "last_run_at", "runs", "waiting_message_id", "problem", "declared_in_code",
    *ScheduledJob.SWITCH, "created_at", "updated_at",
)  # fmt: skip

LAST_RUN = ("last_planned_at", "last_result", "last_message_id", "last_skipped_because")


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("list", list_schedules, "lists all schedules")
    parser.add_argument("--names", action="store_true", help="print only names, one per line")
    parser = verbs.add("show", show_schedule, "shows one schedule and how its last run ended")
    parser.add_argument("name", help="the schedule's name")
    parser.add_argument("--payload", action="store_true", dest="shows_payload", help="show the payload, too")
    parser = verbs.add("next", next_runs, "shows the next runs of a schedule or an expression")
    parser.add_argument("name", metavar="NAME_OR_EXPRESSION", help="a schedule's name, or when one would run")
    parser.add_argument("-n", "--count", type=formats.at_most(1000), default=NEXT_RUNS, help="how many (5)")
    parser.add_argument(
        "--timezone", help="the time zone of an expression, or one to show a schedule's runs in"
    )
    _add_changes(verbs)


def _add_changes(verbs: Verbs) -> None:
    parser = verbs.add("add", add_schedule, "adds a schedule and shows its next runs")
    add = parser.add_argument
    add("name", help="the schedule's name")
    add("schedule", help="such as '*/5 * * * *', 'rate(1 hour)', '@every 90s', daily")
    add("type", help="the type of its messages")
    add("--timezone", default="UTC", help="the time zone of its expression (UTC)")
    add("--payload", metavar="JSON|@FILE|-", help="the payload of its messages")
    add("--queue", help="the handler's by default")
    add("--priority", type=int, help="from -100 to 100, larger is sooner (the handler's by default)")
    add("--max-attempts", type=int, help="the handler's by default")
    add("--deadline", type=formats.duration, help="after the planned time, such as 90s, 10m, 1h30m or 2d")
    _add_rules(parser)
    add("--disabled", action="store_true", help="add it switched off")
    parser = verbs.add("delete", delete_schedule, "deletes a schedule; its messages stay", destroys=True)
    parser.add_argument("name", help="the schedule's name")
    parser = verbs.add("enable", enable_schedule, "enables a schedule; missed runs are not made up")
    parser.add_argument("name", help="the schedule's name")
    parser = verbs.add("disable", disable_schedule, "disables a schedule")
    parser.add_argument("name", help="the schedule's name")
    parser.add_argument("--reason", default="", help="why")
    parser.add_argument(
        "--for", type=formats.duration, dest="duration", help="enable it again after this long"
    )
    parser = verbs.add("run", run_schedule, "enqueues a schedule's message now")
    parser.add_argument("name", help="the schedule's name")
    parser = verbs.add("backfill", backfill_schedule, "makes up for planned times that have no record")
    parser.add_argument("name", help="the schedule's name")
    help = "the first planned time, such as 2027-01-01T09:00:00+01:00"
    parser.add_argument("start", type=formats.moment, metavar="START", help=help)
    parser.add_argument("end", type=formats.moment, metavar="END", help="the last time, in the past")
    parser.add_argument("--over", type=formats.duration, help="spread the starts over this long (at once)")


def _add_rules(parser: argparse.ArgumentParser) -> None:
    """Add the options about runs: which are made, and when there are no more."""
    add = parser.add_argument
    add(
        "--misfire",
        choices=ScheduledJob.Misfire.values,
        default="once",
        help="what to do about missed runs",
    )
    add(
        "--overlap",
        choices=ScheduledJob.Overlap.values,
        default="allow",
        help="what to do if an earlier run is still live: allow both, skip the new one, queue it "
        "(one at most waits), or replace the earlier one",
    )
    add(
        "--except-on",
        default="",
        metavar="DAYS",
        help="days on which nothing runs, such as '2026-12-25, 12-24..01-02, holidays'",
    )
    add("--max-runs", type=int, metavar="N", help="its last run is the Nth (there is no last one)")
    add(
        "--pause-after-failures",
        type=int,
        metavar="N",
        help="switch it off when N runs in a row are dead (never)",
    )
    add("--delete-when-over", action="store_true", help="delete it when it has no further runs")


# -- list ------------------------------------------------------------------------------------------------


def list_schedules(call: Call) -> None:
    rows = ScheduledJob.objects.using(call.using).defer("payload").order_by("name")
    if call["names"]:
        names = list(rows.values_list("name", flat=True))
        if call.out.as_json:
            call.out.document(names)
        else:
            for name in names:
                call.out.line(formats.printable(name))
        return
    say_if_paused(call)
    shown = ("name", "state", "schedule", "timezone", "type", "next_run_at", "last_run_at", "problem")
    call.out.rows([facts_of(row) for row in rows], shown)


def facts_of(job: ScheduledJob) -> dict[str, Any]:
    """Return the columns of a schedule that people set or ask about, and its state."""
    return {"state": job.state, **formats.facts_of(job, COLUMNS)}


# -- show ------------------------------------------------------------------------------------------------


def show_schedule(call: Call) -> None:
    job = schedules.find(call["name"], using=call.using)
    facts = {**facts_of(job), "description": _description(job), **_last_run(job, call)}
    facts["next_runs"] = _planned(job, call)
    schedulers = counted_by_liveness(call.snapshot.processes, "scheduler", call.clock)
    facts["schedulers"] = schedulers["living"]
    if call["shows_payload"]:
        facts["payload"] = redacted(job.payload)
    say_if_paused(call)
    if call.out.as_json:
        call.out.document(facts)
    else:
        call.out.facts(_as_text(facts, call.clock))


def _description(job: ScheduledJob) -> str | None:
    try:
        return job.describe()
    except InvalidSchedule:
        return None


def _planned(job: ScheduledJob, call: Call) -> list[datetime]:
    try:
        runs = runs_of(job, NEXT_RUNS, call.clock) if job.enabled else []
        return [run for run in runs if not planning.exclusion(job, run)]
    except InvalidSchedule:
        return []


def _last_run(job: ScheduledJob, call: Call) -> dict[str, Any]:
    """Return the result of the newest planned time: an outcome, a message's state, or why it was skipped."""
    for run in last_runs(job.pk, 1, using=call.using):
        occurrence, result = run.occurrence, run.result(call.clock)
        because = occurrence.skipped_because if result == "skipped" else None
        return dict(
            zip(LAST_RUN, (occurrence.planned_at, result, occurrence.message_id, because), strict=True)
        )
    return dict.fromkeys(LAST_RUN)


def _as_text(facts: dict[str, Any], now: datetime) -> dict[str, str]:
    """Return the facts in the order in which people ask: is it on, what is it, when did and will it run."""
    first = {
        "State": "state", "Expression": "schedule", "Timezone": "timezone", "Updated": "updated_at",
        "Next run": "next_run_at", "Last run": "last_run_at", "Last result": "last_result",
    }  # fmt: skip
    text = {"Name": formats.as_text(facts["name"])}
    text |= {label: formats.as_text(facts[name]) for label, name in first.items()}
    for label, name in (("Next run", "next_run_at"), ("Last run", "last_run_at")):
        if facts[name] is not None:
            text[label] += f" ({formats.how_far(facts[name], now)})"
    if facts["last_skipped_because"]:
        text["Last result"] += f", {formats.printable(facts['last_skipped_because'])}"
    shown = {"name", "next_runs", *first.values(), "last_skipped_because"}
    rest = {name: value for name, value in facts.items() if name not in shown}
    return text | formats.labelled(rest)


# -- next ------------------------------------------------------------------------------------------------


def next_runs(call: Call) -> None:
    asked, zone = call["name"], call["timezone"]
    try:
        job = schedules.find(asked, using=call.using)
    except ScheduleNotFound as missing:
        recurrence = _read(asked, zone or "UTC", call, missing)
        runs: Iterable[datetime] = recurrence.occurrences_after(call.clock)
        print_runs(call, recurrence, list(islice(runs, call["count"])), recurrence.timezone)
        return
    if zone is not None:
        Recurrence.parse("@daily", zone)
    if not job.enabled:
        call.out.say("It is switched off; if it were on, it would run at these times.")
    say_if_paused(call)
    runs = runs_of(job, call["count"], call.clock)
    print_runs(call, job.recurrence, runs, zone or job.timezone, job)


def _read(text: str, zone: str, call: Call, missing: ScheduleNotFound) -> Recurrence:
    try:
        return Recurrence.parse(formats.expression(text), zone, anchor=call.clock)
    except InvalidSchedule as error:
        if error.field != "schedule":
            raise
        reason = str(missing).rstrip(".")
        raise CommandError(f"{reason}, and it is not a valid expression: {error}") from error


def print_runs(
    call: Call,
    recurrence: Recurrence,
    runs: Sequence[datetime],
    zone: str,
    job: ScheduledJob | None = None,
) -> None:
    """Print planned times, one per line: in the site's zone, in another zone, how far away, whether moved.

    Of those of a schedule it also says on which nothing runs.
    """
    excluded = {run: planning.exclusion(job, run) if job else "" for run in runs}
    if call.out.as_json:
        call.out.document(
            [
                {
                    "planned_at": run,
                    "timezone": zone,
                    "is_moved": recurrence.is_moved(run),
                    "excluded": excluded[run],
                }
                for run in runs
            ]
        )
        return
    for run in runs:
        local = (
            "" if zone == "UTC" else f"  {run.astimezone(ZoneInfo(zone)).isoformat(' ', 'seconds')} {zone}"
        )
        moved = "  (moved by a clock change)" if recurrence.is_moved(run) else ""
        left_out = f"  (excluded: {excluded[run]})" if excluded[run] else ""
        call.out.line(f"{formats.as_text(run)}{local}  {formats.how_far(run, call.clock)}{moved}{left_out}")
    if not runs:
        call.out.say("No further runs.")


# -- changes ---------------------------------------------------------------------------------------------


def add_schedule(call: Call) -> None:
    job = schedules.add(
        call["name"],
        formats.expression(call["schedule"]),
        call["type"],
        formats.payload(call["payload"]),
        timezone=call["timezone"],
        queue=call["queue"],
        priority=call["priority"],
        max_attempts=call["max_attempts"],
        deadline=call["deadline"],
        enabled=not call["disabled"],
        misfire=call["misfire"],
        overlap=call["overlap"],
        except_on=call["except_on"],
        max_runs=call["max_runs"],
        pause_after_failures=call["pause_after_failures"],
        delete_when_over=call["delete_when_over"],
        using=call.using,
    )
    if call.out.as_json:
        call.out.document({**facts_of(job), "next_runs": _planned(job, call)})
        return
    call.out.say(f"Schedule {job.name!r} was added: {job.describe()}.")
    if job.enabled:
        print_runs(call, job.recurrence, runs_of(job, NEXT_RUNS, call.clock), job.timezone, job)
    else:
        call.out.say("It is switched off, so no run is planned.")


def delete_schedule(call: Call) -> None:
    job = schedules.find(call["name"], using=call.using)
    call.out.confirm(f"Deleting the schedule {job.name!r}")
    schedules.remove(job.name, using=call.using)
    if call.out.as_json:
        call.out.document({"name": job.name})
    else:
        call.out.say(f"Schedule {job.name!r} was deleted.")


def enable_schedule(call: Call) -> None:
    job = schedules.enable(call["name"], by=call.by, using=call.using)
    next_run = (
        "no further runs" if job.next_run_at is None else f"next run {formats.as_text(job.next_run_at)}"
    )
    _show(call, job, f"is on: {next_run}")


def disable_schedule(call: Call) -> None:
    resume_at = None if call["duration"] is None else call.after(call["duration"])
    job = schedules.disable(
        call["name"], by=call.by, reason=call["reason"], resume_at=resume_at, using=call.using
    )
    _show(call, job, "is off" if resume_at is None else f"is off until {formats.as_text(resume_at)}")


def _show(call: Call, job: ScheduledJob, news: str) -> None:
    if call.out.as_json:
        call.out.document(facts_of(job))
    else:
        call.out.say(f"Schedule {job.name!r} {news}.")


def run_schedule(call: Call) -> None:
    message = schedules.run_now(call["name"], by=call.by, using=call.using)
    print_message(call, message)


def backfill_schedule(call: Call) -> None:
    made = schedules.backfill(
        call["name"], call["start"], call["end"], call["over"], by=call.by, using=call.using
    )
    if call.out.as_json:
        call.out.document({"name": call["name"], "made": made})
    else:
        call.out.line(f"{formats.counted(made, 'message was', 'messages were')} made.")
