"""What a worker and a scheduler say of their work: one line for each planned time, one at the end."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from django_letsgo_worker import Retry, enqueue, logs, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.messages import pause_type
from django_letsgo_worker.models import ArchivedMessage, Message, Occurrence, ScheduledJob
from django_letsgo_worker.testing import fire_due
from tests.support import wait_until

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def last_words(caplog, work_off):
    """Work all off in this process; return the line that the worker ends with."""

    def end(**options):
        with caplog.at_level(logging.INFO, logger="django_letsgo_worker"):
            work_off(**options)
        return caplog.messages[-1]

    return end


def test_a_worker_says_how_its_attempts_ended_and_that_nothing_is_left(handle, last_words):
    @handle("t:mixed", max_attempts=1)
    def mixed(delivery):
        if delivery.payload == "dead":
            raise ValueError("no")
        if delivery.payload == "later":
            raise Retry(delay=3600)

    for payload in ("fine", "fine", "dead"):
        enqueue("t:mixed", payload)
    enqueue("t:mixed", "later", max_attempts=2)

    assert last_words() == "Stopped: 1 dead, 1 retry, 2 succeeded; nothing is due."


def test_it_names_unknown_types_with_what_they_look_like(handle, last_words):
    handle("parcel:new")(lambda delivery: None)
    enqueue("parcl:new")
    enqueue("parcl:new")
    enqueue("no:idea")

    assert last_words() == (
        "Stopped: nothing was handled; 3 are due, 2 of unknown type parcl:new (like parcel:new?), "
        "1 of unknown type no:idea."
    )


def test_what_is_paused_or_of_another_queue_is_not_its_own(handle, last_words):
    handle("t:x")(lambda delivery: None)
    queues.pause("paused")
    enqueue("t:x", queue="paused")
    enqueue("t:x", queue="other")
    enqueue("t:x", queue="mine", delay=3600)
    pause_type("t:y")
    enqueue("t:y", queue="mine")

    assert last_words(queues=("mine", "paused")) == "Stopped: nothing was handled; nothing is due."


def test_a_clean_stop_speaks_of_no_fault(manage):
    worker = manage("runworker", "--name", "w1", settings_module=SETTINGS)
    worker.wait_for_line("to stop")
    message = enqueue("letsgo:scheduled")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())

    assert worker.stop() == 0
    assert "Stopped: 1 succeeded; nothing is due." in worker.output
    for word in ("abnormally", "interrupted", "Traceback", "WARNING", "ERROR"):
        assert word not in worker.output


class TestScheduler:
    @pytest.fixture
    def lines(self, caplog):
        caplog.set_level(logging.INFO, logger="django_letsgo_worker")
        return lambda: [r.getMessage() for r in caplog.records if r.name == "django_letsgo_worker.scheduler"]

    @pytest.fixture
    def job(self, handle):
        handle("t:report")(lambda delivery: None)
        return schedules.add("report", "rate(1 hour)", "t:report")

    def test_a_planned_time_that_is_fired_has_a_line(self, job, lines):
        (message,) = fire_due(job.next_run_at)

        assert lines() == [
            f"fired: schedule report, planned at {job.next_run_at:%Y-%m-%d %H:%M:%S} UTC, "
            f"as message {message.pk} (t:report)"
        ]

    def test_one_that_is_late_says_so(self, job, lines):
        fire_due(job.next_run_at + timedelta(minutes=10))

        assert lines()[0].startswith("fired late: schedule report, planned at ")
        assert "600 s ago" in lines()[0]

    def test_those_that_are_skipped_say_why_and_how_many(self, job, lines):
        schedules.update("report", misfire="skip")
        fire_due(job.next_run_at + timedelta(hours=3, minutes=10))

        (line,) = lines()
        assert line.startswith("skipped: schedule report, planned at ")
        assert "misfire" in line and ", with 3 before it: " in line

    def test_many_in_a_second_share_a_line(self, job, lines, monkeypatch):
        crowd = logs.Crowd(logs.scheduler_logger, "fired or skipped: %s in %.1f s.", "more planned time", "")
        monkeypatch.setattr(logs, "_occurrences", crowd)
        clock = engine_for("default").clock()
        occurrence = Occurrence(scheduled_job=job, planned_at=clock, fired_at=clock)
        for _ in range(logs.LINES_A_SECOND + 30):
            logs.log_occurrence(occurrence, Message(pk=7, type="t:report"), job)

        wait_until(lambda: "30 more planned times" in lines()[-1])
        assert len(lines()) == logs.LINES_A_SECOND + 1

    def test_the_command_logs_to_the_terminal_and_takes_its_name_as_an_option(self, manage, job):
        ScheduledJob.objects.filter(pk=job.pk).update(next_run_at=engine_for("default").clock())
        scheduler = manage("runscheduler", "--name", "clockwork")

        scheduler.wait_for_line("Scheduler clockwork: ")
        scheduler.wait_for_line("fired: schedule report")
        assert scheduler.stop() == 0
        assert "has stopped" in scheduler.output

    def test_two_names_are_one_too_many(self, manage):
        scheduler = manage("runscheduler", "one", "--name", "other")

        assert scheduler.wait() == 1
        assert "cannot be called 'one' and 'other'" in scheduler.output
