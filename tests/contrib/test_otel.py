"""contrib.otel with the real SDK and an exporter into memory: what arrives, attribute by attribute."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.checks import run_checks
from django.core.management import call_command
from django.db import DatabaseError, connection
from django.test import override_settings

from django_letsgo_worker import (
    Reject,
    Retry,
    Snooze,
    __version__,
    aenqueue,
    context,
    enqueue,
    enqueue_many,
    handler,
    registry,
    schedules,
)
from django_letsgo_worker.contrib.otel import apps
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import Message
from django_letsgo_worker.testing import drain, fire_due
from tests.support import wait_until
from tests.taskapp import TASKS
from tests.worker.test_refused_outcomes import CREATE, DROP

trace = pytest.importorskip("opentelemetry.trace")
sdk = pytest.importorskip("opentelemetry.sdk.trace")

from opentelemetry.sdk.trace.export import SimpleSpanProcessor  # noqa: E402
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter  # noqa: E402
from opentelemetry.trace import SpanKind, StatusCode  # noqa: E402

from django_letsgo_worker.contrib.otel import spans as ours  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True)

EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="session")
def provider():
    """The one of this process: OpenTelemetry lets nobody set a second one."""
    if not isinstance(trace.get_tracer_provider(), sdk.TracerProvider):
        trace.set_tracer_provider(sdk.TracerProvider())
    trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(EXPORTER))
    return trace.get_tracer_provider()


@pytest.fixture
def exported(provider, settings, monkeypatch):
    """Return the spans that have ended, in that order; with a name, the one of this name."""
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(context, "_carriers", dict(context._carriers))
    monkeypatch.setattr(context, "_logged", set())
    ours.connect(apps.NAME)
    settings.LETSGO_WORKER = {"CONTEXT": ["trace", "correlation_id"], "SCHEDULE": ""}
    EXPORTER.clear()

    def exported(name=None):
        found = EXPORTER.get_finished_spans()
        if name is None:
            return list(found)
        (one,) = [span for span in found if span.name == name]
        return one

    yield exported
    ours._ended.clear()


@pytest.fixture(params=["worker", "drain"])
def work(request):
    """Handle all that is due; the worker has one seat, so that its deliveries share a thread."""
    return (
        drain
        if request.param == "drain"
        else lambda: call_command("runworker", until_empty=True, concurrency=1)
    )


@contextlib.contextmanager
def a_request(name="POST /orders"):
    """A span as that of a web framework's instrumentation."""
    with trace.get_tracer("tests").start_as_current_span(name, kind=SpanKind.SERVER) as span:
        yield span


def is_child(span, parent):
    """Whether one span is the child of another, and of its trace."""
    return (span.context.trace_id, span.parent and span.parent.span_id) == (
        parent.get_span_context().trace_id,
        parent.get_span_context().span_id,
    )


def links_of(span):
    return [link.context.span_id for link in span.links]


SENT = {
    "messaging.system": "letsgo",
    "messaging.operation.name": "enqueue",
    "messaging.operation.type": "send",
}


