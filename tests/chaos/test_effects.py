"""Atomic handlers under random SIGKILLs.

1. Exactly one effect for each message, in a table that would allow more.
2. It was written under the receipt that the archived message has.
3. None is lost, none is a dead letter.
C. Without the transaction, 1 breaks.
"""

from __future__ import annotations

import random
import time
from collections import Counter

import pytest

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import wait_until
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

OPTIONS = {"LEASE_SECONDS": 1, "POLL_SECONDS": 0.1}


def storm(fleet, seconds, **options):
    """Kill a worker at random, start another, again and again; return how many were killed."""
    killed, end = 0, time.monotonic() + seconds
    workers = [fleet.start("--concurrency", 3, **OPTIONS, **options) for _ in range(3)]
    while time.monotonic() < end and Message.objects.exists():
        victim = random.choice(workers)
        victim.wait_for_line("Worker ")
        # Some time at work, then its end.
        at_work = time.monotonic() + random.uniform(0.0, 0.5)
        wait_until(lambda at_work=at_work: time.monotonic() > at_work, step=0.005)
        victim.kill()
        killed += 1
        workers[workers.index(victim)] = fleet.start("--concurrency", 3, **OPTIONS, **options)
    return killed


def effects_of_each():
    return Counter(Effect.objects.values_list("n", flat=True))


def test_effects_are_exactly_once_whoever_is_killed(fleet, seed, chaos_seconds):
    enqueue_many([("work:effect", {"n": n, "linger": 0.01}) for n in range(1500)])

    killed = storm(fleet, chaos_seconds)
    fleet.wait_until_all_is_done(1500)

    assert killed > 0
    assert effects_of_each() == Counter(range(1500))
    receipts = dict(Effect.objects.values_list("n", "receipt"))
    rows = ArchivedMessage.objects.all()
    assert {row.payload["n"]: row.receipt for row in rows} == receipts
    assert {row.outcome for row in rows} == {"succeeded"}


def test_without_the_transaction_some_effects_are_doubled(fleet, seed):
    # Not more: what lapsed comes after all that waits already.
    enqueue_many([("work:effect", {"n": n, "linger": 0.05}) for n in range(600)])

    workers = [fleet.start("--concurrency", 6, without="the transaction", **OPTIONS) for _ in range(2)]
    for worker in workers:
        wait_until(lambda: Effect.objects.exists())
        worker.kill()
        fleet.start("--concurrency", 6, without="the transaction", **OPTIONS)

    wait_until(lambda: max(effects_of_each().values(), default=0) > 1, timeout=50, step=0.2)
