"""Claims: which messages of a lane a worker is given, in which order, and what is written about it."""

from __future__ import annotations

import json
import uuid
from datetime import timedelta

import pytest

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.engines import Lane, Rest, engine_for
from django_letsgo_worker.models import IdleQueue, Message

from .conftest import Worker

pytestmark = pytest.mark.django_db


def test_a_claim_writes_who_holds_it_until_when_and_counts_the_attempt(worker, at, row):
    message = enqueue("job", {"a": 1}, headers={"t": 1})
    before = row(message.pk)
    claimed = worker.claim_one(now=at(0), lease_seconds=30)

    assert row(message.pk) == before | {
        "receipt": 1, "attempts": 1, "leased_by": worker.process, "leased_at": at(0), "visible_at": at(30),
    }  # fmt: skip
    assert (claimed.id, claimed.receipt, claimed.attempts, claimed.deaths) == (message.pk, 1, 1, 0)


def test_it_returns_what_a_handler_is_given(worker, at):
    message = enqueue(
        "job", {"b": [1, "ü"], "a": None}, queue="orders", priority=-5, max_attempts=3,
        headers={"t": "1"}, deadline=timedelta(days=1),
    )  # fmt: skip
    claimed = worker.claim_one("orders", -5, now=at(0))

    assert json.loads(claimed.payload) == message.payload
    assert list(json.loads(claimed.payload)) == ["b", "a"]
    assert (json.loads(claimed.headers), json.loads(claimed.errors)) == ({"t": "1"}, [])
    assert (claimed.type, claimed.queue, claimed.priority, claimed.max_attempts) == ("job", "orders", -5, 3)
    assert (claimed.enqueued_at, claimed.deadline) == (message.enqueued_at, message.deadline)
    assert (claimed.leased_at, claimed.planned_at) == (at(0), None)


def test_without_now_the_databases_clock_counts(worker):
    enqueue("job")
    before = engine_for("default").clock()
    claimed = worker.claim_one(lease_seconds=30)
    after = engine_for("default").clock()

    assert before <= claimed.leased_at <= after
    lease = Message.objects.get().visible_at - claimed.leased_at
    assert timedelta(seconds=30) <= lease < timedelta(seconds=30.01)


class TestLanes:
    def test_only_one_lane_is_read(self, worker):
        here = enqueue("job", queue="a", priority=1)
        for queue, priority in [("a", 0), ("a", 2), ("b", 1), ("A", 1), ("a.", 1)]:
            enqueue("job", queue=queue, priority=priority)

        assert [claimed.id for claimed in worker.claim("a", 1)] == [here.pk]

    def test_the_oldest_come_first(self, worker, at):
        late, early = enqueue("job", delay=20), enqueue("job", delay=10)

        assert [claimed.id for claimed in worker.claim(now=at(60))] == [early.pk, late.pk]

    def test_no_more_than_asked_for(self, worker):
        ids = enqueue_many(("job", n) for n in range(10))

        assert [claimed.id for claimed in worker.claim(free=3, prefetch=1)] == ids[:4]
        assert [claimed.id for claimed in worker.claim(free=10)] == ids[4:]

    def test_an_empty_lane_gives_nothing(self, worker):
        claim = worker.look("nowhere")

        assert (claim.rows, claim.unknown, claim.looked, claim.looked_until) == ([], set(), 0, None)

    def test_all_lanes_are_found_each_with_its_earliest_moment(self, at):
        first = enqueue("job", queue="b", priority=-100)
        for queue, priority in [("b", -100), ("b", 100), ("a", 0), ("a-b", 0), ("B", 0), ("a", -1)]:
            enqueue("job", queue=queue, priority=priority, delay=60)
        found = engine_for("default").lanes()

        assert {(lane.queue, lane.priority) for lane in found} == {
            ("b", -100), ("b", 100), ("a", 0), ("a-b", 0), ("B", 0), ("a", -1),
        }  # fmt: skip
        assert len(found) == 6
        (lane,) = [lane for lane in found if (lane.queue, lane.priority) == ("b", -100)]
        assert lane.next_visible_at == first.visible_at

    def test_there_are_no_lanes_without_messages(self):
        assert engine_for("default").lanes() == []
        assert engine_for("default").last_look(Rest(["a"]))[0] == []

    def test_saying_that_one_waits_changes_no_lane(self):
        enqueue("job", queue="a")
        engine = engine_for("default")

        for queues in (None, ["a"], ["b"], []):
            assert [(lane.queue, lane.priority) for lane in engine.last_look(Rest(queues))[0]] == [("a", 0)]

    @pytest.mark.parametrize(
        ("queues", "excluded", "told"),
        [(None, [], "abc"), (None, ["a", "d"], "bc"), (["a", "b"], ["a"], "b"), ([], ["a"], "")],
    )
    def test_one_waits_for_the_queues_that_one_serves_and_no_others(self, queues, excluded, told):
        IdleQueue.objects.bulk_create([IdleQueue(name=name, waiting=False) for name in "abc"])
        engine = engine_for("default")
        engine.last_look(Rest(queues, excluded, "1"))

        waiting = IdleQueue.objects.filter(waiting=True).values_list("name", flat=True)
        assert "".join(sorted(waiting)) == (told if engine.can_listen else "")


