"""Processes that are killed while they handle messages.

1. A message whose worker died runs again, within the lease, and the attempt is counted.
2. One that kills its worker each time becomes a dead letter, which says so.
3. What was in the same entries is handled: nobody else becomes a dead letter.
C. Counted at its end only, an attempt that kills is never counted, and 2 breaks.
C. Run beside its neighbours, a killer takes their attempts with it, and 3 breaks.
"""

from __future__ import annotations

import threading

import pytest

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message
from tests.support import wait_until
from tests.testapp.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)

LEASE = {"LEASE_SECONDS": 1, "POLL_SECONDS": 0.1}


class Supervisor:
    """Starts a worker, and another whenever it has died; as a service manager does."""

    def __init__(self, fleet, **options):
        self._start = lambda: fleet.start("--concurrency", 8, **LEASE, **options)
        self._ending = threading.Event()
        self.deaths = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._ending.is_set():
            worker = self._start()
            while worker.process.poll() is None and not self._ending.wait(0.02):
                pass
            self.deaths += worker.process.poll() == -9

    def end(self):
        self._ending.set()
        self._thread.join()


@pytest.fixture
def supervise(fleet):
    started = []

    def start(**options):
        started.append(Supervisor(fleet, **options))
        return started[-1]

    yield start
    for supervisor in started:
        supervisor.end()


def test_a_message_whose_worker_was_killed_runs_again_and_the_attempt_is_counted(fleet, tmp_path):
    gate = tmp_path / "gate"
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    first = fleet.start(**LEASE)
    wait_until(lambda: Entry.objects.exists())
    second = fleet.start(**LEASE)
    second.wait_for_line("Worker ")

    first.kill()
    wait_until(lambda: Entry.objects.count() == 2, timeout=20)
    gate.touch()

    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())
    assert (row.outcome, row.attempts, row.receipt, row.result) == ("succeeded", 2, 2, f"by {second.pid}")
    assert sorted(Entry.objects.values_list("attempt", "receipt")) == [(1, 1), (2, 2)]
    (lost,) = row.errors
    assert (lost["attempt"], lost["class"]) == (1, "django_letsgo_worker.errors.WorkerDied")


def test_a_message_that_kills_its_worker_each_time_becomes_a_dead_letter(supervise):
    killer = enqueue("work:die", {"n": -1}, max_attempts=3)
    supervisor = supervise()
    enqueue_many([("work:note", {"n": n}) for n in range(100)])

    row = wait_until(lambda: DeadLetter.objects.filter(pk=killer.pk).first(), timeout=50)
    wait_until(lambda: ArchivedMessage.objects.filter(outcome="succeeded").count() == 100)

    assert (row.attempts, row.max_attempts, row.deaths) == (3, 3, 3)
    assert row.error_class == "django_letsgo_worker.errors.WorkerDied"
    assert row.errors[-1]["message"] == "the worker died 3 times while handling it"
    assert Entry.objects.filter(n=-1).count() == 3
    assert supervisor.deaths >= 3
    assert DeadLetter.objects.count() == 1


def test_the_culprit_alone_becomes_a_dead_letter(supervise, tmp_path):
    gate = tmp_path / "gate"
    culprit = enqueue("work:die-at-the-gate", {"n": -1, "gate": str(gate)}, max_attempts=3)
    others = [enqueue("work:hold", {"n": n, "gate": str(gate)}, max_attempts=3) for n in range(7)]
    supervise()
    wait_until(lambda: Entry.objects.count() == 8, what="eight messages in flight")

    gate.touch()

    row = wait_until(lambda: DeadLetter.objects.filter(pk=culprit.pk).first(), timeout=50)
    wait_until(
        lambda: (
            ArchivedMessage.objects.filter(outcome="succeeded", pk__in=[m.pk for m in others]).count() == 7
        )
    )
    assert row.errors[-1]["message"] == "the worker died 3 times while handling it"
    assert DeadLetter.objects.count() == 1
    assert not Message.objects.exists()


def test_beside_a_culprit_its_neighbours_would_become_dead_letters_too(supervise, tmp_path):
    gate = tmp_path / "gate"
    gate.touch()
    enqueue("work:die-at-the-gate", {"n": -1, "gate": str(gate)}, max_attempts=3)
    for n in range(3):
        enqueue("work:hold", {"n": n, "gate": str(tmp_path / "never")}, max_attempts=3)
    supervise(without="lonely suspects")

    wait_until(lambda: DeadLetter.objects.count() > 1, timeout=50, what="the deaths of innocent neighbours")


def test_counted_at_its_end_only_a_killer_would_live_for_ever(supervise):
    killer = enqueue("work:die", {"n": -1}, max_attempts=2)
    supervise(without="the count at the claim")

    wait_until(lambda: Entry.objects.filter(n=-1).count() > 3, timeout=50)
    assert Message.objects.filter(pk=killer.pk).exists()
