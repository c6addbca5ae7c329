"""The django.tasks backend, without a worker: what a task becomes, what is refused, and what is read back."""

from __future__ import annotations

import math
import pickle
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from asgiref.sync import async_to_sync
from django.core import signing
from django.core.signing import Signer
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from django_letsgo_worker import enqueue, messages, registry
from django_letsgo_worker.backend import LetsGoBackend, LetsGoTask, message_id_of, result_id_of
from django_letsgo_worker.backend.compat import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
)
from django_letsgo_worker.backend.results import SALT
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.models import Message
from tests.taskapp import BACKEND, TASKS
from tests.taskapp.framework import TAKES_OPTIONS, TaskResultMismatch, default_task_backend, task

with override_settings(TASKS=TASKS):
    from tests.taskapp import elsewhere, tasks

ECHO = "letsgo:task:tests.taskapp.tasks.echo"

needs_options = pytest.mark.skipif(not TAKES_OPTIONS, reason="@task(...) of Django 6.0 takes no options")

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("our_tasks")]


class TestEnqueue:
    def test_it_can_all_that_django_knows_of(self):
        backend = task_backends["default"]
        assert isinstance(backend, LetsGoBackend)
        flags = ("supports_defer", "supports_async_task", "supports_get_result", "supports_priority")
        assert [getattr(backend, flag) for flag in flags] == [True] * 4
        assert isinstance(tasks.echo, LetsGoTask)
        assert backend.check() == []

    def test_a_task_is_one_message_of_its_own_type(self):
        result = tasks.echo.using(priority=7, queue_name="mails").enqueue(1, [2], key="three")

        message = messages.find(message_id_of(result.id))
        assert (message.type, message.queue, message.priority, message.max_attempts) == (ECHO, "mails", 7, 3)
        assert message.payload == {"args": [1, [2]], "kwargs": {"key": "three"}}
        assert result.status == TaskResultStatus.READY
        assert (result.attempts, result.errors, result.worker_ids) == (0, [], [])
        assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
        assert result.enqueued_at == message.enqueued_at

    def test_it_is_one_insert_and_nothing_else(self, django_assert_num_queries):
        # MySQL has no RETURNING: there the time is read when the result asks for it.
        with django_assert_num_queries(1 if connection.features.can_return_columns_from_insert else 2):
            tasks.echo.enqueue(1)

    def test_it_exists_if_and_only_if_the_transaction_commits(self):
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            tasks.echo.enqueue()
            _ = 1 / 0

        assert not Message.objects.exists()

    def test_arguments_come_as_json_gives_them_back(self):
        result = tasks.echo.enqueue((1, 2), b"bytes", {3: {"a": None}}, range=range(2))

        assert result.args == [[1, 2], "bytes", {"3": {"a": None}}]
        assert result.kwargs == {"range": [0, 1]}
        assert default_task_backend.get_result(result.id) == result

    def test_a_caller_may_change_what_was_enqueued(self):
        numbers = [1]
        result = tasks.echo.enqueue(numbers)
        numbers.append(2)

        assert result.args == [[1]]

    def test_the_async_door_is_the_same(self):
        async def enqueue_and_look():
            result = await tasks.write_later.aenqueue(1)
            again = await tasks.write_later.aget_result(result.id)
            await result.arefresh()
            return result, again

        result, again = async_to_sync(enqueue_and_look)()

        assert result == again
        assert result.task == tasks.write_later

    @pytest.mark.parametrize("priority", [True, 3.0, -100, 100])
    def test_a_priority_may_be_whatever_django_takes_for_a_whole_number(self, priority):
        result = tasks.echo.using(priority=priority).enqueue()

        assert messages.find(message_id_of(result.id)).priority == int(priority)
        assert default_task_backend.get_result(result.id) == result

    @pytest.mark.parametrize(
        ("value", "error"),
        [
            (datetime(2027, 1, 1), TypeError), ({1}, TypeError), (object(), TypeError), (b"\xff", ValueError),
            (math.nan, ValueError), ([-math.inf], ValueError), ("a\0b", ValueError), ("\ud800", ValueError),
            ({"a\0": 1}, ValueError), ("x" * 300_000, ValueError),
        ],
        ids=lambda value: repr(value)[:20],
    )  # fmt: skip
    def test_an_argument_that_nobody_can_store_is_refused_before_any_sql(
        self, value, error, django_assert_num_queries
    ):
        with django_assert_num_queries(0), pytest.raises(error):
            tasks.echo.enqueue(value)
        with django_assert_num_queries(0), pytest.raises(error):
            tasks.echo.enqueue(key=[value])

    def test_the_refusal_of_an_argument_says_where_it_is(self):
        with pytest.raises(ValueError, match=r"payload\.kwargs\.a\[1\] contains a NUL character"):
            tasks.echo.enqueue(a=[1, "\0"])

    def test_an_argument_within_itself_is_refused(self):
        ring = []
        ring.append(ring)
        with pytest.raises(ValueError, match="within itself"):
            tasks.echo.enqueue(ring)

    def test_a_type_of_tasks_is_open_to_no_message_but_a_tasks(self):
        with pytest.raises(InvalidMessage, match="reserved"):
            enqueue("letsgo:task:os.getcwd", {})

    def test_the_same_key_lives_once(self):
        heard = []

        def hear(task_result, **kwargs):
            heard.append(task_result.id)

        task_enqueued.connect(hear)
        first = tasks.echo.using(unique_key="7").enqueue(1)
        second = tasks.echo.using(unique_key="7").enqueue(2)
        other = tasks.echo.using(unique_key="8").enqueue(3)
        task_enqueued.disconnect(hear)

        assert second == first
        assert heard == [first.id, other.id]
        assert default_task_backend.get_result(first.id).task.unique_key == "7"


