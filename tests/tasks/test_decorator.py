"""Our own @task: on every version of Django, with all options; its context, bulk, schedules and progress."""

from __future__ import annotations

import copy
import threading
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.core.management import call_command
from django.test import override_settings

from django_letsgo_worker import declarations, registry, schedule, schedules
from django_letsgo_worker.backend import LetsGoTask, message_id_of, task
from django_letsgo_worker.backend.compat import (
    InvalidTask,
    InvalidTaskBackend,
    TaskResultStatus,
    task_backends,
)
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.inspection import explain
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import ArchivedMessage, Message, Process, ScheduledJob
from django_letsgo_worker.registry import handler
from django_letsgo_worker.testing import drain, fire_due
from tests.support import wait_until
from tests.taskapp import BACKEND, TASKS
from tests.testapp.models import Entry

with override_settings(TASKS=TASKS):
    from tests.taskapp import ours

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("our_tasks")]
DJANGO = "django.core.serializers.json.DjangoJSONEncoder"


class TestOptions:
    def test_a_bare_task_returns_what_its_function_does(self):
        result = ours.add.enqueue(2, b=3)
        assert drain() == 1
        result.refresh()
        assert (result.status, result.return_value, ours.add.call(1, 1)) == (
            TaskResultStatus.SUCCESSFUL,
            5,
            2,
        )

    def test_every_option_is_that_of_its_handler(self):
        handler("letsgo:scheduled")(lambda delivery: None)
        ours.everything.enqueue(1)
        twin = ours.everything.enqueue(1)
        message = Message.objects.get()

        assert message_id_of(twin.id) == message.pk
        assert (message.queue, message.priority, message.max_attempts) == ("mails", 5, 4)
        found = registry.get(message.type)
        assert (found.backoff, found.timeout, found.atomic) == (0, 60, True)
        assert (found.retry_on, found.on_dead, found.keep_for) == ((), "letsgo:scheduled", 1)
        ours.everything.enqueue(-1)
        assert drain() == 3
        assert sorted(ArchivedMessage.objects.values_list("type", "outcome")) == [
            ("letsgo:scheduled", "succeeded"), (message.type, "dead"), (message.type, "succeeded"),
        ]  # fmt: skip
        assert [entry.n for entry in Entry.objects.all()] == [1]

    def test_using_changes_a_copy_and_keeps_the_options(self):
        copy = ours.everything.using(unique_key="mine", run_after=timedelta(hours=1), priority=-1)
        copy.enqueue(1)
        message = Message.objects.get()

        assert isinstance(copy, LetsGoTask)
        assert (message.unique_key, message.priority, message.queue) == ("mine", -1, "mails")
        assert message.visible_at - message.enqueued_at >= timedelta(minutes=59)

    @pytest.mark.parametrize(
        ("options", "error", "why"),
        [
            ({"max_attempts": 0}, InvalidTask, "max_attempts is a whole number"),
            ({"retry_on": [3]}, InvalidTask, "retry_on is a list of exception classes"),
            ({"unique": "key"}, InvalidTask, "unique is 'arguments' or None"),
            ({"backend": "nowhere"}, InvalidTaskBackend, "nowhere"),
            ({"queue": "mails"}, TypeError, "@task has no option 'queue': write queue_name=."),
            (
                {"max_attempt": 3},
                TypeError,
                "@task has no option 'max_attempt'; did you mean 'max_attempts'?",
            ),
        ],
    )
    def test_what_is_wrong_is_said_at_once(self, options, error, why):
        with pytest.raises(error) as refused:
            task(**options)(ours.add.func)
        assert why in str(refused.value)

    def test_it_runs_under_the_backends_of_django_too(self, settings):
        home = ours.add.__class__.__mro__[1].__module__.rpartition(".")[0]
        settings.TASKS = {"default": {"BACKEND": f"{home}.backends.immediate.ImmediateBackend"}}
        assert ours.limits.enqueue().return_value == [1, 1, True]
        assert ours.add.enqueue_many([(1, 2)]) != []


class TestContext:
    def test_it_knows_the_limit_and_whether_this_attempt_is_the_last(self):
        fine, failing, later = (
            ours.limits.enqueue(),
            ours.limits.enqueue(fails=True),
            ours.limits_later.enqueue(),
        )
        assert drain() == 4
        for result in (fine, failing, later):
            result.refresh()
        assert fine.return_value == [1, 2, False]
        assert failing.return_value == [2, 2, True]
        assert later.return_value == [1, 3, False]


