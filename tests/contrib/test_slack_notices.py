"""contrib.slack: what is announced, in which words, how often, and how each kind is switched off."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone, translation

from django_letsgo_worker import Reject, enqueue, queues, registry, signals
from django_letsgo_worker.contrib.slack import apps, conf, notices
from django_letsgo_worker.inspection import problems
from django_letsgo_worker.maintenance import Maintenance
from django_letsgo_worker.models import ArchivedMessage, Housekeeping, Message, ScheduledJob
from django_letsgo_worker.schedules import run_now
from tests.browser.rows import process
from tests.slackserver import slack_fixture, work_off

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["slack_fixture"]

KINDS = list(conf.SWITCHES)


@pytest.fixture
def handle():
    """Register a handler for one test."""
    registered = []

    def register(type, function, **options):
        registered.append(type)
        registry.handler(type, **options)(function)

    yield register
    for type in registered:
        registry.remove(type)


@pytest.fixture
def failing(handle):
    """A type whose messages are given up at once."""

    def fail(delivery):
        raise Reject("no <such> customer & no hope\nthe second line")

    handle("t:fails", fail)
    return "t:fails"


def waiting():
    return [row.payload["text"] for row in Message.objects.filter(type="letsgo:slack").order_by("pk")]


def all_but(kind):
    return [one for one in KINDS if one != kind]


class TestProblems:
    @pytest.fixture
    def unserved(self):
        """A worker lives, and nobody serves the queue of a message."""
        enqueue("t:waits", queue="search")
        process(queues=["other"], types=["t:waits"])

    def turn(self):
        Housekeeping.objects.all().delete()
        maintenance = Maintenance("default")
        while maintenance.step():
            pass

    def test_an_error_is_announced_once_in_the_words_of_the_list(self, slack, unserved, handle):
        handle("t:waits", lambda delivery: None)
        (problem,) = [one for one in problems() if one.severity == "error"]
        self.turn()
        self.turn()
        assert waiting() == [f"*Problem*: {problem.sentence}"]

    def test_it_is_english_whatever_language_is_active(self, slack, unserved, handle):
        handle("t:waits", lambda delivery: None)
        process(name="web-9", queues=["search"], heartbeat_at=timezone.now() - timedelta(hours=1))
        with translation.override("de"):
            (problem,) = [one for one in problems() if one.code == "queue_unserved"]
            self.turn()
        # The list itself follows its reader.
        assert "vor 1h" in problem.sentence
        assert "the last was web-9, until 1h ago" in " ".join(waiting())

    def test_notices_are_no_errors(self, slack):
        queues.pause("search")
        process()
        self.turn()
        assert waiting() == []

    def test_what_another_notice_says_is_not_said_twice(self, slack, settings):
        enqueue("t:nobody-knows")
        process()
        self.turn()
        assert waiting() == []
        settings.LETSGO_SLACK_NOTIFY = ["problems"]
        self.turn()
        assert "t:nobody-knows" in waiting()[0]

    def test_it_can_be_switched_off_and_then_nothing_is_said(self, slack, settings, unserved):
        settings.LETSGO_SLACK_NOTIFY = all_but("problems")
        self.turn()
        assert waiting() == []


class TestADeadLetter:
    def test_is_announced_with_the_first_line_of_its_error_escaped(self, slack, failing):
        message = enqueue(failing, {"card": "4242"}, queue="orders")

        work_off()

        (text,) = slack.texts
        assert f"message {message.pk} of type `t:fails` in the queue `orders`, attempt 1" in text
        assert "> Reject: no &lt;such&gt; customer &amp; no hope" in text
        assert "second line" not in text and "4242" not in text

    def test_that_is_a_slack_message_is_not_announced(self, slack):
        slack.answer(404)
        enqueue("letsgo:slack", {"text": "Hello"})

        work_off()

        assert slack.texts == ["Hello"]
        assert ArchivedMessage.objects.get().outcome == "dead"
        assert not Message.objects.exists()

    def test_is_one_of_at_most_ten_of_a_type_and_an_hour(self, slack, failing, handle):
        handle("t:other", registry.get(failing).function)
        for _ in range(30):
            enqueue(failing)
        enqueue("t:other")

        work_off(concurrency=1)

        of_type = [text for text in slack.texts if "`t:fails`" in text]
        assert (len(of_type), len(slack.texts)) == (10, 11)

        ArchivedMessage.objects.update(finished_at=timezone.now() - timedelta(hours=2))
        enqueue(failing)
        work_off()
        assert len(slack.texts) == 12

    def test_of_a_schedule_names_the_schedule(self, slack, settings, failing):
        settings.LETSGO_SLACK_NOTIFY = ["schedules"]
        ScheduledJob.objects.create(name="nightly", schedule="rate(1 hour)", type=failing)
        run_now("nightly")
        enqueue(failing)

        work_off()

        (text,) = slack.texts
        assert "of the schedule nightly" in text

    def test_whose_worker_died_is_announced_with_its_schedule(self, slack, failing):
        ScheduledJob.objects.create(name="nightly", schedule="rate(1 hour)", type=failing)
        message = run_now("nightly")
        Message.objects.filter(pk=message.pk).update(attempts=10)

        work_off()

        (text,) = slack.texts
        assert "of the schedule nightly, attempt 10\n> WorkerDied: the worker died 1 time" in text

    def test_that_is_not_kept_is_announced_all_the_same(self, slack, settings, failing):
        settings.LETSGO_WORKER = {**settings.LETSGO_WORKER, "KEEP_DEAD_FOR": 0}
        message = enqueue(failing)

        work_off()

        (text,) = slack.texts
        assert text.startswith(
            f"*Dead letter*: message {message.pk} of type `t:fails` in the queue `default`\n"
        )

    def test_is_announced_by_a_message_that_came_with_the_death(self, slack, failing):
        message = enqueue(failing)

        work_off(queues="default")

        follower = Message.objects.get()
        assert (follower.type, follower.queue) == ("letsgo:slack:dead", "letsgo-slack")
        assert follower.payload["message"] == message.pk

    def test_that_is_such_a_message_is_not_announced(self, slack):
        enqueue("letsgo:slack:dead", "no dead letter")

        work_off()

        assert ArchivedMessage.objects.get().outcome == "dead"
        assert slack.texts == [] and not Message.objects.exists()

    def test_says_nothing_when_switched_off(self, slack, settings, failing):
        settings.LETSGO_SLACK_NOTIFY = all_but("dead")
        enqueue(failing)

        work_off()

        assert slack.received == []


class TestAnUnknownType:
    def send(self, type="t:nobody", queue="default"):
        ((_, answer),) = [
            pair
            for pair in signals.unknown_type.send_robust(sender=Message, queue=queue, type=type)
            if "contrib.slack" in pair[0].__module__
        ]
        assert not isinstance(answer, Exception), answer

    def test_is_announced_once_a_day_for_each_queue(self, slack):
        self.send()
        self.send()
        self.send(queue="orders")
        work_off()
        self.send()
        work_off()

        assert len(slack.texts) == 2
        assert all("type `t:nobody`" in text for text in slack.texts)

        ArchivedMessage.objects.update(finished_at=timezone.now() - timedelta(days=1, seconds=1))
        self.send()
        assert len(waiting()) == 1

    def test_says_nothing_when_switched_off_or_about_slack_itself(self, slack, settings):
        self.send(type="letsgo:slack")
        settings.LETSGO_SLACK_NOTIFY = all_but("unknown")
        self.send()

        assert waiting() == []


class TestABrokenSchedule:
    def send(self, problem, name="nightly"):
        job, _ = ScheduledJob.objects.get_or_create(
            name=name, defaults={"schedule": "rate(1 hour)", "type": "t:x"}
        )
        signals.schedule_failed.send_robust(sender=ScheduledJob, schedule=job, problem=problem)

    def test_is_announced_once_for_each_problem(self, slack):
        self.send("no zone <Mars>")
        self.send("no zone <Mars>")
        self.send("no such type")
        self.send("")

        assert waiting() == [
            "*Broken schedule*: nightly\n> no zone &lt;Mars&gt;",
            "*Broken schedule*: nightly\n> no such type",
        ]

    def test_says_nothing_when_switched_off(self, slack, settings):
        settings.LETSGO_SLACK_NOTIFY = all_but("schedules")
        self.send("no zone")

        assert waiting() == []


class TestTenants:
    @pytest.mark.parametrize(
        ("payload", "words"),
        [
            ({"tenantId": "ten-1", "displayName": "A & B"}, "A &amp; B (ten-1)"),
            ({"tenant": {"tenantId": "ten-1"}, "identityId": "idn-7"}, "ten-1, by idn-7"),
            ({"tenantId": 7}, "7"),
            ({"tenantId": ["x"], "tenant": "text"}, "unknown"),
            ({}, "unknown"),
            (None, "unknown"),
            ("ten-1", "unknown"),
            ([1], "unknown"),
        ],
    )
    def test_are_announced_whatever_the_payload_lacks(self, slack, payload, words):
        new, deleted = enqueue("letsgo:tenant:new", payload), enqueue("letsgo:tenant:deleted", payload)

        work_off()

        assert sorted(slack.texts) == [f"*New tenant*: {words}", f"*Tenant deleted*: {words}"]
        ended = ArchivedMessage.objects.filter(pk__in=[new.pk, deleted.pk])
        assert set(ended.values_list("outcome", flat=True)) == {"succeeded"}

    @pytest.mark.parametrize("off", [{"LETSGO_SLACK_URL": ""}, {"LETSGO_SLACK_NOTIFY": all_but("tenant")}])
    def test_are_handled_in_silence_when_switched_off(self, slack, settings, off):
        for name, value in off.items():
            setattr(settings, name, value)
        message = enqueue("letsgo:tenant:new", {"tenantId": "ten-1"})

        work_off()

        assert slack.received == []
        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"


def invoice(amount=1099, currency="usd", **facts):
    thing = {
        "id": "in_1",
        "object": "invoice",
        "number": "A-7",
        "amount_paid": amount,
        "amount_due": amount,
        "currency": currency,
        "customer_name": "<Ada>",
        "customer_email": "ada@example.com",
    }
    event = {"id": "evt_1", "type": "invoice.paid", "data": {"object": thing}, "stripeMode": "LIVE"}
    return {**event, **facts}


class TestEventsOfStripe:
    @pytest.fixture
    def stripe_installed(self, monkeypatch):
        pytest.importorskip("django_letsgo_worker.contrib.stripe.amounts")
        installed = notices.apps.is_installed
        monkeypatch.setattr(notices.apps, "is_installed", lambda app: app == notices.STRIPE or installed(app))

    @pytest.mark.parametrize(
        ("amount", "currency", "words"),
        [(1099, "usd", "10.99 USD"), (5, "eur", "0.05 EUR"), (500, "jpy", "500 JPY"), (0, "usd", "0.00 USD")],
    )
    def test_a_paid_invoice_shows_the_right_amount(self, stripe_installed, amount, currency, words):
        text = notices.stripe(invoice(amount, currency))

        assert text == f"*Stripe*: invoice.paid, {words}, &lt;Ada&gt;, ada@example.com, A-7"

    def test_an_event_of_the_test_mode_says_so(self):
        assert notices.stripe(invoice(stripeMode="TEST")).startswith("*Stripe* (test): invoice.paid")

    @pytest.mark.parametrize(
        "payload",
        [
            None,
            [],
            {},
            {"type": 7},
            {"type": "invoice.paid", "data": None},
            {"type": "invoice.paid", "data": {"object": []}},
            invoice(None),
            invoice("12"),
            invoice(True),
            invoice(12, None),
            invoice(12, "not a currency"),
        ],
    )
    def test_whatever_an_event_lacks_it_has_words(self, stripe_installed, payload):
        assert notices.stripe(payload).startswith("*Stripe*: ")

    def test_an_event_is_announced_when_its_handler_is_done_whoever_wrote_that(self, slack, handled):
        handled(invoice())
        handled(invoice(type="invoice.updated"))

        work_off()

        (text,) = slack.texts
        assert "invoice.paid" in text

    def test_an_event_whose_handler_fails_is_not_announced_as_handled(self, slack, handled):
        handled(invoice(), outcome="retry")
        handled("no event")

        assert waiting() == []

    def test_the_events_are_chosen_by_a_setting(self, slack, settings, handled):
        settings.LETSGO_SLACK_STRIPE_EVENTS = "invoice.updated, customer.created"
        handled(invoice())
        handled(invoice(type="customer.created"))
        assert len(waiting()) == 1

        settings.LETSGO_SLACK_STRIPE_EVENTS = ["all"]
        handled(invoice(type="whatever.happened"))
        assert len(waiting()) == 2

    def test_says_nothing_when_switched_off(self, slack, settings, handled):
        settings.LETSGO_SLACK_NOTIFY = all_but("stripe")
        handled(invoice())

        assert waiting() == []

    @pytest.fixture
    def handled(self, handle, monkeypatch):
        """Let a message of `letsgo:stripe` have been handled."""
        numbers = iter(range(1, 100))

        def finish(payload, outcome="succeeded"):
            delivery = make_delivery(next(numbers), payload)
            signals.delivery_finished.send_robust(
                sender=type(delivery),
                delivery=delivery,
                outcome=outcome,
                seconds=0.1,
                exception=None,
                result=None,
                delay=None,
            )

        return finish


def make_delivery(number, payload):
    from django_letsgo_worker import Delivery

    return Delivery(
        message_id=number, type="letsgo:stripe", payload=payload, headers={}, queue="default", priority=0,
        attempt=1, max_attempts=10, receipt=1, enqueued_at=timezone.now(),
    )  # fmt: skip


class TestTheSettings:
    @pytest.mark.parametrize(
        ("value", "named"),
        [
            (None, tuple(KINDS)),
            ("all", tuple(KINDS)),
            ("dead, unknown", ("dead", "unknown")),
            (["contact"], ("contact",)),
            ([], ()),
            ("", ()),
        ],
    )
    def test_the_switches_are_a_list_or_text(self, settings, slack, value, named):
        settings.LETSGO_SLACK_NOTIFY = value

        assert conf.switches() == named

    def test_the_environment_wins_and_may_name_none(self, settings, slack, monkeypatch):
        settings.LETSGO_SLACK_NOTIFY = ["dead"]
        monkeypatch.setenv("LETSGO_SLACK_NOTIFY", "contact,tenant")
        assert conf.switches() == ("contact", "tenant")

        monkeypatch.setenv("LETSGO_SLACK_NOTIFY", "")
        assert conf.switches() == ()

    def test_a_check_says_what_is_wrong_and_hides_the_url(self, settings, slack):
        assert apps.check_slack(None) == []

        settings.LETSGO_SLACK_URL = "http://hooks.slack.com/services/secret"
        settings.LETSGO_SLACK_NOTIFY = ["ded"]
        found = apps.check_slack(None)

        assert [error.id for error in found] == ["letsgo_slack.E001", "letsgo_slack.E002"]
        assert "Did you mean 'dead'?" in found[1].hint
        assert "services" not in str(found)

    @pytest.mark.parametrize("name", ["LETSGO_SLACK_NOTIFY", "LETSGO_SLACK_STRIPE_EVENTS"])
    def test_a_list_that_is_none_is_said_by_the_check(self, settings, slack, name):
        setattr(settings, name, 7)

        (error,) = apps.check_slack(None)

        assert str(error.msg) == f"{name} must be a list of names."
