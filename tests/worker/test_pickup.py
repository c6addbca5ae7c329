"""How soon a waiting worker notices: every poll here is an hour, so only a wake-up can be in time."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import nullcontext
from datetime import timedelta

import pytest
from django.db import connection, connections, transaction

from django_letsgo_worker import enqueue, enqueue_many, messages, queues
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.messages import redrive
from django_letsgo_worker.models import ArchivedMessage, IdleQueue, Process
from django_letsgo_worker.worker import lanes
from tests.support import ROOT, wait_until
from tests.testapp.models import Entry

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3600.0
SOON = 20.0


@pytest.fixture
def told_at_once(engine):
    if engine == "mariadb":
        pytest.skip("MariaDB has no notifications: there the poll finds what is new.")


@pytest.fixture
def waiting(told_at_once, start_worker, handle):
    """Start a worker that has handled a message and waits for the next for an hour; return what it saw."""
    seen = []
    handle("t:see")(lambda delivery: seen.append(delivery.payload))
    working = start_worker(poll_seconds=HOUR)
    enqueue("t:see", "first")
    wait_until(lambda: seen == ["first"] and working.worker.inflight.is_empty, what="the first message")
    if connection.vendor == "postgresql":
        wait_until(lambda: working.worker.wakeup.listening, what="LISTEN")
    seen.clear()
    working.seen = seen
    return working


def saw(working, *expected):
    wait_until(
        lambda: sorted(working.seen, key=str) == sorted(expected, key=str),
        timeout=SOON,
        what=f"{expected} among {working.seen}",
    )


def test_a_message_from_another_connection_is_handled_long_before_the_poll(waiting):
    for n in range(5):
        enqueue("t:see", n)
        saw(waiting, *range(n + 1))


def test_a_message_on_a_lane_that_is_new_too(waiting):
    enqueue("t:see", "elsewhere", queue="another", priority=-7)

    saw(waiting, "elsewhere")


def test_a_message_of_a_longer_transaction_is_handled_after_its_commit(waiting):
    with transaction.atomic():
        enqueue("t:see", "inside")
        # Something else wakes the worker meanwhile, and sends it to rest again.
        other = threading.Thread(target=lambda: (enqueue("t:see", "beside"), connections.close_all()))
        if connection.vendor == "postgresql":
            other.start()
            saw(waiting, "beside")

    if connection.vendor == "postgresql":
        other.join()
        saw(waiting, "inside", "beside")
    else:
        saw(waiting, "inside")


def test_a_message_of_the_function_in_sql_is_handled_long_before_the_poll(waiting):
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL has the function.")
    for n in range(3):
        with transaction.atomic() if n else nullcontext(), connection.cursor() as cursor:
            cursor.execute("SELECT letsgo_enqueue('t:see', to_json(%s::int))", [n])
        saw(waiting, *range(n + 1))


def test_what_the_function_in_sql_tells_nobody_of_is_found_by_the_poll(start_worker, handle):
    if connection.vendor != "postgresql":
        pytest.skip("Only PostgreSQL has the function.")
    seen = []
    handle("t:see")(lambda delivery: seen.append(delivery.payload))
    working = start_worker(poll_seconds=0.5)
    wait_until(lambda: working.worker.wakeup.listening, what="LISTEN")
    with transaction.atomic(), connection.cursor() as cursor:
        # As if it had still been busy at the call, and had gone to rest before the commit.
        IdleQueue.objects.update_or_create(name="default", defaults={"waiting": False})
        cursor.execute("SELECT letsgo_enqueue('t:see', '1')")
    wait_until(lambda: seen == [1], timeout=SOON, what="the message")


def test_messages_enqueued_together_are_handled_long_before_the_poll(waiting):
    enqueue_many([("t:see", n) for n in range(50)])

    saw(waiting, *range(50))


def test_what_was_enqueued_in_a_transaction_that_rolled_back_never_runs(waiting):
    with pytest.raises(RuntimeError), transaction.atomic():
        enqueue("t:see", "ghost")
        raise RuntimeError
    enqueue("t:see", "real")

    saw(waiting, "real")


def test_a_message_from_another_process_is_handled_long_before_the_poll(
    told_at_once, manage, test_database_url
):
    worker = manage("runworker", env={"LETSGO_WORKER_POLL_SECONDS": str(HOUR)}, settings_module=SETTINGS)
    enqueue("work:note", {"n": 0})
    wait_until(lambda: ArchivedMessage.objects.count() == 1)
    program = (
        "import django; django.setup()\n"
        "from django_letsgo_worker import enqueue; enqueue('work:note', {'n': 1})"
    )
    environment = os.environ | {"DATABASE_URL": test_database_url, "DJANGO_SETTINGS_MODULE": SETTINGS}
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT, env=environment)

    wait_until(lambda: ArchivedMessage.objects.count() == 2, timeout=SOON)
    assert worker.stop() == 0


def state_of(operation):
    return messages.find_operation(operation.pk).state


def test_a_bulk_operation_and_its_undoing_are_worked_off_long_before_the_poll(waiting):
    enqueue_many([("t:see", n) for n in range(3)], delay=HOUR)

    retried = messages.operate("retry", type="t:see")
    saw(waiting, 0, 1, 2)
    wait_until(lambda: state_of(retried) == "done", timeout=SOON)

    messages.undo_operation(retried.pk)
    wait_until(lambda: messages.find_operation(retried.pk).finished_at, timeout=SOON)
    assert state_of(retried) == "undone"


def test_a_worker_that_is_not_told_of_a_bulk_operation_would_let_it_wait(waiting, monkeypatch):
    if connection.vendor != "postgresql":
        pytest.skip("Elsewhere any write tells a worker.")
    monkeypatch.setattr(type(engine_for("default")), "tell_of_operation", lambda self: None)
    operation = messages.operate("cancel", type="t:other")

    for n in range(3):
        enqueue("t:see", n)
        saw(waiting, *range(n + 1))

    assert state_of(operation) == "waiting"


def test_delayed_messages_are_each_handled_in_their_time(waiting):
    for seconds in (0.5, 1, 1.5, 2, 2.5):
        enqueue("t:see", seconds, delay=seconds)

    saw(waiting, 0.5, 1, 1.5, 2, 2.5)


def test_delayed_messages_are_handled_in_their_time_although_one_seat_is_busy(waiting, handle):
    gate = threading.Event()
    handle("t:hold")(lambda delivery: gate.wait(30) and None)
    enqueue("t:hold")
    for seconds in (0.5, 1, 1.5):
        enqueue("t:see", seconds, delay=seconds)

    try:
        saw(waiting, 0.5, 1, 1.5)
    finally:
        gate.set()


def test_a_retry_is_handled_in_its_time(waiting, handle):
    @handle("t:third-time", backoff=[0.5])
    def third_time(delivery):
        if delivery.attempt < 3:
            raise ValueError("not yet")
        waiting.seen.append("third time")

    enqueue("t:third-time")

    saw(waiting, "third time")


def test_a_retry_is_handled_in_its_time_although_another_message_came_between(waiting, handle):
    @handle("t:twice", backoff=[2])
    def twice(delivery):
        if delivery.attempt == 1:
            raise ValueError("not yet")
        waiting.seen.append("twice")

    enqueue("t:twice")
    wait_until(lambda: not waiting.worker.inflight.leases())
    enqueue("t:see", "between")
    saw_between = wait_until(lambda: "between" in waiting.seen)

    assert saw_between
    saw(waiting, "between", "twice")


def test_a_queue_that_is_resumed_is_handled_long_before_the_poll(waiting):
    queues.pause("default")
    enqueue("t:see", "held")
    enqueue("t:see", "other", queue="other")
    saw(waiting, "other")

    queues.resume("default")

    saw(waiting, "held", "other")


def test_a_type_that_is_resumed_is_handled_long_before_the_poll(waiting, handle):
    handle("t:other")(lambda delivery: waiting.seen.append("other"))
    messages.pause_type("t:see")
    enqueue("t:see", "held")
    enqueue("t:see", "held elsewhere", queue="another", priority=-7)
    enqueue("t:other")
    saw(waiting, "other")

    messages.resume_type("t:see")

    saw(waiting, "held", "held elsewhere", "other")


@pytest.fixture
def claims_in_full_are_rare(monkeypatch):
    """Let claims begin at the mark of their lane for two seconds, as they do where a full one is slow."""
    monkeypatch.setattr(lanes, "SHARE", 1e-9)
    monkeypatch.setattr(lanes, "AT_THE_LATEST", 2.0)
    # Looks are quick, so each is at all lanes.
    monkeypatch.setattr(lanes.Watermarks, "note_full_look", lambda *args: None)


def test_a_type_that_is_resumed_is_handled_although_claims_begin_behind_it(
    claims_in_full_are_rare, waiting, handle
):
    handle("t:other")(lambda delivery: waiting.seen.append(delivery.payload))
    messages.pause_type("t:see")
    enqueue("t:see", "held")
    for n in range(3):
        enqueue("t:other", n)
        saw(waiting, *range(n + 1))

    messages.resume_type("t:see")

    saw(waiting, "held", *range(3))


def test_what_became_visible_long_before_it_was_committed_is_handled_long_before_the_poll(
    claims_in_full_are_rare, waiting
):
    enqueue("t:see", "late", visible_at=engine_for("default").clock() - timedelta(seconds=10))

    saw(waiting, "late")


def test_a_dead_letter_that_is_redriven_is_handled_long_before_the_poll(waiting, handle):
    from django_letsgo_worker import Reject

    @handle("t:die")
    def die(delivery):
        if not waiting.seen:
            waiting.seen.append("died")
            raise Reject("no")
        waiting.seen.append("lived")

    message = enqueue("t:die")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=message.pk).exists())

    redrive(message.pk)

    saw(waiting, "died", "lived")


def test_listening_begins_anew_when_its_connection_is_cut(engine, manage):
    if engine != "postgres":
        pytest.skip("Only PostgreSQL has LISTEN.")
    listeners = (
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %%'"
    )

    def listener():
        with connection.cursor() as cursor:
            cursor.execute(listeners)
            return [pid for (pid,) in cursor.fetchall()]

    # Those of the workers of other tests may be about to end.
    wait_until(lambda: not listener())
    # A lease this long keeps the heartbeat away, so that the listener alone can bring the news.
    worker = manage(
        "runworker",
        env={"LETSGO_WORKER_POLL_SECONDS": str(HOUR), "LETSGO_WORKER_LEASE_SECONDS": "3000"},
        settings_module=SETTINGS,
    )
    (old,) = wait_until(listener, what="a connection that listens")
    enqueue("work:note", {"n": 0})
    wait_until(lambda: ArchivedMessage.objects.count() == 1)

    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [old])

    wait_until(lambda: [pid for pid in listener() if pid != old], timeout=SOON, what="a new LISTEN")
    enqueue("work:note", {"n": 1})
    wait_until(lambda: Entry.objects.filter(n=1).exists(), timeout=SOON, what="the message after the cut")
    assert worker.process.poll() is None
    assert "Traceback" not in worker.output


def test_without_any_wake_up_the_poll_finds_it(start_worker, handle, monkeypatch):
    engine = type(engine_for("default"))
    monkeypatch.setattr(engine, "can_listen", False)
    monkeypatch.setattr(engine, "data_version", lambda self: None)
    seen = []
    handle("t:see")(lambda delivery: seen.append(delivery.payload))
    start_worker(poll_seconds=0.2)
    wait_until(lambda: Process.objects.exists())
    for n in range(5):
        enqueue("t:see", n)
        wait_until(lambda n=n: len(seen) == n + 1)
