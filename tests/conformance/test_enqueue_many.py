"""enqueue_many(): ids and claims in the order of the list, defaults, keys among them, all or nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.errors import DuplicateMessage
from django_letsgo_worker.models import Message

pytestmark = pytest.mark.django_db

MANY = 1_201


def in_order(ids):
    found = Message.objects.in_bulk(ids)
    return [found[id] for id in ids]


def test_mappings_pairs_and_lists_are_messages():
    ids = enqueue_many([{"type": "job", "payload": 1, "queue": "a"}, ("job", 2), ["job", 3], {"type": "job"}])

    assert [(m.payload, m.queue) for m in in_order(ids)] == [
        (1, "a"),
        (2, "default"),
        (3, "default"),
        (None, "default"),
    ]


def test_what_one_message_says_counts_for_no_other_of_its_type():
    ids = enqueue_many([{"type": "job", "queue": "a"}, {"type": "job", "priority": 5}, ("job", 1)])

    assert [(m.queue, m.priority) for m in in_order(ids)] == [("a", 0), ("default", 5), ("default", 0)]


def test_ids_come_in_the_order_of_the_list_over_many_statements():
    ids = enqueue_many(("job", {"n": n}) for n in range(MANY))

    assert ids == sorted(set(ids))
    assert [message.payload["n"] for message in in_order(ids)] == list(range(MANY))


def test_a_few_statements_write_them_all(statements):
    with statements() as sent:
        enqueue_many(("job", n) for n in range(MANY))

    assert len([sql for sql, _ in sent if "INSERT" in sql]) <= 3


def test_they_become_visible_in_the_order_of_the_list_and_all_at_once(worker):
    ids = enqueue_many(("job", n) for n in range(MANY))

    moments = [message.visible_at for message in in_order(ids)]
    assert moments == sorted(moments)
    assert moments[-1] <= worker.engine.clock()


def test_they_are_claimed_in_the_order_of_the_list(worker):
    ids = enqueue_many(("job", n) for n in range(MANY))
    taken = []
    while claimed := worker.claim(free=100):
        taken += [message.id for message in claimed]

    assert taken == ids


def test_what_is_delayed_keeps_its_order_and_is_never_early():
    ids = enqueue_many([("job", n) for n in range(20)], delay=60)

    messages = in_order(ids)
    moments = [message.visible_at for message in messages]
    assert moments == sorted(moments)
    assert all(m.visible_at - m.enqueued_at >= timedelta(seconds=60) for m in messages)


def test_each_of_them_equals_one_enqueued_alone():
    options = {
        "payload": {"b": 1, "a": [None, "ü"]}, "queue": "orders", "priority": -3, "max_attempts": 4,
        "delay": 60, "deadline": timedelta(hours=1), "headers": {"trace": "x"},
    }  # fmt: skip
    alone = enqueue("job", **options)
    (id,) = enqueue_many([{"type": "job", **options}])
    among = Message.objects.get(pk=id)

    for name in (
        "type",
        "payload",
        "headers",
        "queue",
        "priority",
        "max_attempts",
        "errors",
        "attempts",
        "receipt",
    ):
        assert getattr(among, name) == getattr(alone, name), name
    assert among.deadline - among.enqueued_at == timedelta(hours=1)


def test_defaults_are_for_those_that_do_not_say(handled):
    handled("job", queue="orders", max_attempts=2)
    ids = enqueue_many(
        [("job", 1), {"type": "job", "priority": 0, "queue": "mail"}], priority=5, headers={"a": 1}
    )

    assert [(m.queue, m.priority, m.max_attempts, m.headers) for m in in_order(ids)] == [
        ("orders", 5, 2, {"a": 1}),
        ("mail", 0, 2, {"a": 1}),
    ]


def test_types_queues_and_priorities_may_differ(worker):
    ids = enqueue_many([("a", 1), {"type": "b", "queue": "q"}, {"type": "c", "priority": 9}])

    assert [(m.type, m.queue, m.priority) for m in in_order(ids)] == [
        ("a", "default", 0),
        ("b", "q", 0),
        ("c", "default", 9),
    ]


def test_nothing_is_no_statement(statements):
    with statements() as sent:
        assert enqueue_many([]) == []
    assert sent == []


def test_the_callers_rollback_leaves_none():
    with transaction.atomic():
        enqueue_many(("job", n) for n in range(600))
        transaction.set_rollback(True)

    assert not Message.objects.exists()


class TestUniqueKeysAmongThem:
    def test_a_live_twin_stands_in_its_place(self):
        twin = enqueue("job", unique_key="b")
        ids = enqueue_many([("job", 1), {"type": "job", "payload": 2, "unique_key": "b"}, ("job", 3)])

        assert ids[1] == twin.pk
        assert ids[0] < ids[2]
        assert Message.objects.get(pk=twin.pk).payload is None

    def test_two_of_the_list_may_be_twins(self):
        ids = enqueue_many([{"type": "job", "payload": n, "unique_key": "k"} for n in range(3)])

        assert len(set(ids)) == 1
        assert Message.objects.get().payload == 0

    def test_the_default_may_be_to_replace(self):
        ids = enqueue_many(
            [{"type": "job", "payload": n, "unique_key": "k"} for n in range(3)], on_conflict="replace"
        )

        assert len(set(ids)) == 1
        assert Message.objects.get().payload == 2

    def test_a_duplicate_that_is_an_error_leaves_none_and_the_transaction_usable(self):
        twin = enqueue("job", unique_key="k")
        with transaction.atomic():
            with pytest.raises(DuplicateMessage):
                enqueue_many(
                    [("job", 1), {"type": "job", "unique_key": "new"}, {"type": "job", "unique_key": "k"}],
                    on_conflict="raise",
                )
            after = enqueue("job")

        assert set(Message.objects.values_list("pk", flat=True)) == {twin.pk, after.pk}
