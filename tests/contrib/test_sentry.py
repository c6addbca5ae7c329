"""contrib.sentry with the real SDK, its transport read: events and their scopes, transactions, check-ins."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.management import call_command

from django_letsgo_worker import (
    Reject,
    Retry,
    Snooze,
    aenqueue,
    context,
    enqueue,
    enqueue_many,
    handler,
    registry,
    schedules,
)
from django_letsgo_worker.contrib.sentry import apps
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import Message, ScheduledJob
from django_letsgo_worker.recurrence import Recurrence
from django_letsgo_worker.testing import drain, fire_due
from tests.support import wait_until

sentry_sdk = pytest.importorskip("sentry_sdk")

from django_letsgo_worker.contrib.sentry import deliveries, monitors  # noqa: E402

pytestmark = pytest.mark.django_db(transaction=True)


class Kept(sentry_sdk.transport.Transport):
    """Keeps what would have been sent, by kind."""

    def __init__(self, options=None):
        super().__init__(options)
        self.sent = {"event": [], "transaction": [], "check_in": []}

    def capture_envelope(self, envelope):
        for item in envelope.items:
            if item.type in self.sent:
                self.sent[item.type].append(item.payload.json)


@contextlib.contextmanager
def listening(**options):
    """What Sentry is sent meanwhile, by kind and in order."""
    # Without that of Django: it patches Django's cursors for good, and other tests of this process see it.
    quiet = {"auto_enabling_integrations": False}
    given = {"traces_sample_rate": 1.0, "environment": "tests", **options}
    sentry_sdk.init(dsn=DSN, transport=Kept, **quiet, **given)
    try:
        yield sentry_sdk.get_client().transport.sent
    finally:
        sentry_sdk.get_client().close()
        sentry_sdk.init(**quiet)


DSN = "https://key@sentry.invalid/1"
# Not as it stands in the source, whose lines are sent with a traceback.
CANARY = "-".join(["4242", "canary"])


@pytest.fixture
def installed(settings, monkeypatch):
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(context, "_carriers", dict(context._carriers))
    monkeypatch.setattr(context, "_logged", set())
    deliveries.connect(apps.NAME)
    monitors.connect()
    settings.LETSGO_WORKER = {"CONTEXT": ["sentry", "correlation_id"], "SCHEDULE": ""}


@pytest.fixture
def sent(installed):
    """What Sentry was sent, by kind and in order."""
    with listening() as sent:
        yield sent


@pytest.fixture
def events(sent):
    """The events that Sentry was sent, in order."""
    return sent["event"]


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

    enqueue("t:fails", {"card": CANARY}, max_attempts=1)

    work()

    assert CANARY not in str(events[0]["tags"]) + str(events[0].get("extra"))


def test_without_an_init_nothing_happens(installed, settings, work):
    settings.LETSGO_SENTRY_CHECK_INS = ["*"]
    done = []
    handler("t:works")(lambda delivery: done.append(delivery.type))
    assert enqueue("t:works").headers == {}
    schedules.add("nightly", "@daily", "t:works")
    assert schedules.run_now("nightly").headers == {"schedule": "nightly"}

    work()

    assert done == ["t:works"] * 2


def trace_of(found):
    return found["contexts"]["trace"]


@contextlib.contextmanager
def a_request():
    """A transaction as that of a web framework's integration."""
    with sentry_sdk.start_transaction(op="http.server", name="POST /orders") as transaction:
        yield transaction


