"""Unique keys: one live message per type and key, and three ways to meet the one that lives."""

from __future__ import annotations

import contextlib
from datetime import timedelta

import pytest
from django.db import transaction

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.errors import DuplicateMessage, LetsGoError
from django_letsgo_worker.models import Message

from .conftest import COLUMNS, KEPT

pytestmark = pytest.mark.django_db


class TestReturn:
    def test_the_live_twin_comes_back_unchanged(self, row):
        twin = enqueue("job", 1, unique_key="k", delay=60)
        before = row(twin.pk)
        again = enqueue("job", 2, unique_key="k", priority=9, queue="other", deadline=timedelta(days=1))

        assert (again.pk, again.created, again.payload) == (twin.pk, False, 1)
        assert {name: getattr(again, name) for name in COLUMNS} == before == row(twin.pk)

    def test_one_that_runs_counts_as_live(self, worker):
        twin = enqueue("job", unique_key="k")
        worker.claim_one()

        assert enqueue("job", unique_key="k").pk == twin.pk

    def test_a_handler_that_enqueues_its_own_key_gets_its_own_message(self, worker):
        enqueue("job", unique_key="k")
        claimed = worker.claim_one()
        own = enqueue("job", {"next": True}, unique_key="k")

        assert (own.pk, own.created, own.receipt) == (claimed.id, False, claimed.receipt)
        assert worker.settle(claimed) == "succeeded"
        assert not Message.objects.exists()

    def test_messages_without_a_key_are_never_twins(self):
        assert len({enqueue("job").pk for _ in range(3)}) == 3

    def test_another_type_is_another_key(self):
        assert enqueue("job", unique_key="k").pk != enqueue("other", unique_key="k").pk


class TestReplace:
    def test_a_waiting_twin_takes_everything_new_under_its_id(self, row):
        twin = enqueue(
            "job", 1, unique_key="k", delay=60, deadline=timedelta(days=1), headers={"a": 1}, priority=3
        )
        replaced = enqueue(
            "job", {"new": [1]}, unique_key="k", on_conflict="replace", queue="other", priority=-4,
            max_attempts=2,
            delay=600, headers={"b": 2},
        )  # fmt: skip
        now = row(twin.pk)

        assert (replaced.pk, replaced.created) == (twin.pk, False)
        assert {name: getattr(replaced, name) for name in COLUMNS} == now
        assert (now["payload"], now["headers"], now["queue"], now["priority"]) == (
            {"new": [1]},
            {"b": 2},
            "other",
            -4,
        )
        assert (now["max_attempts"], now["attempts"], now["receipt"], now["deadline"]) == (2, 0, 1, None)
        wait = now["visible_at"] - twin.enqueued_at
        assert timedelta(seconds=600) <= wait < timedelta(seconds=630)

    def test_its_times_may_be_given(self, at, row):
        twin = enqueue("job", unique_key="k")
        enqueue("job", unique_key="k", on_conflict="replace", visible_at=at(500), deadline=at(600))

        assert (row(twin.pk)["visible_at"], row(twin.pk)["deadline"]) == (at(500), at(600))

    def test_one_that_waits_for_a_retry_begins_anew(self, worker, at, row):
        twin = enqueue("job", unique_key="k")
        worker.settle(worker.claim_one(now=at(0)), "again", now=at(1), delay_seconds=500, errors="[1]")
        enqueue("job", unique_key="k", on_conflict="replace")

        assert (row(twin.pk)["attempts"], row(twin.pk)["receipt"]) == (0, 2)
        assert row(twin.pk)["visible_at"] <= at(0)
        assert worker.claim_one(now=at(0)).receipt == 3

    def test_one_that_runs_is_never_lost_in_silence(self, worker, row):
        twin = enqueue("job", 1, unique_key="k")
        claimed = worker.claim_one()
        before = row(twin.pk)

        with pytest.raises(DuplicateMessage) as caught:
            enqueue("job", 2, unique_key="k", on_conflict="replace")
        assert caught.value.message_id == twin.pk
        assert row(twin.pk) == before
        assert worker.settle(claimed) == "succeeded"

    def test_without_a_twin_it_is_a_plain_insert(self):
        assert enqueue("job", 2, unique_key="k", on_conflict="replace").created is True

    def test_on_conflict_says_nothing_without_a_key(self):
        assert enqueue("job", on_conflict="replace").pk != enqueue("job", on_conflict="raise").pk


