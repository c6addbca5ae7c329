"""Tasks and real workers: what they return, how they fail, and what is told of both."""

from __future__ import annotations

import logging
import sys
from datetime import timedelta
from traceback import extract_tb
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from django_letsgo_worker import messages, schedules
from django_letsgo_worker.backend import LetsGoBackend, message_id_of, result_id_of
from django_letsgo_worker.backend.compat import TaskResultStatus, task_finished, task_started
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import delivery_finished, message_died
from tests.taskapp import TASKS
from tests.taskapp.framework import NAME, TAKES_OPTIONS, default_task_backend
from tests.testapp.models import Effect, Entry

with override_settings(TASKS=TASKS):
    from tests.taskapp import tasks

needs_options = pytest.mark.skipif(not TAKES_OPTIONS, reason="@task(...) of Django 6.0 takes no options")

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("our_tasks")]


@pytest.fixture
def heard():
    """What task_started and task_finished sent: (signal, sender, result), in order."""
    calls = []

    def hear(signal, sender, task_result, **kwargs):
        name = "started" if signal is task_started else "finished"
        calls.append((name, sender, task_result))

    for signal in (task_started, task_finished):
        signal.connect(hear)
    yield calls
    for signal in (task_started, task_finished):
        signal.disconnect(hear)


def work(*arguments):
    call_command("runworker", "--until-empty", "--concurrency", "1", *arguments, stderr=sys.stdout)


def run(task, *args, **kwargs):
    """Enqueue a task, let a worker handle it, and return its result."""
    result = task.enqueue(*args, **kwargs)
    work()
    result.refresh()
    return result


class TestSuccess:
    def test_a_task_returns_what_json_makes_of_it(self):
        result = run(tasks.echo, (1, 2), b"three", key={"4": None})

        assert (result.status, result.is_finished) == (TaskResultStatus.SUCCESSFUL, True)
        assert result.return_value == [[[1, 2], "three"], {"key": {"4": None}}]
        assert (result.attempts, len(result.worker_ids), result.errors) == (1, 1, [])
        assert result.enqueued_at <= result.started_at <= result.finished_at
        assert result.last_attempted_at == result.started_at
        assert result == default_task_backend.get_result(result.id)

    def test_a_task_that_returns_nothing_returns_none(self):
        assert run(tasks.write, 5).return_value is None
        assert Entry.objects.get().n == 5

    def test_an_async_task_has_a_connection(self):
        assert run(tasks.write_later, 5).return_value == 1
        assert Entry.objects.get().n == 5

    def test_an_async_task_behind_a_plain_decorator_runs(self):
        result = run(tasks.write_behind_a_decorator, 5)

        assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, [1])
        assert Entry.objects.get().n == 5

    def test_a_task_that_gives_back_a_generator_has_failed(self):
        result = run(tasks.loop_over_nothing, 5)

        assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 3)
        last = ArchivedMessage.objects.get().errors[-1]
        assert last["class"] == "TypeError"
        assert "gave back a generator, of which nothing has run" in last["message"]

    def test_the_worker_is_named(self):
        result = tasks.echo.enqueue()
        work("--name", "the-one")
        result.refresh()

        assert result.worker_ids == ["the-one"]

    def test_the_highest_priority_is_first(self):
        for priority in (0, 50, -50):
            tasks.write.using(priority=priority).enqueue(priority)
        work()

        assert list(Entry.objects.order_by("pk").values_list("n", flat=True)) == [50, 0, -50]

    def test_what_is_for_later_waits(self):
        soon = tasks.echo.using(run_after=timedelta(hours=1)).enqueue()
        due = tasks.echo.using(run_after=timezone.now() - timedelta(hours=1)).enqueue()
        work()

        assert default_task_backend.get_result(soon.id).status == TaskResultStatus.READY
        assert default_task_backend.get_result(due.id).status == TaskResultStatus.SUCCESSFUL

    def test_a_schedule_may_send_a_task(self):
        tasks.echo.enqueue()
        schedules.add(
            "echoes", "@daily", "letsgo:task:tests.taskapp.tasks.echo", {"args": [1], "kwargs": {"a": 2}}
        )
        schedules.add("silence", "@daily", "letsgo:task:tests.taskapp.tasks.echo")
        sent = [schedules.run_now(name) for name in ("echoes", "silence")]
        work()

        results = [default_task_backend.get_result(result_id_of(message.pk)) for message in sent]
        assert [result.return_value for result in results] == [[[1], {"a": 2}], [[], {}]]

    def test_a_key_is_free_again_when_its_task_has_ended(self):
        keyed = tasks.echo.using(unique_key="7")
        first = run(keyed)

        assert keyed.enqueue().id != first.id


