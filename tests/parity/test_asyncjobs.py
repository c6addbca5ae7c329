"""asyncjobs' scheduled tasks: the row, its firing, and many schedulers (rows A1 to A9)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import signal
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise

import pytest
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from django_letsgo_worker import enqueue, handler, registry, schedule, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidSchedule, ScheduleNotFound
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, Process, ScheduledJob
from django_letsgo_worker.recurrence import Recurrence
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

T0 = datetime(2027, 3, 1, 9, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
NONE_BUILT_IN = {"LETSGO_WORKER_SCHEDULE": ""}


def test_A1_a_schedule_has_all_that_a_scheduled_task_has():
    job = schedules.add(
        "mails", "@every 10m", "mail:send", {"to": "all"}, queue="mails", deadline=HOUR, max_attempts=3
    )

    job.refresh_from_db()
    assert (job.name, job.schedule, job.queue, job.type) == ("mails", "@every 10m", "mails", "mail:send")
    assert (job.payload, job.deadline, job.max_attempts) == ({"to": "all"}, HOUR, 3)
    assert job.created_at is not None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("schedule", "*/90 * * * *"),
        ("timezone", "Mars/Phobos"),
        ("type", "with space"),
        ("queue", "a b"),
        ("max_attempts", 0),
        ("deadline", timedelta(-1)),
        ("misfire", "never"),
    ],
)
def test_A1_what_is_wrong_is_said_at_its_own_field(field, value):
    facts = {"name": "x", "schedule": "@hourly", "type": "t:x", field: value}
    with pytest.raises(ValidationError) as caught:
        ScheduledJob(**facts).full_clean()
    assert set(caught.value.error_dict) == {field}


@pytest.mark.parametrize("columns", [{"max_attempts": 0}, {"misfire": "never"}, {"deadline": timedelta(0)}])
def test_A1_the_database_refuses_what_a_raw_edit_gets_wrong(columns):
    schedules.add("x", "@hourly", "t:x")
    with pytest.raises(IntegrityError), transaction.atomic():
        ScheduledJob.objects.update(**columns)


def test_A2_each_firing_makes_a_message_from_the_row_and_an_edit_changes_none_that_was_sent():
    schedules.add("x", "rate(5 minutes)", "t:x", {"n": [1, None]}, now=T0)
    [message] = schedules.fire_due(T0 + 5 * MINUTE)

    schedules.update("x", payload={"n": 2}, type="t:y")

    message = Message.objects.get(pk=message.pk)
    assert (message.type, message.payload, message.planned_at) == ("t:x", {"n": [1, None]}, T0 + 5 * MINUTE)


def test_A3_what_could_not_begin_in_time_is_never_run(handle, ended):
    ran = []
    handle("t:x")(lambda delivery: ran.append(1))
    schedules.add("x", "rate(5 minutes)", "t:x", deadline=1)
    message = schedules.run_now("x")

    wait_until(lambda: engine_for("default").clock() > message.deadline)

    row = ended(message)
    assert (row.outcome, row.attempts, ran) == ("expired", 0, [])
    assert row.deadline - row.planned_at == timedelta(seconds=1)


def test_A3_an_occurrence_that_is_noticed_past_its_deadline_makes_no_message():
    schedules.add("x", "rate(5 minutes)", "t:x", deadline=MINUTE, misfire_grace=HOUR, now=T0)

    assert schedules.fire_due(T0 + 7 * MINUTE) == []
    assert Occurrence.objects.get().skipped_because.startswith("deadline")


def test_A3_a_retry_or_a_delay_does_not_outlive_the_deadline(handle, ended):
    @handle("t:x", backoff=[3600])
    def fail(delivery):
        raise ValueError("no")

    schedules.add("x", "rate(5 minutes)", "t:x", deadline=MINUTE)

    row = ended(schedules.run_now("x"))

    assert (row.outcome, row.attempts, len(row.errors)) == ("expired", 1, 1)


def test_A4_a_message_is_tried_as_often_as_the_schedule_says(handle, ended):
    @handle("t:x", backoff=[0])
    def fail(delivery):
        raise ValueError("no")

    schedules.add("x", "@yearly", "t:x", max_attempts=2)

    row = ended(schedules.run_now("x"))

    assert (row.outcome, row.attempts) == ("dead", 2)


def test_A4_a_crash_of_the_worker_counts(worker):
    message = enqueue("work:die", {"n": 1}, max_attempts=1)
    assert worker().wait() == -signal.SIGKILL

    second = worker()
    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())

    assert (row.outcome, row.attempts, row.errors[0]["class"].rpartition(".")[2]) == ("dead", 1, "WorkerDied")
    assert second.stop() == 0


@pytest.mark.parametrize(
    ("expression", "gaps"),
    [
        ("*/5 * * * *", [5 * MINUTE] * 3),
        ("@hourly", [HOUR] * 3),
        ("@daily", [24 * HOUR] * 3),
        ("@weekly", [7 * 24 * HOUR] * 3),
        ("@monthly", [timedelta(30), timedelta(31), timedelta(30)]),
        ("@yearly", [timedelta(366), timedelta(365), timedelta(365)]),
        ("@every 10m", [10 * MINUTE] * 3),
        ("@every 1h2m3s", [timedelta(seconds=3723)] * 3),
    ],
)
def test_A5_the_forms_of_asyncjobs_are_understood(expression, gaps):
    times = list(islice(Recurrence.parse(expression, anchor=T0).occurrences_after(T0), 4))
    assert [later - earlier for earlier, later in pairwise(times)] == gaps


def test_A5_the_phase_of_every_survives_restarts_and_late_rounds():
    schedules.add("x", "@every 10m", "t:x", misfire_grace=HOUR, now=T0)

    rounds = [schedules.fire_due(T0 + late * MINUTE) for late in (13, 29, 31)]
    planned = [message.planned_at for messages in rounds for message in messages]

    assert planned == [T0 + n * MINUTE for n in (10, 20, 30)]


def test_A6_a_scheduler_has_a_name_and_runs_without_any_schedule(manage):
    scheduler = manage("runscheduler", "Gutenberg", env=NONE_BUILT_IN)

    scheduler.wait_for_line("Scheduler Gutenberg has started")
    row = wait_until(lambda: Process.objects.filter(kind="scheduler").first())

    assert (row.name, row.pid) == ("Gutenberg", scheduler.pid)
    assert scheduler.stop() == 0
    scheduler.wait_for_line("Scheduler Gutenberg has stopped")


def test_A6_one_bad_row_never_stops_the_rest(manage):
    schedules.add("bad", "@every 1s", "t:bad")
    schedules.add("good", "@every 1s", "t:good")
    ScheduledJob.objects.filter(name="bad").update(schedule="nonsense")

    scheduler = manage("runscheduler", env=NONE_BUILT_IN)
    wait_until(lambda: Message.objects.filter(type="t:good").exists())

    assert ScheduledJob.objects.get(name="bad").problem
    assert scheduler.stop() == 0


def test_A7_two_schedulers_are_active_and_none_is_missed_when_one_is_killed(manage):
    job = schedules.add("x", "@every 1s", "t:x", misfire_grace=HOUR)
    first, second = (manage("runscheduler", name, env=NONE_BUILT_IN) for name in "ab")
    wait_until(lambda: Process.objects.filter(kind="scheduler", state="running").count() == 2)
    wait_until(lambda: Message.objects.exists())

    first.kill()
    known = Message.objects.count()
    wait_until(lambda: Message.objects.count() >= known + 3)
    assert second.stop() == 0

    times = list(Message.objects.order_by("planned_at").values_list("planned_at", flat=True))
    assert times == [job.anchor + timedelta(seconds=n) for n in range(1, len(times) + 1)]
    assert list(Occurrence.objects.order_by("planned_at").values_list("planned_at", flat=True)) == times


def test_A7_after_all_were_down_the_misfire_policy_decides():
    for policy in ("once", "skip", "all"):
        schedules.add(policy, "rate(5 minutes)", f"t:{policy}", misfire=policy, now=T0)

    schedules.fire_due(T0 + 27 * MINUTE)

    made = Message.objects.order_by("type").values_list("type", flat=True)
    assert list(made) == ["t:all"] * 5 + ["t:once"]


def test_A8_rows_are_added_edited_and_removed_under_a_running_scheduler(manage):
    scheduler = manage("runscheduler", env=NONE_BUILT_IN)
    scheduler.wait_for_line("Scheduler ")

    schedules.add("x", "@every 1s", "t:x")
    wait_until(lambda: Message.objects.filter(type="t:x").exists())
    ScheduledJob.objects.filter(name="x").update(type="t:y", schedule="@every 2s")
    wait_until(lambda: Message.objects.filter(type="t:y").exists())
    schedules.remove("x")
    assert scheduler.stop() == 0

    times = list(Message.objects.values_list("planned_at", flat=True))
    assert len(times) == len(set(times))
    assert not ScheduledJob.objects.exists()


def test_A9_a_name_that_exists_and_one_that_does_not_are_both_refused():
    schedules.add("x", "@hourly", "t:x")

    with pytest.raises(InvalidSchedule, match="A schedule named 'x' exists already"):
        schedules.add("x", "@daily", "t:x")
    with pytest.raises(ScheduleNotFound, match="There is no schedule named 'y'"):
        schedules.remove("y")
    assert schedules.find("x").schedule == "@hourly"


def test_A9_a_schedule_may_stand_above_its_handler(handle):
    from django_letsgo_worker import declarations

    @schedule("0 6 * * MON-FRI", timezone="Europe/Copenhagen")
    @handler("t:declared")
    def report(delivery): ...

    try:
        schedules.sync_declared(schedules.declared_in_code())
    finally:
        declarations.remove("t:declared")
        registry.remove("t:declared")

    job = schedules.find("t:declared")
    assert job.declared_in_code
    assert (job.schedule, job.timezone) == ("0 6 * * MON-FRI", "Europe/Copenhagen")