class TestRaise:
    def test_it_names_the_twin_and_changes_nothing(self, row):
        twin = enqueue("job", 1, unique_key="k")
        before = row(twin.pk)

        with pytest.raises(DuplicateMessage) as caught:
            enqueue("job", 2, unique_key="k", on_conflict="raise")
        error = caught.value
        assert (error.message_id, error.type, error.unique_key) == (twin.pk, "job", "k")
        assert isinstance(error, LetsGoError)
        assert "'k'" in str(error)
        assert row(twin.pk) == before

    def test_without_a_twin_it_is_a_plain_insert(self):
        assert enqueue("job", unique_key="k", on_conflict="raise").created is True


@pytest.mark.parametrize("on_conflict", ["return", "replace", "raise"])
@pytest.mark.parametrize("running", [False, True])
def test_the_callers_transaction_stays_usable(worker, on_conflict, running):
    enqueue("job", unique_key="k")
    if running:
        worker.claim_one()
    with transaction.atomic():
        with contextlib.suppress(DuplicateMessage):
            enqueue("job", unique_key="k", on_conflict=on_conflict)
        after = enqueue("job", "after")

    assert Message.objects.get(pk=after.pk).payload == "after"
    assert Message.objects.count() == 2


@pytest.mark.parametrize("outcome", sorted(KEPT))
def test_a_key_is_free_again_when_its_message_is_archived(worker, outcome):
    first = enqueue("job", unique_key="k")
    worker.settle(worker.claim_one(), outcome)
    second = enqueue("job", unique_key="k")

    assert second.created
    assert second.pk != first.pk


def test_a_key_is_free_again_after_cancel_and_discard(dead_letter):
    messages.cancel(enqueue("job", unique_key="k").pk)
    messages.discard(dead_letter(unique_key="k"))

    assert enqueue("job", unique_key="k").created


SAME_TO_SOME = [
    "a",
    "A",
    "a ",
    " a",
    "á",
    "a\u0301",
    "ａ",
    "ß",
    "ss",
    "i",
    "İ",
    "ı",
    "🙂",
    "🙃",
    "",
    "0",
    "00",
    "\u200b",
]


class TestByteForByte:
    def test_keys_that_look_alike_are_different_ones(self):
        keys = [key for key in SAME_TO_SOME if key]
        made = [enqueue("job", unique_key=key) for key in keys]

        assert all(message.created for message in made)
        assert [enqueue("job", unique_key=key).pk for key in keys] == [message.pk for message in made]

    def test_types_in_capitals_are_different_ones(self, worker):
        small, large = enqueue("job", unique_key="k"), enqueue("JOB", unique_key="k")

        assert small.pk != large.pk
        assert [claimed.id for claimed in worker.claim()] == [small.pk]
        assert [claimed.id for claimed in worker.claim(types=("JOB",))] == [large.pk]

    def test_queues_in_capitals_are_different_ones(self, worker):
        small, large = enqueue("job", queue="orders"), enqueue("job", queue="Orders")

        assert [claimed.id for claimed in worker.claim("orders")] == [small.pk]
        assert [claimed.id for claimed in worker.claim("Orders")] == [large.pk]
        assert worker.claim("orders ") == []

    def test_two_hundred_characters_of_four_bytes_fit(self):
        first, second = (
            enqueue("x" * 255, unique_key="🙂" * 200),
            enqueue("x" * 255, unique_key="🙂" * 199 + "🙃"),
        )

        assert first.pk != second.pk