class TestFailure:
    def test_a_task_that_raises_is_tried_as_often_as_it_may_be(self):
        result = run(tasks.fail, "no")

        assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 3)
        assert [error.exception_class for error in result.errors] == [ValueError] * 3
        assert result.errors[0].traceback.endswith("ValueError: no\n")
        assert "tasks.py" in result.errors[0].traceback
        assert len(result.worker_ids) == 3 and set(result.worker_ids) != {"unknown"}
        assert result.started_at <= result.last_attempted_at <= result.finished_at
        with pytest.raises(ValueError, match="Task failed"):
            _ = result.return_value

    def test_options_of_the_backend_say_how_often(self):
        result = run(tasks.fail_once)

        assert (result.attempts, result.backend) == (1, "once")
        assert result.last_attempted_at == result.started_at
        assert result.errors[0].exception_class is LookupError

    @needs_options
    def test_after_the_only_attempt_it_was_attempted_when_it_started(self):
        result = run(tasks.write_and_fail, 1)

        assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
        assert result.last_attempted_at == result.started_at

    def test_what_was_put_off_or_given_back_before_tells_of_the_last_time(self):
        result = tasks.snooze_once.enqueue()
        work()
        Message.objects.update(visible_at=timezone.now())
        work()
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.SUCCESSFUL, 1)
        assert result.last_attempted_at > result.started_at

        result = tasks.echo.enqueue()
        Message.objects.update(receipt=1)  # as a worker that stopped leaves it
        work()
        result.refresh()
        assert (ArchivedMessage.objects.latest("pk").receipt, result.attempts) == (2, 1)
        assert result.last_attempted_at == result.started_at

    @needs_options
    def test_between_two_attempts_it_is_ready(self):
        result = run(tasks.patient)

        assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.READY, 2, 2)
        assert result.enqueued_at <= result.started_at < result.last_attempted_at
        assert result.finished_at is None and set(result.worker_ids) != {"unknown"}

    @needs_options
    def test_what_an_atomic_task_wrote_goes_with_its_failure(self):
        result = run(tasks.write_and_fail, 1)

        assert (result.attempts, result.errors[0].exception_class) == (1, ValueError)
        assert not Effect.objects.exists()

    def test_an_exit_is_a_failure(self):
        assert run(tasks.leave).errors[0].exception_class is SystemExit

    def test_a_traceback_is_made_storable(self):
        traceback = run(tasks.fail_in_strange_text).errors[0].traceback

        assert "NUL \N{REPLACEMENT CHARACTER} and a surrogate" in traceback

    @pytest.mark.parametrize("name", tasks.UNFIT)
    def test_what_cannot_be_kept_ends_the_task_without_another_attempt(self, name):
        result = run(tasks.return_what_is_unfit, name)

        assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 1)
        assert result.errors[0].exception_class is TypeError
        assert "The return value of tests.taskapp.tasks.return_what_is_unfit" in result.errors[0].traceback
        assert Entry.objects.count() == 1

    def test_arguments_that_do_not_fit_fail_the_task(self):
        assert run(tasks.write, no_such="argument").errors[0].exception_class is TypeError

    def test_a_task_whose_workers_died_says_so(self, heard):
        result = tasks.fail_once.enqueue()
        now = timezone.now()
        Message.objects.filter(pk=message_id_of(result.id)).update(
            attempts=1, receipt=1, leased_by=uuid4(), leased_at=now, visible_at=now - timedelta(minutes=5)
        )
        work()
        result.refresh()

        assert result.status == TaskResultStatus.FAILED
        assert result.errors[0].exception_class_path == "django_letsgo_worker.errors.WorkerDied"
        assert [(name, one.status) for name, _, one in heard] == [("finished", TaskResultStatus.FAILED)]

    def test_what_expired_before_it_began_never_started(self):
        result = tasks.echo.enqueue()
        Message.objects.filter(pk=message_id_of(result.id)).update(
            deadline=timezone.now() - timedelta(minutes=1)
        )
        work()
        result.refresh()

        assert (result.status, result.attempts, result.started_at) == (TaskResultStatus.FAILED, 0, None)
        assert result.last_attempted_at is None and result.finished_at is not None

    def test_a_dead_task_can_be_redriven(self):
        result = run(tasks.fail_once)
        messages.redrive(message_id_of(result.id))
        result.refresh()

        assert (result.status, result.attempts, len(result.errors)) == (TaskResultStatus.READY, 0, 1)


class TestContext:
    @pytest.mark.parametrize("task", [tasks.say_where, tasks.say_where_later], ids=lambda task: task.name)
    def test_it_knows_the_attempt_and_those_before(self, task):
        result = run(task, fails=2)

        assert result.return_value == {
            "attempt": 3,
            "id": result.id,
            "status": "RUNNING",
            "errors": ["builtins.ValueError"] * 2,
            "workers": 1,
            "in order": True,
        }

    def test_a_first_attempt_that_succeeds_asks_the_database_nothing(self, monkeypatch, heard):
        monkeypatch.setattr(messages, "find", None)
        tasks.say_where.enqueue()
        work()

        assert ArchivedMessage.objects.get().outcome == "succeeded"
        assert [name for name, _, _ in heard] == ["started", "finished"]


