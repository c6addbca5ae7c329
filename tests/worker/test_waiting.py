"""Waiting for the end of a message: `message.wait()` and `await message.wait_async()`."""

from __future__ import annotations

import asyncio
import json
import threading
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.management import CommandError, call_command
from django.db import connection, connections, transaction

from django_letsgo_worker import aenqueue, enqueue, messages, queues
from django_letsgo_worker.errors import InvalidMessage, WaitInTransaction
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def handled(handle):
    """Types with handlers: t:good succeeds with a result, t:bad dies."""
    handle("t:good")(lambda delivery: {"seen": delivery.payload})

    @handle("t:bad", max_attempts=1)
    def fail(delivery):
        raise ValueError("no")


def waits_async(message, timeout=None):
    return async_to_sync(message.wait_async)(timeout)


@pytest.fixture(params=["wait", "wait_async"])
def wait(request):
    return waits_async if request.param == "wait_async" else Message.wait


def test_it_returns_what_became_of_the_message(handled, start_worker, wait):
    start_worker()
    good, bad = wait(enqueue("t:good", 7)), wait(enqueue("t:bad"), timeout=30)

    assert (good.outcome, good.result) == ("succeeded", {"seen": 7})
    assert (bad.outcome, bad.errors[0]["message"]) == ("dead", "no")


def test_one_that_has_ended_already_is_returned_at_once_live_copy_or_not(handled, wait):
    message = enqueue("t:good")
    drain()
    for copy in (message, messages.find(message.pk), ArchivedMessage.objects.get()):
        waited = copy.wait(0) if wait is Message.wait else wait(copy, 0)
        assert (waited.pk, waited.outcome) == (message.pk, "succeeded")


def test_cancelled_and_expired_are_ends_too(wait):
    message = enqueue("t:x")
    messages.cancel(message.pk)
    assert wait(message, 0).outcome == "cancelled"


def test_when_the_time_is_over_it_says_so(wait):
    message = enqueue("t:nobody")
    for timeout in (0, 0.05, timedelta(seconds=0.05)):
        with pytest.raises(TimeoutError, match=rf"^Message {message.pk} \(t:nobody\) has not ended within 0"):
            wait(message, timeout)
    assert Message.objects.get().receipt == 0


@pytest.mark.parametrize("timeout", [-1, True, "soon", float("nan"), float("inf")])
def test_a_timeout_that_is_none_is_refused(timeout, wait):
    with pytest.raises(InvalidMessage, match="timeout"):
        wait(enqueue("t:x"), timeout)


def test_in_a_transaction_it_is_refused_and_the_helper_named():
    with transaction.atomic():
        message = enqueue("t:x")
        with pytest.raises(WaitInTransaction, match=r"^Message \d+ cannot .*testing\.drain\(\)\.$"):
            message.wait(1)


def test_in_a_transaction_one_that_has_ended_is_returned(handled):
    with transaction.atomic():
        message = enqueue("t:good")
        drain()
        assert message.wait().outcome == "succeeded"


def test_where_the_settings_keep_nothing_of_it_there_is_nothing_to_return(settings, handled, wait):
    settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0}
    message = enqueue("t:good")
    drain()
    assert wait(message) is None


def test_one_that_was_purged_ends_the_wait(wait):
    message = enqueue("t:x", queue="away")
    queues.purge("away")
    assert wait(message, 30) is None


def test_one_that_was_never_committed_ends_the_wait(wait):
    class Changed(Exception):
        pass

    with pytest.raises(Changed), transaction.atomic():
        message = enqueue("t:x")
        raise Changed
    assert wait(message, 30) is None


def test_a_redriven_message_is_waited_for_again(handled):
    message = enqueue("t:bad")
    drain()
    dead = message.wait(0)
    messages.redrive(message.pk)
    with pytest.raises(TimeoutError):
        dead.wait(0)


