"""Context carriers through the queue: from the code that enqueues, by the headers, to the handler."""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.test import override_settings
from django.utils import translation

from django_letsgo_worker import aenqueue, context, enqueue, enqueue_many, handler, registry, schedules
from django_letsgo_worker.context import carrier, correlation_id, get_correlation_id
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import Message
from django_letsgo_worker.testing import drain
from tests.tasked import TASKS

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
        from tests.tasked import tasks

        with a_request():
            tasks.echo.enqueue(5)
    assert Message.objects.get().headers.items() >= {"language": "de", "tenant": "acme"}.items()
