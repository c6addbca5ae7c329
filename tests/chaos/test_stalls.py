"""Processes that stand still for longer than their lease, and come back.

1. Another worker takes the message over at the lapse; the attempt is counted.
2. The one that comes back changes nothing: the row, the outcome and the result are the other's.
3. It is told: `lease_lost` is set and logged, and it goes on working.
C. Without the fence, 2 breaks.
"""

from __future__ import annotations

import signal

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import wait_until
from tests.testapp.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = {"LEASE_SECONDS": 1, "POLL_SECONDS": 0.1}


def stall(fleet, type, gate, **options):
    """Let one worker begin a message and stand still, until another one has begun it."""
    message = enqueue(type, {"n": 1, "gate": str(gate)})
    old = fleet.start(**LEASE, **options)
    wait_until(lambda: Entry.objects.count() == 1)
    new = fleet.start(**LEASE, **options)
    new.wait_for_line("Worker ")
    old.freeze()
    wait_until(lambda: Entry.objects.count() == 2, timeout=20, what="the other worker to take over")
    return message, old, new


def test_a_worker_that_stood_still_past_its_lease_changes_nothing(fleet, tmp_path):
    gate = tmp_path / "gate"
    message, old, new = stall(fleet, "work:hold", gate)
    old.signal(signal.SIGCONT)
    old.wait_for_line("Lost the lease")
    assert Message.objects.get(pk=message.pk).receipt == 2

    gate.touch()

    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())
    assert (row.outcome, row.attempts, row.receipt, row.result) == ("succeeded", 2, 2, f"by {new.pid}")
    enqueue("work:note", {"n": 2})
    wait_until(lambda: ArchivedMessage.objects.count() == 2)
    assert fleet.stop() == [0, 0]
    assert ArchivedMessage.objects.get(pk=message.pk).result == f"by {new.pid}"


def test_its_handler_is_told_that_the_lease_is_lost(fleet, tmp_path):
    told = tmp_path / "told"
    message, old, _new = stall(fleet, "work:until-lost", told)
    old.signal(signal.SIGCONT)

    wait_until(told.exists)
    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())
    assert (row.result, row.receipt) == ("by attempt 2", 2)
    assert fleet.stop() == [0, 0]


def test_without_the_fence_the_old_worker_overwrites_the_new_one(fleet, tmp_path):
    gate, other_gate = tmp_path / "gate", tmp_path / "other gate"
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    old = fleet.start(without="the fence", **LEASE)
    wait_until(lambda: Entry.objects.count() == 1)
    old.freeze()
    new = fleet.start(**LEASE)
    wait_until(lambda: Entry.objects.count() == 2, timeout=20)
    # The new one stands still now, so that whoever writes is the old one.
    new.freeze()
    other_gate.touch()
    gate.touch()
    old.signal(signal.SIGCONT)

    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())
    assert row.result == f"by {old.pid}"