class TestLater:
    def test_an_instant_is_when_it_becomes_visible(self):
        moment = timezone.now() + timedelta(days=400)
        result = tasks.echo.using(run_after=moment).enqueue()

        assert messages.find(message_id_of(result.id)).visible_at == moment
        assert result.status == TaskResultStatus.READY
        assert result.task.run_after == moment
        assert default_task_backend.get_result(result.id) == result

    def test_a_length_of_time_counts_from_each_enqueue(self):
        later = tasks.echo.using(run_after=timedelta(hours=2))

        for result in (later.enqueue(), later.enqueue()):
            message = messages.find(message_id_of(result.id))
            assert message.visible_at - message.enqueued_at == timedelta(hours=2)
            assert result.task.run_after == message.visible_at
            assert result.task.using(run_after=timedelta(hours=2)) == later
            assert default_task_backend.get_result(result.id) == result

    def test_a_result_can_be_enqueued_again_for_the_same_moment(self):
        result = tasks.echo.using(run_after=timedelta(hours=2)).enqueue()
        again = result.task.enqueue()

        assert again.task.run_after == result.task.run_after
        assert messages.find(message_id_of(again.id)).visible_at == result.task.run_after

    def test_what_is_past_may_run_at_once(self):
        result = tasks.echo.using(run_after=datetime(2020, 1, 1, tzinfo=UTC)).enqueue()

        assert messages.find(message_id_of(result.id)).visible_at.year == 2020

    @pytest.mark.parametrize(
        ("run_after", "sentence"),
        [
            (datetime(2027, 1, 1), "run_after must be an aware datetime"),
            (timedelta(seconds=-1), "run_after must not be negative"),
            (timedelta.max, "run_after reaches beyond the year 9999"),
            (datetime.max.replace(tzinfo=UTC), "run_after is out of range"),
            (60, "run_after is an aware datetime, not 60"),
            ("tomorrow", "run_after is an aware datetime, not 'tomorrow'"),
        ],
        ids=repr,
    )
    def test_what_is_no_time_is_refused(self, run_after, sentence):
        with pytest.raises(InvalidTask, match=sentence):
            tasks.echo.using(run_after=run_after)


def a_generator():
    yield 1


async def an_async_generator():
    yield 1