class TestBulk:
    def test_many_are_one_statement_and_their_results_are_found(self, django_assert_max_num_queries):
        with django_assert_max_num_queries(5):
            ids = ours.add.enqueue_many([(1, 2), {"a": 3}, (4,)])
        assert drain() == 3
        assert [ours.add.get_result(id).return_value for id in ids] == [3, 3, 4]

    def test_all_or_none_are_enqueued(self):
        with pytest.raises(TypeError):
            ours.add.enqueue_many([(1, 2), (object(),)])
        assert not Message.objects.exists()

    # A text would be taken for its letters.
    @pytest.mark.parametrize("call", ["123", {"c": 1}, ()])
    def test_what_the_function_does_not_take_is_refused_before_anything_is_enqueued(self, call):
        with pytest.raises(TypeError, match=r"The task tests\.taskapp\.ours\.add cannot be called so: "):
            ours.add.enqueue_many([(1, 2), call])
        assert not Message.objects.exists()

    def test_options_hold_for_each(self):
        assert len(set(ours.everything.enqueue_many([(1,), (1,), (2,)]))) == 2
        assert {(m.queue, m.priority, m.max_attempts) for m in Message.objects.all()} == {("mails", 5, 4)}


class TestEncoder:
    def test_arguments_come_back_as_text(self, settings):
        settings.LETSGO_WORKER = {"ENCODER": DJANGO}
        result = ours.add.enqueue(Decimal("1.5"), b=str(date(2026, 2, 28)))
        assert result.args == ["1.5"]
        drain()
        result.refresh()
        assert result.return_value == "1.52026-02-28"

    def test_without_one_django_refuses_them(self):
        with pytest.raises(TypeError):
            ours.add.enqueue(Decimal("1.5"))


@pytest.fixture
def registered(our_tasks):
    """The tasks as their decorator registers them, in the registry of a test."""
    for one in (ours.add, ours.sums):
        one.get_backend().validate_task(one)


@pytest.mark.usefixtures("registered")
class TestSchedules:
    def test_a_schedule_above_a_task_sends_it_its_arguments(self, monkeypatch):
        monkeypatch.setattr(declarations, "_declared", {})
        below = schedule("@hourly")(ours.sums)
        assert schedule("@daily", name="sums", args=[1], kwargs={"b": 2})(below) is ours.sums

        declared = {one.name: one for one in declarations.declared() if one.type.endswith("ours.sums")}
        assert declared["sums"].payload == {"args": [1], "kwargs": {"b": 2}}
        assert declared["letsgo:task:tests.taskapp.ours.sums"].payload is None

    def test_a_schedule_is_added_for_a_task(self):
        job = schedules.add("adds", "@daily", ours.add, args=[1], kwargs={"b": 2})
        assert (job.type, job.payload) == (
            "letsgo:task:tests.taskapp.ours.add",
            {"args": [1], "kwargs": {"b": 2}},
        )
        message = schedules.run_now("adds")
        drain()
        assert find(message.pk).result == 3

    def test_a_schedule_is_changed_and_ensured_for_a_task(self):
        schedules.ensure("adds", "@daily", ours.add, args=[1])
        schedules.update("adds", args=(2,), kwargs={})
        schedules.ensure("adds", type=ours.sums)
        job = ScheduledJob.objects.get(name="adds")
        assert (job.type, job.payload) == ("letsgo:task:tests.taskapp.ours.sums", {"args": [2], "kwargs": {}})

    def test_a_schedule_is_added_for_a_handlers_function(self):
        function = handler("t:it")(lambda delivery: None)
        assert schedules.add("it", "@daily", function).type == "t:it"

    def test_it_fires(self, settings):
        settings.LETSGO_WORKER = {"SCHEDULE": ""}
        job = schedules.add("adds", "@every 1m", ours.add, args=[20], kwargs={"b": 22})
        (message,) = fire_due(job.next_run_at)
        drain(now=job.next_run_at)
        assert find(message.pk).result == 42

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"type": len}, "<built-in function len> is no type, no handler, and no task of ours."),
            ({"type": ours.add, "args": [1], "payload": {}}, "Give a payload, or the args and kwargs"),
            ({"type": ours.add, "args": "12"}, "args is a list of arguments, and kwargs a dictionary."),
            ({"type": ours.add, "kwargs": [1]}, "args is a list of arguments, and kwargs a dictionary."),
        ],
    )
    def test_nonsense_is_refused(self, given, why):
        with pytest.raises(InvalidSchedule) as refused:
            schedules.add("it", "@daily", **given)
        assert why in str(refused.value)
        assert not ScheduledJob.objects.filter(name="it").exists()

    @pytest.mark.parametrize(
        ("given", "why"),
        [
            ({"args": [1, 2, 3]}, "too many positional arguments"),
            ({"args": [1], "kwargs": {"c": 1}}, "got an unexpected keyword argument 'c'"),
            ({"args": [1], "kwargs": {"a": 1}}, "multiple values for argument 'a'"),
            ({"payload": [1]}, 'The payload of a task is {"args": [...], "kwargs": {...}}, not [1].'),
        ],
    )
    def test_arguments_that_the_task_does_not_take_are_refused(self, given, why):
        with pytest.raises(InvalidMessage) as refused:
            schedules.add("it", "@daily", ours.add, **given)
        assert why in str(refused.value)
        with pytest.raises(InvalidMessage):
            schedule("@daily", name="declared", **given)(ours.add)
        schedules.add("it", "@daily", ours.add, args=[1])
        with pytest.raises(InvalidMessage):
            schedules.update("it", **given)
        assert "declared" not in {one.name for one in declarations.declared()}
        assert ScheduledJob.objects.get(name="it").payload == {"args": [1], "kwargs": {}}


