"""asyncjobs' tasks: policies, results, ids, events and logs (rows A15 to A22)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import logging
import threading

import pytest
from django.db import connections

from django_letsgo_worker import Reject, enqueue, messages, queues, schedules
from django_letsgo_worker.backoff import backoff_seconds
from django_letsgo_worker.errors import DuplicateMessage
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import delivery_finished, delivery_started, message_enqueued
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize(("name", "first", "most"), [("1m", 1, 60), ("10m", 5, 600), ("1h", 60, 3600)])
def test_A15_a_named_back_off_climbs_to_its_name_and_never_beyond(name, first, most):
    delays = [[backoff_seconds(name, n, ValueError()) for _ in range(50)] for n in range(1, 30)]

    assert first * 0.75 <= min(delays[0]) and max(delays[0]) <= first
    assert max(map(max, delays)) <= most
    assert min(delays[-1]) >= most * 0.75


@pytest.mark.parametrize("backoff", [[3, 3600], lambda attempt, error: 3 if attempt == 1 else 3600])
def test_A15_a_back_off_may_be_a_list_or_a_function_and_is_exact(handle, work_off, backoff):
    @handle("t:x", backoff=backoff)
    def fail(delivery):
        raise ValueError("no")

    message = enqueue("t:x")
    work_off()

    row = Message.objects.get(pk=message.pk)
    assert row.attempts == 1
    assert 2.9 < (row.visible_at - row.first_started_at).total_seconds() < 33


def test_A16_a_handler_may_end_a_message_without_a_retry(handle, ended):
    @handle("t:x")
    def reject(delivery):
        raise Reject("There is no such customer.")

    row = ended(enqueue("t:x"))

    assert (row.outcome, row.attempts) == ("dead", 1)
    assert row.errors[0]["message"] == "There is no such customer."


def test_A17_a_long_handler_keeps_its_message_and_may_ask_for_more(handle, ended, settings):
    settings.LETSGO_WORKER = {"LEASE_SECONDS": 1}

    @handle("t:x")
    def long(delivery):
        def until():
            return Message.objects.get(pk=delivery.message_id).visible_at

        begun = until()
        wait_until(lambda: until() > begun, what="the heartbeat")
        delivery.extend(7200)
        return (until() - begun).total_seconds() > 7000

    row = ended(enqueue("t:x"))

    assert (row.result, row.attempts) == (True, 1)


def test_A18_people_may_find_cancel_redrive_discard_and_pause(handle, ended):
    @handle("t:x")
    def reject(delivery):
        raise Reject("no")

    dead = ended(enqueue("t:x"))
    assert messages.find(dead.pk).outcome == "dead"
    messages.redrive(dead.pk)
    assert messages.find(dead.pk).attempts == 0
    assert messages.cancel(dead.pk).outcome == "cancelled"

    again = ended(enqueue("t:x"))
    messages.discard(again.pk)
    assert not ArchivedMessage.objects.filter(pk=again.pk).exists()

    queues.pause("default", by="ada")
    assert queues.paused() == {"default"}


def test_A19_of_concurrent_duplicates_there_is_one(transactional_db):
    together, created = threading.Barrier(6), []

    def add():
        try:
            together.wait(20)
            created.append(enqueue("t:x", unique_key="k").created)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=add) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(created) == [False] * 5 + [True]
    with pytest.raises(DuplicateMessage):
        enqueue("t:x", unique_key="k", on_conflict="raise")


def test_A19_a_key_is_free_again_when_its_message_has_ended(handle, ended):
    handle("t:x")(lambda delivery: None)
    first = ended(enqueue("t:x", unique_key="k"))

    second = enqueue("t:x", unique_key="k")

    assert second.created and second.pk != first.pk


def test_A20_the_life_of_a_message_is_told_and_a_broken_receiver_breaks_nothing(handle, ended):
    told = []
    named = {message_enqueued: "enqueued", delivery_started: "started", delivery_finished: "finished"}

    def note(signal, **facts):
        told.append(named[signal])

    def broken(**facts):
        raise RuntimeError("this receiver is broken")

    for signal in named:
        signal.connect(broken)
        signal.connect(note)
    try:
        handle("t:x")(lambda delivery: None)
        row = ended(enqueue("t:x"))
        wait_until(lambda: len(told) == 3)
    finally:
        for signal in named:
            signal.disconnect(broken)
            signal.disconnect(note)

    assert (row.outcome, told) == ("succeeded", ["enqueued", "started", "finished"])


def test_A21_results_are_kept_and_one_that_is_no_json_is_kept_as_text(handle, ended, caplog):
    handle("t:json")(lambda delivery: {"pages": 12})
    handle("t:text")(lambda delivery: {1})

    json, text = ended(enqueue("t:json")), ended(enqueue("t:text"))

    assert (json.outcome, json.result) == ("succeeded", {"pages": 12})
    assert (text.outcome, text.result) == ("succeeded", "{1}")
    [warning] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert f"The result of message {text.pk} (t:text) is not JSON" in warning.getMessage()


def test_A22_what_happens_to_schedules_is_a_line_each(caplog):
    caplog.set_level(logging.INFO, logger="django_letsgo_worker")
    schedules.sync_declared(schedules.declared_in_code())
    schedules.add("x", "@hourly", "t:x")
    schedules.update("x", schedule="@daily")
    schedules.disable("x", by="ada")
    schedules.remove("x")

    lines = [record for record in caplog.records if record.name == "django_letsgo_worker.schedules"]
    words = ("declared in code, was added", "was added", "was changed", "switched off by ada", "was removed")
    assert len(lines) == len(words)
    assert all(word in line.getMessage() for word, line in zip(words, lines, strict=True))
    assert [line.schedule for line in lines] == ["worker", "x", "x", "x", "x"]
