"""While a handler runs: time-outs, more time, and what happens when the lease is gone."""

from __future__ import annotations

import threading

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import LeaseLost
from django_letsgo_worker.messages import cancel
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import delivery_finished, lease_lost
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def take_over(message):
    """Do to a running message what another worker does when the lease has lapsed."""
    import uuid

    row = Message.objects.get(pk=message.pk)
    Message.objects.filter(pk=message.pk).update(receipt=row.receipt + 1, leased_by=uuid.uuid4())


@pytest.fixture
def holding(handle, start_worker):
    """Start a worker that holds one message until `go_on` is set."""

    class Holding:
        started, go_on, seen = threading.Event(), threading.Event(), []

    def hold(delivery):
        Holding.delivery = delivery
        Holding.started.set()
        while not Holding.go_on.wait(0.01):
            if delivery.lease_lost:
                Holding.seen.append("lost")
                break
        return "mine"

    def start(**options):
        handle("t:hold", **options)(hold)
        Holding.message = enqueue("t:hold")
        Holding.working = start_worker(lease_seconds=1.0)
        assert Holding.started.wait(20)
        return Holding

    yield start
    Holding.go_on.set()


def test_the_lease_is_renewed_for_as_long_as_the_handler_runs(holding):
    held = holding()
    first = Message.objects.get(pk=held.message.pk)
    wait_until(lambda: Message.objects.get(pk=held.message.pk).visible_at > first.visible_at)
    wait_until(lambda: engine_for("default").clock() > first.visible_at)
    row = Message.objects.get(pk=held.message.pk)

    assert row.visible_at > engine_for("default").clock()
    assert (row.receipt, row.attempts) == (1, 1)


def test_a_handler_whose_message_was_taken_over_is_told_and_changes_nothing(holding):
    lost, finished = [], []

    def note_lost(sender, delivery, **_):
        lost.append(delivery.message_id)

    def note_finished(sender, delivery, **_):
        finished.append(delivery.message_id)

    lease_lost.connect(note_lost)
    delivery_finished.connect(note_finished)
    held = holding()
    take_over(held.message)
    before = Message.objects.filter(pk=held.message.pk).values().get()

    wait_until(lambda: held.seen == ["lost"])
    held.working.stop()

    assert held.delivery.should_stop
    assert lost == [held.message.pk]
    assert finished == []
    assert Message.objects.filter(pk=held.message.pk).values().get() == before
    assert not ArchivedMessage.objects.exists()


def test_a_broken_receiver_of_the_loss_breaks_nothing(holding, handle):
    def broken(**_):
        raise RuntimeError("this receiver is broken")

    lease_lost.connect(broken)
    try:
        held = holding()
        take_over(held.message)
        wait_until(lambda: held.seen == ["lost"])
    finally:
        lease_lost.disconnect(broken)
    done = []
    handle("t:next")(lambda delivery: done.append(True))
    enqueue("t:next")

    wait_until(lambda: done)


def test_a_message_cancelled_while_it_runs_is_lost_to_its_handler(holding):
    held = holding()
    cancel(held.message.pk)

    wait_until(lambda: held.seen == ["lost"])
    held.working.stop()

    assert ArchivedMessage.objects.get(pk=held.message.pk).outcome == "cancelled"


def test_extend_moves_the_lease_and_never_shortens_it(outcome_of):
    def handler(delivery):
        def until():
            return Message.objects.get(pk=delivery.message_id).visible_at

        moments = [until()]
        delivery.extend(7200)
        moments.append(until())
        delivery.extend(1)
        moments.append(until())
        return [moments[0] < moments[1], moments[1] == moments[2]]

    assert outcome_of(handler).result == [True, True]


def test_extend_inside_an_atomic_handler_works_too(outcome_of):
    def handler(delivery):
        delivery.extend(7200)
        row = Message.objects.get(pk=delivery.message_id)
        return (row.visible_at - row.leased_at).total_seconds() > 7000

    assert outcome_of(handler, atomic=True).result is True


def test_extend_of_a_lost_lease_is_an_error_that_says_so(handle, start_worker):
    errors = []

    @handle("t:extend")
    def extend(delivery):
        take_over(Message.objects.get(pk=delivery.message_id))
        try:
            delivery.extend(60)
        except LeaseLost as error:
            errors.append((str(error), delivery.lease_lost))
            raise

    message = enqueue("t:extend")
    working = start_worker(seats=1)
    wait_until(lambda: errors and working.worker.inflight.is_empty)

    assert errors[0][1] is True
    row = Message.objects.get(pk=message.pk)
    assert (row.errors, row.receipt) == ([], 2)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "60", None, True])
def test_extend_takes_a_positive_number_of_seconds(outcome_of, seconds):
    assert outcome_of(lambda delivery: delivery.extend(seconds)).errors[0]["class"] == "ValueError"


def test_a_sync_handler_past_its_time_out_is_told_and_its_return_counts(outcome_of, caplog):
    def handler(delivery):
        wait_until(lambda: delivery.should_stop)
        return ["stopped", delivery.lease_lost]

    row = outcome_of(handler, timeout=0.2)

    assert (row.outcome, row.result, row.attempts) == ("succeeded", ["stopped", False], 1)
    assert "time-out" in caplog.text


def test_a_handler_in_time_is_not_told(outcome_of):
    assert outcome_of(lambda delivery: delivery.should_stop, timeout=30).result is False


def test_the_time_out_of_one_does_not_stop_its_neighbour(handle, start_worker):
    told = []

    @handle("t:slow", timeout=0.2)
    def slow(delivery):
        told.append(("slow", wait_until(lambda: delivery.should_stop)))

    go_on = threading.Event()

    @handle("t:patient", timeout=3600)
    def patient(delivery):
        go_on.wait(20)
        told.append(("patient", delivery.should_stop))

    enqueue("t:patient")
    enqueue("t:slow")
    start_worker(seats=2)
    wait_until(lambda: told == [("slow", True)])
    go_on.set()

    wait_until(lambda: told == [("slow", True), ("patient", False)])