class TestAnEnqueue:
    def test_is_a_span_of_its_request_and_the_message_continues_its_trace(self, sent):
        with a_request() as request:
            message = enqueue("t:order", {"card": CANARY}, queue="orders")

        (transaction,) = sent["transaction"]
        (span,) = transaction["spans"]
        assert (span["op"], span["description"], span["origin"]) == (
            "queue.publish", "t:order", "auto.queue.letsgo",
        )  # fmt: skip
        assert (
            span["data"].items()
            >= {
                "messaging.system": "letsgo",
                "messaging.destination.name": "orders",
                "messaging.message.id": str(message.pk),
                "messaging.message.body.size": len('{"card":""}') + len(CANARY),
            }.items()
        )
        assert "messaging.batch.message_count" not in span["data"]
        assert span["parent_span_id"] == request.span_id
        assert message.headers["sentry-trace"] == f"{request.trace_id}-{span['span_id']}-1"
        assert f"sentry-trace_id={request.trace_id}" in message.headers["baggage"]
        assert find(message.pk).headers == message.headers
        assert CANARY not in str(sent)

    def test_of_many_is_one_span(self, sent):
        with a_request():
            enqueue_many([("t:order", 1), ("t:order", 2)], queue="orders")
            enqueue_many([{"type": "t:order", "queue": "orders"}, ("t:mail", None)])

        same, different = sent["transaction"][0]["spans"]
        assert (same["description"], different["description"]) == ("t:order", "enqueue_many")
        assert same["data"]["messaging.batch.message_count"] == 2
        assert same["data"]["messaging.destination.name"] == "orders"
        assert "messaging.message.id" not in same["data"]
        assert "messaging.destination.name" not in different["data"]
        carried = [
            message.headers["sentry-trace"].split("-")[1] for message in Message.objects.order_by("pk")
        ]
        assert carried == [same["span_id"]] * 2 + [different["span_id"]] * 2

    def test_of_async_code_is_in_its_trace(self, sent):
        async def view():
            with a_request() as request:
                await aenqueue("t:order")
            return request

        request = async_to_sync(view)()
        assert sent["transaction"][0]["spans"][0]["parent_span_id"] == request.span_id

    def test_without_tracing_the_trace_of_its_errors_goes_along(self, installed):
        with listening(traces_sample_rate=None) as sent:
            handler("t:fails", max_attempts=1)(fail)
            enqueue("t:fails", "ada")
            sentry_sdk.capture_message("by the request")
            drain()
        first, second = sent["event"]
        assert trace_of(first)["trace_id"] == trace_of(second)["trace_id"]
        assert sent["transaction"] == []


OUTCOMES = {
    "returns": (None, 5, "ok", "succeeded"),
    "is put off": (Snooze(3600), 5, "cancelled", "snoozed"),
    "is tried again": (Retry(3600), 5, "internal_error", "retry"),
    "fails": (ValueError("no hope"), 5, "internal_error", "retry"),
    "fails for good": (ValueError("no hope"), 1, "internal_error", "dead"),
    "is rejected": (Reject("never"), 5, "internal_error", "dead"),
    "takes too long": (TimeoutError(), 1, "deadline_exceeded", "dead"),
}


