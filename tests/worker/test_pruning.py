"""Workers and schedulers that have nothing else to do prune on, however rarely they look for work."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker.messages import pruning
from django_letsgo_worker.models import ArchivedMessage
from django_letsgo_worker.scheduler import Scheduler
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR = 3600.0


@pytest.fixture(autouse=True)
def old(monkeypatch):
    """Archive old messages; they are pruned one by one."""
    monkeypatch.setattr(pruning, "BATCH", 1)
    ended = datetime.now(UTC) - timedelta(days=9)
    ArchivedMessage.objects.bulk_create(
        ArchivedMessage(id=id, type="job", outcome="succeeded", finished_at=ended + timedelta(seconds=id))
        for id in range(1, 31)
    )


def is_all_gone():
    return not ArchivedMessage.objects.filter(type="job").exists()


def test_an_idle_worker(start_worker):
    start_worker(poll_seconds=AN_HOUR)
    wait_until(is_all_gone, what="the end of pruning")


def test_an_idle_scheduler(settings):
    settings.LETSGO_WORKER = {"SCHEDULE": "", "POLL_SECONDS": AN_HOUR}
    scheduler = Scheduler("pruning")
    with scheduler.on_a_thread():
        wait_until(is_all_gone, what="the end of pruning")
