"""Faults at a chosen place: what a worker has in flight survives each of them."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection

from django_letsgo_worker import enqueue, processes
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


class Outage:
    """Fails one of these methods once, at the first call after arm()."""

    def __init__(self, monkeypatch, owner, *names):
        self.armed = threading.Event()
        self.failed = threading.Event()
        for name in names:
            self._cover(monkeypatch, owner, name)

    def _cover(self, monkeypatch, owner, name):
        original = getattr(owner, name)

        def fail_once(*args, **kwargs):
            if self.armed.is_set() and not self.failed.is_set():
                self.failed.set()
                raise OperationalError("the connection was cut")
            return original(*args, **kwargs)

        monkeypatch.setattr(owner, name, fail_once)

    def arm(self):
        self.armed.set()


@pytest.fixture
def outage_in(monkeypatch):
    """Make one call of the worker's insides fail as if the connection were cut."""
    from django_letsgo_worker.engines import engine_for
    from django_letsgo_worker.worker import batch, lanes, loop

    engine = type(engine_for("default"))
    places = {
        "the look for lanes": (lanes.Lanes, "due"),
        "the claim": (batch.Batch, "_request"),
        "the settlement": (engine, "settle", "settle_and_claim"),
        "what follows the commit": (batch.Batch, "_find_missing"),
        "the last look": (loop.WorkerLoop, "_last_look"),
        "the housekeeping": (loop.WorkerLoop, "_maintain"),
    }
    return lambda place: Outage(monkeypatch, *places[place])


PLACES = [
    "the look for lanes",
    "the claim",
    "the settlement",
    "what follows the commit",
    "the last look",
    "the housekeeping",
]


@pytest.mark.parametrize("place", PLACES)
def test_what_has_finished_is_settled_although_the_connection_is_cut_in(
    place, outage_in, handle, start_worker
):
    outage = outage_in(place)
    runs = []

    @handle("t:run")
    def run(delivery):
        runs.append(delivery.payload)
        outage.arm()

    # What was claimed when the connection broke may lapse first.
    start_worker(seats=1, lease_seconds=2.0)
    enqueue("t:run", 0)
    assert outage.armed.wait(20)
    for n in (1, 2):
        enqueue("t:run", n)

    assert outage.failed.wait(20)
    wait_until(
        lambda: ArchivedMessage.objects.count() == 3,
        timeout=20,
        what="the end of all three messages",
    )
    assert sorted(runs) == [0, 1, 2]


def test_a_claim_that_arrives_after_the_stop_is_released(handle, start_worker, monkeypatch):
    from django_letsgo_worker.worker import batch, inflight

    begun, claiming, go_on = [], threading.Event(), threading.Event()
    claim, take_back = batch.Batch._in_one_transaction, inflight.InFlightTable.take_back_waiting

    def slow_claim(self, outcomes, wanted, lanes):
        if lanes:
            claiming.set()
            assert go_on.wait(20)
        return claim(self, outcomes, wanted, lanes)

    def slow_take_back(self):
        # The pool is quicker than the loop: what that has put within its reach has begun by now.
        wait_until(lambda: not self.ready)
        wait_until(lambda: self.begun == len(begun))
        return take_back(self)

    monkeypatch.setattr(batch.Batch, "_in_one_transaction", slow_claim)
    monkeypatch.setattr(inflight.InFlightTable, "take_back_waiting", slow_take_back)
    handle("t:run")(lambda delivery: begun.append(delivery.payload))
    message = enqueue("t:run", 1)
    working = start_worker(seats=1)
    claiming.wait(20)
    working.worker.stop()
    wait_until(lambda: working.worker.inflight.is_closed)

    go_on.set()

    assert working.join() is True
    assert begun == []
    row = Message.objects.get(pk=message.pk)
    assert (row.attempts, row.leased_by, row.deaths) == (0, None, 0)


def test_a_transaction_that_locks_a_finished_message_delays_its_end_only(handle, start_worker, engine):
    """Somebody looks at the row with FOR UPDATE while its handler ends."""
    if engine == "sqlite":
        pytest.skip("SQLite locks the whole file: tests/chaos has that.")
    from django.db import transaction

    started, go_on = threading.Event(), threading.Event()

    @handle("t:run")
    def run(delivery):
        started.set()
        go_on.wait(20)

    message = enqueue("t:run")
    working = start_worker(seats=1)
    started.wait(20)
    with transaction.atomic():
        Message.objects.select_for_update().get(pk=message.pk)
        go_on.set()
        wait_until(lambda: working.worker.inflight.in_state("finished"))
    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())


def test_a_message_that_cannot_be_read_does_not_stop_its_neighbours(handle, work_off):
    seen = []
    handle("t:run")(lambda delivery: seen.append(delivery.payload))
    broken = enqueue("t:run", "broken", max_attempts=1)
    with connection.cursor() as cursor:
        # Headers that are JSON, but no object.
        cursor.execute(f"UPDATE {Message._meta.db_table} SET headers = '[1]', planned_at = enqueued_at")
    enqueue("t:run", "whole")

    work_off()

    assert seen == ["whole"]
    assert ArchivedMessage.objects.get(pk=broken.pk).outcome == "dead"


@pytest.mark.parametrize("is_written", [False, True])
def test_a_worker_waits_out_an_outage_while_it_says_that_it_starts(
    handle, start_worker, monkeypatch, is_written
):
    register, tries = processes.register, []

    def cut_once(process, using):
        tries.append(process.pk)
        if len(tries) > 1 or is_written:
            register(process, using)
        if len(tries) == 1:
            raise OperationalError("the connection was cut")

    monkeypatch.setattr(processes, "register", cut_once)
    handle("t:run")(lambda delivery: None)
    message = enqueue("t:run")
    start_worker()

    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())
    assert len(set(tries)) == 1
    assert Process.objects.filter(pk=tries[0]).count() == 1