class TestAnEnqueue:
    def test_has_a_span_with_all_that_the_conventions_ask_for(self, exported):
        with a_request() as request:
            message = enqueue("t:order", {"card": "4242-canary"}, queue="orders")

        span = exported("enqueue orders")
        assert span.kind is SpanKind.PRODUCER
        assert span.attributes == {
            **SENT,
            "messaging.destination.name": "orders",
            "messaging.message.id": str(message.pk),
            "letsgo.message.type": "t:order",
        }
        assert (span.status.status_code, span.events, span.links) == (StatusCode.UNSET, (), ())
        assert is_child(span, request)
        scope = span.instrumentation_scope
        assert (scope.name, scope.version) == ("django_letsgo_worker", __version__)
        ids = f"{span.context.trace_id:032x}-{span.context.span_id:016x}"
        sent = f"00-{ids}-{span.context.trace_flags:02x}"
        assert message.headers == {"traceparent": sent}
        assert find(message.pk).headers == message.headers
        assert "canary" not in span.to_json()

    def test_without_a_request_begins_a_trace(self, exported):
        enqueue("t:order")
        enqueue("t:order")
        first, second = exported()
        assert (first.parent, second.parent) == (None, None)
        assert first.context.trace_id != second.context.trace_id

    def test_of_async_code_is_in_its_trace(self, exported):
        async def view():
            with a_request() as request:
                await aenqueue("t:order")
            return request

        request = async_to_sync(view)()
        assert is_child(exported("enqueue default"), request)

    def test_surrounds_the_insert_so_that_statements_are_its_children(self, exported):
        seen = []

        def note(execute, *args):
            seen.append(trace.get_current_span())
            return execute(*args)

        with connection.execute_wrapper(note):
            enqueue("t:order")

        assert {span.get_span_context().span_id for span in seen} == {exported()[0].context.span_id}
        assert not trace.get_current_span().get_span_context().is_valid

    def test_of_a_key_that_lives_says_that_nothing_was_created(self, exported):
        first = enqueue("t:order", unique_key="one")
        enqueue("t:order", unique_key="one")
        made, found = exported()
        assert "letsgo.created" not in made.attributes
        assert found.attributes["letsgo.created"] is False
        assert found.attributes["messaging.message.id"] == str(first.pk)

    def test_that_the_database_refuses_is_an_error(self, exported):
        facts = {"n": 8, "table": Message._meta.db_table, "event": "INSERT", "when": "NEW.priority = 7"}
        with connection.cursor() as cursor:
            for statement in CREATE[connection.vendor]:
                cursor.execute(statement.format(**facts))
        try:
            with pytest.raises(DatabaseError):
                enqueue("t:order", {"card": "4242-canary"}, priority=7)
            with pytest.raises(DatabaseError):
                enqueue_many([("t:order", "4242-canary")], priority=7)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(DROP[connection.vendor].format(**facts))

        for span in exported():
            assert span.status.status_code is StatusCode.ERROR
            assert span.attributes["error.type"].startswith("django.db.utils.")
            (event,) = span.events
            assert event.name == "exception"
            assert "messaging.message.id" not in span.attributes
            assert "canary" not in span.to_json()

    def test_with_a_trace_of_its_own_in_the_headers_keeps_that_and_links_to_it(self, exported):
        given = f"00-{'a' * 32}-{'b' * 16}-01"
        message = enqueue("t:order", headers={"traceparent": given, "by": "ada"})
        assert message.headers == {"traceparent": given, "by": "ada"}
        assert links_of(exported("enqueue default")) == [int("b" * 16, 16)]

    def test_many_have_one_span_and_its_context(self, exported):
        with a_request() as request:
            ids = enqueue_many([("t:order", 1), ("t:order", 2)], queue="orders")

        span = exported("enqueue orders")
        assert span.attributes == {
            **SENT,
            "messaging.destination.name": "orders",
            "messaging.batch.message_count": 2,
            "letsgo.message.type": "t:order",
        }
        assert is_child(span, request)
        assert {find(pk).headers["traceparent"].split("-")[2] for pk in ids} == {
            f"{span.context.span_id:016x}"
        }

    def test_many_of_different_types_and_queues_say_neither(self, exported):
        enqueue_many(
            [
                {"type": "t:order", "queue": "orders", "headers": {"by": "ada"}},
                {"type": "t:mail", "queue": "mails", "unique_key": "one"},
            ]
        )
        span = exported("enqueue")
        assert span.attributes == {**SENT, "messaging.batch.message_count": 2}
        assert [sorted(message.headers) for message in Message.objects.order_by("type")] == [
            ["traceparent"],
            ["by", "traceparent"],
        ]

    def test_none_is_made_for_none(self, exported):
        assert enqueue_many([]) == []
        assert exported() == []

    def test_of_a_task_is_one_like_others(self, exported):
        with override_settings(TASKS=TASKS):
            from tests.taskapp import tasks

            tasks.echo.enqueue(5)
        span = exported()[0]
        assert span.attributes["letsgo.message.type"] == "letsgo:task:tests.taskapp.tasks.echo"
        assert Message.objects.get().headers["traceparent"].split("-")[2] == f"{span.context.span_id:016x}"

    def test_what_the_trackers_own_code_breaks_costs_no_message(self, exported, monkeypatch, caplog):
        monkeypatch.setattr(ours, "_facts_of_sent", None)
        assert enqueue("t:order").headers == {}
        assert [r.getMessage() for r in caplog.records if r.name == "django_letsgo_worker.context"] == [
            "The carrier 'trace' failed; what it carries is missing."
        ]


