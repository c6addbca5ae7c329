"""Whatever stands in the queue, in whatever order: what is due and known is handled, in its order.

The mixes are of known and unknown types, of messages on their last attempt and of suspects, of lanes and
priorities, of retries without a delay, and of rows that another session has locked. What a worker
remembers between its looks is believed for an hour here, and a poll takes an hour: whoever waits for one
of these to pass waits in vain.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from contextlib import contextmanager
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_letsgo_worker import Retry, enqueue, enqueue_many, registry
from django_letsgo_worker.engines import Lane, engine_for
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.worker import Options, Worker, lanes, loop
from django_letsgo_worker.worker.batch import Batch
from django_letsgo_worker.worker.events import Events
from django_letsgo_worker.worker.inflight import InFlightTable
from django_letsgo_worker.worker.prefetch import Wanted
from django_letsgo_worker.worker.turns import Turns
from tests.support import PATIENCE, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

AN_HOUR = 3600.0
DEAD_PROCESS = UUID(int=7)
KINDS = {
    "plain": {},
    "last attempt": {"max_attempts": 1},
    "lapsed": {"leased_by": DEAD_PROCESS, "attempts": 1},
    "suspect": {"deaths": 2, "attempts": 2},
    "worn out": {"max_attempts": 1, "attempts": 1, "deaths": 1},
}
kinds = st.sampled_from(["plain"] * 6 + list(KINDS))
types = st.sampled_from(["t:quick"] * 4 + ["t:again", "t:again-atomic", "t:from-the-future"])
places = st.sampled_from([("a", 0), ("a", 0), ("a", 0), ("a", 5), ("b", 0), ("b", -5)])
# Many of one kind in a row, as they come in the field, some at one and the same moment.
runs = st.lists(
    st.tuples(types, kinds, places, st.integers(1, 30), st.booleans()), min_size=1, max_size=6
)  # fmt: skip


@pytest.fixture(autouse=True)
def memory_is_long(monkeypatch):
    monkeypatch.setattr(lanes, "BELIEVED_FOR", AN_HOUR)
    monkeypatch.setattr(loop, "SECOND_LOOK", AN_HOUR)
    # Claims and looks from the start, too, come an hour after the first.
    monkeypatch.setattr(lanes, "SHARE", 1e-9)
    monkeypatch.setattr(lanes, "AT_THE_LATEST", AN_HOUR)


@pytest.fixture
def begun():
    """Register the handlers; return the ids of messages in the order of their first attempts."""
    order, names = [], ["t:quick", "t:again", "t:again-atomic"]

    def quick(delivery):
        if delivery.message_id not in order:
            order.append(delivery.message_id)

    def again(delivery):
        quick(delivery)
        if not delivery.is_last_attempt and delivery.attempt < 3:
            raise Retry(delay=0)

    registry.handler("t:quick", backoff=[0])(quick)
    registry.handler("t:again")(again)
    registry.handler("t:again-atomic", atomic=True)(again)
    yield order
    for name in names:
        registry.remove(name)


def fill(mix):
    """Write the messages of a mix, all of them due, and nothing else."""
    Message.objects.all().delete()
    ArchivedMessage.objects.all().delete()
    due_at = engine_for("default").clock() - timedelta(hours=1)
    for type, kind, (queue, priority), count, together in mix:
        steps = [timedelta(0) if together else timedelta(milliseconds=n) for n in range(1, count + 1)]
        due_at += timedelta(seconds=1)
        Message.objects.bulk_create(
            Message(
                type=type, payload=None, queue=queue, priority=priority, enqueued_at=due_at,
                visible_at=due_at + step, **KINDS[kind],
            )
            for step in steps
        )  # fmt: skip


def known():
    return Message.objects.exclude(type="t:from-the-future")


@contextmanager
def working(seats, before=lambda worker: None, **options):
    """A worker on a thread of this process, which ends with the block."""
    worker = Worker(Options(seats=seats, poll_seconds=AN_HOUR, drain_seconds=5.0, **options))
    before(worker)

    def run():
        try:
            worker.run()
        finally:
            connections.close_all()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        worker.stop()
        thread.join(PATIENCE)


@contextmanager
def locked(ids):
    """Lock these messages from another session, where a session can lock a row."""
    if not ids or not connection.features.has_select_for_update_skip_locked:
        yield threading.Event()
        return
    holds, may_end = threading.Event(), threading.Event()

    def hold():
        try:
            with transaction.atomic():
                # One by one: of several MariaDB may lock all between them, too.
                for id in ids:
                    Message.objects.select_for_update().get(pk=id)
                holds.set()
                may_end.wait(PATIENCE)
        finally:
            connections.close_all()

    thread = threading.Thread(target=hold, daemon=True)
    thread.start()
    assert holds.wait(PATIENCE)
    try:
        yield may_end
    finally:
        may_end.set()
        thread.join(PATIENCE)


def in_order(begun, rows):
    """Whether messages that nothing holds back began in their lane's order."""
    lanes_of, found = {row.pk: (row.queue, row.priority) for row in rows}, defaultdict(list)
    due = {row.pk: row.visible_at for row in rows}
    for id in begun:
        if id in lanes_of:
            found[lanes_of[id]].append(due[id])
    return all(moments == sorted(moments) for moments in found.values())