class TestAnAttempt:
    @pytest.mark.parametrize("kind", ["plain", "atomic", "async"])
    @pytest.mark.parametrize("ends", OUTCOMES)
    def test_is_a_transaction_in_the_trace_of_its_request(self, sent, work, kind, ends):
        error, max_attempts, status, outcome = OUTCOMES[ends]

        def handle(delivery):
            if error is not None:
                raise error

        async def handle_later(delivery):
            handle(delivery)

        function = handle_later if kind == "async" else handle
        handler("t:order", queue="orders", atomic=kind == "atomic", backoff=[3600])(function)
        with a_request() as request:
            message = enqueue("t:order", {"card": CANARY}, max_attempts=max_attempts)

        work()

        request_sent, transaction = sent["transaction"]
        trace = trace_of(transaction)
        assert transaction["transaction"] == "t:order"
        assert transaction["transaction_info"] == {"source": "task"}
        assert (trace["op"], trace["origin"], trace["status"]) == (
            "queue.process",
            "auto.queue.letsgo",
            status,
        )
        assert trace["trace_id"] == request.trace_id
        assert trace["parent_span_id"] == request_sent["spans"][0]["span_id"]
        latency = trace["data"].pop("messaging.message.receive.latency")
        assert isinstance(latency, float) and latency >= 0
        assert {name: value for name, value in trace["data"].items() if not name.startswith("thread.")} == {
            "messaging.system": "letsgo",
            "messaging.destination.name": "orders",
            "messaging.message.id": str(message.pk),
            "messaging.message.retry.count": 0,
            "letsgo.max_attempts": max_attempts,
            "letsgo.outcome": outcome,
        }
        assert transaction["tags"].items() >= {"message_type": "t:order", "attempt": "1"}.items()
        assert CANARY not in str(sent)

    def test_whose_error_counts_as_a_success_is_one(self, sent, work):
        handler("t:fails", succeed_on=[ValueError])(fail)
        enqueue("t:fails")
        work()
        assert trace_of(sent["transaction"][0])["status"] == "ok"

    def test_that_is_repeated_is_another_transaction_of_the_same_trace(self, sent, work):
        @handler("t:parent", backoff=0, max_attempts=3)
        def parent(delivery):
            if delivery.attempt == 1:
                raise ValueError("not yet")
            enqueue("t:child")

        @handler("t:child")
        async def child(delivery):
            pass

        with a_request() as request:
            enqueue("t:parent")
        work()

        request_sent, first, second, child_sent = sent["transaction"]
        published, published_by_second = request_sent["spans"][0], second["spans"][0]
        assert {trace_of(one)["trace_id"] for one in sent["transaction"]} == {request.trace_id}
        assert trace_of(first)["parent_span_id"] == trace_of(second)["parent_span_id"] == published["span_id"]
        assert [trace_of(one)["data"]["messaging.message.retry.count"] for one in (first, second)] == [0, 1]
        assert [trace_of(one)["status"] for one in (first, second)] == ["internal_error", "ok"]
        assert "messaging.message.receive.latency" not in trace_of(second)["data"]
        assert trace_of(child_sent)["parent_span_id"] == published_by_second["span_id"]

    def test_without_a_trace_each_begins_its_own(self, sent, work):
        handler("t:x")(lambda delivery: None)
        Message.objects.create(type="t:x")
        Message.objects.create(type="t:x")
        work()
        first, second = sent["transaction"]
        assert trace_of(first)["trace_id"] != trace_of(second)["trace_id"]

    def test_that_fails_for_good_has_its_event_in_the_transaction(self, sent, work):
        handler("t:fails", max_attempts=1)(fail)
        enqueue("t:fails", "ada")
        work()
        (event,), (transaction,) = sent["event"], sent["transaction"]
        assert trace_of(event)["trace_id"] == trace_of(transaction)["trace_id"]
        assert event["transaction"] == "t:fails"

    def test_can_be_sampled_by_what_it_is(self, installed):
        asked = []

        def sample(facts):
            asked.append(facts.get("letsgo"))
            return 0.0

        with listening(traces_sampler=sample) as sent:
            handler("t:x", queue="orders")(lambda delivery: None)
            enqueue("t:x")
            drain()
        assert asked == [{"type": "t:x", "queue": "orders", "attempt": 1}]
        assert sent["transaction"] == []

    def test_where_the_sdk_streams_spans_there_is_a_scope_and_no_transaction(self, installed, recwarn):
        if "trace_lifecycle" not in sentry_sdk.consts.DEFAULT_OPTIONS:
            pytest.skip("this version of the SDK has no such mode")
        with listening(trace_lifecycle="stream") as sent:
            handler("t:fails", max_attempts=1)(fail)
            enqueue("t:fails", "ada")
            drain()
        assert sent["event"][0]["tags"]["message_type"] == "t:fails"
        assert sent["transaction"] == []
        ours = [one for one in recwarn if "django_letsgo_worker" in one.filename]
        assert ours == []


