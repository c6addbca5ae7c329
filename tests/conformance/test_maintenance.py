"""Housekeeping: expire what nobody claims, give up what nobody knows, in turns and by steps."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from django_letsgo_worker import enqueue, enqueue_many, maintenance, messages, queues
from django_letsgo_worker.messages import pruning
from django_letsgo_worker.models import ArchivedMessage, Housekeeping, Message, Process, Queue
from django_letsgo_worker.signals import message_died

pytestmark = pytest.mark.django_db

DAY = 86_400


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

    def test_not_in_a_queue_that_all_had_excluded(self, process, given_up):
        enqueue("stranger", queue="mail")
        process(excluded_queues=["mail"])
        process(queues=["mail", "orders"], excluded_queues=["mail"])
        assert given_up() == 0
        process(excluded_queues=["orders"])
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


class TestSteps:
    """One process's part: maintenance.Maintenance, a batch a step."""

    @pytest.fixture
    def old(self, at, monkeypatch):
        """Archive so many old messages, which are pruned one by one."""

        def make(number):
            facts = {"type": "job", "outcome": "succeeded"}
            ArchivedMessage.objects.bulk_create(
                ArchivedMessage(id=id, finished_at=at(-9 * DAY - id), **facts) for id in range(1, number + 1)
            )
            monkeypatch.setattr(pruning, "BATCH", 1)

        return make

    @pytest.fixture
    def house(self):
        return maintenance.Maintenance("default")

    @staticmethod
    def steps(house):
        while house.step():
            pass

    def test_no_chore_waits_for_all_that_is_old(self, old, house, at, monkeypatch):
        old(5)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1e-9)
        queues.pause("mail")
        Queue.objects.update(resume_at=at(-DAY))
        self.steps(house)

        assert not Queue.objects.filter(paused_at__isnull=False).exists()
        assert ArchivedMessage.objects.count() == 4

    def test_a_step_is_a_batch_with_a_pause_behind_it(self, old, house, monkeypatch):
        old(5)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1e-9)
        self.steps(house)
        assert ArchivedMessage.objects.count() == 4
        assert 0 < house.due_in < float("inf")

        assert house.step() is False
        assert ArchivedMessage.objects.count() == 4

    def test_a_step_is_as_many_batches_as_its_share_of_the_time_allows(self, old, house, monkeypatch):
        old(5)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1e-9)
        self.steps(house)
        monkeypatch.setattr(maintenance, "LONGEST_PRUNING", 3600)
        house._prunes_at, house._pruned_at = 0, -1e15
        assert house.step() is False
        assert not ArchivedMessage.objects.exists()

    def test_without_a_pause_it_goes_on(self, old, house, monkeypatch):
        """The control: it was the pause that left messages."""
        old(5)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1)
        self.steps(house)

        assert not ArchivedMessage.objects.exists()
        assert house.due_in == float("inf")

    def test_who_has_not_pruned_all_keeps_the_turn(self, old, house, monkeypatch):
        old(5)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1e-9)
        self.steps(house)
        (first,) = Housekeeping.objects.values_list("taken_at", flat=True)

        house._asked_at -= maintenance.GOES_ON_EVERY
        self.steps(house)
        assert Housekeeping.objects.get().taken_at > first
        assert house.due_in < float("inf")

    def test_who_lost_the_turn_prunes_no_more(self, old, house, monkeypatch):
        old(5)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1e-9)
        self.steps(house)
        Housekeeping.objects.update(taken_at=Housekeeping.objects.get().taken_at + timedelta(seconds=1))

        house._asked_at -= maintenance.GOES_ON_EVERY
        self.steps(house)
        assert house.due_in == float("inf")

    def test_what_was_put_behind_goes_when_a_process_begins_anew(self, old, house, monkeypatch):
        old(3)
        monkeypatch.setattr(maintenance, "PRUNING_SHARE", 1)
        self.steps(house)
        old(3)
        for _ in range(maintenance.SELDOM):
            house._asked_at -= maintenance.EVERY
            self.steps(house)

        assert not ArchivedMessage.objects.exists()