class TestASchedule:
    def test_each_planned_time_begins_a_trace_and_says_when_it_was_planned(self, exported, work):
        for name in ("hourly", "also hourly"):
            schedules.add(name, "@hourly", "t:report", queue="reports")
        handler("t:report")(lambda delivery: None)
        job = schedules.find("hourly")

        made = fire_due(until=job.next_run_at)

        sent = {span.attributes["letsgo.schedule"]: span for span in exported()}
        assert set(sent) == {"hourly", "also hourly"}
        assert len({span.context.trace_id for span in sent.values()}) == 2
        for message in made:
            span = sent[message.headers["schedule"]]
            assert (span.name, span.kind, span.parent) == ("enqueue reports", SpanKind.PRODUCER, None)
            assert span.attributes == {
                **SENT,
                "messaging.destination.name": "reports",
                "messaging.message.id": str(message.pk),
                "letsgo.message.type": "t:report",
                "letsgo.schedule": message.headers["schedule"],
                "letsgo.planned_at": job.next_run_at.isoformat(),
            }
            assert message.headers["traceparent"].split("-")[2] == f"{span.context.span_id:016x}"

        drain(now=job.next_run_at + timedelta(minutes=1))
        processed = [span for span in exported() if span.name == "process reports"]
        assert {span.attributes["letsgo.schedule"] for span in processed} == set(sent)
        assert {span.attributes["letsgo.planned_at"] for span in processed} == {job.next_run_at.isoformat()}
        assert all(is_child(span, sent[span.attributes["letsgo.schedule"]]) for span in processed)

    def test_a_run_by_hand_is_in_the_trace_of_who_asked(self, exported):
        schedules.add("nightly", "@daily", "t:report")
        with a_request() as request:
            schedules.run_now("nightly")
        span = exported("enqueue default")
        assert is_child(span, request)
        assert span.attributes["letsgo.schedule"] == "nightly"


def fail(delivery):
    raise ValueError("no hope")


async def fail_later(delivery):
    await asyncio.sleep(0)
    fail(delivery)


FAILING = {
    "plain": (fail, {}),
    "atomic": (fail, {"atomic": True}),
    "async": (fail_later, {}),
    "async behind a decorator": (lambda delivery: fail_later(delivery), {}),
}


