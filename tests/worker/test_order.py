"""What is handled first, what waits, and what is left alone."""

from __future__ import annotations

import logging
import threading
from datetime import timedelta

import pytest

from django_letsgo_worker import Retry, Snooze, enqueue, enqueue_many, queues
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.messages import cancel, pause_type, resume_type
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.worker.wakeup import Wakeup
from tests.support import wait_until

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def seen(handle):
    found = []
    handle("t:see")(lambda delivery: found.append(delivery.payload))
    return found


def test_a_higher_priority_is_handled_first_whatever_its_queue_and_age(seen, work_off):
    for n, (queue, priority) in enumerate(
        [("a", 0), ("b", -100), ("a", 7), ("c", 100), ("b", 7), ("c", -1)] * 3
    ):
        enqueue("t:see", [priority, n], queue=queue, priority=priority)

    work_off()

    priorities = [priority for priority, _n in seen]
    assert priorities == sorted(priorities, reverse=True)
    assert len(seen) == 18


def test_within_a_lane_the_oldest_is_handled_first(seen, work_off):
    enqueue_many([("t:see", n) for n in range(100)])

    work_off()

    assert seen == list(range(100))


def test_queues_of_the_same_priority_take_turns(seen, work_off):
    enqueue_many([("t:see", "long") for _ in range(600)], queue="a")
    enqueue_many([("t:see", "short") for _ in range(5)], queue="b")

    work_off()

    assert "short" in seen[:10]
    assert len([s for s in seen[:300] if s == "short"]) == 5


def test_a_message_of_a_higher_priority_overtakes_a_backlog(handle, start_worker):
    order, gate = [], threading.Semaphore(0)

    @handle("t:step")
    def step(delivery):
        gate.acquire(timeout=20)
        order.append(delivery.payload)

    enqueue_many([("t:step", "low") for _ in range(5000)])
    start_worker(seats=1, poll_seconds=0.05)
    wait_until(lambda: Message.objects.filter(leased_by__isnull=False).exists())
    enqueue("t:step", "high", priority=10)

    def takes_a_step():
        steps = len(order)
        gate.release()
        wait_until(lambda: len(order) > steps, step=0.001)
        return "high" in order

    wait_until(takes_a_step, step=0, what="the urgent one")
    assert len(order) < 5000
    queues.pause("default")
    gate.release(1000)


def test_a_paused_queue_waits_while_others_work_and_goes_on_when_resumed(seen, start_worker):
    queues.pause("paused")
    start_worker(poll_seconds=0.05)
    enqueue("t:see", "waits", queue="paused")
    for n in range(5):
        enqueue("t:see", n, queue="other")
        wait_until(lambda n=n: n in seen)
    assert "waits" not in seen

    queues.resume("paused")

    wait_until(lambda: "waits" in seen)


def test_a_queue_that_is_paused_while_a_worker_works_is_left_alone(seen, start_worker):
    start_worker(poll_seconds=0.05)
    enqueue("t:see", "before", queue="q")
    wait_until(lambda: seen == ["before"])

    queues.pause("q")
    enqueue("t:see", "after", queue="q")
    enqueue("t:see", "elsewhere", queue="other")
    wait_until(lambda: "elsewhere" in seen)

    assert "after" not in seen
    assert Message.objects.get(queue="q").receipt == 0


def test_a_type_that_is_paused_while_a_worker_process_works_is_left_alone_until_it_is_resumed(manage):
    worker = manage("runworker", env={"LETSGO_WORKER_POLL_SECONDS": "0.1"}, settings_module=SETTINGS)
    enqueue("work:note", {"n": 0})
    wait_until(lambda: ArchivedMessage.objects.count() == 1)

    pause_type("work:note", by="anna")
    enqueue_many([("work:note", {"n": n}) for n in range(1, 101)])
    others = enqueue_many([("letsgo:scheduled", None)] * 3)
    wait_until(lambda: ArchivedMessage.objects.filter(pk__in=others).count() == 3, what="what is behind them")
    assert Message.objects.filter(attempts=0, receipt=0).count() == 100

    resume_type("work:note")

    wait_until(lambda: ArchivedMessage.objects.count() == 104)
    assert worker.stop() == 0
    assert "unknown type" not in worker.output


def test_a_worker_that_finds_only_paused_types_rests_until_its_poll(
    handle, start_worker, monkeypatch, caplog
):
    rests, wait = [], Wakeup.wait

    def noted(self, seconds, *rest):
        rests.append(seconds)
        return wait(self, seconds, *rest)

    monkeypatch.setattr(Wakeup, "wait", noted)
    handle("t:held")(lambda delivery: None)
    pause_type("t:held")
    enqueue_many([("t:held", n) for n in range(50)])

    start_worker(poll_seconds=3600.0)

    wait_until(lambda: rests and rests[-1] > 1000, what="a long rest")
    assert "unknown type" not in caplog.text
    assert Message.objects.filter(attempts=0, receipt=0).count() == 50


def test_what_runs_when_its_queue_is_paused_comes_to_its_end(handle, start_worker):
    started, go_on = threading.Event(), threading.Event()

    @handle("t:hold")
    def hold(delivery):
        started.set()
        go_on.wait(20)

    message = enqueue("t:hold")
    start_worker()
    started.wait(20)
    queues.pause("default")
    go_on.set()

    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk, outcome="succeeded").exists())