class TestNeighbours:
    def test_that_run_at_the_same_time_each_have_their_own_scope_and_transaction(self, sent):
        """Four sync and four async handlers, all inside before the first may leave."""
        inside = set()

        def enter(delivery):
            sentry_sdk.set_tag("customer", str(delivery.message_id))
            sentry_sdk.add_breadcrumb(message=f"customer {delivery.message_id}")
            inside.add(delivery.message_id)

        @handler("t:sync", max_attempts=1)
        def handle(delivery):
            enter(delivery)
            wait_until(lambda: len(inside) == 8, what="all eight to be inside")
            raise ValueError("no hope")

        @handler("t:async", max_attempts=1)
        async def handle_later(delivery):
            enter(delivery)
            while len(inside) < 8:
                await asyncio.sleep(0.01)
            raise ValueError("no hope")

        ids = enqueue_many([("t:sync" if n % 2 else "t:async", n) for n in range(8)])
        call_command("runworker", until_empty=True, concurrency=8)

        for kind in ("event", "transaction"):
            tags = [one["tags"] for one in sent[kind]]
            assert sorted(int(one["customer"]) for one in tags) == ids
            assert all(one["customer"] == one["message_id"] for one in tags)
        for event in sent["event"]:
            crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
            assert [crumb for crumb in crumbs if crumb.startswith("customer")] == [
                f"customer {event['tags']['customer']}"
            ]
            data = {
                trace_of(one)["span_id"]: trace_of(one)["data"]["messaging.message.id"]
                for one in sent["transaction"]
            }
            assert data[trace_of(event)["span_id"]] == event["tags"]["message_id"]


NOON = datetime(2027, 1, 5, 12, tzinfo=UTC)


