"""contrib.celery: calls of tasks are messages, and a worker runs them as Celery's would."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_lazy

from django_letsgo_worker import enqueue, registry, testing
from django_letsgo_worker.contrib.celery import (
    AsyncResult,
    Ignore,
    MaxRetriesExceededError,
    Reject,
    Task,
    UnsupportedCelery,
    current_task,
    shared_task,
    signals,
)
from django_letsgo_worker.contrib.celery.utils.log import get_task_logger
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.testapp.models import Effect

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("celery_app")]


def work() -> None:
    """Let a worker of this process handle what is due."""
    call_command("runworker", "--until-empty", "--concurrency", "1", stderr=sys.stdout)


@pytest.fixture(params=[testing.drain, work], ids=["drain", "worker"])
def run(request):
    """Handle all that is due, by drain() and by a worker."""
    return request.param


@pytest.fixture
def done():
    return []


class TestTheRunningTask:
    def test_it_is_current_task_which_knows_its_request(self, run, done):
        assert not current_task

        @shared_task(name="shop.look")
        def look():
            done.append((bool(current_task), current_task.name, current_task.request.correlation_id))

        result = look.delay()
        run()

        assert done == [(True, "shop.look", result.id)]
        assert not current_task

    def test_its_logger_is_an_ordinary_one(self):
        assert get_task_logger("shop.tasks") is logging.getLogger("shop.tasks")


class TestACall:
    def test_it_is_a_message_of_the_name_and_the_arguments(self):
        @shared_task(name="shop.add")
        def add(x, y): ...

        add.delay(1, y=2)

        message = Message.objects.get()
        assert (message.type, message.queue, message.priority) == ("celery:shop.add", "default", 0)
        assert message.payload == {"args": [1], "kwargs": {"y": 2}}

    def test_a_task_is_named_after_its_module_and_its_function(self):
        @shared_task
        def add(): ...

        assert add.name == f"{__name__}.add"
        assert registry.get(f"celery:{__name__}.add").function.task is add

    def test_it_runs_in_a_worker(self, run, done):
        @shared_task
        def add(x, y):
            done.append((x, y))
            return x + y

        result = add.delay(1, y=2)
        run()

        assert done == [(1, 2)]
        assert (result.state, result.get(timeout=0)) == ("SUCCESS", 3)

    def test_it_exists_if_and_only_if_the_transaction_commits(self):
        @shared_task
        def add(): ...

        with pytest.raises(LookupError), transaction.atomic():
            add.delay()
            add.delay_on_commit()
            raise LookupError
        assert not Message.objects.exists()

        with transaction.atomic():
            add.delay_on_commit()
        assert Message.objects.count() == 1

    def test_options_of_a_call(self):
        @shared_task(queue="slow", priority=3)
        def add(): ...

        soon = timezone.now() + timedelta(hours=1)
        for options in (
            {"countdown": 60, "expires": 3600, "queue": "fast", "priority": 9},
            {"eta": soon, "expires": soon + timedelta(hours=1)},
            {"countdown": -1},
        ):
            add.apply_async(**options)
        first, second, third = Message.objects.order_by("pk")

        assert first.visible_at - first.enqueued_at == timedelta(seconds=60)
        assert first.deadline - first.enqueued_at == timedelta(hours=1)
        assert (first.queue, first.priority) == ("fast", 9)
        assert (second.visible_at, second.deadline) == (soon, soon + timedelta(hours=1))
        assert (second.queue, second.priority) == ("slow", 3)
        assert third.visible_at == third.enqueued_at

    def test_a_task_may_expire_by_itself(self, run):
        @shared_task(expires=30)
        def add(): ...

        add.delay()
        message = Message.objects.get()
        assert message.deadline - message.enqueued_at == timedelta(seconds=30)

    def test_arguments_that_the_function_does_not_take_are_refused(self):
        @shared_task(name="shop.add", bind=True)
        def add(self, x, y): ...

        with pytest.raises(
            TypeError, match=r"The task shop.add cannot be called so: missing a required argument: 'y'"
        ):
            add.delay(1)
        assert not Message.objects.exists()

    def test_arguments_come_back_as_what_they_were(self, run, done):
        @shared_task
        def keep(*args, **kwargs):
            done.append((args, kwargs))
            return {"args": args}

        values = (
            datetime(2027, 1, 2, 3, tzinfo=UTC), date(2027, 1, 2), time(3, 4), Decimal("1.20"), uuid4(),
            b"\xff", [1, {"a": None}],
        )  # fmt: skip
        result = keep.delay(*values, subject=gettext_lazy("Hello"), numbers={1: (2, 3)})
        run()

        assert done == [(values, {"subject": "Hello", "numbers": {"1": [2, 3]}})]
        assert result.get(timeout=0) == {"args": list(values)}

    def test_what_json_cannot_hold_is_refused_in_a_sentence(self):
        @shared_task(name="shop.add")
        def add(x): ...

        with pytest.raises(
            InvalidMessage, match=r"A call of shop.add cannot be sent as JSON: it has an object of the "
        ):
            add.delay(Effect(n=1))
        with pytest.raises(InvalidMessage, match="JSON has no NaN"):
            add.delay(float("nan"))

    def test_no_argument_is_in_what_a_refusal_says_and_carries(self):
        @shared_task(name="shop.add")
        def add(secret): ...

        canary = "5up3r-s3cret"
        calls = [
            lambda: add.delay([canary, Effect(n=1)]),
            lambda: add.delay([canary, float("nan")]),
            lambda: add.delay(canary, canary),
            lambda: add.apply_async((canary,), headers={"token": canary}),
        ]
        for call in calls:
            with pytest.raises((InvalidMessage, TypeError, UnsupportedCelery)) as caught:
                call()
            assert canary not in str(caught.value)
            assert "send" not in {frame.name for frame in caught.traceback}

    def test_a_message_that_other_code_enqueues_may_leave_out_what_is_empty(self, run, done):
        @shared_task(name="shop.add")
        def add(x=7):
            done.append(x)

        for payload in (None, {}, {"args": [1]}, {"kwargs": {"x": 2}}):
            enqueue("celery:shop.add", payload)
        run()

        assert sorted(done) == [1, 2, 7, 7]

    def test_a_payload_that_is_no_call_is_a_dead_letter_at_once(self, run):
        shared_task(name="shop.add")(lambda: None)
        enqueue("celery:shop.add", [1, 2])
        run()

        (dead,) = ArchivedMessage.objects.all()
        assert dead.outcome == "dead"
        assert "The payload of a task is" in dead.errors[0]["message"]


class TestFailures:
    def test_an_exception_is_final(self, run, done):
        @shared_task
        def fail():
            done.append("ran")
            raise LookupError("no such thing")

        result = fail.delay()
        run()

        assert (done, result.state) == (["ran"], "FAILURE")
        with pytest.raises(LookupError, match="no such thing"):
            result.get(timeout=0)
        assert ArchivedMessage.objects.get().error_class == "LookupError"

    @pytest.mark.parametrize(
        ("options", "attempts"), [({}, 4), ({"max_retries": 0}, 1), ({"max_retries": None}, 32_000),
        ({"retry_kwargs": {"max_retries": 5}}, 6)],
    )  # fmt: skip
    def test_so_many_attempts_are_allowed(self, options, attempts):
        @shared_task(**options)
        def fail(): ...

        fail.delay()
        assert Message.objects.get().max_attempts == attempts

    def test_retries_by_hand(self, run, done):
        @shared_task(bind=True, max_retries=2, default_retry_delay=0)
        def fetch(self):
            done.append(self.request.retries)
            try:
                raise LookupError("away")
            except LookupError as error:
                self.retry(exc=error)

        result = fetch.delay()
        run()

        assert done == [0, 1, 2]
        assert isinstance(result.result, LookupError)
        entries = ArchivedMessage.objects.get().errors
        assert [entry["class"].rpartition(".")[2] for entry in entries] == ["Retry", "Retry", "LookupError"]
        assert entries[0]["message"] == "Retry in 0s: LookupError('away')"
        assert "LookupError: away" in entries[0]["traceback"]

    def test_after_the_last_retry_without_a_reason(self, run):
        @shared_task(bind=True, max_retries=1, name="shop.fetch")
        def fetch(self):
            self.retry(countdown=0)

        result = fetch.delay()
        run()

        assert isinstance(result.result, MaxRetriesExceededError)
        assert str(result.result) == f"Can't retry shop.fetch[{result.id}]"

    def test_a_retry_may_allow_more_and_fewer_than_the_task(self, run, done):
        @shared_task(bind=True, max_retries=1)
        def fetch(self, limit):
            done.append(limit)
            self.retry(countdown=0, max_retries=limit)

        fetch.delay(3)
        run()
        assert done == [3] * 4

        done.clear()
        fetch.delay(0)
        run()
        assert done == [0]

    def test_a_retry_waits(self):
        @shared_task(bind=True)
        def fetch(self, **when):
            self.retry(**when)

        for when in ({}, {"countdown": 60}, {"eta": timezone.now() + timedelta(hours=1)}):
            fetch.delay(**when)
        before = timezone.now()
        testing.drain()

        rows = Message.objects.order_by("pk")
        waits = [(row.visible_at - before).total_seconds() for row in rows]
        assert [AsyncResult(row.pk).state for row in rows] == ["PENDING"] * 3  # numbers are no ids
        assert waits == [pytest.approx(180, abs=30), pytest.approx(60, abs=30), pytest.approx(3600, abs=30)]

    def test_a_retry_that_is_not_thrown_counts_whatever_the_task_then_does(self, run, done):
        @shared_task(bind=True)
        def fetch(self, fails):
            done.append(self.request.retries)
            if self.request.retries == 0:
                self.retry(countdown=0, throw=False)
                if fails:
                    raise LookupError
            return "done"

        results = [fetch.delay(fails) for fails in (False, True)]
        run()

        assert sorted(done) == [0, 0, 1, 1]
        assert [result.get(timeout=0) for result in results] == ["done", "done"]

    def test_exceptions_that_are_retried_and_those_that_are_not(self, run, done):
        @shared_task(
            autoretry_for=[LookupError], dont_autoretry_for=[KeyError], max_retries=2, default_retry_delay=0
        )
        def fetch(kind):
            done.append(kind)
            raise {"index": IndexError, "key": KeyError, "value": ValueError}[kind](kind)

        results = [fetch.delay(kind) for kind in ("index", "key", "value")]
        run()

        assert sorted(done) == ["index", "index", "index", "key", "value"]
        assert [type(result.result) for result in results] == [IndexError, KeyError, ValueError]

    @pytest.mark.parametrize(
        ("options", "retries", "low", "high"),
        [
            ({}, 5, 0, 32), ({"retry_jitter": False}, 5, 32, 32), ({"retry_jitter": False}, 20, 600, 600),
            ({"retry_jitter": False, "retry_backoff": 7}, 1, 14, 14),
            ({"retry_jitter": False, "retry_backoff_max": 10}, 31_000, 10, 10),
        ],
    )  # fmt: skip
    def test_the_pauses_grow_as_celerys_do(self, options, retries, low, high):
        from django_letsgo_worker.contrib.celery import requests

        @shared_task(**{"retry_backoff": True, **options})
        def fetch(): ...

        with requests.running(requests.Request(retries=retries)):
            pauses = [fetch.pause_before_retry() for _ in range(20)]
        assert low <= min(pauses) <= max(pauses) <= high

    def test_ignore_ends_a_task_and_reject_makes_a_dead_letter(self, run):
        @shared_task
        def stop(error):
            raise {"ignore": Ignore, "reject": Reject}[error]("enough")

        results = [stop.delay(error) for error in ("ignore", "reject")]
        run()

        assert [result.state for result in results] == ["SUCCESS", "FAILURE"]
        assert ArchivedMessage.objects.get(outcome="dead").errors[0]["message"] == "enough"

    def test_a_rejected_message_may_come_again_without_using_an_attempt(self, done):
        @shared_task(bind=True, max_retries=0)
        def later(self):
            done.append(self.request.retries)
            if len(done) == 1:
                raise Reject("not now", requeue=True)

        result = later.delay()
        testing.drain()
        testing.drain(now=timezone.now() + timedelta(seconds=5))

        assert (done, result.state) == ([0, 0], "SUCCESS")

    def test_a_retry_of_other_arguments_is_refused(self, run):
        @shared_task(bind=True)
        def fetch(self):
            self.retry(args=(1,))

        result = fetch.delay()
        run()

        assert result.failed()
        assert "A retry of" in ArchivedMessage.objects.get().errors[0]["message"]

    def test_what_a_task_returns_must_be_json(self, run):
        @shared_task(name="shop.add")
        def add():
            return Effect(n=1)

        add.delay()
        run()

        message = ArchivedMessage.objects.get().errors[0]["message"]
        assert message.startswith("The return value of shop.add cannot be sent as JSON: it has an object of")

    def test_a_type_follows_a_death(self, run, handle):
        dead = []
        handle("shop:dead")(lambda delivery: dead.append(delivery.payload["type"]))

        @shared_task(name="shop.fail", on_dead="shop:dead")
        def fail():
            raise LookupError

        fail.delay()
        run()
        assert dead == ["celery:shop.fail"]

    def test_an_atomic_task_writes_all_or_nothing(self, run):
        @shared_task(atomic=True)
        def write(fails):
            Effect.objects.create(n=1, receipt=0)
            if fails:
                raise LookupError

        write.delay(True)
        run()
        assert not Effect.objects.exists()

        write.delay(False)
        run()
        assert Effect.objects.count() == 1


class TestTheRequest:
    def test_it_says_which_message_it_is(self, run, done):
        @shared_task(bind=True, name="shop.who", queue="slow", priority=4)
        def who(self, *args, **kwargs):
            request = self.request
            done.append(
                (
                    request.id,
                    request.task,
                    list(request.args),
                    request.kwargs,
                    request.retries,
                    request.root_id,
                )
            )
            info = request.delivery_info
            done.append((info["routing_key"], info["priority"], info["redelivered"], request.is_eager))
            done.append(request.delivery.message_id)

        result = who.delay(1, two=2)
        run()

        assert done == [
            (result.id, "shop.who", [1], {"two": 2}, 0, result.id), ("slow", 4, False, False),
            result.message_id,
        ]  # fmt: skip

    def test_it_ends_with_the_task(self, run, done):
        @shared_task(bind=True)
        def inner(self):
            return self.request.id

        @shared_task(bind=True)
        def outer(self):
            done.append((inner(), inner.apply().get(), self.request.id))

        result = outer.delay()
        run()

        ((called, applied, own),) = done
        assert (called, own) == (None, result.id)
        assert applied.startswith("eager-")
        assert outer.request.id is None


class TestHooksAndSignals:
    def test_a_base_class_has_defaults_and_is_told(self, run, done):
        class Told(Task):
            max_retries = 1
            default_retry_delay = 0
            autoretry_for = (IndexError,)

            def before_start(self, task_id, args, kwargs):
                done.append(("before", task_id, args))

            def on_retry(self, exc, task_id, args, kwargs, einfo):
                done.append(("retry", exc))

            def on_failure(self, exc, task_id, args, kwargs, einfo):
                done.append(("failure", exc, "Traceback" in str(einfo)))

            def after_return(self, status, retval, task_id, args, kwargs, einfo):
                done.append(("after", status, einfo is None))

        @shared_task(base=Told)
        def fetch(fails):
            if fails:
                raise IndexError("away")

        result = fetch.delay(True)
        run()

        assert [(line[0], str(line[1])) for line in done] == [
            ("before", result.id), ("retry", "away"), ("after", "RETRY"),
            ("before", result.id), ("failure", "away"), ("after", "FAILURE"),
        ]  # fmt: skip
        done.clear()
        fetch.delay(False)
        run()
        assert done[1:] == [("after", "SUCCESS", True)]

    def test_signals_are_sent_around_a_task(self, run, done):
        @shared_task(bind=True, default_retry_delay=0, max_retries=1)
        def fetch(self, kind):
            if kind == "retry":
                self.retry()
            if kind == "failure":
                raise LookupError
            return 7

        names = ("task_prerun", "task_success", "task_retry", "task_failure", "task_postrun")

        def hear(signal, sender, **facts):
            name = next(name for name in names if getattr(signals, name) is signal)
            done.append((name, facts.get("state", facts.get("result"))))
            assert sender is fetch

        for name in names:
            getattr(signals, name).connect(hear, sender=fetch)
        try:
            for kind in ("success", "failure", "retry"):
                fetch.delay(kind)
                run()
        finally:
            for name in names:
                getattr(signals, name).disconnect(hear, sender=fetch)

        before, retried = ("task_prerun", None), [("task_retry", None), ("task_postrun", "RETRY")]
        failed = [("task_failure", None), ("task_postrun", "FAILURE")]
        assert done == [
            before, ("task_success", 7), ("task_postrun", "SUCCESS"),
            before, *failed, before, *retried, before, *failed,
        ]  # fmt: skip

    def test_a_receiver_that_fails_fails_no_task(self, run):
        @shared_task
        def add():
            return 1

        def broken(**kwargs):
            raise LookupError

        signals.task_prerun.connect(broken)
        try:
            result = add.delay()
            run()
        finally:
            signals.task_prerun.disconnect(broken)
        assert result.get(timeout=0) == 1
