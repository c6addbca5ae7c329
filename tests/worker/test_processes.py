"""What a worker says of itself in its row, and how many connections it takes."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path

import pytest
from django.db import connection

from django_letsgo_worker import __version__, enqueue, enqueue_many, registry
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import ArchivedMessage, Process
from tests.support import wait_until
from tests.testapp.models import Entry

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_worker_says_who_it_is(start_worker):
    before = engine_for("default").clock()
    start_worker(seats=3, queues=("a", "b"), excluded_queues=("b", "c"), name="Gutenberg")

    row = wait_until(lambda: Process.objects.first())
    assert (row.kind, row.name, row.host, row.pid) == (
        "worker",
        "Gutenberg",
        socket.gethostname(),
        os.getpid(),
    )
    assert (row.queues, row.types, row.seats) == (["a", "b"], registry.types(), 3)
    assert (row.excluded_queues, row.named_queues) == (["b", "c"], ["a"])
    assert (row.version, row.state, row.stop_requested) == (__version__, "running", False)
    assert before <= row.started_at <= row.heartbeat_at


def test_without_queues_it_serves_all(start_worker):
    start_worker()

    row = wait_until(lambda: Process.objects.first())
    assert (row.queues, row.excluded_queues, row.serves("any")) == (None, [], True)


def test_its_id_is_new_at_each_start(work_off):
    for _ in range(3):
        work_off(name="the same")

    assert Process.objects.filter(name="the same", state="stopped").count() == 3


def test_its_heartbeat_moves_and_counts_the_busy_seats(handle, start_worker):
    go_on = threading.Event()
    handle("t:hold")(lambda delivery: go_on.wait(30) and None)
    start_worker(seats=3, lease_seconds=1.0)
    row = wait_until(lambda: Process.objects.first())
    enqueue("t:hold")
    enqueue("t:hold")

    try:
        later = wait_until(lambda: Process.objects.filter(busy=2).first())
    finally:
        go_on.set()
    assert later.heartbeat_at > row.heartbeat_at
    wait_until(lambda: Process.objects.filter(busy=0).exists())


def test_it_is_running_then_draining_then_stopped(handle, start_worker):
    started, go_on = threading.Event(), threading.Event()

    @handle("t:hold")
    def hold(delivery):
        started.set()
        go_on.wait(30)

    enqueue("t:hold")
    working = start_worker(lease_seconds=1.0)
    started.wait(20)
    assert Process.objects.get().state == "running"
    wait_until(lambda: Process.objects.get().busy == 1)

    working.worker.stop()
    wait_until(lambda: Process.objects.get().state == "draining")
    moved = Process.objects.get().heartbeat_at
    wait_until(lambda: Process.objects.get().heartbeat_at > moved, what="a heartbeat during the drain")
    assert Process.objects.get().state == "draining"

    go_on.set()
    assert working.join() is True
    row = Process.objects.get()
    assert (row.state, row.busy) == ("stopped", 0)


def test_a_worker_whose_row_was_deleted_writes_it_anew(start_worker):
    start_worker(lease_seconds=1.0)
    row = wait_until(lambda: Process.objects.first())

    Process.objects.all().delete()

    assert wait_until(lambda: Process.objects.first()).pk == row.pk


def test_deleting_all_rows_of_processes_loses_nothing(handle, start_worker):
    runs = []
    handle("t:run")(lambda delivery: runs.append(delivery.payload))
    start_worker(lease_seconds=1.0)
    for n in range(50):
        enqueue("t:run", n)
        if n % 10 == 0:
            Process.objects.all().delete()

    wait_until(lambda: ArchivedMessage.objects.count() == 50)
    assert sorted(runs) == list(range(50))


class Connections:
    """Counts the connections of a process to the database server, again and again, on its own thread.

    From the side of the process: a server takes a moment to notice that a connection was closed.
    """

    def __init__(self, pid):
        self.proc = Path(f"/proc/{pid}")
        self.port = int(connection.settings_dict["PORT"])
        self.most = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self):
        while not self._stop.wait(0.005):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                self.most = max(self.most, self._count())

    def _count(self):
        own = {str(link.readlink()) for link in (self.proc / "fd").iterdir()}
        sockets = [line.split() for line in (self.proc / "net/tcp").read_text().splitlines()[1:]]
        # The third column is the other end, the tenth the socket's inode.
        return sum(
            f"socket:[{one[9]}]" in own and int(one[2].partition(":")[2], 16) == self.port for one in sockets
        )

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()


@pytest.mark.parametrize(
    "types", [["work:note"], ["work:effect"], ["work:async-note"], ["work:note", "work:async-note"]]
)
def test_a_worker_takes_at_most_three_connections_more_than_its_seats(manage, engine, types):
    if engine == "sqlite":
        pytest.skip("SQLite does not count its connections.")
    enqueue_many([(types[n % len(types)], {"n": n}) for n in range(500)])

    worker = manage("runworker", "--concurrency", "4", settings_module=SETTINGS)
    with Connections(worker.pid) as count:
        wait_until(lambda: ArchivedMessage.objects.count() == 500, step=0.1)
        assert worker.stop() == 0

    assert 3 <= count.most <= 4 + 3


def test_it_holds_the_same_number_after_a_drain_with_all_seats_taken(manage, engine, tmp_path):
    if engine == "sqlite":
        pytest.skip("SQLite does not count its connections.")
    gate = tmp_path / "gate"
    for n in range(4):
        enqueue("work:hold", {"n": n, "gate": str(gate)})

    worker = manage("runworker", "--concurrency", "4", settings_module=SETTINGS)
    with Connections(worker.pid) as count:
        wait_until(lambda: Entry.objects.count() == 4)
        worker.terminate()
        wait_until(lambda: Process.objects.get().state == "draining")
        before = count.most
        wait_until(lambda: count.most >= before)
        gate.touch()
        assert worker.wait() == 0

    assert 3 <= count.most <= 4 + 3