class TestAPlannedTime:
    @pytest.fixture(autouse=True)
    def watched(self, settings):
        settings.LETSGO_SENTRY_CHECK_INS = ["report:*"]

    @pytest.fixture
    def job(self, sent):
        handler("t:report", backoff=[600], max_attempts=2)(lambda delivery: self.handle(delivery))
        now = NOON - timedelta(minutes=30)
        return schedules.add("report:hourly", "0 * * * *", "t:report", timezone="Europe/Berlin", now=now)

    def handle(self, delivery):
        pass

    CONFIG = {
        "schedule": {"type": "crontab", "value": "0 * * * *"},
        "timezone": "Europe/Berlin",
        "checkin_margin": 1,
    }

    def test_checks_in_when_it_fires_and_when_its_message_has_ended(self, sent, job):
        (message,) = fire_due(NOON)
        (began,) = sent["check_in"]
        drain(now=NOON)
        began, ended = sent["check_in"]

        assert began["monitor_slug"] == ended["monitor_slug"] == "report-hourly"
        assert (began["status"], ended["status"]) == ("in_progress", "ok")
        assert began["monitor_config"] == self.CONFIG
        assert "monitor_config" not in ended
        assert began["check_in_id"] == ended["check_in_id"]
        assert began["environment"] == "tests"
        # Sentry shows the errors of the trace beside the check-in.
        (transaction,) = sent["transaction"]
        trace_id = message.headers["sentry-trace"].split("-")[0]
        traces = {trace_of(one)["trace_id"] for one in (began, ended, transaction)}
        assert traces == {trace_id}
        # The protocol has no place for the planned time: the transaction of that trace has it.
        assert trace_of(transaction)["data"]["letsgo.planned_at"] == NOON.isoformat()
        assert trace_of(transaction)["data"]["letsgo.schedule"] == "report:hourly"

    def test_that_fails_checks_in_as_an_error_once_it_is_given_up(self, sent, job, monkeypatch):
        monkeypatch.setattr(type(self), "handle", lambda self, delivery: fail(delivery))
        fire_due(NOON)
        drain(now=NOON)
        assert [one["status"] for one in sent["check_in"]] == ["in_progress", "in_progress"]
        drain(now=NOON + timedelta(hours=1))
        assert [one["status"] for one in sent["check_in"]] == ["in_progress", "in_progress", "error"]
        assert len({one["check_in_id"] for one in sent["check_in"]}) == 1

    def test_each_has_its_own_id_and_trace(self, sent, job):
        fire_due(until=NOON + timedelta(hours=2))
        assert len(sent["check_in"]) == 3
        assert len({one["check_in_id"] for one in sent["check_in"]}) == 3
        assert len({trace_of(one)["trace_id"] for one in sent["check_in"]}) == 3

    def test_of_another_environment_or_project_has_another_id(self, installed, job):
        ids = set()
        for options in ({}, {"environment": "staging"}):
            with listening(**options):
                ids.add(monitors._id_of("report:hourly", NOON))
        assert len(ids) == 2

    def test_that_was_missed_is_an_error(self, sent, job):
        ScheduledJob.objects.filter(pk=job.pk).update(misfire="skip")
        fire_due(NOON + timedelta(minutes=50))
        (missed,) = sent["check_in"]
        assert (missed["status"], missed["monitor_slug"]) == ("error", "report-hourly")
        assert missed["check_in_id"] == monitors._id_of("report:hourly", NOON)

    def test_that_an_earlier_run_overlaps_is_an_error(self, sent, job):
        ScheduledJob.objects.filter(pk=job.pk).update(overlap="skip")
        fire_due(NOON)
        fire_due(NOON + timedelta(hours=1))
        assert [one["status"] for one in sent["check_in"]] == ["in_progress", "error"]

    def test_on_an_excluded_day_is_fine(self, sent):
        now = NOON - timedelta(minutes=30)
        schedules.add("report:daily", "0 12 * * *", "t:report", except_on="2027-01-05", now=now)
        fire_due(NOON)
        assert [one["status"] for one in sent["check_in"]] == ["ok"]

    def test_that_people_left_out_is_not_reported(self, sent, job):
        schedules.pause_all(now=NOON - timedelta(minutes=10))
        schedules.resume_all(now=NOON + timedelta(minutes=10))
        fire_due(NOON + timedelta(minutes=11))
        assert sent["check_in"] == []

    def test_that_is_made_up_for_is_not_reported(self, sent, settings):
        handler("t:report")(lambda delivery: None)
        schedules.add("report:old", "0 * * * *", "t:report")
        end = datetime.now(UTC)
        assert schedules.backfill("report:old", end - timedelta(hours=3), end) >= 3
        drain()
        assert sent["check_in"] == []

    def test_a_run_by_hand_reports_its_end(self, sent, job):
        schedules.run_now("report:hourly")
        drain()
        assert [one["status"] for one in sent["check_in"]] == ["ok"]

    def test_whose_workers_died_is_an_error(self, sent, job):
        (message,) = fire_due(NOON)
        # As if each of them had died while it held the message.
        Message.objects.filter(pk=message.pk).update(attempts=message.max_attempts)
        other = enqueue("t:report", headers={"schedule": "report:hourly"})
        Message.objects.filter(pk=other.pk).update(attempts=other.max_attempts)
        drain(now=NOON)
        assert {find(pk).outcome for pk in (message.pk, other.pk)} == {"dead"}
        assert [one["status"] for one in sent["check_in"]] == ["in_progress", "error"]
        assert trace_of(sent["check_in"][1])["trace_id"] == message.headers["sentry-trace"].split("-")[0]

    def test_the_message_that_follows_its_death_is_no_check_in(self, sent):
        handler("t:other", max_attempts=1, on_dead="t:follow")(fail)
        handler("t:follow")(lambda delivery: None)
        schedules.add("report:other", "@hourly", "t:other", now=NOON - timedelta(minutes=30))
        fire_due(NOON)
        drain(now=NOON + timedelta(hours=1))
        assert [one["status"] for one in sent["check_in"]] == ["in_progress", "error"]

    def test_of_a_schedule_that_is_not_named_is_not_reported(self, sent, settings, job):
        settings.LETSGO_SENTRY_CHECK_INS = ["other", "Report:*"]
        fire_due(NOON)
        drain(now=NOON)
        assert sent["check_in"] == []

    def test_nothing_is_reported_by_default(self, sent, settings, job):
        del settings.LETSGO_SENTRY_CHECK_INS
        fire_due(NOON)
        assert sent["check_in"] == []


