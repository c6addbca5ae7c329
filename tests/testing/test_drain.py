"""testing.drain(): the same as a worker does, on the caller's thread, in a transaction or in autocommit."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.utils import timezone, translation

from django_letsgo_worker import LetsGoError, Reject, Retry, Snooze, enqueue, enqueue_many, messages, queues
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.messages import find, pause_type, paused_types, resume_type
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import (
    delivery_finished,
    delivery_started,
    lease_lost,
    message_died,
    unknown_type,
)
from django_letsgo_worker.testing import drain
from tests.testapp.models import Effect, Entry

IN_A_TRANSACTION = pytest.param(True, marks=pytest.mark.django_db, id="in a transaction")
IN_AUTOCOMMIT = pytest.param(False, marks=pytest.mark.django_db(transaction=True), id="in autocommit")
pytestmark = pytest.mark.parametrize("inside", [IN_A_TRANSACTION, IN_AUTOCOMMIT], indirect=True)


@pytest.fixture(autouse=True)
def inside(request):
    """Whether the test runs inside a transaction, as a TestCase does, or as a TransactionTestCase does."""
    assert connection.in_atomic_block == request.param
    return request.param


@pytest.fixture
def heard():
    """Record signals as (name, facts); they are told apart by the name that they were asked for under."""
    calls, receivers = [], []

    def listen(**signals):
        for name, signal in signals.items():

            def receive(sender, signal, name=name, **facts):
                calls.append((name, facts))

            receivers.append((signal, receive))
            signal.connect(receive)
        return calls

    yield listen
    for signal, receive in receivers:
        signal.disconnect(receive)


def now_plus(**length):
    return engine_for("default").clock() + timedelta(**length)


class TestWhatIsHandled:
    def test_all_that_is_due_is_handled_and_counted(self, handle):
        seen = []
        handle("t:it")(lambda delivery: seen.append(delivery.payload))
        for n in range(3):
            enqueue("t:it", n)

        assert drain() == 3
        assert sorted(seen) == [0, 1, 2]
        assert (Message.objects.count(), ArchivedMessage.objects.count()) == (0, 3)

    def test_nothing_due_is_no_delivery(self):
        assert drain() == 0

    def test_what_a_handler_enqueues_is_handled_too(self, handle):
        seen = []

        @handle("t:first")
        def first(delivery):
            enqueue("t:second", delivery.payload + 1)

        handle("t:second")(lambda delivery: seen.append(delivery.payload))
        enqueue("t:first", 1)

        assert drain() == 2
        assert seen == [2]

    def test_priority_comes_first_and_then_age(self, handle):
        seen = []
        handle("t:it")(lambda delivery: seen.append(delivery.payload))
        past = now_plus(minutes=-5)
        enqueue("t:it", "third", queue="a", visible_at=past + timedelta(seconds=2))
        enqueue("t:it", "second", queue="b", visible_at=past + timedelta(seconds=1))
        enqueue("t:it", "last", queue="a", priority=-5, visible_at=past)
        enqueue("t:it", "first", queue="c", priority=5)

        drain()

        assert seen == ["first", "second", "third", "last"]

    def test_something_more_urgent_that_a_handler_enqueues_goes_before_the_rest(self, handle):
        seen = []

        @handle("t:it")
        def it(delivery):
            seen.append(delivery.payload)
            if delivery.payload == "first":
                enqueue("t:it", "urgent", priority=50)

        past = now_plus(minutes=-5)
        enqueue("t:it", "first", visible_at=past)
        enqueue("t:it", "second", visible_at=past + timedelta(seconds=1))

        drain()

        assert seen == ["first", "urgent", "second"]

    def test_only_the_named_queues_are_served(self, handle):
        handle("t:it")(lambda delivery: None)
        wanted, other = enqueue("t:it", queue="a"), enqueue("t:it", queue="b")

        assert drain(["a"]) == 1
        assert find(wanted.pk).outcome == "succeeded"
        assert find(other.pk).attempts == 0

    def test_a_paused_queue_is_left_alone(self, handle):
        handle("t:it")(lambda delivery: None)
        enqueue("t:it", queue="a")
        queues.pause("a")

        assert drain() == 0
        queues.resume("a")
        assert drain() == 1

    def test_a_paused_type_is_left_alone_however_many_stand_first(self, handle, caplog):
        handle("t:held")(lambda delivery: None)
        handle("t:it")(lambda delivery: pause_type("t:it"))
        pause_type("t:held")
        enqueue_many([("t:held", n) for n in range(25)])
        enqueue_many([("t:it", n) for n in range(2)])

        assert drain() == 1
        resume_type("t:held")
        assert drain() == 25
        assert set(paused_types()) == {"t:it"}
        assert "unknown" not in caplog.text

    def test_a_queue_that_a_handler_pauses_is_left_alone_at_once(self, handle):
        handle("t:it")(lambda delivery: queues.pause("default"))
        enqueue("t:it")
        enqueue("t:it")

        assert drain() == 1
        assert Message.objects.get().attempts == 0

    def test_unknown_types_are_left_and_said_however_many_stand_first(self, handle, heard, caplog):
        handle("t:it")(lambda delivery: None)
        calls = heard(unknown=unknown_type)
        past = now_plus(minutes=-5)
        for n in range(25):
            enqueue("t:stranger", visible_at=past + timedelta(seconds=n))
        for _ in range(15):
            # More than one look, at one moment.
            enqueue("t:stranger", visible_at=past + timedelta(seconds=30))
        enqueue("t:it", visible_at=past + timedelta(seconds=40))

        assert drain() == 1
        assert Message.objects.filter(type="t:stranger", attempts=0).count() == 40
        assert [(facts["queue"], facts["type"]) for _, facts in calls] == [("default", "t:stranger")]
        assert "unknown type t:stranger" in caplog.text

    def test_where_chooses_the_handler(self, handle, caplog):
        seen = []
        handle("t:it", where={"kind": "a"})(lambda delivery: seen.append("narrow"))
        enqueue("t:it", {"kind": "a"})
        other = enqueue("t:it", {"kind": "b"})

        with caplog.at_level("INFO", "django_letsgo_worker"):
            assert drain() == 2
        assert seen == ["narrow"]
        assert find(other.pk).outcome == "succeeded"
        assert "No handler of t:it matches message" in caplog.text

    def test_a_handler_is_given_what_a_worker_would_give_it(self, handle):
        given = []
        handle("t:it")(lambda delivery: given.append(delivery))
        message = enqueue("t:it", {"n": 1}, headers={"trace": "x"}, queue="q", priority=3, max_attempts=2)

        drain()

        (delivery,) = given
        assert (delivery.message_id, delivery.type, delivery.payload) == (message.pk, "t:it", {"n": 1})
        assert (delivery.headers, delivery.queue, delivery.priority) == ({"trace": "x"}, "q", 3)
        assert (delivery.attempt, delivery.max_attempts, delivery.receipt) == (1, 2, 1)
        assert delivery.enqueued_at == message.enqueued_at
        assert not (delivery.is_last_attempt or delivery.should_stop or delivery.lease_lost)

    def test_it_runs_on_the_callers_thread_and_connection(self, handle):
        seen = []
        handle("t:it")(lambda delivery: seen.append((threading.get_ident(), connection.connection)))
        enqueue("t:it")

        before = connection.connection
        drain()

        assert seen == [(threading.get_ident(), before)]
        assert connection.connection is before

    def test_an_async_handler_runs_on_the_callers_connection(self, handle):
        @handle("t:it")
        async def it(delivery):
            await Entry.objects.acreate(n=delivery.payload, receipt=1, attempt=1, process=0)
            delivery.extend(60)
            return await Entry.objects.acount()

        message = enqueue("t:it", 7)

        assert drain() == 1
        assert (find(message.pk).outcome, find(message.pk).result) == ("succeeded", 1)
        assert Entry.objects.get().n == 7


class TestOutcomes:
    @pytest.mark.parametrize("atomic", [False, True])
    def test_a_result_is_kept(self, handle, atomic):
        handle("t:it", atomic=atomic)(lambda delivery: {"answer": 42})
        message = enqueue("t:it")

        drain()

        row = find(message.pk)
        assert (row.outcome, row.result, row.attempts, row.receipt) == ("succeeded", {"answer": 42}, 1, 1)
        assert row.first_started_at <= row.finished_at

    @pytest.mark.parametrize("atomic", [False, True])
    @pytest.mark.parametrize(
        "error", [ValueError, SystemExit, KeyboardInterrupt, GeneratorExit, BaseException]
    )
    def test_whatever_a_handler_raises_is_a_failed_attempt_that_waits(self, handle, atomic, error):
        def it(delivery):
            raise error("no")

        handle("t:it", atomic=atomic, backoff=[60])(it)
        message = enqueue("t:it", max_attempts=2)

        assert drain() == 1
        row = find(message.pk)
        assert (row.attempts, row.leased_by, row.errors[0]["class"]) == (1, None, error.__name__)
        assert row.errors[0]["traceback"].count("in it\n") == 1
        assert drain() == 0, "a retry waits"

    @pytest.mark.parametrize("atomic", [False, True])
    def test_moving_now_brings_the_retries_one_by_one(self, handle, atomic):
        attempts = []

        def it(delivery):
            attempts.append(delivery.attempt)
            raise ValueError("no")

        handle("t:it", atomic=atomic, backoff=[60], max_attempts=3)(it)
        message = enqueue("t:it")
        start = now_plus(seconds=1)

        assert drain(now=start) == 1
        assert drain(now=start + timedelta(seconds=59)) == 0
        assert drain(now=start + timedelta(seconds=60)) == 1
        assert drain(now=start + timedelta(hours=2)) == 1
        assert attempts == [1, 2, 3]
        dead = find(message.pk)
        assert (dead.outcome, dead.attempts, len(dead.errors)) == ("dead", 3, 3)
        assert dead.finished_at == start + timedelta(hours=2)

    def test_a_delay_has_passed_when_now_is_moved(self, handle):
        handle("t:it")(lambda delivery: enqueue("t:it", None, delay=3600) if not delivery.payload else None)
        enqueue("t:it", "last", delay=86_400)

        assert drain() == 0
        assert drain(now=now_plus(days=2)) == 1

    def test_retry_counts_and_says_when(self, handle):
        def it(delivery):
            raise Retry(delay=600, reason="busy")

        handle("t:it")(it)
        message = enqueue("t:it")
        start = now_plus(seconds=1)

        drain(now=start)

        row = find(message.pk)
        assert (row.attempts, row.visible_at) == (1, start + timedelta(seconds=600))
        assert row.errors[0]["message"] == "busy"

    def test_snooze_uses_no_attempt(self, handle):
        def it(delivery):
            raise Snooze(600)

        handle("t:it")(it)
        message = enqueue("t:it")

        assert drain() == 1
        row = find(message.pk)
        assert (row.attempts, row.errors, row.receipt) == (0, [], 1)

    @pytest.mark.parametrize("atomic", [False, True])
    def test_reject_makes_a_dead_letter_and_says_so(self, handle, heard, atomic):
        def it(delivery):
            raise Reject("not for us")

        handle("t:it", atomic=atomic)(it)
        calls = heard(died=message_died)
        message = enqueue("t:it")

        drain()

        row = find(message.pk)
        assert (row.outcome, row.errors[0]["message"]) == ("dead", "not for us")
        ((_, facts),) = calls
        assert (facts["message_id"], facts["errors"][0]["message"]) == (message.pk, "not for us")
        assert facts["delivery"].message_id == message.pk

    def test_a_deadline_that_has_passed_is_not_run_and_not_counted(self, handle):
        handle("t:it")(lambda delivery: pytest.fail("too late"))
        message = enqueue("t:it", deadline=timedelta(minutes=5))

        assert drain(now=now_plus(minutes=6)) == 0
        assert (find(message.pk).outcome, find(message.pk).attempts) == ("expired", 0)

    def test_a_retry_beyond_the_deadline_is_expired(self, handle):
        def it(delivery):
            raise Retry(delay=600)

        handle("t:it")(it)
        message = enqueue("t:it", deadline=timedelta(minutes=5))

        assert drain() == 1
        assert (find(message.pk).outcome, len(find(message.pk).errors)) == ("expired", 1)

    def test_a_worn_out_message_is_a_dead_letter_that_was_not_run(self, handle, heard):
        handle("t:it")(lambda delivery: pytest.fail("its workers died"))
        calls = heard(died=message_died)
        message = enqueue("t:it", max_attempts=2)
        Message.objects.filter(pk=message.pk).update(attempts=2, deaths=2)

        assert drain() == 0
        row = find(message.pk)
        assert (row.outcome, row.attempts) == ("dead", 2)
        assert row.errors[0]["message"] == "the worker died 2 times while handling it"
        assert [facts["delivery"] for _, facts in calls] == [None]

    def test_a_suspect_runs_like_any_other(self, handle):
        handle("t:it")(lambda delivery: None)
        suspect = enqueue("t:it", max_attempts=9)
        Message.objects.filter(pk=suspect.pk).update(attempts=3, deaths=3)
        enqueue("t:it")

        assert drain() == 2

    def test_more_time_counts_from_now_too(self, handle):
        seen = []

        @handle("t:it")
        def it(delivery):
            delivery.extend(90)
            seen.append(Message.objects.get().visible_at)

        enqueue("t:it")
        start = now_plus(hours=1)
        drain(now=start)

        assert seen == [start + timedelta(seconds=90)]

    def test_a_sync_handler_that_is_done_in_time_is_told_nothing(self, handle):
        given = []

        @handle("t:it", timeout=3600)
        def it(delivery):
            given.append(delivery)

        before = threading.active_count()
        enqueue("t:it")
        drain()

        assert not given[0].should_stop
        assert threading.active_count() == before, "nobody waits for the hour to pass"

    def test_an_async_handler_is_cut_off_by_its_timeout(self, handle):
        import asyncio

        @handle("t:it", timeout=0.01)
        async def it(delivery):
            await asyncio.Event().wait()

        message = enqueue("t:it")
        drain()

        assert find(message.pk).errors[0]["class"] == "TimeoutError"

    def test_a_sync_handler_is_told_that_its_time_is_up_and_its_result_counts(self, handle):
        @handle("t:it", timeout=0.01)
        def it(delivery):
            while not delivery.should_stop:
                pass
            return "stopped"

        message = enqueue("t:it")
        drain()

        assert find(message.pk).result == "stopped"

    @pytest.mark.parametrize("atomic", [False, True])
    def test_a_handler_that_cancels_its_own_message_has_lost_it(self, handle, heard, atomic):
        handle("t:it", atomic=atomic)(lambda delivery: messages.cancel(delivery.message_id))
        calls = heard(lost=lease_lost, finished=delivery_finished)
        message = enqueue("t:it")

        drain()

        assert [name for name, _ in calls] == ["lost"]
        # The transaction of an atomic handler is taken back, and the cancellation with it.
        assert getattr(find(message.pk), "outcome", "live") == ("live" if atomic else "cancelled")

    def test_an_outcome_that_is_not_kept_leaves_no_row(self, handle, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0}
        handle("t:it")(lambda delivery: None)
        enqueue("t:it")

        drain()

        assert (Message.objects.count(), ArchivedMessage.objects.count()) == (0, 0)


class TestEffects:
    def test_an_atomic_handler_that_fails_leaves_no_rows_and_no_messages(self, handle):
        def it(delivery):
            Effect.objects.create(n=1, receipt=1)
            enqueue("t:more")
            raise ValueError("no")

        handle("t:it", atomic=True)(it)
        Effect.objects.create(n=0, receipt=0)
        enqueue("t:it")

        drain()

        assert [effect.n for effect in Effect.objects.all()] == [0]
        assert [message.type for message in Message.objects.all()] == ["t:it"]

    def test_what_a_plain_handler_wrote_before_it_failed_stays(self, handle):
        def it(delivery):
            Effect.objects.create(n=1, receipt=1)
            raise ValueError("no")

        handle("t:it")(it)
        enqueue("t:it")

        drain()

        assert Effect.objects.get().n == 1

    def test_the_next_delivery_notices_nothing_of_zone_and_language(self, handle):
        seen = []

        @handle("t:it")
        def it(delivery):
            seen.append((timezone.get_current_timezone_name(), translation.get_language()))
            timezone.activate("Asia/Tokyo")
            translation.activate("de")

        before = (timezone.get_current_timezone_name(), translation.get_language())
        enqueue("t:it")
        enqueue("t:it")
        drain()

        assert seen == [before, before]
        assert (timezone.get_current_timezone_name(), translation.get_language()) == before

    def test_it_says_that_a_delivery_begins_and_ends(self, handle, heard):
        handle("t:it")(lambda delivery: "done")
        calls = heard(started=delivery_started, finished=delivery_finished)
        message = enqueue("t:it")

        drain()

        (started, begin), (finished, end) = calls
        assert (started, finished) == ("started", "finished")
        assert begin["delivery"].message_id == end["delivery"].message_id == message.pk
        assert (end["outcome"], end["result"], end["exception"]) == ("succeeded", "done", None)

    def test_a_failure_is_logged_with_its_traceback(self, handle, caplog):
        def it(delivery):
            raise ValueError("for the log")

        handle("t:it")(it)
        enqueue("t:it", {"secret": "of the payload"})
        drain()

        assert "ValueError: for the log" in caplog.text
        assert "of the payload" not in caplog.text


class TestBounds:
    def test_a_handler_that_enqueues_itself_for_ever_is_an_error_that_names_it(self, handle):
        seen = []

        @handle("t:again")
        def again(delivery):
            seen.append(delivery.message_id)
            enqueue("t:again")

        enqueue("t:again")

        with pytest.raises(LetsGoError, match=r"has run 20 deliveries, and one of the type 't:again'"):
            drain(at_most=20)
        assert len(seen) == 20
        waiting = Message.objects.get()
        assert (waiting.attempts, waiting.leased_by) == (0, None), "the last claim was taken back"

    def test_snoozing_without_a_delay_for_ever_is_one_too(self, handle):
        def it(delivery):
            raise Snooze(0)

        handle("t:it")(it)
        enqueue("t:it")

        with pytest.raises(LetsGoError, match="snooze itself without a delay"):
            drain(at_most=20)

    def test_exactly_as_many_as_are_allowed_are_no_error(self, handle):
        handle("t:it")(lambda delivery: None)
        for _ in range(5):
            enqueue("t:it")

        assert drain(at_most=5) == 5

    def test_the_bound_is_ten_thousand(self):
        import inspect

        assert inspect.signature(drain).parameters["at_most"].default == 10_000

    @pytest.mark.parametrize(
        ("queues", "now", "sentence"),
        [
            ("orders", None, r"a list of names, such as \['orders'\]"),
            (["a b"], None, "The queue 'a b' is refused"),
            (None, datetime(2026, 5, 1), "now needs a time zone"),
            (None, "tomorrow", "now is an aware datetime"),
        ],
    )
    def test_bad_input_gets_a_sentence(self, queues, now, sentence):
        with pytest.raises(InvalidMessage, match=sentence):
            drain(queues, now=now)

    def test_a_moment_of_another_zone_is_the_same_moment(self, handle):
        from zoneinfo import ZoneInfo

        handle("t:it")(lambda delivery: None)
        enqueue("t:it", visible_at=datetime(2099, 5, 1, 10, tzinfo=UTC))

        assert drain(now=datetime(2099, 5, 1, 11, 59, tzinfo=ZoneInfo("Europe/Berlin"))) == 0
        assert drain(now=datetime(2099, 5, 1, 12, 0, tzinfo=ZoneInfo("Europe/Berlin"))) == 1