def test_one_that_is_redriven_between_two_looks_is_waited_for(handled, monkeypatch):
    message = enqueue("t:bad")
    drain()
    asked, manager = [], ArchivedMessage.objects.__class__
    using = manager.using

    def redrive_first(self, alias):
        if not asked and self.model is ArchivedMessage:
            asked.append(alias)
            messages.redrive(message.pk)
        return using(self, alias)

    monkeypatch.setattr(manager, "using", redrive_first)
    with pytest.raises(TimeoutError):
        message.wait(0)
    assert asked


def test_a_message_of_another_thread_is_waited_for_while_it_is_retried(handle, start_worker):
    handle("t:twice", backoff=[0.2])(lambda delivery: delivery.attempt == 1 and 1 / 0)
    start_worker()
    found = []

    def in_a_thread():
        found.append(enqueue("t:twice").wait(30))
        connections.close_all()

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()
    assert (found[0].outcome, found[0].attempts) == ("succeeded", 2)


def test_an_async_wait_lets_other_coroutines_go_on():
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep(0)

    async def wait_beside():
        beside = asyncio.ensure_future(tick())
        with pytest.raises(TimeoutError):
            await (await aenqueue("t:nobody")).wait_async(0.2)
        beside.cancel()

    async_to_sync(wait_beside)()
    assert len(ticks) > 10


def test_a_message_enqueued_by_async_code_is_waited_for(handled, start_worker):
    start_worker()

    async def enqueue_and_wait():
        message = await aenqueue("t:good", 1)
        return await message.wait_async(30)

    assert async_to_sync(enqueue_and_wait)().outcome == "succeeded"


def test_a_long_wait_looks_at_most_four_times_a_second_and_a_short_one_soon(django_assert_max_num_queries):
    from django_letsgo_worker.models.message import Waiting

    waiting = Waiting(enqueue("t:x"), None)
    pauses = [waiting.pause() for _ in range(20)]
    assert (pauses[0], pauses[-1]) == (0.01, 0.25)
    assert pauses == sorted(pauses)
    with django_assert_max_num_queries(1):
        assert not waiting.is_over()


# -- letsgo enqueue --wait -----------------------------------------------------------------------------------


def letsgo(capsys, *words):
    """Call letsgo; return the lines of stdout, and the sentence that it ended with."""
    sentence = ""
    try:
        call_command("letsgo", *words)
    except CommandError as error:
        sentence = str(error)
    return capsys.readouterr().out.splitlines(), sentence


def test_the_command_waits_for_the_outcome(handled, start_worker, capsys):
    start_worker()
    (number, outcome), sentence = letsgo(capsys, "enqueue", "t:good", "7", "--wait")
    assert (outcome, sentence) == ("succeeded", "")
    assert ArchivedMessage.objects.get(pk=int(number)).payload == 7

    lines, sentence = letsgo(capsys, "enqueue", "t:bad", "--wait", "30s")
    assert lines[1] == "dead"
    assert sentence.startswith("Died at") and "ValueError: no" in sentence

    lines, sentence = letsgo(capsys, "enqueue", "t:good", "--json", "--wait")
    said = json.loads("\n".join(lines))
    assert (said["state"], said["outcome"], said["created"], sentence) == ("succeeded", "succeeded", True, "")
    assert "result" not in said


def test_the_command_says_when_the_time_is_over(capsys):
    (number,), sentence = letsgo(capsys, "enqueue", "t:nobody", "--wait", "1s")
    assert sentence == f"Message {number} (t:nobody) has not ended within 1 s."


def test_the_command_says_where_nothing_is_kept(handled, start_worker, capsys, settings):
    settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0}
    start_worker()
    (number,), sentence = letsgo(capsys, "enqueue", "t:good", "--wait")
    assert sentence == f"Message {number} has ended, and nothing of it was kept."


def test_the_command_in_a_transaction_names_the_helper(capsys):
    with transaction.atomic():
        _lines, sentence = letsgo(capsys, "enqueue", "t:x", "--wait")
    assert "testing.drain()" in sentence
    assert connection.is_usable()
