"""Workers that are killed while they work off a bulk operation.

1. Each message is done once: one that was redriven runs once, or is the dead letter that it was.
2. The starts are spread evenly over the time that was asked for, whoever did which of them.
3. Stopped half-way, the rest is left; taken back, all that has not begun is a dead letter again.
C. With its progress in memory instead of a row, whoever follows a killed worker begins anew, and 2 breaks.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db import connection

from django_letsgo_worker import messages
from django_letsgo_worker.models import BulkOperation, BulkOperationItem, DeadLetter, Message
from tests.support import engine_of, wait_until
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = {"LEASE_SECONDS": 1, "POLL_SECONDS": 0.1}
OVER = timedelta(minutes=10)
# Ids that no sequence has reached.
FIRST = 1_000_000


@pytest.fixture
def number() -> int:
    """How many dead letters there are: a batch takes 500 of them."""
    return {"sqlite": 10_000, "postgres": 10_000}.get(engine_of(connection.settings_dict), 4_000)


def bury(number: int) -> None:
    letters = [
        DeadLetter(
            id=FIRST + n,
            type="work:effect",
            payload={"n": n},
            outcome="dead",
            attempts=3,
            max_attempts=1000,
            receipt=3,
            error_class="shop.errors.ProviderDown",
            error_fingerprint="f" * 32,
            errors=[
                {"attempt": 3, "at": "2026-01-01T00:00:00.000000+00:00", "class": "x", "message": "down"}
            ],
        )
        for n in range(number)
    ]
    DeadLetter.objects.bulk_create(letters, batch_size=1000)


def now(operation: BulkOperation) -> BulkOperation:
    return messages.find_operation(operation.pk)


def kill_until(is_reached: Callable[[], bool], progress: Callable[[], int], fleet, **options: str) -> int:
    """Kill one worker after the other, each at a random moment after its first batch; return how many."""
    killed = 0
    while not is_reached():
        before = progress()
        worker = fleet.start(**LEASE, **options)

        def went_on(before: int = before) -> bool:
            return progress() > before or is_reached()

        wait_until(went_on, step=0.002, what="a batch of the operation")
        time.sleep(random.uniform(0, 0.1))
        worker.kill()
        killed += 1
    print(f"killed {killed} workers")
    return killed


def starts_of(operation: BulkOperation) -> list[int]:
    """Return the places, among all starts, of the messages that have not begun."""
    items = dict(BulkOperationItem.objects.filter(operation=operation).values_list("message_id", "receipt"))
    rows = Message.objects.filter(leased_by=None).values_list("pk", "receipt", "visible_at")
    waiting = sorted(visible_at for id, receipt, visible_at in rows if items.get(id) == receipt)
    assert operation.started_at is not None
    step = OVER / operation.total
    places = [(visible_at - operation.started_at) / step for visible_at in waiting]
    # A moment has no more than microseconds.
    assert all(abs(place - round(place)) < 0.001 for place in places)
    return [round(place) for place in places]


def test_each_is_done_once_and_evenly_and_the_rest_is_taken_back(fleet, seed, number):
    bury(number)
    operation = messages.operate("redrive", over=OVER, by="ada", reason="the provider is back")

    killed = kill_until(lambda: now(operation).done >= number / 2, lambda: now(operation).done, fleet)
    stopped = messages.stop_operation(operation.pk)

    assert killed >= 2
    assert (stopped.state, stopped.total, stopped.skipped) == ("stopped", number, 0)
    assert number / 2 <= stopped.done < number
    assert DeadLetter.objects.count() == number - stopped.done
    assert BulkOperationItem.objects.filter(operation=operation).count() == stopped.done
    waiting = starts_of(stopped)
    # The first ones have begun, in the order of their starts; one whose worker was killed runs again.
    begun = stopped.done - len(waiting)
    assert waiting == list(range(begun, stopped.done))

    messages.undo_operation(operation.pk)
    killed = kill_until(
        lambda: now(operation).finished_at is not None, lambda: now(operation).given_back, fleet
    )

    undone = now(operation)
    assert killed >= 2
    assert (undone.state, undone.done) == ("undone", stopped.done)
    assert not BulkOperationItem.objects.exists()
    assert DeadLetter.objects.count() == number - stopped.done + undone.given_back
    # Whatever had begun goes on, and runs once; the others are what they were.
    last = fleet.start(**LEASE)
    last.wait_for_line("Worker ")
    wait_until(lambda: not Message.objects.exists(), what="the end of those that had begun")
    assert last.stop() == 0
    effects = sorted(Effect.objects.values_list("n", flat=True))
    assert len(effects) == len(set(effects)) == undone.done - undone.given_back
    left = {row["id"]: row for row in DeadLetter.objects.values("id", "attempts", "errors", "error_class")}
    assert left.keys() == {FIRST + n for n in range(number)} - {FIRST + n for n in effects}
    assert {(row["attempts"], len(row["errors"]), row["error_class"]) for row in left.values()} == {
        (3, 1, "shop.errors.ProviderDown")
    }


def test_with_its_progress_in_memory_the_starts_would_come_in_heaps(fleet, seed):
    bury(4_000)
    operation = messages.operate("redrive", over=OVER)

    killed = kill_until(
        lambda: DeadLetter.objects.count() <= 1_000,
        lambda: BulkOperationItem.objects.count(),
        fleet,
        without="the progress of operations",
    )

    assert killed >= 2
    places = starts_of(now(operation))
    assert len(places) != len(set(places))
