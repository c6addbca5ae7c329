"""What happened to a message, without holes: each kind of event made by what makes it."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import uuid4

import pytest

from django_letsgo_worker import Snooze, context, enqueue, inspection, messages, schedules
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.testing import drain, fire_due
from tests.inspection.troubles import MINUTE, now, process

pytestmark = pytest.mark.django_db


class ProviderDown(Exception):
    pass


@pytest.fixture(autouse=True)
def handlers(own_registry, handle):
    """A type that succeeds, one that fails and one that snoozes."""

    @handle("t:bad", max_attempts=3, backoff="10m")
    def fail(delivery):
        raise ProviderDown("connect timeout")

    @handle("t:sleepy")
    def snooze(delivery):
        raise Snooze(600)

    handle("t:x")(lambda delivery: None)


def timeline(message):
    found = inspection.explain(message.pk).timeline
    assert all(one["at"].tzinfo and one["sentence"] for one in found)
    return found


def events(message):
    return [one["event"] for one in timeline(message)]


def test_a_success_is_enqueued_claimed_and_done():
    message = enqueue("t:x", queue="mail", priority=5)
    drain()
    enqueued, claimed, succeeded = timeline(message)

    assert enqueued["sentence"] == "Enqueued into mail with priority 5."
    assert (claimed["event"], claimed["attempt"]) == ("claimed", 1)
    assert succeeded["event"] == "succeeded"
    assert succeeded["sentence"].startswith("Succeeded at try 1 after ")
    assert enqueued["at"] <= claimed["at"] <= succeeded["at"]


def test_the_chain_and_the_schedule_that_a_message_comes_from_are_said(settings):
    with context.correlation_id("req-7"):
        settings.LETSGO_WORKER = {"CONTEXT": ["correlation_id"]}
        [first] = timeline(enqueue("t:x"))
    assert (first["sentence"], first["correlation_id"]) == (
        "Enqueued into default in the context of req-7.",
        "req-7",
    )

    [first] = timeline(enqueue("t:x", headers={"correlation_id": "17"}))
    assert first["sentence"] == "Enqueued into default in the chain of message 17."

    schedules.add("nightly", "@daily", "t:x")
    fire_due(now=now() + timedelta(days=1))
    [first] = timeline(Message.objects.get(scheduled_job_id__isnull=False))
    assert first["sentence"].startswith("Enqueued into default by schedule nightly for ")
    assert first["schedule"] == "nightly" and first["planned_at"]


def test_what_was_enqueued_for_later_says_until_when():
    message = enqueue("t:x", delay=600)
    [first] = timeline(message)
    assert first["sentence"].endswith(f", to run at {inspection.at_clock(message.visible_at, now())}.")


def test_each_failed_attempt_has_its_begin_its_place_its_time_and_its_traceback():
    message = enqueue("t:bad")
    drain()
    drain(now=now() + 30 * MINUTE)
    drain(now=now() + 90 * MINUTE)
    found = timeline(message)

    assert [one["event"] for one in found] == ["enqueued", *["claimed", "failed"] * 3, "dead"]
    assert [one["attempt"] for one in found[1:-1]] == [1, 1, 2, 2, 3, 3]
    for failed in found[2:-1:2]:
        assert failed["seconds"] >= 0 and failed["process"]
        assert failed["class"].endswith("ProviderDown") and "Traceback" in failed["traceback"]
        assert failed["sentence"].endswith("ProviderDown: connect timeout")
    assert found[-1]["sentence"] == "Became a dead letter after 3 of 3 tries."


def test_an_attempt_whose_worker_died_is_lost_not_failed():
    message, dead = enqueue("t:x"), process("web-9", age=600)
    begun = now() - 2 * MINUTE
    Message.objects.filter(pk=message.pk).update(
        leased_by=dead.pk, leased_at=begun, visible_at=now() - MINUTE, attempts=1, receipt=1
    )
    assert events(message) == ["enqueued", "claimed", "lost"]

    drain()
    found = timeline(message)

    assert [one["event"] for one in found] == ["enqueued", "claimed", "lost", "claimed", "succeeded"]
    assert found[2]["process"] == "web-9"
    assert found[2]["sentence"].startswith(
        "Try 1 was lost: the worker web-9 died while it held the message: it was last heard of at "
    )


def test_a_message_whose_workers_died_each_time_tells_each_and_its_end():
    message, dead = enqueue("t:x", max_attempts=1), process("web-9", age=600)
    Message.objects.filter(pk=message.pk).update(
        leased_by=dead.pk, leased_at=now() - 2 * MINUTE, visible_at=now() - MINUTE, attempts=1, receipt=1,
        deaths=1,
    )  # fmt: skip
    drain()

    assert events(message) == ["enqueued", "claimed", "lost", "dead"]


def test_what_runs_now_has_begun_on_a_worker():
    message, worker = enqueue("t:x"), process("web-1")
    Message.objects.filter(pk=message.pk).update(
        leased_by=worker.pk, leased_at=now(), visible_at=now() + MINUTE, attempts=1, receipt=1
    )
    claimed = timeline(message)[-1]

    assert (claimed["event"], claimed["attempt"], claimed["process"]) == ("claimed", 1, "web-1")
    assert claimed["sentence"] == "Try 1 began on web-1."


def test_how_long_it_waited_for_an_attempt_is_said():
    message, worker = enqueue("t:x"), process("web-1")
    Message.objects.filter(pk=message.pk).update(
        leased_by=worker.pk, leased_at=message.enqueued_at + 2 * MINUTE, visible_at=now() + 9 * MINUTE,
        attempts=1, receipt=1,
    )  # fmt: skip
    assert timeline(message)[-1]["sentence"] == "Try 1 began on web-1, after waiting 2m."


def test_one_whose_process_is_forgotten_is_named_by_its_id():
    message, gone = enqueue("t:x"), uuid4()
    Message.objects.filter(pk=message.pk).update(
        leased_by=gone, leased_at=now(), visible_at=now() + MINUTE, attempts=1, receipt=1
    )
    assert timeline(message)[-1]["process"] == str(gone)


def test_snoozes_are_counted():
    message = enqueue("t:sleepy")
    drain()
    drain(now=now() + 20 * MINUTE)
    _enqueued, snoozed = timeline(message)

    assert (snoozed["event"], snoozed["count"]) == ("snoozed", 2)
    assert snoozed["sentence"] == (
        "Snoozed, or given back by a worker that stopped, 2 times: that uses no try."
    )


def test_a_redrive_stands_between_the_attempts_with_who_and_why():
    message = enqueue("t:bad", max_attempts=1)
    drain()
    messages.redrive(message.pk, by="anna", reason="the provider is back")
    drain()
    found = timeline(message)

    assert [one["event"] for one in found] == [
        "enqueued", "claimed", "failed", "redriven", "claimed", "failed", "dead",
    ]  # fmt: skip
    assert found[3]["sentence"] == "Redriven by anna: the provider is back."
    assert (found[3]["by"], found[3]["reason"]) == ("anna", "the provider is back")
    assert "snoozed" not in events(message)


def test_a_retry_that_somebody_asked_for_has_who_and_why():
    message = enqueue("t:bad")
    drain()
    messages.retry(message.pk, by="ben")
    found = timeline(message)

    assert [one["event"] for one in found] == ["enqueued", "claimed", "failed", "retried"]
    assert found[-1]["sentence"] == "Made due at once by ben."


def test_what_people_and_time_end_has_no_attempt_of_its_own():
    cancelled, expired = enqueue("t:x"), enqueue("t:x", deadline=now() + MINUTE)
    messages.cancel(cancelled.pk)
    assert events(cancelled) == ["enqueued", "cancelled"]

    drain(now=now() + 5 * MINUTE)
    assert events(expired) == ["enqueued", "expired"]


def test_a_type_that_nobody_knew_for_a_day_was_never_tried(caplog):
    caplog.set_level(logging.CRITICAL)
    message = enqueue("t:strange")
    process("web-1")
    Message.objects.update(visible_at=now() - timedelta(days=2), enqueued_at=now() - timedelta(days=2))
    messages.give_up_unknown_types()
    found = timeline(message)

    assert [one["event"] for one in found] == ["enqueued", "dead"]
    assert found[1]["sentence"] == "Became a dead letter: no worker has known the type t:strange for a day."


def test_attempts_that_are_no_longer_recorded_are_said_to_have_been():
    message = enqueue("t:bad", max_attempts=50)
    for hours in range(13):
        drain(now=now() + timedelta(hours=2 * hours))
    found = timeline(message)

    assert [one["event"] for one in found[:3]] == ["enqueued", "failed", "claimed"]
    assert found[1]["sentence"] == "Tries 1 to 3 failed too; the newest 10 entries are kept."
    assert found[2]["attempt"] == 4


@pytest.mark.parametrize("errors", ["what", {"a": 1}, [None, 5, "x", ["y"]], [{"at": 5, "seconds": "long"}]])
def test_a_record_that_nothing_of_ours_wrote_is_still_told(errors):
    message = enqueue("t:x")
    messages.cancel(message.pk)
    ArchivedMessage.objects.filter(pk=message.pk).update(errors=errors)

    assert events(message)[0] == "enqueued"
    assert events(message)[-1] == "cancelled"