def test_an_unknown_type_is_left_as_it_is_and_said_in_the_log(seen, start_worker, caplog):
    unknown = enqueue("t:from-the-future", "secret-payload")
    with caplog.at_level(logging.DEBUG, logger="django_letsgo_worker"):
        start_worker(poll_seconds=0.05)
        enqueue("t:see", "known")
        wait_until(lambda: seen == ["known"])
        wait_until(lambda: "t:from-the-future" in caplog.text)

    row = Message.objects.get(pk=unknown.pk)
    assert (row.attempts, row.receipt, row.leased_by, row.visible_at) == (0, 0, None, unknown.visible_at)
    assert "secret-payload" not in caplog.text


def test_known_types_are_found_behind_unknown_ones(seen, work_off):
    enqueue_many([("t:from-the-future", n) for n in range(8)])
    enqueue("t:see", "known")

    work_off()

    assert seen == ["known"]
    assert Message.objects.count() == 8


def test_known_types_are_found_behind_many_unknown_ones(seen, start_worker):
    enqueue_many([("t:from-the-future", n) for n in range(60)])
    enqueue("t:see", "known")

    start_worker(seats=1, poll_seconds=0.05)

    wait_until(lambda: seen == ["known"])


def test_past_its_deadline_a_message_expires_unrun(seen, work_off):
    message = enqueue("t:see", "late", deadline=timedelta(hours=1))
    clock = engine_for("default").clock()
    Message.objects.filter(pk=message.pk).update(deadline=clock - timedelta(seconds=1))
    enqueue("t:see", "in time", deadline=timedelta(hours=1))

    work_off()

    row = ArchivedMessage.objects.get(pk=message.pk)
    assert seen == ["in time"]
    assert (row.outcome, row.attempts, row.errors) == ("expired", 0, [])


@pytest.mark.parametrize("atomic", [False, True])
def test_a_retry_that_would_be_after_the_deadline_expires_with_its_errors(handle, work_off, atomic):
    @handle("t:fails", atomic=atomic)
    def fails(delivery):
        raise Retry(3600, "later than allowed")

    message = enqueue("t:fails", deadline=timedelta(minutes=30))

    work_off()

    row = ArchivedMessage.objects.get(pk=message.pk)
    assert (row.outcome, row.attempts, row.errors[0]["message"]) == ("expired", 1, "later than allowed")


@pytest.mark.parametrize("atomic", [False, True])
def test_a_snooze_that_would_be_after_the_deadline_expires(handle, work_off, atomic):
    @handle("t:sleeps", atomic=atomic)
    def sleeps(delivery):
        raise Snooze(3600)

    message = enqueue("t:sleeps", deadline=timedelta(minutes=30))

    work_off()

    row = ArchivedMessage.objects.get(pk=message.pk)
    assert (row.outcome, row.attempts) == ("expired", 0)


def test_a_handler_that_ends_after_the_deadline_has_succeeded(handle, work_off):
    def end_late(delivery):
        clock = engine_for("default").clock()
        Message.objects.filter(pk=delivery.message_id).update(deadline=clock - timedelta(seconds=1))

    handle("t:late")(end_late)
    message = enqueue("t:late", deadline=timedelta(hours=1))

    work_off()

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"


def test_the_last_attempt_that_fails_after_the_deadline_is_a_dead_letter(handle, work_off):
    @handle("t:fails")
    def fails(delivery):
        raise ValueError("no")

    message = enqueue("t:fails", max_attempts=1, deadline=timedelta(hours=1))

    work_off()

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "dead"


def test_a_message_is_never_handled_before_its_time(handle, start_worker):
    early = []

    @handle("t:look")
    def look(delivery):
        if engine_for("default").clock() < Message.objects.get(
            pk=delivery.message_id
        ).enqueued_at + timedelta(seconds=0.5):
            early.append(delivery.message_id)

    start_worker(poll_seconds=0.05)
    for _ in range(5):
        enqueue("t:look", delay=0.5)

    wait_until(lambda: ArchivedMessage.objects.count() == 5)
    assert early == []


def test_a_cancelled_message_is_not_handled(seen, work_off):
    cancelled = enqueue("t:see", "cancelled")
    enqueue("t:see", "kept")
    cancel(cancelled.pk)

    work_off()

    assert seen == ["kept"]


def test_quick_messages_do_not_wait_behind_a_slow_one_while_a_seat_is_free(handle, start_worker):
    gate, done = threading.Event(), []
    handle("t:quick")(lambda delivery: done.append(delivery.message_id))
    handle("t:slow")(lambda delivery: gate.wait(20) and None)
    start_worker(seats=2)
    # From these the worker learns that one seat is enough for all of them.
    enqueue_many([("t:quick", None)] * 300)
    wait_until(lambda: len(done) == 300)

    slow, *quick = enqueue_many([("t:slow", None), *[("t:quick", None)] * 20])

    wait_until(lambda: set(quick) <= set(done))
    assert Message.objects.filter(pk=slow).exists()
    gate.set()