class TestSignals:
    def test_each_comes_once_from_the_class(self, heard):
        result = run(tasks.echo, 1)

        assert [(name, sender) for name, sender, _ in heard] == [
            ("started", LetsGoBackend),
            ("finished", LetsGoBackend),
        ]
        started, finished = [task_result for _, _, task_result in heard]
        assert started.id == finished.id == result.id
        assert (started.status, started.attempts) == (TaskResultStatus.RUNNING, 1)
        assert (finished.status, finished.return_value) == (result.status, result.return_value)
        assert finished.started_at <= finished.finished_at

    def test_a_task_that_is_tried_again_starts_again_and_finishes_once(self, heard):
        run(tasks.say_where, fails=1)

        assert [(name, one.attempts) for name, _, one in heard] == [
            ("started", 1), ("started", 2), ("finished", 2),
        ]  # fmt: skip

    def test_a_failure_is_told_with_all_its_errors(self, heard):
        result = run(tasks.fail)

        assert [name for name, _, _ in heard] == ["started"] * 3 + ["finished"]
        assert heard[-1][2] == result

    def test_what_is_finished_is_in_the_database(self):
        statuses = []

        def ask(task_result, **kwargs):
            statuses.append(default_task_backend.get_result(task_result.id).status)

        task_finished.connect(ask)
        run(tasks.echo)
        task_finished.disconnect(ask)

        assert statuses == [TaskResultStatus.SUCCESSFUL]

    def test_the_end_is_told_where_nothing_is_kept(self, heard, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0, "KEEP_DEAD_FOR": 0}
        for task in (tasks.say_where, tasks.fail):
            task.enqueue(*([1] if task is tasks.say_where else []))
        work()

        ends = {one.task.name: one for name, _, one in heard if name == "finished"}
        assert not ArchivedMessage.objects.exists()
        assert ends["say_where"].return_value["attempt"] == 2
        assert ends["fail"].status == TaskResultStatus.FAILED
        assert ends["fail"].errors[0].exception_class is ValueError

    def test_receivers_that_fail_change_no_outcome_and_keep_nothing_from_others(self):
        told = []

        def fail(**kwargs):
            raise ZeroDivisionError

        def tell(task_result, **kwargs):
            told.append(task_result.id)

        receivers = [(signal, hear) for signal in (task_started, task_finished) for hear in (fail, tell)]
        for signal, hear in receivers:
            signal.connect(hear)
        results = [run(tasks.echo), run(tasks.write_later, 1)]
        for signal, hear in receivers:
            signal.disconnect(hear)

        assert [result.status for result in results] == [TaskResultStatus.SUCCESSFUL] * 2
        assert told == [results[0].id] * 2 + [results[1].id] * 2

    def test_a_death_that_nobody_can_tell_of_is_passed_over(self):
        gone = tasks.echo.enqueue()
        Message.objects.filter(pk=message_id_of(gone.id)).update(
            type="letsgo:task:tests.taskapp.tasks.vanished"
        )
        facts = {"queue": "default", "errors": [], "delivery": None}
        for message_id, type in [
            (message_id_of(gone.id), "letsgo:task:tests.taskapp.tasks.vanished"),
            (0, "letsgo:task:a.b"),
        ]:
            answers = message_died.send_robust(Message, message_id=message_id, type=type, **facts)
            assert [answer for _, answer in answers if isinstance(answer, Exception)] == []

    def test_djangos_own_log_has_the_traceback_of_a_failure_and_none_of_a_success(self, caplog):
        with caplog.at_level(logging.DEBUG, NAME):
            succeeded, failed = run(tasks.echo), run(tasks.fail_once)

        lines = [record for record in caplog.records if record.name == NAME]
        ends = {record.args[0]: record for record in lines if record.args[2] in ("SUCCESSFUL", "FAILED")}
        assert set(ends) == {succeeded.id, failed.id}
        assert "None" not in ends[succeeded.id].getMessage()
        kind, _, traceback = ends[failed.id].exc_info
        assert kind is LookupError
        assert extract_tb(traceback)[-1].name == "fail_once"

    def test_the_traceback_of_an_error_stays_as_it_was(self):
        seen = []

        def look(exception, **kwargs):
            seen.append([frame.name for frame in extract_tb(exception.__traceback__)])

        delivery_finished.connect(look)
        run(tasks.fail_once)
        delivery_finished.disconnect(look)

        assert seen[0][-1] == "fail_once" and "_send_finished" not in seen[0]
