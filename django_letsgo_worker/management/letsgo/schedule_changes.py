"""`letsgo schedule add|delete|enable|disable|run`: one schedule changed, by the verbs of schedules.

Looking at schedules stands in schedules.py.
"""

from __future__ import annotations

from ... import schedules
from ...models import ScheduledJob
from . import reading, showing
from .call import Call, Verbs
from .enqueue import print_message
from .schedules import NEXT_RUNS, facts_of, print_runs


def add_to(verbs: Verbs) -> None:
    parser = verbs.add("add", add_schedule, "adds a schedule and shows its next runs")
    add = parser.add_argument
    add("name")
    add("schedule", help="such as '*/5 * * * *', 'rate(1 hour)', '@every 90s', daily")
    add("type", help="of the messages that it makes")
    add("--timezone", default="UTC", help="whose clock it follows (UTC)")
    add("--payload", metavar="JSON|@FILE|-", help="of the messages that it makes")
    add("--queue", help="(that of the type's handler)")
    add("--priority", type=int, help="from -100 to 100, larger is sooner (that of the handler)")
    add("--max-attempts", type=int, help="(that of the handler)")
    add("--deadline", type=reading.duration, help="after its planned time, as 90s 10m 1h30m 2d")
    add(
        "--misfire",
        choices=ScheduledJob.Misfire.values,
        default="once",
        help="what is done about missed runs",
    )
    add(
        "--overlap", choices=ScheduledJob.Overlap.values, default="allow", help="if an earlier one still runs"
    )
    add("--disabled", action="store_true", help="add it switched off")
    parser = verbs.add("delete", delete_schedule, "deletes a schedule; its messages stay", destroys=True)
    parser.add_argument("name")
    parser = verbs.add("enable", enable_schedule, "switches a schedule on; nothing is made up for")
    parser.add_argument("name")
    parser = verbs.add("disable", disable_schedule, "switches a schedule off")
    parser.add_argument("name")
    parser.add_argument("--reason", default="", help="why")
    parser.add_argument(
        "--for", type=reading.duration, dest="duration", help="until it is on again by itself"
    )
    parser = verbs.add("run", run_schedule, "enqueues a schedule's message now")
    parser.add_argument("name")


def add_schedule(call: Call) -> None:
    job = schedules.add(
        call["name"],
        reading.expression(call["schedule"]),
        call["type"],
        reading.payload(call["payload"]),
        timezone=call["timezone"],
        queue=call["queue"],
        priority=call["priority"],
        max_attempts=call["max_attempts"],
        deadline=call["deadline"],
        enabled=not call["disabled"],
        misfire=call["misfire"],
        overlap=call["overlap"],
        using=call.using,
    )
    if call.out.as_json:
        call.out.document({**facts_of(job), "next_runs": job.next_runs(NEXT_RUNS)})
        return
    call.out.say(f"Schedule {job.name!r} was added: {job.recurrence.describe()}.")
    if job.enabled:
        print_runs(call, job.recurrence, job.next_runs(NEXT_RUNS), job.timezone)
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
        "no run is to come" if job.next_run_at is None else f"next run {showing.as_text(job.next_run_at)}"
    )
    _show(call, job, f"is on: {next_run}")


def disable_schedule(call: Call) -> None:
    resume_at = None if call["duration"] is None else call.after(call["duration"])
    job = schedules.disable(
        call["name"], by=call.by, reason=call["reason"], resume_at=resume_at, using=call.using
    )
    _show(call, job, "is off" if resume_at is None else f"is off until {showing.as_text(resume_at)}")


def _show(call: Call, job: ScheduledJob, news: str) -> None:
    if call.out.as_json:
        call.out.document(facts_of(job))
    else:
        call.out.say(f"Schedule {job.name!r} {news}.")


def run_schedule(call: Call) -> None:
    message = schedules.run_now(call["name"], by=call.by, using=call.using)
    print_message(call, message)