class TestAnAttempt:
    @pytest.mark.parametrize("kind", ["plain", "atomic", "async"])
    def test_has_a_span_with_all_that_the_conventions_ask_for(self, exported, work, kind):
        async def handle_later(delivery):
            return None

        function = handle_later if kind == "async" else lambda delivery: None
        handler("t:order", queue="orders", max_attempts=5, atomic=kind == "atomic")(function)
        with context.correlation_id("4711"), a_request():
            message = enqueue("t:order", {"card": "4242-canary"})

        work()

        sent, span = exported("enqueue orders"), exported("process orders")
        assert span.kind is SpanKind.CONSUMER
        assert span.attributes == {
            "messaging.system": "letsgo",
            "messaging.operation.name": "process",
            "messaging.operation.type": "process",
            "messaging.destination.name": "orders",
            "messaging.message.id": str(message.pk),
            "messaging.message.conversation_id": "4711",
            "letsgo.message.type": "t:order",
            "letsgo.attempt": 1,
            "letsgo.max_attempts": 5,
            "letsgo.outcome": "succeeded",
        }
        assert (span.status.status_code, span.events) == (StatusCode.UNSET, ())
        assert is_child(span, sent)
        assert links_of(span) == [sent.context.span_id]
        assert "canary" not in span.to_json()

    @pytest.mark.parametrize("kind", FAILING)
    @pytest.mark.parametrize(("attempts", "outcome"), [(2, "retry"), (1, "dead")])
    def test_that_fails_is_an_error_with_its_traceback_and_outcome(
        self, exported, work, kind, attempts, outcome
    ):
        function, options = FAILING[kind]
        handler("t:fails", backoff=[3600], **options)(function)
        enqueue("t:fails", {"card": "4242-canary"}, max_attempts=attempts)

        work()

        span = exported("process default")
        assert span.attributes["letsgo.outcome"] == outcome
        assert span.attributes["error.type"] == "ValueError"
        assert (span.status.status_code, span.status.description) == (StatusCode.ERROR, "ValueError")
        (event,) = span.events
        assert event.name == "exception"
        assert event.attributes["exception.type"] == "ValueError"
        assert event.attributes["exception.message"] == "no hope"
        assert "in fail" in event.attributes["exception.stacktrace"]
        assert "canary" not in span.to_json()
        assert [one.name for one in exported()] == ["enqueue default", "process default"]

    @pytest.mark.parametrize("is_async", [False, True])
    @pytest.mark.parametrize(
        ("error", "outcome", "code", "recorded"),
        [
            (Snooze(3600), "snoozed", StatusCode.UNSET, []),
            (Retry(3600), "retry", StatusCode.ERROR, ["exception"]),
            (Reject("never"), "dead", StatusCode.ERROR, ["exception"]),
            (SystemExit(3), "retry", StatusCode.ERROR, ["exception"]),
        ],
    )
    def test_that_raises_to_say_what_comes_next_says_so(
        self, exported, work, is_async, error, outcome, code, recorded
    ):
        def handle(delivery):
            raise error

        async def handle_later(delivery):
            raise error

        handler("t:x", backoff=[3600])(handle_later if is_async else handle)
        enqueue("t:x")

        work()

        span = exported("process default")
        assert (span.attributes["letsgo.outcome"], span.status.status_code) == (outcome, code)
        assert [event.name for event in span.events] == recorded

    @pytest.mark.parametrize("is_async", [False, True])
    def test_whose_error_counts_as_a_success_is_one(self, exported, work, is_async):
        handler("t:fails", succeed_on=[ValueError])(fail_later if is_async else fail)
        enqueue("t:fails")
        work()
        assert [one.name for one in exported()] == ["enqueue default", "process default"]
        span = exported("process default")
        assert (span.attributes["letsgo.outcome"], span.status.status_code, span.events) == (
            "succeeded", StatusCode.UNSET, (),
        )  # fmt: skip

    def test_of_a_message_without_a_trace_begins_one(self, exported, work, settings):
        handler("t:x")(lambda delivery: None)
        settings.LETSGO_WORKER = {"CONTEXT": [], "SCHEDULE": ""}
        enqueue("t:x")
        settings.LETSGO_WORKER = {"CONTEXT": ["trace"], "SCHEDULE": ""}

        work()

        (span,) = exported()
        assert (span.name, span.parent, span.links) == ("process default", None, ())

    def test_within_a_span_of_its_caller_links_to_that(self, exported):
        handler("t:x")(lambda delivery: None)
        enqueue("t:x")
        with a_request("test") as around:
            drain()
        span = exported("process default")
        assert is_child(span, exported("enqueue default"))
        assert links_of(span) == [span.parent.span_id, around.get_span_context().span_id]

    def test_spans_of_the_handler_are_its_children(self, exported, work):
        tracer = trace.get_tracer("shop")

        @handler("t:sync")
        def handle(delivery):
            with tracer.start_as_current_span("inside"):
                pass

        @handler("t:async")
        async def handle_later(delivery):
            with tracer.start_as_current_span("inside"):
                await sync_to_async(Message.objects.count)()

        for type in ("t:sync", "t:async"):
            EXPORTER.clear()
            enqueue(type)
            work()
            assert is_child(exported("inside"), exported("process default"))

    def test_the_messages_that_follow_its_death_are_in_its_trace(self, exported, work):
        handler("t:fails", max_attempts=1, on_dead="t:follow")(fail)
        handler("t:follow", queue="follow")(lambda delivery: None)
        enqueue("t:fails")
        work()
        assert is_child(exported("process follow"), exported("enqueue default"))


