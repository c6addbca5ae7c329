"""`letsgo schedule list|show|next`: what is enqueued and when.

Changing schedules stands in schedule_changes.py, whole files of them in schedule_files.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from django.core.management.base import CommandError

from ... import planning, schedules
from ...errors import InvalidSchedule, LetsGoError, ScheduleNotFound
from ...messages import find
from ...models import Occurrence, ScheduledJob
from ...recurrence import Recurrence
from ...redaction import redacted
from . import reading, showing
from .call import Call, Verbs
from .liveness import processes_of
from .message_facts import state_of

NEXT_RUNS = 5
# What people decide, and then what schedulers and the switch say; without the payload, which may be personal.
COLUMNS = (
    *[name for name in schedules.DECIDED if name in {"name", *planning.FIELDS} - {"payload"}],
    "next_run_at", "last_run_at", "problem", "declared_in_code", *ScheduledJob.SWITCH,
    "created_at", "updated_at",
)  # fmt: skip

LAST_RUN = ("last_planned_at", "last_result", "last_message_id", "last_skipped_because")


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("list", list_schedules, "lists all schedules")
    parser.add_argument("--names", action="store_true", help="print names only, one a line")
    parser = verbs.add("show", show_schedule, "shows one schedule and how its last run ended")
    parser.add_argument("name")
    parser.add_argument("--payload", action="store_true", dest="shows_payload", help="show the payload, too")
    parser = verbs.add("next", next_runs, "shows when a schedule, or an expression, runs next")
    parser.add_argument("name", metavar="NAME_OR_EXPRESSION")
    parser.add_argument("-n", "--count", type=reading.at_most(1000), default=NEXT_RUNS, help="how many (5)")
    parser.add_argument("--timezone", help="whose clock an expression follows, or a schedule is shown in")


# -- list ------------------------------------------------------------------------------------------------


def list_schedules(call: Call) -> None:
    rows = ScheduledJob.objects.using(call.using).defer("payload").order_by("name")
    if call["names"]:
        names = list(rows.values_list("name", flat=True))
        if call.out.as_json:
            call.out.document(names)
        else:
            for name in names:
                call.out.line(showing.printable(name))
        return
    shown = ("name", "state", "schedule", "timezone", "type", "next_run_at", "last_run_at", "problem")
    call.out.rows([facts_of(row) for row in rows], shown)


def facts_of(job: ScheduledJob) -> dict[str, Any]:
    """Return the columns of a schedule that people choose or ask for, and its state."""
    return {"state": job.state, **showing.facts_of(job, COLUMNS)}


# -- show ------------------------------------------------------------------------------------------------


def show_schedule(call: Call) -> None:
    job = schedules.find(call["name"], using=call.using)
    facts = {**facts_of(job), "description": _description(job), **_last_run(job, call)}
    facts["next_runs"] = _planned(job)
    facts["schedulers"] = processes_of(call, "scheduler")["living"]
    if call["shows_payload"]:
        facts["payload"] = redacted(job.payload)
    if call.out.as_json:
        call.out.document(facts)
    else:
        call.out.facts(_as_text(facts, call.clock))


def _description(job: ScheduledJob) -> str | None:
    try:
        return job.recurrence.describe()
    except InvalidSchedule:
        return None


def _planned(job: ScheduledJob) -> list[datetime]:
    try:
        return job.next_runs(NEXT_RUNS)
    except InvalidSchedule:
        return []


def _last_run(job: ScheduledJob, call: Call) -> dict[str, Any]:
    """Say what became of the newest planned time: an outcome, a message's state, or why it was skipped."""
    rows = Occurrence.objects.using(call.using).filter(scheduled_job=job)
    newest = rows.order_by("-planned_at").first()
    facts: dict[str, Any] = dict.fromkeys(LAST_RUN)
    if newest is None:
        return facts
    facts |= {"last_planned_at": newest.planned_at, "last_message_id": newest.message_id}
    if newest.message_id is None:
        return facts | {"last_result": "skipped", "last_skipped_because": newest.skipped_because}
    try:
        message = find(newest.message_id, using=call.using)
    except LetsGoError:
        return facts | {"last_result": "pruned"}
    return facts | {"last_result": state_of(message, call.clock)}


def _as_text(facts: dict[str, Any], now: datetime) -> dict[str, str]:
    """The facts in the order of questions: is it on, what is it, when did it and will it run."""
    first = {
        "State": "state", "Expression": "schedule", "Timezone": "timezone", "Updated": "updated_at",
        "Next run": "next_run_at", "Last run": "last_run_at", "Last result": "last_result",
    }  # fmt: skip
    text = {"Name": showing.as_text(facts["name"])}
    text |= {label: showing.as_text(facts[name]) for label, name in first.items()}
    for label, name in (("Next run", "next_run_at"), ("Last run", "last_run_at")):
        if facts[name] is not None:
            text[label] += f" ({showing.how_far(facts[name], now)})"
    if facts["last_skipped_because"]:
        text["Last result"] += f", {showing.printable(facts['last_skipped_because'])}"
    shown = {"name", "next_runs", *first.values(), "last_skipped_because"}
    rest = {name: value for name, value in facts.items() if name not in shown}
    return text | showing.labelled(rest)


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
    print_runs(call, job.recurrence, _runs_of(job, call), zone or job.timezone)


def _read(text: str, zone: str, call: Call, missing: ScheduleNotFound) -> Recurrence:
    try:
        return Recurrence.parse(reading.expression(text), zone, anchor=call.clock)
    except InvalidSchedule as error:
        if error.field != "schedule":
            raise
        reason = str(missing).rstrip(".")
        raise CommandError(f"{reason}, and as an expression it is refused: {error}") from error


def _runs_of(job: ScheduledJob, call: Call) -> list[datetime]:
    if job.enabled:
        return job.next_runs(call["count"])
    call.out.say("It is switched off; if it were on, it would run at these times.")
    times = islice(job.recurrence.occurrences_after(call.clock), call["count"])
    return [moment for moment in times if job.ends_at is None or moment <= job.ends_at]


def print_runs(call: Call, recurrence: Recurrence, runs: Sequence[datetime], zone: str) -> None:
    """Print planned times, one a line: on the site's clock, on a zone's, how far away, and whether moved."""
    if call.out.as_json:
        call.out.document(
            [{"planned_at": run, "timezone": zone, "is_moved": recurrence.is_moved(run)} for run in runs]
        )
        return
    for run in runs:
        local = (
            "" if zone == "UTC" else f"  {run.astimezone(ZoneInfo(zone)).isoformat(' ', 'seconds')} {zone}"
        )
        moved = "  (moved by a clock change)" if recurrence.is_moved(run) else ""
        call.out.line(f"{showing.as_text(run)}{local}  {showing.how_far(run, call.clock)}{moved}")
    if not runs:
        call.out.say("No run is to come.")