def harmless():
    """The messages that need no free seat: they are taken in order, whatever is between them."""
    rows = known().filter(leased_by=None, deaths=0, max_attempts__gt=1)
    return list(rows.only("queue", "priority", "visible_at"))


a_few = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # fmt: skip


@a_few
@given(mix=runs, seats=st.integers(1, 9))
def test_a_running_worker_handles_all_of_it_without_a_poll(begun, mix, seats):
    begun.clear()
    fill(mix)
    rows, unknown = harmless(), Message.objects.count() - known().count()

    with working(seats):
        wait_until(lambda: not known().exists(), what="the end of all known messages")

    assert Message.objects.count() == unknown
    if seats == 1:
        assert in_order(begun, rows)


@a_few
@given(mix=runs, seats=st.integers(1, 9), each=st.integers(2, 9))
def test_a_worker_that_ends_when_nothing_is_due_leaves_none_of_it(begun, mix, seats, each):
    fill(mix)
    unknown = Message.objects.count() - known().count()
    ids = list(known().order_by("pk").values_list("pk", flat=True))[::each]

    with locked(ids) as may_end, working(seats, until_empty=True) as thread:
        # InnoDB passes over more than is locked, while another session looks at an older state.
        if connection.vendor == "postgresql":
            wait_until(lambda: known().count() == len(ids), what="the end of all that is not locked")
            assert thread.is_alive()
        may_end.set()
        thread.join(PATIENCE)
        assert not thread.is_alive()

    assert (known().count(), Message.objects.count()) == (0, unknown)


def test_a_message_on_its_last_attempt_does_not_wait_for_all_that_could_be_taken_ahead_of_it(begun):
    enqueue_many([("t:quick", None)] * 300)
    last = enqueue("t:quick", max_attempts=1)
    enqueue_many([("t:quick", None)] * 5000)

    with working(2):
        wait_until(lambda: last.pk in begun)
        place = begun.index(last.pk)

    # What had been taken beyond the seats when it was met may begin before it.
    assert place <= 300 + 2 * 500


class EndsInTheTurn:
    """Lets the message that runs end in the middle of a turn: after the load was read, before it is settled.

    `rested` says whether the worker came to rest after that, with a free seat and a message that is due.
    """

    def __init__(self, worker, may_end, *, is_swallowed=False):
        self.loop, self.may_end, self.is_swallowed = worker.loop, may_end, is_swallowed
        self.rested = False
        self.now, self.loop.prefetch.now = self.loop.prefetch.now, self._now
        self.wait, self.loop.wakeup.wait = self.loop.wakeup.wait, self._wait

    def _now(self, load):
        wanted = self.now(load)
        if load.held and not self.may_end.is_set():
            self.may_end.set()
            wait_until(self.loop.wakeup._set_off.is_set, what="the wake-up")
            if self.is_swallowed:
                self.loop.wakeup.take()
        return wanted

    def _wait(self, seconds, engine=None):
        woken = self.loop.wakeup._set_off.is_set()
        if self.may_end.is_set() and not woken and self.loop.inflight.is_empty and known().exists():
            self.rested = True
            return "time"
        return self.wait(seconds, engine)