class TestRefusals:
    def test_a_queue_is_one_of_the_backends(self):
        with pytest.raises(InvalidTask, match="Queue 'reports' is not valid"):
            tasks.fail_once.using(queue_name="reports")

    def test_a_backend_without_queues_takes_any_that_is_a_name(self):
        assert tasks.echo.using(queue_name="reports").enqueue().task.queue_name == "reports"
        with pytest.raises(InvalidTask, match="The queue 'a b' is refused"):
            tasks.echo.using(queue_name="a b")

    def test_the_settings_of_the_moment_decide(self, settings):
        result = tasks.fail_once.enqueue()
        settings.TASKS = {**TASKS, "once": {**TASKS["once"], "QUEUES": ["default"]}}

        with pytest.raises(InvalidTask, match="Queue 'mails' is not valid"):
            tasks.fail_once.enqueue()
        assert task_backends["once"].get_result(result.id).task.queue_name == "mails"

    @pytest.mark.parametrize(
        ("module", "name"),
        [("__main__", "work"), ("shop", "grüße"), ("shop", "<lambda>"), ("shop", "w" * 240)],
        ids=repr,
    )
    def test_a_function_that_no_worker_could_import_is_refused(self, module, name):
        def work():
            pass

        work.__module__, work.__qualname__ = module, name
        with pytest.raises(InvalidTask, match="^Workers cannot import "):
            task(work)
        assert registry.types() == []

    @needs_options
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            ({"max_attempts": 0}, "max_attempts is a whole number from 1"),
            ({"backoff": "10min"}, "backoff must be one of"),
            ({"timeout": 0}, "timeout must be more than zero"),
            ({"atomic": "yes"}, "atomic is True or False, not 'yes'"),
            ({"unique_key": ""}, "unique_key is text of 1 to 200 characters"),
        ],
        ids=repr,
    )
    def test_an_option_that_is_none_is_refused(self, options, sentence):
        with pytest.raises(InvalidTask, match=sentence):
            task(**options)(tasks.echo.func)

    @needs_options
    def test_async_and_atomic_do_not_go_together(self):
        with pytest.raises(InvalidTask, match="write_later is async: atomic=True needs a plain def"):
            task(atomic=True)(tasks.write_later.func)

    @pytest.mark.parametrize("function", [a_generator, an_async_generator])
    def test_what_has_a_yield_is_refused(self, function):
        with pytest.raises(
            InvalidTask, match=f"{function.__name__} has a yield, so a call would run nothing"
        ):
            task(function)
        assert registry.types() == []

    @needs_options
    def test_a_word_that_nobody_knows_is_refused(self):
        with pytest.raises(TypeError, match="max_atempts"):
            task(max_atempts=3)(tasks.echo.func)


class TestOptions:
    def test_those_of_the_backend_hold_for_its_tasks(self):
        tasks.echo.enqueue()
        tasks.fail_once.enqueue()

        handlers = {handler.type: handler for handler in registry.handlers()}
        assert (handlers[ECHO].max_attempts, handlers[ECHO].backoff, handlers[ECHO].atomic) == (3, 0, False)
        once = handlers["letsgo:task:tests.taskapp.tasks.fail_once"]
        assert (once.max_attempts, once.backoff, once.queue) == (1, None, "mails")

    @needs_options
    def test_a_task_may_say_otherwise(self):
        result = tasks.patient.enqueue()

        handler = registry.get("letsgo:task:tests.taskapp.tasks.patient")
        assert (handler.max_attempts, handler.backoff, handler.timeout) == (3, (0, 3600), 60)
        message = messages.find(message_id_of(result.id))
        assert (message.max_attempts, message.unique_key) == (3, "only one")

    def test_a_handler_is_named_after_the_tasks_function(self):
        tasks.write_later.enqueue(1)

        handler = registry.get("letsgo:task:tests.taskapp.tasks.write_later")
        assert handler.dotted == "tests.taskapp.tasks.write_later"
        assert handler.is_async and not handler.is_shipped

    def test_a_copy_leaves_the_handler_as_it_is(self):
        tasks.echo.enqueue()
        tasks.echo.using(queue_name="mails", priority=7).enqueue()

        assert (registry.get(ECHO).queue, registry.get(ECHO).priority) == ("default", 0)

    @pytest.mark.parametrize(
        ("params", "sentence"),
        [
            ({"OPTIONS": {"MAX_ATEMPTS": 3}}, "has no 'MAX_ATEMPTS'. Did you mean 'MAX_ATTEMPTS'?"),
            ({"OPTIONS": {"MAX_ATTEMPTS": 0}}, "max_attempts is a whole number from 1"),
            ({"OPTIONS": {"BACKOFF": "10min"}}, "backoff must be one of"),
            ({"OPTIONS": {"ATOMIC": 1}}, "atomic is True or False, not 1"),
            ({"QUEUES": "default"}, "is a list of names, not text"),
        ],
        ids=repr,
    )
    def test_settings_that_are_wrong_are_refused_when_they_are_used(self, params, sentence, settings):
        settings.TASKS = {"default": {"BACKEND": BACKEND, **params}}

        with pytest.raises(InvalidTaskBackend) as caught:
            tasks.echo.enqueue()
        assert "TASKS['default']" in str(caught.value) and sentence in str(caught.value)

    def test_the_check_names_a_queue_that_cannot_be_one(self, settings):
        settings.TASKS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "a b"]}}

        assert [(one.id, "'a b'" in one.msg) for one in default_task_backend.check()] == [
            ("letsgo_tasks.E002", True)
        ]

    def test_the_check_names_a_pattern_that_fits_no_task(self, settings):
        patterns = {"tests.taskapp.*": {}, "tests.taskapp.task.echo": {}}
        settings.TASKS = {"default": {"BACKEND": BACKEND, "OPTIONS": {"TASKS": patterns}}}
        tasks.echo.enqueue()

        (found,) = default_task_backend.check()
        assert found.id == "letsgo_tasks.W001"
        assert (
            "has 'tests.taskapp.task.echo', which fits no known task. "
            "Did you mean 'tests.taskapp.tasks.echo'?" in found.msg
        )

    def test_the_check_misses_our_app(self, settings):
        settings.INSTALLED_APPS = [app for app in settings.INSTALLED_APPS if app != "django_letsgo_worker"]

        assert [one.id for one in default_task_backend.check()] == ["letsgo_tasks.E001"]

    @needs_options
    def test_a_task_can_be_copied_hashed_and_pickled_as_djangos(self):
        assert tasks.patient.using() == tasks.patient
        assert hash(tasks.patient.using()) == hash(tasks.patient)
        if hasattr(type(tasks.patient), "_reconstruct"):
            assert pickle.loads(pickle.dumps(tasks.patient)) == tasks.patient  # noqa: S301


