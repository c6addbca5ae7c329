"""Each of the six packages does what it is for, with real workers of ours and its own processes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.utils import timezone
from django_periodic_tasks.models import ScheduledTask, TaskExecution
from django_periodic_tasks.sync import sync_code_schedules
from django_scheduled_tasks.models import ScheduledTaskRunLog
from django_taskly.models import TaskSnapshot
from maintenance_tasks import runner
from maintenance_tasks.models import Run
from tasks_monitor.models import TaskRecord

from django_letsgo_worker.backend import message_id_of
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.compatibility.consumers import tasks
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)
BACKFILL = "tests.compatibility.consumers.maintenance_tasks.GiveFirstNames"


def runs_of(task) -> int:
    """How many messages of this task have succeeded."""
    type = f"letsgo:task:{task.module_path}"
    return ArchivedMessage.objects.filter(type=type, outcome="succeeded").count()


def test_the_project_has_no_complaint(capsys):
    call_command("check", fail_level="WARNING")
    call_command("makemigrations", "--check", "--dry-run", "django_letsgo_worker")


class TestMonitor:
    def test_it_records_what_a_worker_made_of_each_task(self, work):
        sum, quotient, late = (
            tasks.add.enqueue(1, 2),
            tasks.divide.enqueue(1, 0),
            tasks.succeed_later.enqueue(),
        )
        assert set(TaskRecord.objects.values_list("status", "attempts")) == {("READY", 0)}

        work()

        records = {record.result_id: record for record in TaskRecord.objects.all()}
        assert records.keys() == {sum.id, quotient.id, late.id}
        assert (records[sum.id].status, records[sum.id].args) == ("SUCCESSFUL", [1, 2])
        assert records[sum.id].duration is not None and records[sum.id].worker_ids
        failed = records[quotient.id]
        assert (failed.status, failed.exception_class) == ("FAILED", "builtins.ZeroDivisionError")
        assert "return one / other" in failed.traceback
        assert (records[late.id].status, records[late.id].attempts) == ("SUCCESSFUL", 2)

    def test_nothing_is_recorded_of_a_task_that_was_rolled_back(self):
        from django.db import transaction

        with transaction.atomic():
            tasks.add.enqueue(1, 2)
            transaction.set_rollback(True)

        assert not TaskRecord.objects.exists() and not Message.objects.exists()

    def test_its_button_enqueues_a_failed_task_once_more(self, work, admin_client):
        tasks.divide.enqueue(1, 0)
        work()
        failed = TaskRecord.objects.get()

        page = "/admin/tasks_monitor/taskrecord/"
        answer = admin_client.post(
            page, {"action": "retry_tasks", "_selected_action": failed.pk}, follow=True
        )
        assert "Retried 1 task(s)." in answer.text
        again = TaskRecord.objects.get(retry_of=failed)
        assert again.status == "READY"

        work()
        again.refresh_from_db()
        assert (again.status, again.attempts) == ("FAILED", 1)
        assert "ZeroDivisionError" in admin_client.get(f"{page}dashboard/").text


class TestTaskly:
    def test_its_pages_show_what_has_finished(self, work, admin_client):
        sum, quotient = tasks.add.enqueue(1, 2), tasks.divide.enqueue(1, 0)
        work()

        shown = dict(TaskSnapshot.objects.values_list("task_id", "status"))
        assert shown == {sum.id: "SUCCESSFUL", quotient.id: "FAILED"}
        assert TaskSnapshot.objects.get(task_id=sum.id).duration_seconds is not None
        failed = TaskSnapshot.objects.get(task_id=quotient.id)
        assert "ZeroDivisionError" in failed.last_error_traceback
        # It looks for an attribute that no TaskError of Django's has.
        assert failed.last_error_class == ""
        assert "divide" in admin_client.get("/taskly/").text
        assert "ZeroDivisionError" in admin_client.get(f"/taskly/tasks/{quotient.id}/").text


class TestMaintenanceTasks:
    @pytest.fixture(autouse=True)
    def five_users(self):
        User.objects.bulk_create(User(username=f"user-{n}") for n in range(5))

    def test_a_run_goes_on_from_job_to_job(self, work):
        run = runner.start(BACKFILL)
        work()

        run.refresh_from_db()
        assert (run.status, run.tick_count, run.tick_total) == ("succeeded", 5, 5), run.backtrace
        assert not User.objects.filter(first_name="").exists()
        # Each batch ends its job: its time is up at once.
        assert runs_of(runner.run_batch) == 3

    def test_a_run_is_paused_and_resumed(self, work):
        run = runner.start(BACKFILL)
        runner.pause(run)
        work()
        run.refresh_from_db()
        assert (run.status, run.tick_count) == ("paused", 0)

        runner.resume(run)
        work()
        run.refresh_from_db()
        assert (run.status, run.tick_count) == ("succeeded", 5)

    def test_its_job_is_part_of_the_transaction_that_starts_it(self):
        from django.db import transaction

        with transaction.atomic():
            runner.start(BACKFILL)
            transaction.set_rollback(True)

        assert not Run.objects.exists() and not Message.objects.exists()


class TestSchedulers:
    def test_crontask_enqueues_and_a_worker_runs(self, manage):
        scheduler, worker = manage("crontask"), manage("runworker")
        wait_until(lambda: runs_of(tasks.by_crontask) >= 2, what="two runs by crontask")

        assert scheduler.stop() == 0, scheduler.output
        assert worker.stop() == 0, worker.output

    def test_its_heartbeat_is_a_task_of_ours(self, work):
        from crontask.tasks import heartbeat

        heartbeat.enqueue()
        work()
        assert runs_of(heartbeat) == 1

    def test_scheduled_tasks_enqueues_and_knows_our_result(self, manage):
        scheduler, worker = manage("run_task_scheduler", "--interval", "0.2"), manage("runworker")
        wait_until(lambda: runs_of(tasks.by_scheduled_tasks) >= 2, what="two runs by its scheduler")

        assert scheduler.stop() == 0, scheduler.output
        wait_until(lambda: not Message.objects.exists(), what="its last message")
        assert worker.stop() == 0, worker.output
        log = ScheduledTaskRunLog.objects.get()
        message = ArchivedMessage.objects.get(pk=message_id_of(log.last_run_task_id))
        assert (message.payload["args"], message.result) == (["north"], "north")

    @pytest.fixture
    def due(self):
        """Schedules of django-periodic-tasks: whoever reads them finds them due."""
        sync_code_schedules()

        def make(name):
            past = timezone.now() - timedelta(minutes=1)
            ScheduledTask.objects.filter(name=name).update(next_run_at=past)

        return make

    def test_periodic_tasks_enqueues_what_is_due(self, manage, due):
        scheduler, worker = manage("run_scheduler", "--interval", "1"), manage("runworker")
        scheduler.wait_for_line("Starting periodic task scheduler")
        # It plans all anew when it starts: a schedule is due when it has done so.
        wait_until(lambda: (due("new year"), runs_of(tasks.by_periodic_tasks))[1], what="a run")

        assert scheduler.stop() == 0, scheduler.output
        assert worker.stop() == 0, worker.output
        assert ScheduledTask.objects.get(name="new year").total_run_count >= 1

    def test_a_permit_of_periodic_tasks_is_used_once_though_its_message_comes_twice(self, work, due):
        schedule = ScheduledTask.objects.get(name="new user")
        schedule.enqueue_now()
        twin = Message.objects.get()
        tasks.one_user.enqueue(**twin.payload["kwargs"])
        assert Message.objects.count() == 2

        work()

        assert User.objects.count() == 1
        assert runs_of(tasks.one_user) == 2
        assert TaskExecution.objects.get().status == "completed"
