"""runscheduler: begins, notices edits, outlives the database's absence, and ends when told to."""

from __future__ import annotations

import io
import signal
import threading
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction

from django_letsgo_worker import preconditions, processes, schedules
from django_letsgo_worker.errors import InvalidSchedule, NotReady
from django_letsgo_worker.maintenance import Maintenance
from django_letsgo_worker.management import startup
from django_letsgo_worker.models import Message, Occurrence, Process, ScheduledJob
from django_letsgo_worker.scheduler import Scheduler
from tests.conformance.schedule_support import row
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def scheduler_rows():
    return list(Process.objects.filter(kind="scheduler"))


class TestTheProcess:
    def test_says_what_it_is_fires_and_ends_cleanly(self, manage):
        schedules.add("tick", "@every 1s", "tick")
        process = manage("runscheduler", "first")
        banner = process.wait_for_line("Scheduler first:")
        wait_until(lambda: Message.objects.filter(type="tick").count() >= 2, what="two ticks")
        [living] = scheduler_rows()
        assert (living.name, living.pid, living.state) == ("first", process.pid, "running")

        assert process.stop() == 0

        assert "zone data 20" in banner
        assert process.stdout == []
        assert scheduler_rows()[0].state == "stopped"

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
    def test_ends_cleanly_at_either_signal_with_nothing_to_do(self, manage, number):
        process = manage("runscheduler", env={"LETSGO_WORKER_SCHEDULE": ""})
        wait_until(scheduler_rows, what="its row")
        process.signal(number)
        assert process.wait() == 0
        assert not ScheduledJob.objects.exists()

    def test_brings_the_built_in_schedule_in_step(self, manage):
        env = {"LETSGO_WORKER_SCHEDULE": "rate(2 hours)", "LETSGO_WORKER_SCHEDULE_TIMEZONE": "Europe/Berlin"}
        manage("runscheduler", env=env)
        wait_until(lambda: ScheduledJob.objects.filter(name="worker").exists(), what="the built-in schedule")
        assert (row("worker").schedule, row("worker").timezone) == ("rate(2 hours)", "Europe/Berlin")

    def test_notices_a_raw_edit_without_a_restart(self, manage):
        schedules.add("tick", "rate(1 hour)", "tick")
        manage("runscheduler")
        wait_until(scheduler_rows, what="its row")
        ScheduledJob.objects.filter(name="tick").update(schedule="@every 1s")
        wait_until(lambda: Message.objects.filter(type="tick").exists(), what="a tick by the new plan")

    def test_stops_when_its_row_asks_it_to(self, manage):
        process = manage("runscheduler")
        [living] = wait_until(scheduler_rows, what="its row")
        assert processes.request_stop(living.pk)
        assert process.wait() == 0

    @pytest.mark.parametrize(
        ("key", "value", "word"),
        [("SCHEDULE", "every day", "SCHEDULE"), ("SCHEDULE_TIMEZONE", "Mars/Base", "SCHEDULE_TIMEZONE")],
        ids=["expression", "zone"],
    )
    def test_refuses_a_setting_that_cannot_be_read_in_one_sentence(self, manage, key, value, word):
        process = manage("runscheduler", env={f"LETSGO_WORKER_{key}": value})
        assert process.wait() == 1
        assert word in process.stderr[-1]
        assert "Traceback" not in process.output

    def test_refuses_a_database_without_our_tables_in_one_sentence(self, manage, tmp_path):
        process = manage("runscheduler", env={"DATABASE_URL": f"sqlite:///{tmp_path / 'empty.sqlite3'}"})
        assert process.wait() == 1
        assert "manage.py migrate" in process.stderr[-1]
        assert "Traceback" not in process.output

    def test_waits_for_a_database_that_does_not_answer(self, manage):
        process = manage("runscheduler", env={"DATABASE_URL": "postgres://nobody@127.0.0.1:1/nowhere"})
        process.wait_for_line("Waiting for the database")
        assert process.stop() == 0
        assert "Traceback" not in process.output


