"""Housekeeping: prune what is old, expire what nobody claims, give up what nobody knows."""

from __future__ import annotations

from uuid import uuid4

import pytest

from django_letsgo_worker import enqueue, enqueue_many, messages
from django_letsgo_worker.models import ArchivedMessage, Message, Process
from django_letsgo_worker.signals import message_died

from .conftest import KEPT

pytestmark = pytest.mark.django_db

DAY = 86_400


class TestPrune:
    @pytest.fixture
    def ended(self, worker):
        """Archive messages with these outcomes at a moment; their ids by outcome."""

        def make(now, *outcomes):
            ids = {}
            for outcome in outcomes:
                ids[outcome] = enqueue("job").pk
                worker.settle(worker.claim_one(now=now), outcome, now=now)
            return ids

        return make

    def test_each_outcome_is_kept_for_its_time(self, ended, at, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 2, "KEEP_DEAD_FOR": 5}
        ended(at(0), *sorted(KEPT))

        assert messages.prune(now=at(2 * DAY)) == 0
        assert messages.prune(now=at(2 * DAY + 1)) == 3
        assert ArchivedMessage.objects.get().outcome == "dead"
        assert messages.prune(now=at(5 * DAY)) == 0
        assert messages.prune(now=at(5 * DAY + 1)) == 1

    def test_the_defaults_are_a_week_and_thirty_days(self, ended, at):
        ended(at(0), *sorted(KEPT))

        assert messages.prune(now=at(7 * DAY - 1)) == 0
        assert messages.prune(now=at(7 * DAY + 1)) == 3
        assert messages.prune(now=at(30 * DAY - 1)) == 0
        assert messages.prune(now=at(30 * DAY + 1)) == 1

    def test_half_a_day_is_a_time_too(self, ended, at, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0.5}
        ended(at(0), "succeeded")

        assert messages.prune(now=at(DAY / 2 + 1)) == 1

    def test_zero_keeps_none_and_sweeps_what_was_kept(self, ended, at, settings):
        ended(at(0), *sorted(KEPT))
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0, "KEEP_DEAD_FOR": 0}

        assert messages.prune(now=at(1)) == 4

    def test_a_hundred_years_are_no_trouble(self, ended, at, settings):
        settings.LETSGO_WORKER = dict.fromkeys(
            ("KEEP_SUCCEEDED_FOR", "KEEP_DEAD_FOR", "KEEP_OCCURRENCES_FOR"), 36_500
        )
        ended(at(0), *sorted(KEPT))

        assert messages.prune(now=at(DAY)) == 0

    def test_it_goes_in_batches_of_a_thousand(self, worker, at):
        ids = enqueue_many(("job", n) for n in range(1_005))
        for claimed in worker.claim(free=1_005, now=at(0)):
            worker.settle(claimed, now=at(0))
        assert len(ids) == ArchivedMessage.objects.count() == 1_005

        assert messages.prune_batch(now=at(8 * DAY)) == 1_000
        assert messages.prune_batch(now=at(8 * DAY)) == 5
        assert messages.prune_batch(now=at(8 * DAY)) == 0

    def test_live_messages_are_never_pruned(self, at):
        enqueue("job")

        assert messages.prune(now=at(1000 * DAY)) == 0
        assert Message.objects.exists()


class TestExpire:
    def test_waiting_messages_past_their_deadline_are_archived(self, at, archived):
        late = enqueue("job", deadline=at(10), payload={"a": 1})
        enqueue("job", deadline=at(11))
        enqueue("job")

        assert messages.expire(now=at(10)) == 1
        letter = archived(late.pk)
        assert (letter.outcome, letter.finished_at, letter.payload, letter.attempts) == (
            "expired",
            at(10),
            {"a": 1},
            0,
        )
        assert Message.objects.count() == 2

    def test_running_ones_are_left_to_their_worker(self, worker, at):
        enqueue("job", deadline=at(10))
        claimed = worker.claim_one(now=at(0))

        assert messages.expire(now=at(11)) == 0
        assert worker.settle(claimed, now=at(12)) == "succeeded"

    def test_a_thousand_at_a_time(self, at):
        enqueue_many([("job", n) for n in range(1_001)], deadline=at(10))

        assert [messages.expire(now=at(11)) for _ in range(3)] == [1_000, 1, 0]


class TestGiveUp:
    @pytest.fixture
    def process(self, at):
        """A worker process as others see it: process(types=[...], queues=None, heartbeat_at=at(0))."""

        def make(**facts):
            values = {
                "id": uuid4(), "kind": "worker", "name": "w", "host": "h", "pid": 1, "queues": None,
                "types": ["job"],
                "seats": 1, "version": "0", "started_at": at(0), "heartbeat_at": at(DAY),
            }  # fmt: skip
            return Process.objects.create(**values | facts)

        return make

    @pytest.fixture
    def given_up(self, at):
        """Run it a day and a bit later; how many were given up."""
        return lambda seconds=DAY + 60: messages.give_up_unknown_types(now=at(seconds))

    def test_a_type_that_nobody_knew_for_a_day_becomes_a_dead_letter(self, at, process, given_up, archived):
        died = []

        def receiver(message_id, **rest):
            died.append(message_id)

        stranger = enqueue("stranger", {"a": 1})
        process()
        message_died.connect(receiver)
        try:
            assert given_up() == 1
        finally:
            message_died.disconnect(receiver)
        letter = archived(stranger.pk)

        assert (letter.outcome, letter.payload, letter.attempts) == ("dead", {"a": 1}, 0)
        assert letter.error_class == "django_letsgo_worker.errors.UnknownType"
        assert "'stranger'" in letter.errors[-1]["message"]
        assert died == [stranger.pk]

    def test_not_before_it_was_due_for_a_day(self, process, given_up, at):
        enqueue("stranger", visible_at=at(120))
        process()

        assert given_up() == 0
        assert given_up(DAY + 121) == 1

    def test_not_while_one_process_of_that_day_lists_it(self, process, given_up):
        enqueue("stranger")
        process()
        process(types=["stranger"])

        assert given_up() == 0

    def test_a_process_of_an_earlier_day_says_nothing(self, process, given_up, at):
        enqueue("stranger")
        process()
        process(types=["stranger"], heartbeat_at=at(0))

        assert given_up() == 1

    def test_not_in_a_queue_that_nobody_served(self, process, given_up):
        enqueue("stranger", queue="mail")
        process(queues=["orders"])
        assert given_up() == 0
        process(queues=["mail"])
        assert given_up() == 1

    def test_not_without_any_process(self, given_up):
        enqueue("stranger")

        assert given_up() == 0

    def test_a_scheduler_serves_no_queue(self, process, given_up):
        enqueue("stranger")
        process(kind="scheduler")

        assert given_up() == 0

    def test_known_types_and_running_ones_are_left(self, worker, process, given_up, at):
        enqueue("job")
        enqueue("stranger", queue="b")
        worker.claim_one("b", now=at(0), types=("stranger",))
        process()

        assert given_up() == 0
        assert Message.objects.count() == 2

    def test_strangers_behind_a_thousand_known_ones_are_found(self, process, given_up):
        enqueue_many(("job", n) for n in range(1_001))
        enqueue("stranger")
        process()

        assert given_up() == 1
