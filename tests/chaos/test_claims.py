"""Many processes claim at once.

1. Nothing is lost: each message has an entry in the ledger and is archived as succeeded.
2. Without a fault nothing runs twice: one entry each, under receipt 1.
C. Without the lock of the claim, 2 breaks.
"""

from __future__ import annotations

from collections import Counter

import pytest

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.models import ArchivedMessage
from tests.support import wait_until
from tests.testapp.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)


def runs_of_each():
    return Counter(Entry.objects.values_list("n", flat=True))


def test_six_processes_handle_three_thousand_messages_once_each(fleet, seed):
    for _ in range(6):
        fleet.start("--concurrency", 2)
    enqueue_many([("work:note", {"n": n}) for n in range(3000)])

    fleet.wait_until_all_is_done(3000)

    assert runs_of_each() == Counter(range(3000))
    assert not ArchivedMessage.objects.exclude(outcome="succeeded", receipt=1, attempts=1).exists()
    assert fleet.stop() == [0] * 6


def test_without_the_lock_of_the_claim_some_run_twice(fleet, seed):
    enqueue_many([("work:note", {"n": n}) for n in range(5000)])
    for _ in range(3):
        fleet.start("--concurrency", 2, without="the claim's lock")

    wait_until(lambda: max(runs_of_each().values(), default=0) > 1, step=0.1, what="a message that ran twice")
