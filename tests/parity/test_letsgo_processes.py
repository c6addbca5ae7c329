"""LetsGo's worker as processes: deaths, concurrency, and a laptop (rows L8, L9 and L13)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import signal

import pytest

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import ArchivedMessage, Process
from tests.support import wait_until
from tests.testapp.models import Entry

pytestmark = pytest.mark.django_db(transaction=True)


def test_L8_the_message_of_a_worker_that_was_killed_is_handled_by_another(worker, tmp_path):
    gate = tmp_path / "gate"
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    first = worker()
    wait_until(lambda: Entry.objects.filter(attempt=1).exists())

    first.kill()
    gate.touch()
    second = worker()
    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())

    assert (row.outcome, row.attempts, row.result) == ("succeeded", 2, f"by {second.pid}")
    assert second.stop() == 0


def test_L8_a_worker_that_was_frozen_too_long_can_change_nothing(worker, tmp_path):
    gate = tmp_path / "gate"
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})
    frozen = worker()
    wait_until(lambda: Entry.objects.filter(attempt=1).exists())
    second = worker()
    second.wait_for_line("Worker ")
    # Not before: stopped in the middle of a write it would hold SQLite's only lock.
    frozen.freeze()
    wait_until(lambda: Entry.objects.filter(attempt=2).exists())
    gate.touch()
    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())

    frozen.signal(signal.SIGCONT)
    frozen.wait_for_line("ost the lease")

    assert (row.attempts, row.result) == (2, f"by {second.pid}")
    assert ArchivedMessage.objects.filter(pk=message.pk).values().get()["result"] == row.result


def test_L9_a_worker_has_as_many_processes_and_seats_as_it_is_told(worker):
    workers = worker("--processes", "2", "--concurrency", "3")
    wait_until(lambda: Process.objects.filter(state="running").count() == 2)

    assert set(Process.objects.values_list("seats", flat=True)) == {3}
    assert workers.stop() == 0


def test_L13_on_a_laptop_it_is_the_same_engine_in_a_file(manage, tmp_path):
    env = {"DATABASE_URL": f"sqlite:///{tmp_path / 'laptop.sqlite3'}"}
    script = "from django_letsgo_worker import enqueue; enqueue('stock:check', {'article': 'tea'}, delay=%s)"
    look = (
        "from django_letsgo_worker.models import ArchivedMessage as A, Message as M; "
        "print(A.objects.count(), M.objects.count())"
    )

    assert manage("migrate", env=env).wait() == 0
    for delay in (0, 3600):
        assert manage("shell", "-c", script % delay, env=env).wait() == 0
    assert manage("runworker", "--until-empty", env=env).wait() == 0
    counted = manage("shell", "-c", look, env=env)

    assert counted.wait() == 0
    assert "1 1" in counted.output