class TestWordsOfOthers:
    def test_the_word_to_use_is_named(self):
        for word in ("delay", "apply_async"):
            with pytest.raises(AttributeError, match=f"^A task has no '{word}'. Enqueue it "):
                getattr(ours.add, word)
        with pytest.raises(AttributeError, match=r"^A task has no 'colour'\.$"):
            ours.add.colour  # noqa: B018
        assert not hasattr(ours.add, "s")
        assert copy.copy(ours.add) == ours.add


class TestProgress:
    def test_a_running_task_says_how_far_it_is(self, settings, capsys):
        """Written with the heartbeat, and read by results, explanations and the command line."""
        settings.LETSGO_WORKER = {"LEASE_SECONDS": 1}
        ours.HAS_SAID.clear()
        ours.MAY_END.clear()
        result = ours.long.enqueue()
        worker = threading.Thread(target=call_command, args=["runworker", "--until-empty"])
        worker.start()
        try:
            assert ours.HAS_SAID.wait(30)
            wait_until(lambda: _refreshed(result).progress is not None)
            assert (result.progress, result.progress_text) == (0.4, "the second file")
            assert result.status == TaskResultStatus.RUNNING
            number = message_id_of(result.id)
            assert "Its handler says: 40 %: the second file." in explain(number).sentence
            call_command("letsgo", "message", "show", str(number), "--json")
            assert '"progress": 0.4' in capsys.readouterr().out
        finally:
            ours.MAY_END.set()
            worker.join(30)
        assert _refreshed(result).progress is None
        assert Process.objects.get().progress == {}

    def test_what_an_earlier_attempt_said_is_not_shown(self):
        process = Process(progress={"7": [3, 0.5, "half"]})
        assert process.progress_of(7, 3) == (0.5, "half")
        assert (process.progress_of(7, 4), process.progress_of(8, 3)) == (None, None)

    @pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), True, "half", None])
    def test_what_is_no_share_is_refused(self, fraction):
        handler("t:it", max_attempts=1)(lambda delivery: delivery.progress(fraction))
        message = schedules.run_now(schedules.add("it", "@daily", "t:it").name)
        drain()
        assert "progress() takes a number from 0 to 1" in find(message.pk).errors[0]["message"]

    def test_a_long_text_is_cut_and_what_no_database_stores_is_replaced(self):
        said = []

        @handler("t:it")
        def say(delivery):
            delivery.progress(1, "\0" + "ä" * 500)
            said.append(delivery._control.progress)

        schedules.run_now(schedules.add("it", "@daily", "t:it").name)
        drain()
        assert len(said[0][1].encode()) <= 200 and "\0" not in said[0][1]


def _refreshed(result):
    result.refresh()
    return result


def test_the_backends_options_have_the_same_words(settings):
    settings.TASKS = {
        "default": {"BACKEND": BACKEND, "QUEUES": [], "OPTIONS": {"RETRY_ON": ["ValueError"], "KEEP_FOR": 2}}
    }
    ours.add.enqueue(1)
    found = registry.get(Message.objects.get().type)
    assert (found.retry_on, found.keep_for) == (("ValueError",), 2)
    assert task_backends["default"].check() == []
