"""Async handlers: one loop for all, a connection each, a time-out that cancels."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.worker import eventloop
from tests.support import wait_until
from tests.testapp.models import Effect, Entry

pytestmark = pytest.mark.django_db(transaction=True)


def test_two_async_handlers_in_transactions_do_not_share_a_connection(handle, start_worker, engine):
    if engine == "sqlite":
        pytest.skip("SQLite has one writer: the second transaction would wait for the first.")
    meet = threading.Barrier(2)

    def write_in_a_transaction(n):
        with transaction.atomic():
            Effect.objects.create(n=n, receipt=0)
            meet.wait(20)
            if n == 1:
                raise ValueError("rolled back")
        return id(connection.connection)

    @handle("t:write", backoff=[3600])
    async def write(delivery):
        return await sync_to_async(write_in_a_transaction)(delivery.payload)

    start_worker(seats=2)
    fails, succeeds = enqueue("t:write", 1), enqueue("t:write", 2)

    wait_until(lambda: ArchivedMessage.objects.filter(pk=succeeds.pk).exists())
    wait_until(lambda: Message.objects.filter(pk=fails.pk, attempts=1, leased_by=None).exists())
    assert [effect.n for effect in Effect.objects.all()] == [2]


def test_two_async_handlers_hold_their_transactions_at_the_same_time(handle, start_worker):
    meet = threading.Barrier(2)

    def hold_a_transaction(n):
        # A deferred BEGIN that reads takes no lock on any engine.
        connection.ensure_connection()
        connection.set_autocommit(False)
        try:
            meet.wait(20)
            return connection.get_autocommit()
        finally:
            connection.set_autocommit(True)

    @handle("t:hold")
    async def hold(delivery):
        return await sync_to_async(hold_a_transaction)(delivery.payload)

    start_worker(seats=2)
    messages = [enqueue("t:hold", n, max_attempts=1) for n in (1, 2)]

    rows = [wait_until(lambda m=m: ArchivedMessage.objects.filter(pk=m.pk).first()) for m in messages]
    assert [row.outcome for row in rows] == ["succeeded", "succeeded"]


def test_what_an_async_handler_leaves_open_is_rolled_back_and_unseen_by_the_next(handle, work_off):
    def leave_open():
        transaction.atomic().__enter__()
        Effect.objects.create(n=-1, receipt=0)

    @handle("t:leave")
    async def leave(delivery):
        await sync_to_async(leave_open)()

    @handle("t:look")
    async def look(delivery):
        await Effect.objects.acreate(n=1, receipt=0)
        return await sync_to_async(lambda: connection.in_atomic_block)()

    enqueue("t:leave", priority=1)
    after = enqueue("t:look")

    work_off()

    assert ArchivedMessage.objects.get(pk=after.pk).result is False
    assert [effect.n for effect in Effect.objects.all()] == [1]


def test_async_handlers_run_at_the_same_time_up_to_the_seats(handle, start_worker):
    together = []
    released = []

    @handle("t:meet")
    async def meet(delivery):
        together.append(delivery.payload)
        while not released:
            await asyncio.sleep(0.01)

    working = start_worker(seats=3)
    for n in range(5):
        enqueue("t:meet", n)

    wait_until(lambda: len(together) == 3)
    assert len(working.worker.inflight.in_state("running")) == 3
    released.append(True)
    wait_until(lambda: ArchivedMessage.objects.count() == 5)


def test_an_async_handler_past_its_time_out_is_cancelled_and_has_failed(outcome_of):
    cancelled = []

    async def handler(delivery):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    row = outcome_of(handler, timeout=0.2)

    assert isinstance(row, Message)
    assert (row.attempts, row.errors[0]["class"]) == (1, "TimeoutError")
    assert cancelled == [True]


def test_the_last_attempt_that_times_out_makes_a_dead_letter(outcome_of):
    async def handler(delivery):
        await asyncio.sleep(60)

    row = outcome_of(handler, timeout=0.2, max_attempts=1)

    assert (row.outcome, row.error_class) == ("dead", "TimeoutError")


def test_an_async_handler_that_cancels_itself_has_failed(outcome_of):
    async def handler(delivery):
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    row = outcome_of(handler)

    assert row.attempts == 1
    assert row.errors[0]["class"].endswith("CancelledError")


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_an_error_that_ends_programs_in_a_task_of_the_handler_does_not_end_the_loop(
    handle, work_off, start_worker, error
):
    @handle("t:exits", backoff=[3600])
    async def exits(delivery):
        async def inner():
            raise error

        await asyncio.gather(asyncio.create_task(inner()))

    @handle("t:runs")
    async def runs(delivery):
        await asyncio.sleep(0)
        return "ran"

    first, second = enqueue("t:exits", priority=1), enqueue("t:runs")
    start_worker(seats=1, drain_seconds=1)

    wait_until(lambda: ArchivedMessage.objects.filter(pk=second.pk).exists(), timeout=10)
    first.refresh_from_db()
    assert first.errors[0]["class"] == type(error).__name__


def test_an_async_handler_extends_its_lease(outcome_of):
    async def handler(delivery):
        await sync_to_async(delivery.extend)(7200)
        row = await Message.objects.aget(pk=delivery.message_id)
        return (row.visible_at - row.leased_at).total_seconds() > 7000

    assert outcome_of(handler).result is True


def test_an_async_handler_may_extend_its_lease_from_the_loop(outcome_of):
    async def handler(delivery):
        delivery.extend(7200)
        row = await Message.objects.aget(pk=delivery.message_id)
        return (row.visible_at - row.leased_at).total_seconds() > 7000

    assert outcome_of(handler).result is True


def test_async_handlers_leave_no_connections_and_threads_behind(handle, work_off):
    @handle("t:write")
    async def write(delivery):
        await Entry.objects.acreate(n=delivery.payload, receipt=0, attempt=1, process=0)

    for n in range(30):
        enqueue("t:write", n)
    before = threading.active_count()

    work_off(seats=4)

    assert Entry.objects.count() == 30
    wait_until(lambda: threading.active_count() <= before, what="threads to end")


def test_a_handler_that_blocks_the_loop_is_reported_with_its_place(handle, start_worker, caplog, monkeypatch):
    monkeypatch.setattr(eventloop, "BLOCKED_SECONDS", 0.05)
    reported = threading.Event()

    @handle("t:block")
    async def block(delivery):
        assert reported.wait(20)

    with caplog.at_level(logging.WARNING, logger="django_letsgo_worker"):
        start_worker(seats=1)
        message = enqueue("t:block")
        wait_until(lambda: "has blocked the event loop" in caplog.text)
        reported.set()
        wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())

    (record,) = [r for r in caplog.records if getattr(r, "event", "") == "loop.blocked"]
    assert record.getMessage().startswith(f"Message {message.pk} (t:block) has blocked the event loop")
    assert "threading.py" in record.getMessage()


def test_async_handlers_that_wait_block_nothing(handle, start_worker, caplog):
    looks = []

    @handle("t:wait")
    async def wait(delivery):
        while len(looks) < 20:
            looks.append(1)
            await asyncio.sleep(0.01)

    start_worker(seats=1)
    message = enqueue("t:wait")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())

    assert "has blocked the event loop" not in caplog.text
