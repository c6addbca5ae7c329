"""A message that is cancelled or deleted while it runs: its handler hears of it, long before a heartbeat."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from django.db import connection

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

NO_HEARTBEAT = {"lease_seconds": 3600.0}
ON_POSTGRESQL = pytest.mark.skipif(connection.vendor != "postgresql", reason="elsewhere nobody is told")


def cancel(message):
    messages.cancel(message.pk)


def purge(message):
    until = engine_for("default").clock() + timedelta(minutes=1)
    assert messages.purge_batch("default", until=until) == 1


@pytest.fixture(params=[cancel, purge])
def revoke(request):
    return request.param


@pytest.fixture
def worker(start_worker):
    """A worker that polls often only where nothing else tells it."""
    seconds = 3600.0 if connection.vendor == "postgresql" else 0.05
    working = start_worker(seats=2, poll_seconds=seconds, **NO_HEARTBEAT)
    if connection.vendor == "postgresql":
        wait_until(lambda: working.worker.wakeup.listening)
    return working.worker


def test_a_sync_handler_sees_that_it_is_to_stop(handle, worker, revoke):
    begun, seen = threading.Event(), []

    @handle("t:long")
    def long(delivery):
        begun.set()
        wait_until(lambda: delivery.should_stop, what="the word to stop")
        seen.append((delivery.lease_lost, delivery.should_stop))

    message = enqueue("t:long")
    assert begun.wait(PATIENCE)
    revoke(message)

    wait_until(lambda: seen)
    assert seen == [(True, True)]


def test_an_async_handler_is_cancelled(handle, worker, revoke):
    begun, ended = threading.Event(), []

    @handle("t:long")
    async def long(delivery):
        begun.set()
        try:
            await asyncio.sleep(PATIENCE)
        except asyncio.CancelledError:
            ended.append(delivery.lease_lost)
            raise

    message = enqueue("t:long")
    assert begun.wait(PATIENCE)
    revoke(message)

    wait_until(lambda: ended, what="the end of the handler")
    assert ended == [True]
    # It is not counted as an attempt that failed.
    wait_until(lambda: worker.inflight.is_empty)
    assert not Message.objects.exists()
    assert set(ArchivedMessage.objects.values_list("outcome", flat=True)) <= {"cancelled"}


def test_others_beside_it_go_on(handle, worker):
    begun, go_on = threading.Semaphore(0), threading.Event()

    @handle("t:long")
    def long(delivery):
        begun.release()
        wait_until(lambda: delivery.should_stop or go_on.is_set())
        return delivery.should_stop

    one, other = enqueue("t:long"), enqueue("t:long")
    assert begun.acquire(timeout=PATIENCE) and begun.acquire(timeout=PATIENCE)
    cancel(one)
    wait_until(lambda: worker.inflight.is_empty or len(worker.inflight.leases()) == 1)
    go_on.set()

    ended = wait_until(lambda: ArchivedMessage.objects.filter(pk=other.pk).first())
    assert (ended.outcome, ended.result) == ("succeeded", False)


@ON_POSTGRESQL
def test_control_without_the_notification_nobody_hears_of_it(handle, worker, monkeypatch):
    monkeypatch.setattr(type(engine_for("default")), "tell_revoked", lambda engine, processes: None)
    begun, go_on, told = threading.Event(), threading.Event(), []

    @handle("t:long")
    def long(delivery):
        begun.set()
        go_on.wait(PATIENCE)
        told.append(delivery.lease_lost)

    handle("t:quick")(lambda delivery: None)
    message = enqueue("t:long")
    assert begun.wait(PATIENCE)
    cancel(message)
    # Whatever is told at once has been told when a later message has come and gone.
    quick = enqueue("t:quick")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=quick.pk).exists())
    go_on.set()

    wait_until(lambda: told)
    assert told == [False]