@pytest.mark.parametrize("is_swallowed", [False, True], ids=["", "control"])
def test_a_message_that_ends_in_the_middle_of_a_turn_makes_room_for_the_next(
    begun, monkeypatch, is_swallowed
):
    """The control takes the wake-up after the load was read, as a turn must not."""
    may_end = threading.Event()
    registry.handler("t:waits")(lambda delivery: may_end.wait(PATIENCE))
    # Housekeeping would bring the next turn.
    monkeypatch.setattr(loop.WorkerLoop, "_maintain", lambda self: False)
    # Each needs the one seat for itself.
    enqueue_many([("t:waits", None)] * 2, max_attempts=1)
    watched = []

    def watch(worker):
        watched.append(EndsInTheTurn(worker, may_end, is_swallowed=is_swallowed))

    try:
        with working(1, before=watch):
            wait_until(lambda: not known().exists(), what="the end of the second message")
    finally:
        registry.remove("t:waits")

    assert watched[0].rested == is_swallowed


@pytest.mark.parametrize("believed_for", [0.0, AN_HOUR])
def test_lanes_that_were_not_looked_at_are_not_forgotten(begun, monkeypatch, believed_for):
    # At 0 each turn looks, and all looks but the first are at the lanes that have a mark.
    monkeypatch.setattr(lanes, "BELIEVED_FOR", believed_for)
    for queue in range(100):
        enqueue_many([("t:quick", None)] * 8, queue=f"q{queue}")

    with working(8):
        wait_until(lambda: not known().exists(), what="the end of 800 messages in 100 queues")


@pytest.fixture
def an_endless_queue():
    """Fill a queue in which each message enqueues the next; return those that have begun."""
    begun = []

    @registry.handler("t:endless")
    def endless(delivery):
        begun.append(delivery.message_id)
        enqueue("t:endless", queue="endless")

    enqueue_many([("t:endless", None)] * 2000, queue="endless")
    yield begun
    registry.remove("t:endless")


def test_no_queue_starves_beside_one_that_is_endless(begun, an_endless_queue):
    for queue in range(99):
        enqueue_many([("t:quick", None)] * 20, queue=f"q{queue}")

    with working(8):
        wait_until(lambda: not known().exclude(queue="endless").exists(), what="the end of 99 queues")

    assert known().filter(queue="endless").count() == 2000


def test_without_turns_it_would_be_alone(begun, an_endless_queue, monkeypatch):
    monkeypatch.setattr(Turns, "asked", lambda self, key: None)
    # Before all others, by the order in which a look finds them.
    enqueue("t:quick", queue="z")

    with working(8):
        wait_until(lambda: len(an_endless_queue) > 3000)
        assert begun == []


def test_what_nobody_knows_holds_up_no_other_lane(begun):
    """It fills all that the first claim looks at."""
    enqueue_many([("t:from-the-future", None)] * 30, queue="a")
    enqueue("t:quick", queue="b")
    batch = Batch(engine_for("default"), Options(), DEAD_PROCESS, InFlightTable(2), Events())

    result = batch.settle_and_claim([], Wanted(2, 0), [Lane("a", 0), Lane("b", 0)])

    assert [(timed.request.lane.queue, len(timed.claim.rows)) for timed in result.claims] == [
        ("a", 0),
        ("b", 1),
    ]


@pytest.mark.parametrize("is_behind_unknown", [False, True])
@pytest.mark.parametrize("atomic", [False, True])
def test_a_message_that_is_to_be_tried_again_soon_is_waited_for(atomic, is_behind_unknown):
    attempts = []

    @registry.handler("t:again", atomic=atomic)
    def again(delivery):
        attempts.append(delivery.attempt)
        if delivery.attempt < 3:
            raise Retry(delay=0.1)

    try:
        if is_behind_unknown:
            # The head of the lane is not for this worker, and due all the time.
            enqueue("t:from-the-future")
        enqueue("t:again")
        with working(2):
            wait_until(lambda: not known().exists(), what="the third attempt")
    finally:
        registry.remove("t:again")

    assert attempts == [1, 2, 3]
