"""Workers that are killed while they count.

1. The sums of the statistics equal the archive, less at most what a killed worker had counted in its last
   minute and not yet written; nothing is counted that is not in the archive.
2. Workers that end by themselves have written all that they counted.
"""

from __future__ import annotations

import random
import time

import pytest
from django.db.models import Sum

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.models import ArchivedMessage, Statistic
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def counted() -> int:
    total = Statistic.objects.filter(span=60).aggregate(total=Sum("succeeded") + Sum("dead"))["total"]
    return total or 0


def test_workers_that_end_have_written_all_that_they_counted(fleet):
    enqueue_many([("work:effect", {"n": n}) for n in range(300)] + [("work:reject", None)] * 20)
    first, second = fleet.start("--until-empty"), fleet.start()
    first.wait_for_line("Stopped")
    second.wait_for_line("Worker ")
    # Another message follows the death of each that was rejected.
    wait_until(lambda: ArchivedMessage.objects.count() == 340)
    assert second.stop() == 0
    assert counted() == 340
    assert Statistic.objects.filter(span=60, type="work:reject").aggregate(s=Sum("failed"))["s"] == 20


def test_what_killed_workers_had_not_written_is_all_that_is_missing(fleet, seed, chaos_seconds):
    """Each worker that is killed had less than a minute: what the others handled is counted."""
    numbers = 0
    ends = time.monotonic() + chaos_seconds / 2
    killed = []
    while time.monotonic() < ends:
        enqueue_many([("work:effect", {"n": numbers + n}) for n in range(100)])
        numbers += 100
        worker = fleet.start("--name", f"killed-{len(killed)}", LEASE_SECONDS=1)
        worker.wait_for_line("Worker ")
        wanted = random.randint(1, numbers)
        wait_until(lambda wanted=wanted: ArchivedMessage.objects.count() >= wanted)  # type: ignore[misc]
        worker.kill()
        killed.append(worker)
    by_the_killed = ArchivedMessage.objects.count()
    last = fleet.start(LEASE_SECONDS=1)
    last.wait_for_line("Worker ")
    wait_until(lambda: ArchivedMessage.objects.count() == numbers)
    assert last.stop() == 0
    assert killed and numbers - by_the_killed <= counted() <= numbers
