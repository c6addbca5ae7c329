"""The seats of async handlers: places on the event loop, that count like threads and are none."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, connections

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import delivery_started
from django_letsgo_worker.worker.inflight import RUNNING, WAITING
from django_letsgo_worker.worker.prefetch import Pace
from tests.support import wait_until
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

SEATS = 50
# What is enough to begin that many one after the other, however slow the machine is.
FEW = SEATS // 5


def seat_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("letsgo-seat")]


@pytest.fixture
def claims_ahead(monkeypatch):
    """Have more in flight than there are seats: the seats alone must hold it back."""
    monkeypatch.setattr(Pace, "prefetch", 100)


@pytest.fixture
def no_threads_of_others():
    wait_until(lambda: not seat_threads(), what="the end of earlier workers' threads")


class Crowd:
    """Counts who is inside at a time, and lets all of them go on when the gate opens."""

    def __init__(self):
        self.gate = threading.Event()
        self.inside = Counter()
        self.most = 0
        self._lock = threading.Lock()

    def enter(self, who):
        with self._lock:
            self.inside[who] += 1
            self.most = max(self.most, self.inside.total())

    def leave(self, who):
        with self._lock:
            self.inside[who] -= 1

    def hold(self, delivery):
        self.enter("sync")
        try:
            assert self.gate.wait(30)
        finally:
            self.leave("sync")

    async def ahold(self, delivery):
        self.enter("async")
        try:
            while not self.gate.is_set():
                await asyncio.sleep(0.01)
        finally:
            self.leave("async")


@pytest.fixture
def crowd(handle, start_worker):
    # After start_worker, so that the gate opens before the worker is stopped.
    crowd = Crowd()
    handle("t:sync")(crowd.hold)
    handle("t:async")(crowd.ahold)
    yield crowd
    crowd.gate.set()


def connections_used(handle, and_then=lambda delivery: None):
    """Register a handler of t:orm that uses the ORM; return the connections that its runs will have used."""
    used = []

    @handle("t:orm")
    def use_the_orm(delivery):
        Effect.objects.count()
        used.append(connections["default"])
        and_then(delivery)

    return used


def all_succeeded(count):
    wait_until(lambda: ArchivedMessage.objects.filter(outcome="succeeded").count() == count)


def test_as_many_async_handlers_as_seats_wait_for_each_other_on_few_threads(
    no_threads_of_others, handle, start_worker
):
    meet = asyncio.Barrier(SEATS)
    threads = []

    @handle("t:meet")
    async def meet_all(delivery):
        await meet.wait()
        threads.append(len(seat_threads()))

    enqueue_many([("t:meet", n) for n in range(SEATS)])
    start_worker(seats=SEATS)

    all_succeeded(SEATS)
    assert max(threads) < FEW


def test_no_more_async_handlers_run_at_once_than_there_are_seats(claims_ahead, crowd, start_worker):
    enqueue_many([("t:async", n) for n in range(40)])
    working = start_worker(seats=4)

    wait_until(lambda: crowd.inside["async"] >= 4)
    wait_until(lambda: len(working.worker.inflight.in_state(WAITING)) == 36)
    assert len(working.worker.inflight.in_state(RUNNING)) == 4
    crowd.gate.set()
    all_succeeded(40)
    assert crowd.most == 4


def test_sync_and_async_handlers_together_never_take_more_than_the_seats(claims_ahead, crowd, start_worker):
    enqueue_many([(f"t:{kind}", n) for n in range(30) for kind in ("async", "sync", "async")])
    working = start_worker(seats=6)

    wait_until(lambda: crowd.inside.total() >= 6)
    wait_until(lambda: len(working.worker.inflight.in_state(WAITING)) == 84)
    assert crowd.inside["sync"] and crowd.inside["async"]
    assert len(working.worker.inflight.in_state(RUNNING)) == 6
    crowd.gate.set()
    all_succeeded(90)
    assert crowd.most == 6


def test_a_sync_handler_runs_while_async_ones_wait_in_all_other_seats(crowd, handle, start_worker):
    handle("t:quick")(lambda delivery: "ran")
    start_worker(seats=SEATS)
    enqueue_many([("t:async", n) for n in range(SEATS - 1)])
    wait_until(lambda: crowd.inside["async"] == SEATS - 1)

    quick = [enqueue("t:quick", n) for n in range(3)]

    wait_until(lambda: ArchivedMessage.objects.filter(pk__in=[m.pk for m in quick]).count() == 3)
    assert crowd.inside["async"] == SEATS - 1


def test_async_handlers_that_wait_are_no_reason_to_start_a_thread(
    no_threads_of_others, crowd, handle, start_worker
):
    handle("t:quick")(lambda delivery: "ran")
    start_worker(seats=SEATS)
    enqueue_many([("t:async", n) for n in range(SEATS // 2)])
    wait_until(lambda: crowd.inside["async"] == SEATS // 2)

    for n in range(3):
        enqueue("t:quick", n)
        all_succeeded(n + 1)

    assert len(seat_threads()) < FEW


def test_an_async_handler_runs_while_sync_ones_keep_all_other_seats(crowd, handle, start_worker):
    @handle("t:quick")
    async def quick(delivery):
        await asyncio.sleep(0)

    start_worker(seats=4)
    enqueue_many([("t:sync", n) for n in range(3)])
    wait_until(lambda: crowd.inside["sync"] == 3)

    enqueue_many([("t:quick", n) for n in range(20)])

    all_succeeded(20)
    assert crowd.inside["sync"] == 3


def test_a_time_out_gives_the_seat_of_an_async_handler_back(handle, start_worker):
    @handle("t:forever", timeout=0.2, backoff=[3600])
    async def forever(delivery):
        await asyncio.Event().wait()

    @handle("t:next")
    async def next_one(delivery):
        return "ran"

    enqueue_many([("t:forever", n) for n in range(2)], priority=1)
    after = enqueue("t:next")
    start_worker(seats=2)

    wait_until(lambda: ArchivedMessage.objects.filter(pk=after.pk, outcome="succeeded").exists())
    wait_until(lambda: Message.objects.filter(leased_by=None, attempts=1).count() == 2)
    assert {row.errors[0]["class"] for row in Message.objects.all()} == {"TimeoutError"}


def test_threads_start_for_sync_handlers_up_to_the_seats(no_threads_of_others, crowd, start_worker):
    start_worker(seats=6)
    wait_until(seat_threads)
    assert len(seat_threads()) < 6

    enqueue_many([("t:sync", n) for n in range(12)])

    wait_until(lambda: crowd.inside["sync"] == 6)
    assert len(seat_threads()) == 6


def test_an_async_handler_takes_the_seat_and_ends_the_connection_of_a_thread_that_rests(
    no_threads_of_others, crowd, handle, start_worker
):
    used = connections_used(handle, and_then=crowd.hold)
    enqueue_many([("t:orm", n) for n in range(6)])
    start_worker(seats=6)
    wait_until(lambda: crowd.inside["sync"] == 6)
    crowd.gate.set()
    all_succeeded(6)
    crowd.gate.clear()
    assert all(each.connection is not None for each in used)

    enqueue_many([("t:async", n) for n in range(6)])

    wait_until(lambda: crowd.inside["async"] == 6)
    assert [each.connection for each in used] == [None] * 6
    wait_until(lambda: len(seat_threads()) == 1, what="the threads without a seat to end, but one")


def test_a_thread_that_begins_an_async_handler_keeps_no_connection_beside_it(
    no_threads_of_others, crowd, handle, start_worker
):
    used = connections_used(handle)
    start_worker(seats=2)
    enqueue("t:orm")
    all_succeeded(1)
    enqueue("t:async")
    wait_until(lambda: crowd.inside["async"] == 1)

    assert [each.connection for each in used] == [None]
    assert len(seat_threads()) == 1


def test_how_long_async_handlers_take_says_nothing_about_the_threads_that_sync_ones_need(crowd, start_worker):
    working = start_worker(seats=4)
    before = working.worker.inflight.seconds_each
    enqueue_many([("t:async", n) for n in range(4)])
    wait_until(lambda: crowd.inside["async"] == 4)
    crowd.gate.set()
    all_succeeded(4)

    assert working.worker.inflight.seconds_each == before


def test_a_receiver_of_delivery_started_uses_the_orm_before_an_async_handler(handle, work_off):
    @handle("t:seen")
    async def seen(delivery):
        return await Effect.objects.filter(n=delivery.message_id).acount()

    def note(delivery, **_):
        Effect.objects.create(n=delivery.message_id, receipt=0)

    delivery_started.connect(note)
    try:
        message = enqueue("t:seen")
        work_off()
    finally:
        delivery_started.disconnect(note)

    assert ArchivedMessage.objects.get(pk=message.pk).result == 1


def test_the_back_off_of_an_async_handler_uses_the_orm_and_sees_nothing_left_open(handle, work_off):
    counted = []

    def backoff(attempt, error):
        counted.append(Effect.objects.count())
        return 3600

    def leave_open():
        connection.ensure_connection()
        connection.set_autocommit(False)
        Effect.objects.create(n=-1, receipt=0)

    @handle("t:leave", backoff=backoff)
    async def leave(delivery):
        await sync_to_async(leave_open)()
        raise ValueError

    enqueue("t:leave")
    work_off()

    assert counted == [0]


def test_an_async_handler_that_cancels_itself_once_more_at_its_end_gives_its_seat_back(handle, start_worker):
    @handle("t:late", backoff=[3600])
    async def late(delivery):
        asyncio.get_running_loop().call_soon(asyncio.current_task().cancel)

    handle("t:next")(lambda delivery: None)
    first, second = enqueue("t:late", priority=1), enqueue("t:next")
    start_worker(seats=1)

    wait_until(lambda: ArchivedMessage.objects.filter(pk=second.pk).exists())
    wait_until(lambda: not Message.objects.filter(pk=first.pk, leased_by__isnull=False).exists())


def test_an_async_handler_is_told_and_given_back_at_the_end_of_the_drain(handle, start_worker):
    begun, ended = threading.Event(), threading.Event()

    @handle("t:watch")
    async def watch(delivery):
        begun.set()
        while not delivery.should_stop:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
        ended.set()

    message = enqueue("t:watch")
    working = start_worker(seats=2, drain_seconds=0.2)
    assert begun.wait(30)
    working.worker.stop()

    assert working.join() is False
    row = Message.objects.get(pk=message.pk)
    assert (row.attempts, row.leased_by, row.errors) == (0, None, [])
    assert ended.is_set(), "no time was left for what it does at its end"


def test_a_drain_waits_for_async_handlers(crowd, start_worker):
    enqueue_many([("t:async", n) for n in range(3)])
    working = start_worker(seats=3, drain_seconds=30.0)
    wait_until(lambda: crowd.inside["async"] == 3)
    working.worker.stop()
    wait_until(lambda: working.worker.inflight.is_closed)
    crowd.gate.set()

    assert working.join() is True
    assert ArchivedMessage.objects.filter(outcome="succeeded").count() == 3


def test_a_worker_told_how_many_messages_to_take_takes_no_more_async_ones(handle, start_worker):
    handle("t:one")(async_nothing)
    enqueue_many([("t:one", n) for n in range(10)])

    assert start_worker(seats=4, max_messages=7).join() is True

    assert ArchivedMessage.objects.count() == 7
    assert not Message.objects.exclude(attempts=0).exists()


async def async_nothing(delivery):
    await asyncio.sleep(0)