class TestAMonitor:
    @pytest.mark.parametrize(
        ("name", "slug"),
        [
            ("nightly", "nightly"),
            ("report:hourly", "report-hourly"),
            ("Shop.Reports / daily", "shop-reports-daily"),
            ("a_b", "a_b"),
        ],
    )
    def test_has_a_slug_that_reads_like_the_schedule(self, name, slug):
        assert monitors.slug_of(name) == slug

    @pytest.mark.parametrize("name", ["4711", "報告", "x" * 51, "report-" * 10])
    def test_has_another_slug_where_sentry_would_not_take_that(self, name):
        slug = monitors.slug_of(name)
        assert re.fullmatch(r"(?![0-9]+$)[a-z0-9_\-]{1,50}", slug)
        assert monitors.slug_of(name + "x") != slug

    @pytest.mark.parametrize(
        ("schedule", "told"),
        [
            ("*/5 9-17 * * MON-FRI", {"type": "crontab", "value": "*/5 9-17 * * MON-FRI"}),
            ("cron(0  0 1,15 JUL *)", {"type": "crontab", "value": "0 0 1,15 JUL *"}),
            ("@Daily", {"type": "crontab", "value": "@daily"}),
            ("@midnight", {"type": "crontab", "value": "@daily"}),
            ("rate(5 minutes)", {"type": "interval", "value": 5, "unit": "minute"}),
            ("rate(120 minutes)", {"type": "interval", "value": 2, "unit": "hour"}),
            ("rate(7 days)", {"type": "interval", "value": 7, "unit": "day"}),
            ("@every 1h30m", {"type": "interval", "value": 90, "unit": "minute"}),
            ("@every 30s", None),
            ("@every 90s", None),
            ("0 0 L * *", None),
            ("0 0 15W * *", None),
            ("0 0 * * 5L", None),
            ("0 0 * * MON#2", None),
            ("cron(0 10 ? * 2 *)", None),
            ("at(2027-01-01T09:00:00)", None),
            ("rrule(FREQ=WEEKLY;BYDAY=MO)", None),
        ],
    )
    def test_is_configured_where_sentry_knows_such_schedules(self, schedule, told):
        job = ScheduledJob(name="x", schedule=schedule, timezone="Europe/Berlin")
        Recurrence.parse(schedule)
        config = monitors.config_of(job)
        assert config == (told and {"schedule": told, "timezone": "Europe/Berlin", "checkin_margin": 1})

    def test_knows_how_late_a_run_may_be_and_how_long_it_may_take(self):
        job = ScheduledJob(
            name="x",
            schedule="@daily",
            spread=30,
            misfire_grace=timedelta(seconds=90),
            deadline=timedelta(hours=2),
        )
        config = monitors.config_of(job)
        assert (config["checkin_margin"], config["max_runtime"]) == (2, 150)

    def test_is_not_told_more_than_sentry_takes(self):
        job = ScheduledJob(
            name="x", schedule="@daily", misfire_grace=timedelta(0), deadline=timedelta(days=400)
        )
        config = monitors.config_of(job)
        assert (config["checkin_margin"], config["max_runtime"]) == (1, 10_080)


class TestTheCheck:
    def test_a_carrier_that_is_not_used_is_said(self, settings):
        settings.LETSGO_WORKER = {"CONTEXT": ["language"]}
        (warning,) = apps.check_sentry(None)
        assert warning.id == "letsgo_sentry.W001"
        assert "LETSGO_WORKER['CONTEXT'] does not name 'sentry'" in warning.msg

        settings.LETSGO_WORKER = {"CONTEXT": ["sentry"]}
        assert apps.check_sentry(None) == []

    def test_a_setting_that_is_no_list_of_names_is_said(self, settings):
        settings.LETSGO_WORKER = {"CONTEXT": ["sentry"]}
        settings.LETSGO_SENTRY_CHECK_INS = True
        (error,) = apps.check_sentry(None)
        assert error.id == "letsgo_sentry.E002"
        assert error.msg == "LETSGO_SENTRY_CHECK_INS must be a list of names."

    def test_it_is_made_when_the_app_is_installed(self, settings):
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, "django_letsgo_worker.contrib.sentry"]
        settings.LETSGO_WORKER = {"CONTEXT": []}
        assert "letsgo_sentry.W001" in {one.id for one in run_checks()}