class TestMoments:
    def test_what_is_due_this_very_moment_is_claimed(self, worker, at):
        enqueue("job", visible_at=at(5))

        assert worker.claim(now=at(4.999)) == []
        assert len(worker.claim(now=at(5))) == 1

    def test_what_is_leased_is_not_claimed_until_it_lapsed(self, worker, rival, at):
        enqueue("job")
        worker.claim_one(now=at(0), lease_seconds=30)
        grace = engine_for("default").lapse_grace * 30

        assert rival.claim(now=at(29.999)) == []
        assert len(rival.claim(now=at(30 + grace), lease_seconds=30)) == 1

    def test_a_lease_may_be_a_second_or_a_day(self, worker, at, row):
        for seconds in (1, 86_400, 0.5):
            message = enqueue("job", queue=f"q{seconds}")
            worker.claim_one(f"q{seconds}", now=at(0), lease_seconds=seconds)
            assert row(message.pk)["visible_at"] == at(seconds)

    def test_a_mark_leaves_out_what_became_visible_before_it(self, worker, at):
        enqueue("job", visible_at=at(1))
        marked = enqueue("job", visible_at=at(2))

        assert [claimed.id for claimed in worker.claim(now=at(5), start_at=at(2))] == [marked.pk]
        assert len(worker.claim(now=at(5))) == 1


class TestLapsedLeases:
    def test_taking_over_adds_a_death_and_a_receipt(self, worker, rival, at, row):
        message = enqueue("job")
        worker.claim_one(now=at(0))
        claimed = rival.claim_one(now=at(60))

        assert (claimed.receipt, claimed.attempts, claimed.deaths) == (2, 2, 1)
        assert row(message.pk)["leased_by"] == rival.process

    def test_its_own_lapsed_message_is_a_death_too(self, worker, at):
        enqueue("job")
        worker.claim_one(now=at(0))

        assert worker.claim_one(now=at(60)).deaths == 1

    def test_deaths_add_up_until_it_is_settled(self, worker, at):
        enqueue("job")
        for n in range(3):
            claimed = worker.claim_one(now=at(60 * n))
            assert claimed.deaths == n
        worker.settle(claimed, "again", now=at(121))

        assert worker.claim_one(now=at(180)).deaths == 0


class TestProcesses:
    def test_process_ids_of_all_kinds_are_kept(self, at, row):
        for process in (uuid.UUID(int=0), uuid.UUID(int=2**128 - 1), uuid.uuid1()):
            message = enqueue("job")
            worker = Worker()
            worker.process = process
            claimed = worker.claim_one(now=at(0))
            assert row(message.pk)["leased_by"] == process
            assert worker.settle(claimed) == "succeeded"

    def test_a_worker_without_types_claims_nothing(self, worker):
        enqueue("job")

        assert worker.claim(types=()) == []
        assert worker.look(types=()).unknown == {"job"}

    def test_lanes_are_plain_values(self):
        assert Lane("a", 1) == Lane("a", 1)