class TestCalledFromPython:
    @pytest.fixture
    def called(self):
        """Run the command on a thread until the test ends it."""
        stop, err, failures = threading.Event(), io.StringIO(), []

        def run() -> None:
            try:
                call_command("runscheduler", "called", stop=stop, stderr=err)
            except BaseException as error:
                failures.append(error)
            finally:
                connections.close_all()

        thread = threading.Thread(target=run)
        thread.start()
        yield err
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
        assert failures == []

    def test_works_off_the_main_thread_and_returns(self, called):
        schedules.add("tick", "@every 1s", "tick")
        wait_until(lambda: Message.objects.filter(type="tick").exists(), what="a tick")
        assert "Scheduler called:" in called.getvalue()

    def test_leaves_the_signals_alone(self):
        before = signal.getsignal(signal.SIGTERM)
        stop = threading.Event()
        stop.set()
        call_command("runscheduler", stop=stop, stderr=io.StringIO())
        assert signal.getsignal(signal.SIGTERM) is before

    def test_refuses_to_run_inside_a_transaction_and_names_the_helper(self):
        with transaction.atomic(), pytest.raises(CommandError, match=r"testing\.drain\(\)"):
            call_command("runscheduler")

    @pytest.mark.parametrize("name", [":memory:", "file::memory:", "file:x?mode=memory"])
    def test_refuses_a_private_database_in_memory_and_names_the_helper(self, name, monkeypatch):
        monkeypatch.setitem(connection.settings_dict, "NAME", name)
        monkeypatch.setattr(connections["default"], "vendor", "sqlite")
        with pytest.raises(NotReady, match=r"testing\.drain\(\)"):
            preconditions.refuse_unfit_connection("default")

    def test_accepts_one_in_memory_that_is_shared(self, monkeypatch):
        monkeypatch.setitem(
            connection.settings_dict, "NAME", "file:memorydb_default?mode=memory&cache=shared"
        )
        monkeypatch.setattr(connections["default"], "vendor", "sqlite")
        preconditions.refuse_unfit_connection("default")


class TestSignals:
    def test_the_first_stops_the_second_hurries_and_the_old_handlers_come_back(self):
        stop, hurry = threading.Event(), threading.Event()
        before = signal.getsignal(signal.SIGTERM)
        with startup.stop_on_signals(stop, hurry):
            signal.raise_signal(signal.SIGTERM)
            assert stop.wait(30)
            assert not hurry.is_set()
            signal.raise_signal(signal.SIGINT)
            assert hurry.wait(30)
        assert signal.getsignal(signal.SIGTERM) is before


class TestTheLoop:
    @pytest.fixture
    def running(self):
        """Run a Scheduler on a thread: running(scheduler)."""
        threads = []

        def run(scheduler: Scheduler) -> Scheduler:
            thread = threading.Thread(target=scheduler.run)
            threads.append((thread, scheduler))
            thread.start()
            return scheduler

        yield run
        for thread, scheduler in threads:
            scheduler.stop.set()
            thread.join(30)
            assert not thread.is_alive()

    def test_outlives_an_outage_says_so_once_and_comes_back(self, running, monkeypatch, caplog):
        fire_due, attempts = schedules.fire_due, []

        def flaky(**kwargs):
            attempts.append(1)
            if len(attempts) <= 3:
                raise connection.Database.OperationalError("the server went away")
            return fire_due(**kwargs)

        monkeypatch.setattr("django_letsgo_worker.scheduler.FIRST_BACKOFF", 0.01)
        monkeypatch.setattr("django_letsgo_worker.schedules.fire_due", flaky)
        schedules.add("tick", "@every 1s", "tick")
        running(Scheduler("loop"))
        wait_until(lambda: Message.objects.filter(type="tick").exists(), what="a tick after the outage")
        wait_until(lambda: "recovered" in caplog.text, what="the word that it is over")
        said = [r.getMessage() for r in caplog.records if r.name == "django_letsgo_worker.scheduler"]
        assert len([line for line in said if "fault" in line or "waits" in line]) == 2
        assert "Scheduler loop has recovered after 3 faults." in said

    def test_sleeps_no_longer_than_to_the_next_planned_time_nor_than_a_second(self):
        scheduler = Scheduler("loop")
        assert 0 < scheduler._round() <= 1.0
        schedules.add("tick", "@every 1s", "tick")
        ScheduledJob.objects.filter(name="tick").update(next_run_at=schedules.find("tick").created_at)
        assert scheduler._round() <= 0.1

    def test_a_wrong_declaration_keeps_no_other_schedule_from_running(self, running, monkeypatch, caplog):
        def refuse():
            raise InvalidSchedule("It is refused.")

        monkeypatch.setattr("django_letsgo_worker.schedules.declared_in_code", refuse)
        schedules.add("tick", "@every 1s", "tick")
        running(Scheduler("loop"))
        wait_until(lambda: Message.objects.filter(type="tick").exists(), what="a tick")
        assert "It is refused." in caplog.text

    def test_a_fault_of_the_housekeeping_keeps_no_schedule_waiting(self, running, monkeypatch, caplog):
        def fails(self):
            raise ZeroDivisionError

        monkeypatch.setattr(Maintenance, "step", fails)
        schedules.add("tick", "@every 1s", "tick")
        running(Scheduler("loop"))
        wait_until(lambda: Message.objects.filter(type="tick").exists(), what="a tick")
        assert "housekeeping" in caplog.text

    def test_three_on_threads_fire_each_second_once(self, running):
        job = schedules.add("tick", "@every 1s", "tick")
        for n in range(3):
            running(Scheduler(f"loop {n}"))
        wait_until(lambda: Occurrence.objects.count() >= 3, what="three occurrences")
        times = list(Occurrence.objects.order_by("planned_at").values_list("planned_at", flat=True))
        assert times == [job.anchor + timedelta(seconds=n + 1) for n in range(len(times))]
