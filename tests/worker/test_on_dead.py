"""on_dead: what follows a death, on every way in which a message dies, and where nothing follows."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import uuid4

import pytest
from django.core.checks import run_checks
from django.db import DatabaseError, transaction

from django_letsgo_worker import Reject, Retry, Snooze, enqueue, enqueue_many, messages, registry
from django_letsgo_worker.context import correlation_id, get_correlation_id
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import ArchivedMessage, Message, Process, ScheduledJob
from django_letsgo_worker.schedules import run_now
from django_letsgo_worker.testing import drain
from tests.support import wait_until
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def followed(handle):
    """The payloads of the messages that followed a death, as their handler was given them."""
    payloads = []
    handle("t:mourn")(lambda delivery: payloads.append(delivery.payload))
    return payloads


def fail(delivery):
    raise ValueError("no hope")


def reject(delivery):
    raise Reject("never")


async def fail_later(delivery):
    raise ValueError("no hope")


def write_and_fail(delivery):
    Effect.objects.create(n=1, receipt=0)
    raise ValueError("no hope")


def exit_at_once(delivery):
    raise SystemExit("no hope")


def retry(delivery):
    raise Retry(0, "no hope")


def give_a_generator(delivery):
    return (one for one in [1])


WAYS = {
    "the last attempt failed": (fail, {}, ("ValueError", "no hope")),
    "it was rejected": (reject, {}, ("django_letsgo_worker.outcomes.Reject", "never")),
    "an async one failed": (fail_later, {}, ("ValueError", "no hope")),
    "an atomic one failed": (write_and_fail, {"atomic": True}, ("ValueError", "no hope")),
    "an atomic one was rejected": (
        reject, {"atomic": True}, ("django_letsgo_worker.outcomes.Reject", "never"),
    ),
    "a SystemExit": (exit_at_once, {}, ("SystemExit", "no hope")),
    "a Retry on the last attempt": (retry, {}, ("django_letsgo_worker.outcomes.Retry", "no hope")),
    "of some payloads": (fail, {"where": {"a": 1}}, ("ValueError", "no hope")),
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_a_message_follows_each_death(handle, work, followed, way):
    function, options, (error_class, error) = WAYS[way]
    handle("t:it", on_dead="t:mourn", **options)(function)
    message = enqueue("t:it", {"a": 1}, max_attempts=1, queue="orders")

    work()

    assert followed == [
        {"message": message.pk, "type": "t:it", "queue": "orders", "error_class": error_class, "error": error}
    ]
    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "dead"
    assert not Effect.objects.exists()


def test_nothing_follows_before_the_last_attempt(handle, work, followed):
    handle("t:it", on_dead="t:mourn", backoff=[3600])(fail)
    enqueue("t:it", max_attempts=2)

    work()

    assert (followed, Message.objects.get().attempts) == ([], 1)


@pytest.mark.parametrize("end", [lambda delivery: 1, lambda delivery: (_ for _ in ()).throw(Snooze(3600))])
def test_nothing_follows_what_is_no_death(handle, work, followed, end):
    handle("t:it", on_dead="t:mourn")(end)
    enqueue("t:it", max_attempts=1)

    work()

    assert followed == []


def test_what_expires_is_not_followed(handle, work, followed):
    @handle("t:it", on_dead="t:mourn")
    def late(delivery):
        raise Retry(3600)

    message = enqueue("t:it", deadline=timedelta(minutes=5))

    work()

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "expired"
    assert followed == []


def test_a_message_that_wore_its_workers_out_is_followed(handle, work, followed):
    handle("t:it", on_dead="t:mourn")(fail)
    message = enqueue("t:it", max_attempts=2)
    Message.objects.filter(pk=message.pk).update(attempts=2)

    work()

    (payload,) = followed
    assert payload["message"] == message.pk
    assert payload["error_class"] == "django_letsgo_worker.errors.WorkerDied"
    assert payload["error"] == "the worker died 1 time while handling it"


def test_many_that_die_together_have_a_follower_each(handle, start_worker, followed):
    handle("t:it", on_dead="t:mourn")(fail)
    ids = enqueue_many([("t:it", n) for n in range(300)], max_attempts=1)

    start_worker(seats=50)
    wait_until(lambda: len(followed) == 300)

    assert sorted(payload["message"] for payload in followed) == ids


def test_a_death_that_is_settled_alone_is_followed_as_well(handle, work_off, followed, monkeypatch):
    handle("t:it", on_dead="t:mourn")(fail)
    message = enqueue("t:it", max_attempts=1)
    engine, fails = type(engine_for("default")), [True]
    follow = engine.settle_more

    def refuse_once(self, settlements, written, now):
        follow(self, settlements, written, now)
        if fails and "dead" in written.values():
            fails.clear()
            raise DatabaseError("refused, after all of it was written")

    monkeypatch.setattr(engine, "settle_more", refuse_once)
    work_off()

    assert not fails
    assert [payload["message"] for payload in followed] == [message.pk]


def test_a_death_that_was_no_longer_ours_is_not_followed(handle, work_off, followed):
    @handle("t:it", on_dead="t:mourn")
    def cancelled_meanwhile(delivery):
        messages.cancel(delivery.message_id)
        raise Reject("never")

    enqueue("t:it")

    work_off()

    assert ArchivedMessage.objects.get().outcome == "cancelled"
    assert followed == []


def test_what_a_caller_rolls_back_was_never_followed(handle, followed):
    handle("t:it", on_dead="t:mourn")(fail)
    with transaction.atomic():
        enqueue("t:it", max_attempts=1)
        drain()
        transaction.set_rollback(True)

    assert len(followed) == 1
    assert not ArchivedMessage.objects.exists() and not Message.objects.exists()


def test_the_follower_goes_on_with_the_context_of_the_dead(handle, work, settings):
    settings.LETSGO_WORKER = {**settings.LETSGO_WORKER, "CONTEXT": ["correlation_id"]}
    seen = []
    handle("t:mourn")(lambda delivery: seen.append((get_correlation_id(), delivery.headers)))
    handle("t:it", on_dead="t:mourn")(fail)
    with correlation_id("of the request"):
        enqueue("t:it", max_attempts=1, headers={"more": 1, "schedule": "none, a header of the project's"})

    work()

    assert seen == [("of the request", {"correlation_id": "of the request", "more": 1})]


def test_the_follower_of_a_scheduled_message_says_which_schedule_that_was(handle, work):
    seen = []
    handle("t:mourn")(lambda delivery: seen.append((delivery.headers, delivery.schedule)))
    handle("t:it", on_dead="t:mourn")(reject)
    ScheduledJob.objects.create(name="nightly", schedule="rate(1 hour)", type="t:it")
    run_now("nightly")

    work()

    assert seen == [({"schedule": "nightly"}, None)]


def test_the_options_of_its_handler_hold_for_the_follower(handle, followed, work_off):
    registry.remove("t:mourn")
    handle("t:mourn", queue="mails", priority=7, max_attempts=2)(fail)
    handle("t:it", on_dead="t:mourn")(reject)
    enqueue("t:it")

    work_off(queues=("default",))

    follower = Message.objects.get(type="t:mourn")
    assert (follower.queue, follower.priority, follower.max_attempts) == ("mails", 7, 2)


def test_a_long_error_is_cut(handle, work, followed):
    @handle("t:it", on_dead="t:mourn")
    def complain(delivery):
        raise Reject("x" * 100_000 + "\0")

    enqueue("t:it")

    work()

    error = followed[0]["error"]
    assert 1_900 < len(error.encode()) <= 2_000
    assert error.startswith("xxx") and error.endswith("x\N{REPLACEMENT CHARACTER}")


def test_a_follower_that_cannot_be_made_costs_no_death(handle, work, followed, settings, caplog):
    settings.LETSGO_WORKER = {**settings.LETSGO_WORKER, "MAX_PAYLOAD_BYTES": 50}
    handle("t:it", on_dead="t:mourn")(reject)
    message = enqueue("t:it")

    with caplog.at_level(logging.ERROR, "django_letsgo_worker"):
        work()

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "dead"
    assert f"Message {message.pk} died, and no message of type t:mourn can follow it." in caplog.text


def test_a_type_never_follows_itself(handle, work):
    handle("t:it", on_dead="t:it")(reject)
    enqueue("t:it")

    work()

    assert not Message.objects.exists()


class TestEveryDeath:
    """registry.follow_deaths(): as if every handler said it."""

    @pytest.fixture(autouse=True)
    def mourner(self, monkeypatch):
        monkeypatch.setattr(registry, "_followers", {})

    def test_is_followed_where_that_is_wanted(self, handle, work, followed):
        asked = []

        def wanted(type, schedule):
            asked.append((type, schedule))
            return type == "t:it"

        registry.follow_deaths("t:mourn", wanted)
        for type in ("t:it", "t:other"):
            handle(type)(reject)
            enqueue(type)

        work()

        assert [payload["type"] for payload in followed] == ["t:it"]
        assert sorted(asked) == [("t:it", None), ("t:other", None)]

    def test_is_followed_once_by_what_its_handler_says_too(self, handle, work, followed):
        registry.follow_deaths("t:mourn", lambda type, schedule: True)
        handle("t:it", on_dead="t:mourn")(reject)
        enqueue("t:it")

        work()

        assert len(followed) == 1

    def test_is_recorded_though_nobody_can_say_what_follows(self, handle, work, followed, caplog):
        registry.follow_deaths("t:mourn", lambda type, schedule: 1 / 0)
        handle("t:it")(reject)
        message = enqueue("t:it")

        work()

        assert ArchivedMessage.objects.get(pk=message.pk).outcome == "dead"
        assert "ZeroDivisionError" in caplog.text

    def test_of_a_type_that_nobody_knew_for_a_day_is_followed_too(self, followed):
        registry.follow_deaths("t:mourn", lambda type, schedule: True)
        stranger = enqueue("t:stranger", queue="orders")
        clock = engine_for("default").clock()
        Process.objects.create(
            id=uuid4(), kind="worker", name="w", host="h", pid=1, types=["t:x"], seats=1, version="0",
            started_at=clock, heartbeat_at=clock + timedelta(days=1),
        )  # fmt: skip

        assert messages.give_up_unknown_types(now=clock + timedelta(days=1, minutes=1)) == 1

        follower = Message.objects.get()
        assert follower.type == "t:mourn"
        assert follower.payload["message"] == stranger.pk
        assert follower.payload["error"] == "No handler is registered for the type 't:stranger'."


class TestTheCheck:
    def said(self):
        return [str(one.msg) for one in run_checks(tags=["letsgo_worker"]) if one.id == "letsgo_worker.E008"]

    def test_a_type_that_nobody_handles_is_an_error_with_what_it_may_be(self, handle, followed):
        handle("t:it", on_dead="t:moum")(fail)

        (sentence,) = self.said()
        assert "The handler of 't:it' (" in sentence
        assert "has on_dead='t:moum', for which there is no handler. Did you mean 't:mourn'?" in sentence

    def test_a_type_that_follows_itself_is_an_error(self, handle):
        handle("t:it", on_dead="t:it")(fail)

        (sentence,) = self.said()
        assert "on_dead='t:it', which leads back to it: each death would lead to another." in sentence

    def test_a_circle_is_an_error_and_what_only_leads_into_it_is_none(self, handle):
        for type, on_dead in [("t:a", "t:b"), ("t:b", "t:c"), ("t:c", "t:b")]:
            handle(type, on_dead=on_dead)(fail)

        assert [sentence.split("'")[1] for sentence in self.said()] == ["t:b", "t:c"]

    def test_a_chain_is_none(self, handle, followed):
        handle("t:b", on_dead="t:mourn")(fail)
        handle("t:a", on_dead="t:b")(fail)

        assert self.said() == []
