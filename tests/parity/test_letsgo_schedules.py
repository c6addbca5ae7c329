"""LetsGo's schedule: the built-in one, its switch, and when it runs (rows L18 to L22)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import io
import json
import logging
import re
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from django.core.management import call_command

from django_letsgo_worker import schedules
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from django_letsgo_worker.recurrence import Recurrence
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)


def in_step():
    """Do what a scheduler does when it starts."""
    schedules.sync_declared(schedules.declared_in_code())
    return ScheduledJob.objects.filter(name="worker").first()


def letsgo(*arguments):
    """Call the command; return what it writes to stdout."""
    stdout = io.StringIO()
    call_command("letsgo", *arguments, stdout=stdout, stderr=io.StringIO())
    return stdout.getvalue()


def first(expression, after, timezone="UTC", count=1):
    return list(islice(Recurrence.parse(expression, timezone).occurrences_after(after), count))


def test_L18_the_default_handler_logs_the_event_with_its_planned_time(work_off, caplog):
    caplog.set_level(logging.INFO)
    job = in_step()
    planned_at = job.next_run_at

    [message] = schedules.fire_due(planned_at + timedelta(seconds=30))
    Message.objects.update(visible_at=job.created_at)
    work_off()

    assert datetime.fromisoformat(message.payload["time"]) == planned_at
    assert message.payload["schedule"] == "worker"
    said = f"ID {message.payload['id']} WITH TIMESTAMP {message.payload['time']}"
    assert f"WORKER RECEIVED SCHEDULED EVENT {said}" in caplog.text


def test_L18_a_project_may_handle_scheduled_events_itself(handle, ended):
    handle("letsgo:scheduled")(lambda delivery: [delivery.schedule, delivery.payload["time"]])
    in_step()

    message = schedules.run_now("worker")

    assert ended(message).result == ["worker", message.payload["time"]]


def test_L19_it_runs_every_hour_unless_the_setting_says_otherwise(settings):
    job = in_step()
    assert (job.schedule, job.next_run_at - job.anchor) == ("rate(1 hour)", HOUR)

    settings.LETSGO_WORKER = {"SCHEDULE": "rate(5 minutes)"}
    assert in_step().schedule == "rate(5 minutes)"

    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    assert in_step() is None


def test_L19_the_environment_names_the_schedule_and_an_empty_one_turns_it_off(manage):
    scheduler = manage("runscheduler", env={"LETSGO_WORKER_SCHEDULE": "rate(7 minutes)"})
    wait_until(lambda: ScheduledJob.objects.filter(name="worker", schedule="rate(7 minutes)").exists())
    assert scheduler.stop() == 0

    scheduler = manage("runscheduler", env={"LETSGO_WORKER_SCHEDULE": ""})
    wait_until(lambda: not ScheduledJob.objects.exists())
    assert scheduler.stop() == 0


def test_L19_the_switch_that_people_set_survives_deploys(settings):
    in_step()
    schedules.disable("worker", by="ada")

    settings.LETSGO_WORKER = {"SCHEDULE": "rate(2 hours)"}
    job = in_step()

    assert (job.enabled, job.switched_by, job.schedule) == (False, "ada", "rate(2 hours)")


def test_L19_an_edit_is_live_without_a_restart(manage):
    scheduler = manage("runscheduler", env={"LETSGO_WORKER_SCHEDULE": ""})
    scheduler.wait_for_line("Scheduler ")
    schedules.add("mine", "rate(1 hour)", "t:mine")

    ScheduledJob.objects.update(schedule="@every 1s")

    wait_until(lambda: Message.objects.filter(type="t:mine").count() >= 2)
    assert scheduler.stop() == 0


@pytest.mark.parametrize(
    ("expression", "timezone", "expected"),
    [
        ("cron(0 0 * * 1)", "UTC", "2027-01-04T00:00+00:00"),  # a Monday
        ("cron(0 10 ? * 2 *)", "UTC", "2027-01-04T10:00+00:00"),  # AWS: 2 is Monday
        ("cron(0 9 * * ? *)", "Europe/Copenhagen", "2027-01-01T08:00+00:00"),
        ("cron(30 2 28 3 ? 2027)", "Europe/Copenhagen", "2027-03-28T01:00+00:00"),  # in the gap
        ("cron(30 2 31 10 ? 2027)", "Europe/Copenhagen", "2027-10-31T00:30+00:00"),  # the first of two
    ],
)
def test_L20_cron_follows_the_clock_of_its_zone(expression, timezone, expected):
    after = datetime(2027, 1, 1, 0, 30, tzinfo=UTC)

    assert first(expression, after, timezone) == [datetime.fromisoformat(expected)]


def test_L20_a_rate_is_elapsed_time_and_the_setting_names_the_zone(settings):
    settings.LETSGO_WORKER = {"SCHEDULE": "cron(0 0 * * 1)", "SCHEDULE_TIMEZONE": "Asia/Tokyo"}
    job = in_step()

    assert job.timezone == "Asia/Tokyo"
    assert f"{job.next_run_at.astimezone(UTC):%A %H:%M}" == "Sunday 15:00"
    anchor = datetime(2027, 3, 27, 12, tzinfo=UTC)
    daily = Recurrence.parse("rate(1 day)", "Europe/Berlin", anchor=anchor)
    assert [moment - anchor for moment in islice(daily.occurrences_after(anchor), 3)] == [
        24 * HOUR,
        48 * HOUR,
        72 * HOUR,
    ]


def test_L21_while_it_is_off_no_message_is_made_and_nothing_is_replayed():
    job = in_step()
    start = job.created_at
    schedules.disable("worker", by="ada", reason="moving house", now=start + HOUR / 2)
    job.refresh_from_db()
    assert (job.switched_by, job.switch_reason) == ("ada", "moving house")

    assert schedules.fire_due(start + 10 * HOUR) == []
    schedules.enable("worker", by="bob", now=start + 10 * HOUR + HOUR / 2)
    assert schedules.fire_due(start + 10 * HOUR + HOUR / 2) == []
    [message] = schedules.fire_due(start + 11 * HOUR)

    assert message.planned_at == start + 11 * HOUR
    assert Occurrence.objects.count() == 1


def test_L21_it_may_come_back_by_itself():
    job = in_step()
    schedules.disable("worker", resume_at=job.created_at + 3 * HOUR)

    schedules.fire_due(job.created_at + 3 * HOUR)

    job.refresh_from_db()
    assert (job.enabled, job.resume_at) == (True, None)
    assert job.next_run_at == job.created_at + 4 * HOUR


def test_L21_the_command_line_has_the_switch_too():
    in_step()

    letsgo("schedule", "disable", "worker", "--reason", "moving house", "--for", "2h")
    job = ScheduledJob.objects.get()
    assert (job.enabled, job.switch_reason) == (False, "moving house")
    assert abs(job.resume_at - job.switched_at - 2 * HOUR) < timedelta(minutes=1)
    assert job.switched_by

    letsgo("schedule", "enable", "worker")
    assert ScheduledJob.objects.get().enabled


def test_L22_state_expression_zone_and_runs_are_shown():
    in_step()
    schedules.run_now("worker")

    shown = json.loads(letsgo("schedule", "show", "worker", "--json"))
    row = ScheduledJob.objects.get()

    assert (shown["schedule"], shown["timezone"]) == ("rate(1 hour)", "UTC")
    for fact in ("enabled", "updated_at", "next_run_at", "last_run_at"):
        assert fact in shown
    assert datetime.fromisoformat(shown["next_run_at"]) == row.next_run_at
    assert "worker" in letsgo("schedule", "show", "worker")


def test_L22_status_shows_the_living_schedulers(manage):
    scheduler = manage("runscheduler", "Gutenberg")
    scheduler.wait_for_line("Scheduler Gutenberg has started")

    assert re.search("Schedulers: +1 living", letsgo("info"))
    assert json.loads(letsgo("status", "--json"))
    assert scheduler.stop() == 0
