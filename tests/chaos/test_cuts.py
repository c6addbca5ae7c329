"""Connections that are cut while workers work.

1. Nothing is lost, and nothing is held for ever: each message is archived as succeeded.
2. The workers keep their pids.
3. Atomic effects are exactly once, also where the cut hides whether a commit was carried out.
C. If such a commit is believed, 3 breaks.
"""

from __future__ import annotations

import math
import random
import time
from collections import Counter
from contextlib import contextmanager

import pytest
from django.db import connection
from django.db.models import F

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.engines import TABLE
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from tests.support import PATIENCE, database_url, wait_until
from tests.testapp.models import Effect, Entry

from .proxy import Proxy, cut_after, spoil_commits

pytestmark = pytest.mark.django_db(transaction=True)

OPTIONS = {"LEASE_SECONDS": 1, "POLL_SECONDS": 0.1}

OTHERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()",
    "mysql": "SELECT id FROM information_schema.processlist WHERE db = database() AND id <> connection_id()",
}
CUT = {"postgresql": "SELECT pg_terminate_backend(%s)", "mysql": "KILL CONNECTION %s"}


@pytest.fixture(autouse=True)
def a_server(engine):
    if engine == "sqlite":
        pytest.skip("SQLite has no connections to cut.")


def cut_one():
    with connection.cursor() as cursor:
        cursor.execute(OTHERS[connection.vendor])
        if others := [row[0] for row in cursor.fetchall()]:
            try:
                cursor.execute(CUT[connection.vendor], [random.choice(others)])
            except Exception as error:  # it has ended by itself
                assert "Unknown thread id" in str(error)


def test_nothing_is_lost_when_random_connections_are_cut(fleet, seed, chaos_seconds):
    workers = [fleet.start("--concurrency", 3, **OPTIONS) for _ in range(2)]
    messages = [("work:note" if n % 2 else "work:effect", {"n": n, "linger": 0.01}) for n in range(1600)]
    enqueue_many(messages)
    # A worker that has not told a heartbeat is still starting.
    beating = Process.objects.filter(heartbeat_at__gt=F("started_at"))
    wait_until(lambda: beating.count() == len(workers), what="the first heartbeat of each worker")
    wait_until(lambda: Entry.objects.exists())

    end = time.monotonic() + chaos_seconds
    while time.monotonic() < end and Message.objects.exists():
        cut_one()
        pause = time.monotonic() + random.uniform(0, 0.2)
        wait_until(lambda pause=pause: time.monotonic() > pause, step=0.01)
    fleet.wait_until_all_is_done(1600)

    assert [worker.process.poll() for worker in workers] == [None, None]
    assert not ArchivedMessage.objects.exclude(outcome="succeeded").exists()
    assert Counter(Effect.objects.values_list("n", flat=True)) == Counter(range(0, 1600, 2))
    assert set(Entry.objects.values_list("n", flat=True)) == set(range(1, 1600, 2))
    assert fleet.stop() == [0, 0]


@contextmanager
def proxy_with(*budget, **options):
    settings = connection.settings_dict
    proxy = Proxy(settings["HOST"], int(settings["PORT"]), *budget, **options).start()
    proxy.url = database_url(settings | {"HOST": "127.0.0.1", "PORT": proxy.port})
    yield proxy
    proxy.stop()


@pytest.fixture
def cut_at_random_bytes(seed):
    with proxy_with(cut_after(seed, 3_000, 40_000)) as proxy:
        yield proxy


def test_effects_are_exactly_once_when_connections_are_cut_at_random_bytes(
    fleet, cut_at_random_bytes, chaos_seconds
):
    enqueue_many([("work:effect", {"n": n}) for n in range(600)])
    worker = fleet.start("--concurrency", 4, url=cut_at_random_bytes.url, **OPTIONS)

    end = time.monotonic() + chaos_seconds
    wait_until(
        lambda: cut_at_random_bytes.cuts >= 30 or time.monotonic() > end or not Message.objects.exists(),
        timeout=chaos_seconds + PATIENCE,
    )
    cut_at_random_bytes.budget = lambda: None
    fleet.wait_until_all_is_done(600)

    assert cut_at_random_bytes.cuts > 0
    assert worker.process.poll() is None
    assert Counter(Effect.objects.values_list("n", flat=True)) == Counter(range(600))
    assert not ArchivedMessage.objects.exclude(outcome="succeeded").exists()


@pytest.fixture
def commits_cut(seed):
    with proxy_with(spoil=spoil_commits(seed, 0.1)) as proxy:
        yield proxy


