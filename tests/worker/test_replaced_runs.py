"""overlap="replace" with real processes: the next run starts when the code of the last has ended."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.models import ArchivedMessage, Message, Process, ScheduledJob
from tests.support import wait_until
from tests.testapp.models import Entry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

SETTINGS = "tests.testapp.settings"
ENV = {"LETSGO_WORKER_SCHEDULE": "", "LETSGO_WORKER_LEASE_SECONDS": "3"}


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture
def replacing(manage, gate):
    """A worker that runs what does not stop when told, and the next run, which replaced it."""
    manage("runworker", env=ENV, settings_module=SETTINGS)
    job = schedules.add("sync", "rate(1 hour)", "work:hold", {"n": 1, "gate": str(gate)}, overlap="replace")
    for n in (1, 2):
        ScheduledJob.objects.update(next_run_at=job.created_at + timedelta(microseconds=n))
        assert len(schedules.fire_due()) == 1
        if n == 1:
            wait_until(lambda: Entry.objects.count() == 1, what="the first run")
    return Message.objects.get()


def test_the_next_run_waits_until_the_code_of_a_cancelled_one_has_ended(replacing, manage, gate):
    assert ArchivedMessage.objects.get().outcome == "cancelled"
    manage("runscheduler", env=ENV, settings_module=SETTINGS)
    first = ArchivedMessage.objects.get().pk
    wait_until(lambda: Process.objects.get(kind="worker").overrunning == [first], what="its report")
    assert Entry.objects.count() == 1

    gate.touch()

    wait_until(lambda: Entry.objects.count() == 2, timeout=60, what="the next run")
    wait_until(lambda: not Message.objects.exists(), timeout=60, what="its end")
    assert ArchivedMessage.objects.get(pk=replacing.pk).outcome == "succeeded"
    assert ScheduledJob.objects.get().waiting_message_id is None
