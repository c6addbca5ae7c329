"""Renewing leases: never shorter, never somebody else's."""

from __future__ import annotations

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.delivery import Control
from django_letsgo_worker.errors import LeaseLost
from django_letsgo_worker.messages import settlements

pytestmark = pytest.mark.django_db


def test_a_lease_is_renewed_from_now(worker, at, row):
    message = enqueue("job")
    claimed = worker.claim_one(now=at(0), lease_seconds=30)
    before = row(message.pk)

    assert worker.renew(claimed, 30, now=at(10))
    assert row(message.pk) == before | {"visible_at": at(40)}


@pytest.mark.parametrize("seconds", [0.001, 1, 29.999])
def test_it_is_never_shortened(worker, at, row, seconds):
    message = enqueue("job")
    claimed = worker.claim_one(now=at(0), lease_seconds=30)

    assert worker.renew(claimed, seconds, now=at(0))
    assert row(message.pk)["visible_at"] == at(30)


def test_a_heartbeat_does_not_shorten_what_was_extended(worker, at, row):
    message = enqueue("job")
    claimed = worker.claim_one(now=at(0), lease_seconds=30)
    worker.renew(claimed, 600, now=at(1))
    worker.renew(claimed, 30, now=at(10))

    assert row(message.pk)["visible_at"] == at(601)


def test_a_renewed_lease_is_not_claimed(worker, rival, at):
    enqueue("job")
    worker.renew(worker.claim_one(now=at(0), lease_seconds=30), 100, now=at(20))

    assert rival.claim(now=at(119)) == []


def test_a_lapsed_lease_that_nobody_took_is_renewed(worker, rival, at):
    enqueue("job")
    claimed = worker.claim_one(now=at(0), lease_seconds=30)

    assert worker.renew(claimed, 30, now=at(500))
    assert rival.claim(now=at(529)) == []


def test_only_what_is_held_is_renewed(worker, rival, at, row):
    taken_over, kept = enqueue("job").pk, enqueue("job").pk
    leases = [(message.id, message.receipt) for message in worker.claim(now=at(0), free=2)]
    rival.claim_one(now=at(60), free=1)
    before = row(taken_over)

    assert worker.engine.renew(worker.process, leases, 300, at(61)) == {kept}
    assert row(taken_over) == before
    assert row(kept)["visible_at"] == at(361)


def test_what_was_settled_is_not(worker, at):
    enqueue("job")
    claimed = worker.claim_one(now=at(0))
    worker.settle(claimed, "again", now=at(1), delay_seconds=5)

    assert not worker.renew(claimed, 30, now=at(2))


def test_no_leases_are_no_trouble(worker):
    assert worker.engine.renew(worker.process, [], 30) == set()
    assert worker.engine.still_held(worker.process, []) == set()


def test_what_is_still_held_can_be_asked(worker, rival, at):
    taken_over, kept = enqueue("job").pk, enqueue("job").pk
    leases = [(message.id, message.receipt) for message in worker.claim(now=at(0), free=2)]
    rival.claim_one(now=at(60), free=1)

    assert worker.engine.still_held(worker.process, leases) == {kept}
    assert rival.engine.still_held(rival.process, leases) == set()
    assert taken_over not in rival.engine.still_held(rival.process, leases)


def test_a_handler_that_extends_a_lost_lease_is_told(worker, rival, at):
    enqueue("job")
    claimed = worker.claim_one(now=at(0))
    control = Control(lambda lease, seconds: worker.renew(claimed, seconds, now=at(61)))
    delivery = settlements.delivery_of(claimed, control)
    delivery.extend(60)
    rival.claim_one(now=at(200))

    with pytest.raises(LeaseLost):
        delivery.extend(60)
    assert delivery.lease_lost