def test_effects_are_exactly_once_when_commits_are_cut(fleet, commits_cut):
    enqueue_many([("work:effect", {"n": n}) for n in range(300)])
    fleet.start("--concurrency", 4, url=commits_cut.url, **OPTIONS)

    fleet.wait_until_all_is_done(300)

    assert commits_cut.cuts > 0
    assert Counter(Effect.objects.values_list("n", flat=True)) == Counter(range(300))


def test_a_commit_that_is_believed_loses_effects(fleet, commits_cut):
    enqueue_many([("work:effect", {"n": n}) for n in range(2000)])
    fleet.start("--concurrency", 4, url=commits_cut.url, without="doubt about commits", **OPTIONS)

    def lost():
        done = {payload["n"] for payload in ArchivedMessage.objects.values_list("payload", flat=True)}
        return done - set(Effect.objects.values_list("n", flat=True))

    wait_until(lost, timeout=50, step=0.3, what="an acknowledged message without its effect")


RESULT = "by "


@pytest.fixture
def proxied():
    with proxy_with() as proxy:
        yield proxy


def hold_messages(count, gate):
    return enqueue_many([("work:hold", {"n": n, "gate": str(gate)}) for n in range(count)])


@pytest.fixture
def one_whose_result_is_cut(fleet, proxied, tmp_path):
    """Handle one message, and cut each connection on which its result is sent, at most so often."""

    def start(concurrency, cuts):
        gate = tmp_path / "gate"
        gate.touch()
        worker = fleet.start("--concurrency", concurrency, url=proxied.url, LEASE_SECONDS=30)
        worker.wait_for_line("to stop")
        text = f"{RESULT}{worker.pid}".encode()
        proxied.spoil = lambda chunk: "before" if text in chunk and proxied.cuts < cuts else None
        (message,) = hold_messages(1, gate)
        return worker, message

    return start


def test_an_outcome_keeps_its_result_when_its_connection_is_cut_again_and_again(
    fleet, proxied, one_whose_result_is_cut
):
    """Twice in a batch, twice alone, and once more a second later: what breaks it may be its result."""
    worker, message = one_whose_result_is_cut(concurrency=1, cuts=5)

    fleet.wait_until_all_is_done(1)

    assert proxied.cuts == 5
    row = ArchivedMessage.objects.get(pk=message)
    assert (row.outcome, row.result) == ("succeeded", f"{RESULT}{worker.pid}")
    assert Entry.objects.count() == 1
    assert fleet.stop() == [0]


def test_an_outcome_that_breaks_each_good_connection_is_kept_without_its_result(
    fleet, one_whose_result_is_cut
):
    worker, message = one_whose_result_is_cut(concurrency=4, cuts=math.inf)
    enqueue_many([("work:note", {"n": n}) for n in range(100, 200)])

    fleet.wait_until_all_is_done(101)

    row = ArchivedMessage.objects.get(pk=message)
    assert (row.outcome, row.result) == ("succeeded", None)
    assert Entry.objects.filter(n=0).count() == 1
    worker.wait_for_line(f"the outcome of message {message} (work:hold), which is kept without its result")
    assert fleet.stop() == [0]


def test_a_server_that_is_gone_is_waited_for_with_every_outcome_and_its_result(fleet, proxied, tmp_path):
    gate = tmp_path / "gate"
    worker = fleet.start("--concurrency", 20, url=proxied.url, LEASE_SECONDS=60)
    hold_messages(20, gate)
    wait_until(lambda: Entry.objects.count() == 20)
    # Nothing that is sent arrives, on no connection, old or new.
    proxied.spoil = lambda chunk: "before"
    gate.touch()
    worker.wait_for_line("The database cannot be used")
    cuts = proxied.cuts
    wait_until(lambda: proxied.cuts > cuts + 10)
    assert not ArchivedMessage.objects.exists()

    proxied.spoil = lambda chunk: None

    fleet.wait_until_all_is_done(20)
    assert set(ArchivedMessage.objects.values_list("result", flat=True)) == {f"{RESULT}{worker.pid}"}
    assert Entry.objects.count() == 20
    worker.wait_for_line("The database is back")
    assert fleet.stop() == [0]


@pytest.mark.parametrize("said", [b"django_migrations", b"letsgo_process", TABLE.encode()])
@pytest.mark.parametrize("command", ["runworker", "runscheduler"])
def test_a_process_that_is_cut_off_while_it_starts_starts_all_the_same(command, said, manage, proxied):
    proxied.spoil = lambda chunk: "before" if said in chunk and proxied.cuts < 3 else None
    process = manage(command, env={"DATABASE_URL": proxied.url}, settings_module="tests.testapp.settings")

    process.wait_for_line("Worker " if command == "runworker" else "Scheduler ")
    wait_until(lambda: Process.objects.filter(state="running").exists())
    assert process.stop() == 0
    assert "Traceback" not in process.output
