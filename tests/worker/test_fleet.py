"""Many workers at rest on one PostgreSQL: a message wakes a few of them, and none is forgotten."""

from __future__ import annotations

import threading
from contextlib import ExitStack

import pytest
from django.db import connection, connections, transaction

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.engines import MOST_LISTENERS, Rest, engine_for
from django_letsgo_worker.engines.postgresql import waiting
from django_letsgo_worker.engines.postgresql.waiting import FEW
from django_letsgo_worker.models import IdleQueue
from django_letsgo_worker.worker.loop import SPARE_LISTENERS
from tests import listeners
from tests.support import wait_until
from tests.testapp.models import Entry

from .conftest import SETTINGS

pytest.importorskip("psycopg")

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = 3600.0
MANY = 16


@pytest.fixture(autouse=True)
def only_where_workers_listen(engine):
    if engine != "postgres":
        pytest.skip("Only PostgreSQL tells workers one by one.")


class Fleet:
    """Connections that listen as workers do: on the common channel, and each on its own."""

    def __init__(self, stack, number):
        self.all = [stack.enter_context(listeners.listener(alone=True)) for _ in range(number)]

    @property
    def names(self):
        return [str(one.info.backend_pid) for one in self.all]

    def rest(self):
        engine = engine_for("default")
        engine.name_queues(["default"])
        for name in self.names:
            engine.last_look(Rest(listener=name, most=MANY))

    def woken(self):
        """Return the names of those that were told of anything, and forget it."""
        told = listeners.told(self.all)
        return {name for name, notes in zip(self.names, told, strict=True) if notes}

    def at_once(self, act):
        """Do it for each name on a thread of its own, all at once."""
        start = threading.Barrier(len(self.all))

        def run(name):
            engine = engine_for("default")
            engine.clock()
            start.wait()
            act(engine, name)
            connections.close_all()

        threads = [threading.Thread(target=run, args=[name]) for name in self.names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


@pytest.fixture
def fleet():
    with ExitStack() as stack:
        yield Fleet(stack, MANY)


def listed():
    return sorted(IdleQueue.objects.get(name="default").listeners.split())


class TestWhoIsTold:
    @pytest.mark.parametrize("way", ["alone", "in a transaction", "by the function in SQL"])
    def test_one_message_wakes_a_few(self, fleet, way):
        fleet.rest()
        for _ in range(5):
            with transaction.atomic() if way == "in a transaction" else ExitStack():
                if way == "by the function in SQL":
                    with connection.cursor() as cursor:
                        cursor.execute("SELECT letsgo_enqueue('job')")
                else:
                    enqueue("job")
            assert len(fleet.woken()) == FEW

    def test_each_of_them_sooner_or_later(self, fleet):
        fleet.rest()
        told = set()
        for _ in range(200):
            enqueue("job")
            told |= fleet.woken()
        assert told == set(fleet.names)

    def test_as_many_as_there_are_messages(self, fleet):
        fleet.rest()
        enqueue_many([("job", n) for n in range(5)])
        # At the commit a few are told once more: they may have gone to rest meanwhile.
        assert 5 <= len(fleet.woken()) <= 5 + FEW
        enqueue_many([("job", n) for n in range(1000)])
        assert len(fleet.woken()) == MANY

    def test_all_of_them_where_nobody_has_said_that_it_waits(self, fleet):
        enqueue("job")
        assert len(fleet.woken()) == MANY

    def test_all_of_them_where_those_that_wait_have_no_name(self, fleet):
        engine_for("default").name_queues(["default"])
        engine_for("default").last_look(Rest())
        enqueue("job")
        assert len(fleet.woken()) == MANY

    def test_nobody_while_all_are_busy(self, fleet):
        fleet.rest()
        for name in fleet.names:
            engine_for("default").say_busy({"default"}, name)
        enqueue("job")
        assert not fleet.woken()

    def test_the_others_while_one_is_busy(self, fleet):
        fleet.rest()
        busy, *others = fleet.names
        engine_for("default").say_busy({"default"}, busy)
        assert listed() == sorted(others)
        enqueue("job")
        assert len(fleet.woken()) == FEW


class TestTheList:
    def test_who_has_gone_is_taken_off_when_the_next_one_comes(self, fleet):
        fleet.rest()
        gone, *stay = fleet.names
        fleet.all[0].close()
        wait_until(lambda: not is_served(gone), what="the server to notice")

        engine_for("default").say_busy({"default"}, stay[0])
        engine_for("default").last_look(Rest(listener=stay[0], most=MANY))

        assert listed() == sorted(stay)

    def test_what_is_no_number_harms_nobody(self, fleet):
        IdleQueue.objects.create(name="default", listeners="x'; DROP TABLE y")
        fleet.rest()
        assert listed() == sorted(fleet.names)

    def test_nobody_is_lost_who_comes_while_another_goes(self, fleet):
        engine_for("default").name_queues(["a", "b", "default"])

        def come_and_go(engine, name):
            for _ in range(20):
                engine.last_look(Rest(listener=name, most=MANY))
                engine.say_busy({"default", "a"}, name)
            engine.last_look(Rest(listener=name, most=MANY))

        fleet.at_once(come_and_go)
        for row in IdleQueue.objects.all():
            assert sorted(row.listeners.split()) == sorted(fleet.names)

    def test_a_listener_stands_on_it_once(self, fleet):
        fleet.rest()
        fleet.rest()
        assert listed() == sorted(fleet.names)


def is_served(name):
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_stat_activity WHERE pid::text = %s", [name])
        return cursor.fetchone() is not None


class TestWorkers:
    def test_a_busy_one_hushes_no_other(self, start_worker, handle):
        """The first has no seat left, and says so: the second must be told all the same."""
        seen, release = [], threading.Event()

        @handle("t:see")
        def see(delivery):
            seen.append(delivery.payload)
            assert release.wait(60)

        try:
            workers = [start_worker(seats=1, poll_seconds=HOUR) for _ in range(2)]
            wait_until(lambda: IdleQueue.objects.filter(name="default").exists() and len(listed()) == 2)
            for n in range(2):
                enqueue("t:see", n)
                wait_until(lambda n=n: seen == list(range(n + 1)), timeout=20, what=f"message {n}")
        finally:
            release.set()
        for worker in workers:
            wait_until(lambda worker=worker: worker.worker.inflight.is_empty)

    def test_one_whose_handler_takes_long_leaves_its_place_to_those_at_rest(self, start_worker, handle):
        begun, release = threading.Event(), threading.Event()

        @handle("t:long")
        def long(delivery):
            begun.set()
            assert release.wait(60)

        try:
            workers = [start_worker(poll_seconds=0.2) for _ in range(SPARE_LISTENERS + 1)]
            wait_until(lambda: IdleQueue.objects.filter(name="default").exists() and len(listed()) == 3)
            enqueue("t:long")
            assert begun.wait(20)
            (busy,) = [one.worker for one in workers if not one.worker.inflight.is_empty]
            wait_until(lambda: len(listed()) == SPARE_LISTENERS, what="one to leave the list")
            assert busy.wakeup.listener not in listed()
        finally:
            release.set()

    def test_one_takes_the_place_of_another_that_has_died(self, fleet, start_worker):
        engine_for("default").name_queues(["default"])
        for name in fleet.names[:MOST_LISTENERS]:
            engine_for("default").last_look(Rest(listener=name))
        worker = start_worker(poll_seconds=0.2).worker
        wait_until(lambda: not (worker.wakeup.is_needed or worker.wakeup.listening), what="it to poll")

        fleet.all[0].close()

        wait_until(lambda: worker.wakeup.listener in listed(), what="it to be listed")

    def test_one_whose_connection_was_cut_is_told_by_its_new_name(self, start_worker, handle):
        seen = []
        handle("t:see")(lambda delivery: seen.append(delivery.payload))
        start_worker(poll_seconds=HOUR)
        (old,) = wait_until(lambda: IdleQueue.objects.filter(name="default").exists() and listed())
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(%s)", [int(old)])
        wait_until(lambda: old not in listed(), timeout=20, what="another name")
        enqueue("t:see", 1)
        wait_until(lambda: seen == [1], timeout=20, what="the message")


class TestWhoListens:
    """All that listen are woken by the server for each message, so no more do than are needed."""

    def look(self, name, most=MOST_LISTENERS):
        return engine_for("default").last_look(Rest(listener=name, most=most))[1]

    def test_the_first_four_are_needed_and_no_others(self, fleet):
        engine_for("default").name_queues(["default"])
        assert [self.look(name) for name in fleet.names] == [True] * 4 + [False] * (MANY - 4)
        assert listed() == sorted(fleet.names[:4])
        # Who does not listen is needed when one of them has no seat left, and is listed once it listens.
        assert not self.look(None)
        engine_for("default").say_busy({"default"}, fleet.names[0])
        assert self.look(None)
        assert self.look(fleet.names[4])
        assert listed() == sorted(fleet.names[1:5])

    def test_one_whose_handler_takes_long_leaves_the_list_to_the_others(self, fleet):
        engine_for("default").name_queues(["default"])
        for name in fleet.names:
            self.look(name)
        for name in fleet.names[:4]:
            self.look(name, SPARE_LISTENERS)
        # Two stay, since nobody else is there; of the others each comes while there is room, of these none.
        assert listed() == sorted(fleet.names[2:4])
        assert not self.look(fleet.names[0], SPARE_LISTENERS)
        assert [self.look(name) for name in fleet.names[4:]] == [True, True] + [False] * (MANY - 6)
        assert listed() == sorted(fleet.names[2:6])

    def test_many_that_come_at_once_are_no_more_than_that(self, fleet):
        engine_for("default").name_queues(["default"])
        fleet.at_once(lambda engine, name: engine.last_look(Rest(listener=name)))
        assert len(listed()) == MOST_LISTENERS

    def test_control_without_the_lock_they_are_more(self, fleet, monkeypatch):
        monkeypatch.setattr(waiting, "RESTING", waiting.RESTING.replace("ORDER BY name FOR UPDATE", ""))
        engine_for("default").name_queues(["default"])

        def are_more():
            fleet.at_once(lambda engine, name: engine.last_look(Rest(listener=name)))
            number = len(listed())
            IdleQueue.objects.update(listeners="")
            return number > MOST_LISTENERS

        wait_until(are_more, what="too many on the list")

    def test_a_list_of_the_dead_keeps_nobody_away(self, fleet):
        IdleQueue.objects.create(name="default", listeners="-1 -2 -3 -4")
        assert self.look(fleet.names[0])
        assert listed() == [fleet.names[0]]

    def test_of_real_workers_four_listen_and_the_next_takes_the_place_of_one_that_was_killed(self, manage):
        def listening():
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT count(*) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND query LIKE 'LISTEN %%'"
                )
                return cursor.fetchone()[0]

        wait_until(lambda: not listening())
        workers = [manage("runworker", settings_module=SETTINGS) for _ in range(6)]
        wait_until(lambda: IdleQueue.objects.filter(name="default").exists() and len(listed()) == 4)
        wait_until(lambda: listening() == 4, what="two to stop listening")
        before = listed()
        for worker in workers[:2]:
            worker.process.kill()
        wait_until(lambda: listening() == 4 or set(listed()) != set(before), what="four to listen again")
        for n in range(5):
            enqueue("work:note", {"n": n})
        wait_until(lambda: Entry.objects.count() == 5, what="the messages")