class TestResults:
    @pytest.mark.parametrize(
        "garbage",
        ["", "0", "-1", "123", "007", " 1", "1 ", "1.0", "a", "a\0b", "\ud800", "１", "9" * 19, "9" * 63,
         "9" * 5000, "0x1", "1_0", str(UUID(int=7, version=4)), None, 1, 1.5, b"1", [1], object()],
        ids=lambda value: repr(value)[:20],
    )  # fmt: skip
    def test_an_id_of_nothing_does_not_exist_and_the_database_is_not_asked(
        self, garbage, django_assert_num_queries
    ):
        with django_assert_num_queries(0):
            with pytest.raises(TaskResultDoesNotExist):
                default_task_backend.get_result(garbage)
            with pytest.raises(TaskResultDoesNotExist):
                async_to_sync(default_task_backend.aget_result)(garbage)
            with pytest.raises(TaskResultDoesNotExist):
                message_id_of(garbage)

    def test_an_id_is_short_text_that_no_number_leads_to(self, django_assert_num_queries):
        result, another = tasks.echo.enqueue(), tasks.echo.enqueue()
        number, signature = result.id.split(".")
        guesses = [
            str(message_id_of(result.id)), number, signature, f"{number}.", f".{signature}", f"{result.id}.",
            f"{another.id.split('.')[0]}.{signature}", f"0{result.id}", result.id.swapcase(), f"{result.id} ",
            result.id[:-1], f"{result.id}=", Signer(sep=".").sign(number), signing.dumps(number),
            Signer(key="another", sep=".", salt=SALT).sign(number),
        ]  # fmt: skip

        assert len(result_id_of(2**63 - 1)) < 64
        with django_assert_num_queries(0):
            for guess in guesses:
                with pytest.raises(TaskResultDoesNotExist):
                    default_task_backend.get_result(guess)

    def test_an_id_names_its_message_both_ways(self):
        result = tasks.echo.enqueue()

        assert Message.objects.get().pk == message_id_of(result.id)
        assert result_id_of(message_id_of(result.id)) == result.id

    def test_an_id_of_a_message_that_is_gone_does_not_exist(self, django_assert_num_queries):
        result = tasks.echo.enqueue()
        Message.objects.all().delete()

        with django_assert_num_queries(1), pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(result.id)

    def test_an_id_outlives_a_secret_key_as_long_as_that_is_a_fallback(
        self, settings, django_assert_num_queries
    ):
        result = tasks.echo.enqueue()
        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "the new one", [settings.SECRET_KEY]
        assert default_task_backend.get_result(result.id) == result
        assert tasks.echo.enqueue().id != result.id

        settings.SECRET_KEY_FALLBACKS = []
        with django_assert_num_queries(0), pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(result.id)

    def test_a_message_that_is_no_task_has_no_result(self):
        message = enqueue("order:new")

        with pytest.raises(TaskResultDoesNotExist):
            default_task_backend.get_result(result_id_of(message.pk))

    def test_a_result_belongs_to_its_task(self):
        result = tasks.echo.enqueue()

        assert tasks.echo.get_result(result.id) == result
        with pytest.raises(TaskResultMismatch):
            tasks.write.get_result(result.id)

    def test_one_statement_reads_what_waits(self, django_assert_num_queries):
        result = tasks.echo.enqueue()

        with django_assert_num_queries(1):
            default_task_backend.get_result(result.id)

    def test_it_is_found_by_a_process_that_never_imported_the_task(self):
        result = tasks.echo.enqueue()
        registry.remove(ECHO)

        assert default_task_backend.get_result(result.id) == result

    @pytest.mark.parametrize(
        "path", ["tests.taskapp.tasks.vanished", "tests.vanished.work", "tests.vanished"]
    )
    def test_a_task_that_vanished_is_an_import_error_that_names_it(self, path):
        result = tasks.echo.enqueue()
        Message.objects.filter(pk=message_id_of(result.id)).update(type=f"letsgo:task:{path}")

        with pytest.raises(ImportError, match=f"The task {path} cannot be imported"):
            default_task_backend.get_result(result.id)

    @pytest.mark.parametrize("path", ["tests.taskapp.elsewhere.plain", "os.getcwd", "tests.taskapp.tasks"])
    def test_a_row_can_name_nothing_but_a_task(self, path):
        result = tasks.echo.enqueue()
        Message.objects.filter(pk=message_id_of(result.id)).update(type=f"letsgo:task:{path}")

        with pytest.raises(ImportError, match=f"{path} is not a task"):
            default_task_backend.get_result(result.id)
        assert registry.find(f"letsgo:task:{path}") is None

    def test_a_name_that_is_kept_for_a_renamed_task_finds_it(self):
        result = tasks.echo.enqueue()
        former = "letsgo:task:tests.taskapp.elsewhere.former_name"
        Message.objects.filter(pk=message_id_of(result.id)).update(type=former)

        assert default_task_backend.get_result(result.id).task.func is elsewhere.overlooked.func
        assert registry.find(former) is not None

    def test_a_redrive_among_the_errors_is_no_failed_attempt(self):
        result = tasks.echo.enqueue()
        failed = {"attempt": 1, "at": timezone.now().isoformat(), "seconds": None, "process": "one",
                  "class": "builtins.ValueError", "message": "", "traceback": ""}  # fmt: skip
        redrive = {"redrive": True, "at": timezone.now().isoformat(), "by": "ada", "reason": ""}
        Message.objects.update(
            attempts=1, receipt=2, errors=[failed, redrive], first_started_at=timezone.now()
        )
        result.refresh()

        assert [error.exception_class_path for error in result.errors] == [failed["class"]]
        assert result.worker_ids == ["one"]
        assert result.last_attempted_at is not None

    def test_it_runs_while_its_lease_lasts(self):
        result = tasks.echo.enqueue()
        now = timezone.now()
        row = Message.objects.filter(pk=message_id_of(result.id))
        row.update(
            leased_by=uuid4(), leased_at=now, attempts=1, receipt=1, visible_at=now + timedelta(minutes=1)
        )
        result.refresh()
        assert (result.status, result.attempts) == (TaskResultStatus.RUNNING, 1)
        assert result.started_at == result.last_attempted_at is not None

        row.update(visible_at=now - timedelta(seconds=1))
        result.refresh()
        assert result.status == TaskResultStatus.READY

    def test_what_was_cancelled_has_failed(self):
        result = tasks.echo.enqueue()
        messages.cancel(message_id_of(result.id))
        result.refresh()

        assert (result.status, result.is_finished, result.errors) == (TaskResultStatus.FAILED, True, [])
        assert result.finished_at is not None and result.started_at is None
        with pytest.raises(ValueError, match="Task failed"):
            _ = result.return_value

    def test_what_has_not_ended_has_no_return_value(self):
        with pytest.raises(ValueError, match="not finished"):
            _ = tasks.echo.enqueue().return_value


class TestEnqueued:
    def test_the_signal_comes_once_from_the_class(self):
        heard = []

        def hear(sender, task_result, **kwargs):
            heard.append((sender, task_result))

        task_enqueued.connect(hear, sender=LetsGoBackend)
        result = tasks.echo.enqueue(1)
        task_enqueued.disconnect(hear, sender=LetsGoBackend)

        assert heard == [(LetsGoBackend, result)]

    def test_a_receiver_that_fails_harms_nobody(self):
        def fail(**kwargs):
            raise ZeroDivisionError

        task_enqueued.connect(fail)
        result = tasks.echo.enqueue()
        task_enqueued.disconnect(fail)

        assert messages.find(message_id_of(result.id))