class TestWhatTheDatabaseMakesOfIt:
    def test_an_outcome_of_its_own_is_a_span_below_that_of_the_attempt(self, exported, work):
        handler("t:late", backoff=[3600])(fail)
        enqueue("t:late", deadline=timedelta(minutes=1))

        work()

        attempt, settled = exported("process default"), exported("settle default")
        assert attempt.attributes["letsgo.outcome"] == "retry"
        assert settled.kind is SpanKind.CLIENT
        assert is_child(settled, attempt)
        assert settled.attributes == {
            **attempt.attributes,
            "messaging.operation.name": "settle",
            "messaging.operation.type": "settle",
            "letsgo.outcome": "expired",
        }
        assert settled.status.status_code is StatusCode.ERROR

    def test_an_atomic_handler_whose_commit_fails_has_not_succeeded(self, exported):
        if connection.vendor != "postgresql":
            pytest.skip("only PostgreSQL checks constraints that late in these tests")
        from tests.testapp.models import Effect

        with connection.cursor() as cursor:
            cursor.execute(
                f"ALTER TABLE {Effect._meta.db_table} ADD CONSTRAINT one_n UNIQUE (n) "
                "DEFERRABLE INITIALLY DEFERRED"
            )
        try:

            @handler("t:twice", atomic=True, max_attempts=1)
            def write_twice(delivery):
                Effect.objects.create(n=1, receipt=0)
                Effect.objects.create(n=1, receipt=0)

            enqueue("t:twice")
            call_command("runworker", until_empty=True)
        finally:
            with connection.cursor() as cursor:
                cursor.execute(f"ALTER TABLE {Effect._meta.db_table} DROP CONSTRAINT one_n")

        assert exported("process default").attributes["letsgo.outcome"] == "succeeded"
        settled = exported("settle default")
        assert settled.attributes["letsgo.outcome"] == "dead"
        assert settled.attributes["error.type"] == "django.db.utils.IntegrityError"
        assert [event.name for event in settled.events] == ["exception"]

    def test_nothing_is_kept_of_attempts_that_are_settled(self, exported, work):
        handler("t:x")(lambda delivery: None)
        enqueue_many([("t:x", n) for n in range(5)])
        work()
        assert len(exported()) == 6
        assert not ours._ended


def test_one_trace_goes_through_a_request_an_enqueue_two_attempts_and_a_child(exported, work):
    @handler("t:parent", queue="parents", backoff=0, max_attempts=3)
    def parent(delivery):
        if delivery.attempt == 1:
            raise ValueError("not yet")
        enqueue("t:child", queue="children")

    @handler("t:child", queue="children")
    async def child(delivery):
        pass

    with a_request() as request:
        enqueue("t:parent")
    work()

    assert len({span.context.trace_id for span in exported()}) == 1
    sent = exported("enqueue parents")
    first, second = [span for span in exported() if span.name == "process parents"]
    assert is_child(sent, request)
    assert is_child(first, sent) and is_child(second, sent)
    assert [span.attributes["letsgo.attempt"] for span in (first, second)] == [1, 2]
    assert [span.attributes["letsgo.outcome"] for span in (first, second)] == ["retry", "succeeded"]
    assert is_child(exported("enqueue children"), second)
    assert is_child(exported("process children"), exported("enqueue children"))


