"""Context carriers through the queue: from the code that enqueues, by the headers, to the handler."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.core.management import call_command
from django.db import connection
from django.test import override_settings
from django.utils import translation

from django_letsgo_worker import (
    Reject,
    Snooze,
    aenqueue,
    context,
    enqueue,
    enqueue_many,
    handler,
    registry,
    schedules,
)
from django_letsgo_worker.context import carrier, correlation_id, get_correlation_id
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import Message
from django_letsgo_worker.testing import drain
from tests.taskapp import TASKS
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

tenant: ContextVar[str | None] = ContextVar("tenant", default=None)


@contextmanager
def of_tenant(value):
    token = tenant.set(value)
    yield
    tenant.reset(token)


@pytest.fixture(autouse=True)
def carriers(monkeypatch, settings):
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(context, "_carriers", dict(context._carriers))
    monkeypatch.setattr(context, "_logged", set())
    settings.LETSGO_WORKER = {"CONTEXT": ["language", "correlation_id", "tenant"], "SCHEDULE": ""}
    carrier("tenant", capture=tenant.get, restore=of_tenant)


@pytest.fixture
def seen():
    """What a handler of t:x finds around it: by message id."""
    seen = {}

    def now():
        return translation.get_language(), get_correlation_id(), tenant.get()

    @handler("t:sync")
    def see(delivery):
        seen[delivery.message_id] = now()

    @handler("t:atomic", atomic=True)
    def see_within(delivery):
        seen[delivery.message_id] = now()

    @handler("t:async")
    async def see_async(delivery):
        seen[delivery.message_id] = now()

    return seen


@contextmanager
def a_request():
    with translation.override("de"), correlation_id("4711"), of_tenant("acme"):
        yield


def work():
    call_command("runworker", until_empty=True, concurrency=1)


ALL = ("de", "4711", "acme")


class TestAWorker:
    @pytest.mark.parametrize("run", [work, drain])
    @pytest.mark.parametrize("type", ["t:sync", "t:atomic", "t:async"])
    def test_a_handler_finds_what_the_request_had_and_the_next_one_does_not(self, seen, type, run):
        with a_request():
            first = enqueue(type).pk
            second = async_to_sync(aenqueue)(type).pk
            many = enqueue_many([(type, 1), {"type": type, "priority": -1}, (type, 2)])
        bare = enqueue(type, priority=-2, headers={"language": "fr", "tenant": None}).pk
        run()
        assert seen == {**dict.fromkeys([first, second, *many], ALL), bare: ("fr", str(bare), None)}

    def test_what_a_handler_enqueues_goes_on(self, seen):
        @handler("t:first")
        def first(delivery):
            enqueue("t:sync")

        begun = enqueue("t:first").pk
        work()
        assert [found[1] for found in seen.values()] == [str(begun)]

    def test_a_carrier_that_fails_costs_no_message(self, seen, caplog):
        def fail(*_):
            raise OSError("no tenant")

        carrier("tenant", capture=fail, restore=fail)
        ids = [enqueue("t:sync", headers={"tenant": "acme"}).pk, enqueue("t:sync").pk]
        work()
        assert [find(pk).outcome for pk in ids] == ["succeeded"] * 2
        assert set(seen) == set(ids)
        assert [r.getMessage() for r in caplog.records if r.name == "django_letsgo_worker.context"] == [
            "The carrier 'tenant' failed; what it carries is missing."
        ]

    def test_a_handler_that_fails_fails_as_ever(self):
        @handler("t:bad", max_attempts=1)
        def bad(delivery):
            raise KeyError("mine")

        message = enqueue("t:bad")
        work()
        assert find(message.pk).error_class == "KeyError"


class TestHeaders:
    def test_those_of_the_call_win(self):
        with a_request():
            message = enqueue("t:x", headers={"language": "fr", "by": "ada"})
        assert message.headers == {"language": "fr", "correlation_id": "4711", "tenant": "acme", "by": "ada"}
        assert Message.objects.get().headers == message.headers

    def test_large_ones_of_the_call_are_no_reason_to_refuse_it(self):
        with a_request():
            assert enqueue("t:x", headers={"by": "x" * 65_500}).headers["tenant"] == "acme"

    def test_messages_of_schedules_bring_none(self):
        schedules.add("nightly", "@daily", "t:x")
        with a_request():
            assert schedules.run_now("nightly").headers == {"schedule": "nightly"}

    def test_without_the_setting_there_are_none(self, settings):
        settings.LETSGO_WORKER = {}
        with a_request():
            assert enqueue("t:x").headers == {}
            assert find(enqueue_many([("t:x", 1)])[0]).headers == {}


def test_tasks_carry_it_too():
    with override_settings(TASKS=TASKS):
        from tests.taskapp import tasks

        with a_request():
            tasks.echo.enqueue(5)
    assert Message.objects.get().headers.items() >= {"language": "de", "tenant": "acme"}.items()


class TestAlways:
    """carrier(..., always=True): around every delivery, and it sees what the handler raises."""

    @pytest.fixture
    def entered(self, settings):
        """What the carrier was given, and how each delivery left it."""
        entered = []

        @contextmanager
        def around(value):
            try:
                yield
            except BaseException as error:
                entered.append((value, type(error).__name__))
                raise
            else:
                entered.append((value, "nothing"))

        settings.LETSGO_WORKER = {"CONTEXT": ["tenant", "around"], "SCHEDULE": ""}
        carrier("around", capture=tenant.get, restore=around, always=True)
        return entered

    @pytest.fixture(params=["worker", "drain"])
    def work(self, request):
        return drain if request.param == "drain" else lambda: call_command("runworker", until_empty=True)

    @pytest.mark.parametrize("error", [None, ValueError, SystemExit, Reject, Snooze])
    @pytest.mark.parametrize("kind", ["plain", "atomic", "async", "behind a decorator"])
    def test_it_is_entered_without_a_value_and_sees_the_error(self, entered, work, kind, error):
        def handle(delivery):
            if error is not None:
                raise error(3600) if error is Snooze else error("no")

        async def handle_later(delivery):
            handle(delivery)

        function = {"async": handle_later, "behind a decorator": lambda delivery: handle_later(delivery)}
        handler("t:it", atomic=kind == "atomic", backoff=[3600])(function.get(kind, handle))
        enqueue("t:it")

        work()

        assert entered == [(None, error.__name__ if error else "nothing")]

    def test_it_has_the_value_where_one_was_captured(self, entered, work):
        handler("t:it")(print)
        with of_tenant("acme"):
            enqueue("t:it")

        work()

        assert entered == [("acme", "nothing")]

    def test_messages_of_schedules_are_surrounded_too(self, entered, work):
        handler("t:it")(print)
        schedules.add("nightly", "@daily", "t:it")
        schedules.run_now("nightly")

        work()

        assert entered == [(None, "nothing")]

    def test_a_payload_that_does_not_fit_is_seen_as_well(self, entered, work):
        @handler("t:it")
        def refuse(delivery):
            enqueue("t:it", {1})

        enqueue("t:it")

        work()

        assert entered == [(None, "InvalidMessage")]

    def test_what_an_atomic_handler_wrote_is_rolled_back_before_it_is_left(self, settings, work):
        seen = []

        @contextmanager
        def around(value):
            try:
                yield
            except BaseException:
                seen.append(Effect.objects.count())
                raise

        settings.LETSGO_WORKER = {"CONTEXT": ["around"], "SCHEDULE": ""}
        carrier("around", capture=lambda: None, restore=around, always=True)

        @handler("t:it", atomic=True, backoff=[3600])
        def write_and_break(delivery):
            Effect.objects.create(n=1, receipt=0)
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column FROM nowhere")

        enqueue("t:it")

        work()

        assert seen == [0]


class TestTheLineOfAFailure:
    @pytest.fixture
    def lines(self, caplog):
        """The tenant in which each line about a failure was written, and the line."""
        caplog.set_level(logging.WARNING, "django_letsgo_worker.worker")
        lines = []

        class Note(logging.Handler):
            def emit(self, record):
                lines.append(
                    (tenant.get(), record.levelname, record.getMessage(), record.exc_info is not None)
                )

        note = Note(logging.WARNING)
        logging.getLogger("django_letsgo_worker.worker").addHandler(note)
        yield lines
        logging.getLogger("django_letsgo_worker.worker").removeHandler(note)

    @pytest.mark.parametrize("kind", ["plain", "atomic", "async", "behind a decorator"])
    @pytest.mark.parametrize("drained", [False, True])
    @pytest.mark.parametrize(("attempts", "level"), [(1, "ERROR"), (2, "WARNING")])
    def test_is_written_once_within_its_context(self, lines, kind, drained, attempts, level):
        def fail(delivery):
            raise ValueError("no hope")

        async def fail_later(delivery):
            raise ValueError("no hope")

        function = {"async": fail_later, "behind a decorator": lambda delivery: fail_later(delivery)}
        handler("t:fails", atomic=kind == "atomic", backoff=[3600])(function.get(kind, fail))
        with of_tenant("acme"):
            message = enqueue("t:fails", max_attempts=attempts)

        drain() if drained else call_command("runworker", until_empty=True)

        ((where, name, line, has_traceback),) = lines
        assert (where, name, has_traceback) == ("acme", level, True)
        outcome = "dead" if attempts == 1 else "retry"
        assert line.startswith(
            f"{outcome}: message {message.pk} (t:fails) in default, attempt 1 of {attempts}"
        )

    def test_says_so_where_the_database_made_something_else_of_it(self, lines):
        @handler("t:late", backoff=[3600])
        def fail(delivery):
            raise ValueError("no hope")

        with of_tenant("acme"):
            enqueue("t:late", deadline=timedelta(minutes=1))
        drain()

        assert [(where, line.split(":")[0], trace) for where, _, line, trace in lines] == [
            ("acme", "retry", True), (None, "expired", False),
        ]  # fmt: skip

    def test_a_back_off_function_is_asked_once(self, lines):
        asked = []

        @handler("t:fails", backoff=lambda attempt, error: asked.append(attempt) or 3600)
        def fail(delivery):
            raise ValueError("no hope")

        enqueue("t:fails")
        drain()

        assert asked == [1]

    @pytest.mark.parametrize("is_async", [False, True])
    def test_a_back_off_function_of_a_broken_transaction_can_ask_the_database(self, lines, is_async):
        counted = []

        def count(attempt, error):
            counted.append(Effect.objects.count())
            return 3600

        def break_it(delivery):
            with connection.cursor() as cursor:
                cursor.execute("SELECT no_such_column FROM nowhere")

        async def break_it_later(delivery):
            await sync_to_async(break_it)(delivery)

        handler("t:fails", atomic=not is_async, backoff=count)(break_it_later if is_async else break_it)
        enqueue("t:fails")
        call_command("runworker", until_empty=True)

        assert counted == [0]
