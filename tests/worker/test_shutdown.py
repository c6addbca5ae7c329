"""How a worker ends: real processes, real signals, and what becomes of the messages in flight."""

from __future__ import annotations

import contextlib
import signal

import pytest

from django_letsgo_worker import enqueue, enqueue_many, processes
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from tests.support import wait_until
from tests.testapp.models import Entry

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def gate(tmp_path):
    return tmp_path / "gate"


@pytest.fixture
def working(manage, gate):
    """Start a worker on messages that wait for the gate, and return once all seats are taken."""

    def start(*, type="work:hold", messages=2, seats=2, **env):
        rows = [enqueue(type, {"n": n, "gate": str(gate)}) for n in range(messages)]
        settings = {f"LETSGO_WORKER_{name}": str(value) for name, value in env.items()}
        worker = manage("runworker", "--concurrency", seats, env=settings, settings_module=SETTINGS)
        wait_until(lambda: Entry.objects.count() == min(messages, seats), what="the handlers' first line")
        return worker, rows

    return start


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_one_signal_drains_and_exits_with_0(working, gate, number):
    worker, messages = working(messages=2)

    worker.signal(number)
    wait_until(lambda: Process.objects.get().state == "draining")
    enqueue("work:note", {"n": 99})
    gate.touch()

    assert worker.wait() == 0
    assert ArchivedMessage.objects.filter(outcome="succeeded", pk__in=[m.pk for m in messages]).count() == 2
    left = Message.objects.get()
    assert (left.receipt, left.attempts, left.type) == (0, 0, "work:note")
    assert Process.objects.get().state == "stopped"
    assert "Traceback" not in worker.output


def test_what_has_not_begun_is_given_back_with_its_attempt(working, gate, manage):
    # Short ones first, so that the worker's pace lets it claim ahead of its seats.
    enqueue_many([("work:note", {"n": n}) for n in range(1000)], priority=1)
    enqueue_many([("work:hold", {"n": n, "gate": str(gate)}) for n in range(1000, 1050)])
    worker = manage("runworker", "--concurrency", 2, settings_module=SETTINGS)
    wait_until(lambda: Entry.objects.filter(n__gte=1000).count() == 2)

    worker.terminate()
    wait_until(lambda: Message.objects.filter(leased_by__isnull=False).count() <= 2)
    gate.touch()

    assert worker.wait() == 0
    begun = Entry.objects.filter(n__gte=1000).count()
    assert begun <= 4
    assert Message.objects.count() == 50 - begun
    assert not Message.objects.exclude(attempts=0, leased_by=None, deaths=0).exists()
    assert ArchivedMessage.objects.count() == 1000 + begun


@pytest.mark.parametrize("how", ["a second signal", "a SIGINT after the SIGTERM", "the end of the drain"])
def test_what_still_runs_is_given_back_at(working, how):
    drain = 1 if how == "the end of the drain" else 600
    worker, messages = working(messages=2, DRAIN_SECONDS=drain)

    worker.terminate()
    wait_until(lambda: Process.objects.get().state == "draining")
    if how != "the end of the drain":
        worker.signal(signal.SIGTERM if how == "a second signal" else signal.SIGINT)

    assert worker.wait() == 1
    rows = Message.objects.filter(pk__in=[m.pk for m in messages])
    assert [(m.attempts, m.leased_by, m.deaths, m.errors) for m in rows] == [(0, None, 0, [])] * 2
    lanes_clock = max(m.visible_at for m in rows)
    assert lanes_clock <= ended_at()
    assert not ArchivedMessage.objects.exists()
    assert "Traceback" not in worker.output


def ended_at():
    from django_letsgo_worker.engines import engine_for

    return engine_for("default").clock()


def test_what_was_given_back_is_taken_at_once_by_another_worker(working, manage, gate):
    first, (message,) = working(messages=1, seats=1, LEASE_SECONDS=600, DRAIN_SECONDS=600)
    second = manage("runworker", settings_module=SETTINGS)
    wait_until(lambda: Process.objects.filter(state="running").count() == 2)

    first.terminate()
    wait_until(lambda: Process.objects.filter(state="draining").exists())
    first.terminate()

    assert first.wait() == 1
    wait_until(lambda: Entry.objects.count() == 2)
    gate.touch()
    row = wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).first())
    assert (row.result, row.attempts, row.receipt) == (f"by {second.pid}", 1, 2)
    assert second.stop() == 0


def test_an_atomic_handler_that_still_runs_leaves_no_effect_and_its_attempt(manage):
    from tests.testapp.models import Effect

    message = enqueue("work:effect", {"n": 1, "linger": 600})
    worker = manage("runworker", env={"LETSGO_WORKER_DRAIN_SECONDS": "1"}, settings_module=SETTINGS)
    wait_until(lambda: Message.objects.filter(pk=message.pk, attempts=1).exists())

    worker.terminate()

    assert worker.wait() == 1
    assert not Effect.objects.exists()
    row = Message.objects.get(pk=message.pk)
    assert (row.attempts, row.leased_by, row.deaths) == (0, None, 0)


def test_a_handler_that_watches_should_stop_is_told_at_the_end_of_the_drain(working):
    worker, (message,) = working(type="work:until-stopped", messages=1, seats=1, DRAIN_SECONDS=1)

    worker.terminate()

    assert worker.wait() == 1
    assert Message.objects.get(pk=message.pk).attempts == 0


def test_a_third_signal_does_no_harm(working):
    worker, (_message,) = working(messages=1, seats=1, DRAIN_SECONDS=600)

    for _ in range(3):
        with contextlib.suppress(ProcessLookupError):
            worker.terminate()
        with contextlib.suppress(AssertionError):
            wait_until(lambda: Process.objects.get().state != "running", timeout=5)

    assert worker.wait() in (1, -signal.SIGTERM)
    assert "Traceback" not in worker.output


def test_an_idle_worker_ends_at_once(manage):
    worker = manage("runworker", env={"LETSGO_WORKER_POLL_SECONDS": "3600"}, settings_module=SETTINGS)
    wait_until(lambda: Process.objects.filter(state="running").exists())

    assert worker.stop(timeout=10) == 0
    assert Process.objects.get().state == "stopped"


def test_a_signal_right_after_the_banner_is_not_lost(manage):
    worker = manage("runworker", settings_module=SETTINGS)
    worker.wait_for_line("Worker ")

    assert worker.stop() == 0


def test_a_worker_that_is_asked_to_stop_by_its_row_drains(working, gate):
    worker, _messages = working(messages=2, LEASE_SECONDS=1)

    assert processes.request_stop(Process.objects.get().pk)
    wait_until(lambda: Process.objects.get().state == "draining")
    gate.touch()

    assert worker.wait() == 0
    assert ArchivedMessage.objects.filter(outcome="succeeded").count() == 2
    assert Process.objects.get().state == "stopped"


def test_while_it_drains_its_leases_are_renewed(working, gate):
    worker, (message,) = working(messages=1, seats=1, LEASE_SECONDS=1, DRAIN_SECONDS=600)
    worker.terminate()
    wait_until(lambda: Process.objects.get().state == "draining")
    until = Message.objects.get().visible_at
    wait_until(lambda: ended_at() > until, what="the lease of before to pass")
    gate.touch()

    assert worker.wait() == 0
    row = ArchivedMessage.objects.get(pk=message.pk)
    assert (row.outcome, row.receipt, Entry.objects.count()) == ("succeeded", 1, 1)