class TestNeighbours:
    def test_of_one_seat_leave_nothing_to_each_other(self, exported, work):
        tracer = trace.get_tracer("shop")
        seen = {}

        def handle(delivery):
            seen[delivery.payload] = trace.get_current_span().get_span_context().span_id
            # Never left: the next one on this thread must not be below it.
            tracer.start_as_current_span("leaked").__enter__()

        async def handle_later(delivery):
            handle(delivery)

        handler("t:sync")(handle)
        handler("t:async")(handle_later)
        for n, type in enumerate(["t:sync", "t:async", "t:sync", "t:async"]):
            enqueue(type, n)

        work()

        sent = [span for span in exported() if span.kind is SpanKind.PRODUCER]
        processed = {
            span.parent.span_id: span.context.span_id for span in exported() if span.kind is SpanKind.CONSUMER
        }
        assert seen == {n: processed[span.context.span_id] for n, span in enumerate(sent)}
        assert not trace.get_current_span().get_span_context().is_valid

    def test_that_run_at_the_same_time_each_have_their_own(self, exported):
        """Four sync and four async handlers, all inside before the first may leave."""
        inside = set()
        seen = {}

        def look(delivery):
            span = trace.get_current_span().get_span_context()
            seen.setdefault(delivery.message_id, set()).add(span.span_id)
            inside.add(delivery.message_id)

        @handler("t:sync")
        def handle(delivery):
            look(delivery)
            wait_until(lambda: len(inside) == 8, what="all eight to be inside")
            look(delivery)

        @handler("t:async")
        async def handle_later(delivery):
            look(delivery)
            await sync_to_async(wait_until)(lambda: len(inside) == 8, what="all eight to be inside")
            look(delivery)
            await aenqueue("t:unknown", delivery.message_id, queue="children")

        enqueue_many([("t:sync" if n % 2 else "t:async", n) for n in range(8)])
        call_command("runworker", until_empty=True, concurrency=8, queues="default")

        processed = {
            int(span.attributes["messaging.message.id"]): {span.context.span_id}
            for span in exported()
            if span.name == "process default"
        }
        assert len(processed) == 8
        assert seen == processed
        children = [span for span in exported() if span.name == "enqueue children"]
        parents = {
            Message.objects.get(pk=int(span.attributes["messaging.message.id"])).payload: span.parent
            for span in children
        }
        assert {pk: {parent.span_id} for pk, parent in parents.items()} == {
            pk: processed[pk] for pk in parents
        }
        assert len(parents) == 4


class TestTheCheck:
    def test_a_carrier_that_is_not_used_is_said(self, settings):
        settings.LETSGO_WORKER = {"CONTEXT": ["language"]}
        (warning,) = apps.check_otel(None)
        assert warning.id == "letsgo_otel.W001"
        assert "LETSGO_WORKER['CONTEXT'] does not name 'trace'" in warning.msg

        settings.LETSGO_WORKER = {"CONTEXT": ["trace"]}
        assert apps.check_otel(None) == []

    def test_it_is_made_when_the_app_is_installed(self, settings, monkeypatch):
        monkeypatch.setattr(context, "_carriers", dict(context._carriers))
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_letsgo_worker.contrib.otel"]
        settings.LETSGO_WORKER = {"CONTEXT": []}
        assert "letsgo_otel.W001" in {one.id for one in run_checks()}
        assert isinstance(context._carriers["trace"], ours.Spans)


def test_where_the_app_is_not_installed_the_core_carries_the_callers_span(provider, settings):
    settings.LETSGO_WORKER = {"CONTEXT": ["trace"]}
    EXPORTER.clear()
    with a_request() as request:
        message = enqueue("t:x")
    assert message.headers["traceparent"].split("-")[2] == f"{request.get_span_context().span_id:016x}"
    assert [span.name for span in EXPORTER.get_finished_spans()] == ["POST /orders"]
