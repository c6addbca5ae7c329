"""contrib.sentry with the real SDK: one delivery's scope is not the next one's, and failures have it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from django.core.checks import run_checks
from django.core.management import call_command

from django_letsgo_worker import Reject, context, enqueue, handler, registry, schedules
from django_letsgo_worker.contrib.sentry import apps
from django_letsgo_worker.testing import drain

sentry_sdk = pytest.importorskip("sentry_sdk")

pytestmark = pytest.mark.django_db(transaction=True)


class Kept(sentry_sdk.transport.Transport):
    """Keeps what would have been sent."""

    def __init__(self, options=None):
        super().__init__(options)
        self.events = []

    def capture_envelope(self, envelope):
        event = envelope.get_event()
        if event is not None:
            self.events.append(event)


@pytest.fixture
def events(settings, monkeypatch):
    """The events that Sentry was sent, in order."""
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(context, "_carriers", dict(context._carriers))
    context.register(apps.NAME, apps.ScopeOfDelivery())
    settings.LETSGO_WORKER = {"CONTEXT": ["sentry", "correlation_id"], "SCHEDULE": ""}
    # Without that of Django: it patches Django's cursors for good, and other tests of this process see it.
    quiet = {"auto_enabling_integrations": False}
    sentry_sdk.init(dsn="https://key@sentry.invalid/1", transport=Kept, traces_sample_rate=1.0, **quiet)
    yield sentry_sdk.get_client().transport.events
    sentry_sdk.get_client().close()
    sentry_sdk.init(**quiet)


@pytest.fixture(params=["worker", "drain"])
def work(request):
    """Handle all that is due; the worker has one seat, so that its deliveries share a thread."""
    return (
        drain
        if request.param == "drain"
        else lambda: call_command("runworker", until_empty=True, concurrency=1)
    )


def fail(delivery):
    sentry_sdk.set_tag("customer", delivery.payload)
    sentry_sdk.set_user({"id": delivery.payload})
    with sentry_sdk.start_span(op="work", name="inside"):
        raise ValueError("no hope")


async def fail_later(delivery):
    await asyncio.sleep(0)
    fail(delivery)


KINDS = {"plain": (fail, {}), "atomic": (fail, {"atomic": True}), "async": (fail_later, {})}


@pytest.mark.parametrize("kind", KINDS)
def test_the_event_of_a_dead_letter_has_the_tags_of_its_message_and_its_handler(events, work, kind):
    function, options = KINDS[kind]
    handler("t:fails", queue="orders", **options)(function)
    message = enqueue("t:fails", "ada", max_attempts=1)

    work()

    (event,) = events
    assert "exception" in event, event
    assert event["exception"]["values"][-1]["type"] == "ValueError"
    tags = {"message_type": "t:fails", "queue": "orders", "attempt": "1", "message_id": str(message.pk)}
    assert event["tags"] == {**tags, "customer": "ada"}
    assert event["user"] == {"id": "ada"}
    assert event["logentry"]["message"].startswith("%s: message %s (%s) in %s, attempt %d of %d")


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_handler_sets_the_next_does_not_have(events, work, kind):
    function, options = KINDS[kind]
    handler("t:fails", **options)(function)

    @handler("t:plain")
    def reject(delivery):
        raise Reject("never")

    enqueue("t:fails", "ada", max_attempts=1, priority=1)
    enqueue("t:plain")

    work()

    first, second = events
    assert first["user"] == {"id": "ada"}
    assert "customer" not in second["tags"] and not second.get("user")
    assert second["tags"]["message_type"] == "t:plain"


def test_a_failure_that_will_be_retried_is_no_event(events, work):
    handler("t:fails", backoff=[3600])(fail)
    enqueue("t:fails", "ada", max_attempts=2)

    work()

    assert events == []


def test_what_a_handler_logs_itself_has_its_tags(events, work):
    @handler("t:logs")
    def complain(delivery):
        logging.getLogger("shop").error("Out of tea")

    enqueue("t:logs")

    work()

    (event,) = events
    assert event["tags"]["message_type"] == "t:logs"


def test_messages_of_schedules_have_a_scope_as_well(events, work):
    handler("t:fails")(fail)
    schedules.add("nightly", "@daily", "t:fails", "ada", max_attempts=1)
    schedules.run_now("nightly")

    work()

    assert events[0]["tags"]["message_type"] == "t:fails"


def test_the_payload_is_no_part_of_an_event(events, work):
    @handler("t:fails")
    def fail_quietly(delivery):
        raise ValueError("no hope")

    enqueue("t:fails", {"card": "4242-canary"}, max_attempts=1)

    work()

    assert "canary" not in str(events[0]["tags"]) + str(events[0].get("extra"))


def test_without_an_init_nothing_happens(settings, monkeypatch, work):
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(context, "_carriers", dict(context._carriers))
    context.register(apps.NAME, apps.ScopeOfDelivery())
    settings.LETSGO_WORKER = {"CONTEXT": ["sentry"], "SCHEDULE": ""}
    done = []
    handler("t:works")(lambda delivery: done.append(delivery.type))
    enqueue("t:works")

    work()

    assert done == ["t:works"]


class TestTheCheck:
    def test_a_carrier_that_is_not_used_is_said(self, settings):
        settings.LETSGO_WORKER = {"CONTEXT": ["language"]}
        (warning,) = apps.check_sentry(None)
        assert warning.id == "letsgo_sentry.W001"
        assert "LETSGO_WORKER['CONTEXT'] does not name 'sentry'" in warning.msg

        settings.LETSGO_WORKER = {"CONTEXT": ["sentry"]}
        assert apps.check_sentry(None) == []

    def test_a_library_that_is_missing_is_said(self, monkeypatch):
        monkeypatch.setattr(apps, "find_spec", lambda name: None)
        (error,) = apps.check_sentry(None)
        assert (error.id, error.msg) == (
            "letsgo_sentry.E001",
            "django_letsgo_worker.contrib.sentry needs sentry-sdk, which is not installed.",
        )

    def test_it_is_made_when_the_app_is_installed(self, settings):
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_letsgo_worker.contrib.sentry"]
        settings.LETSGO_WORKER = {"CONTEXT": []}
        assert "letsgo_sentry.W001" in {one.id for one in run_checks()}
