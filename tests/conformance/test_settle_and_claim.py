"""Settle and claim in one go: each message once, whatever became of its lease meanwhile."""

from __future__ import annotations

import pytest
from django.db import connection

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.models import ArchivedMessage, Message

from .conftest import Rewrite

pytestmark = pytest.mark.django_db(transaction=True)

ON_POSTGRESQL = pytest.mark.skipif(
    connection.vendor != "postgresql", reason="elsewhere it is several statements of one transaction"
)


def test_what_is_done_is_archived_and_what_is_next_is_claimed(worker, at):
    first = enqueue_many([("job", n) for n in range(3)])
    held = worker.claim(now=at(0))
    second = enqueue_many([("job", n) for n in range(3)])

    written, claimed = worker.settle_and_claim(held, now=at(1))

    assert written == dict.fromkeys(first, "succeeded")
    assert [row.id for row in claimed] == second
    assert sorted(ArchivedMessage.objects.values_list("pk", flat=True)) == first


def test_what_somebody_else_took_over_is_not_written(worker, rival, at):
    message = enqueue("job")
    stale = worker.claim(now=at(0))
    (taken,) = rival.claim(now=at(60))

    assert worker.settle_and_claim(stale, now=at(61)) == ({}, [])
    assert Message.objects.get(pk=message.pk).receipt == taken.receipt


def test_a_lease_of_ones_own_that_lapsed_is_settled_and_not_claimed(worker, at):
    message = enqueue("job")
    held = worker.claim(now=at(0))

    assert worker.settle_and_claim(held, now=at(60)) == ({message.pk: "succeeded"}, [])
    assert not Message.objects.exists()


@ON_POSTGRESQL
def test_control_one_statement_that_claims_what_it_settles_does_both_or_neither(worker, at):
    message = enqueue("job")
    held = worker.claim(now=at(0))
    others = Rewrite(
        r"AND \(leased_by IS DISTINCT FROM %\(process\)s OR id <> ALL\(%\(ids\)s::bigint\[\]\)\)"
    )

    with connection.execute_wrapper(others):
        written, claimed = worker.settle_and_claim(held, now=at(60))

    assert others.hits
    archived = ArchivedMessage.objects.filter(pk=message.pk).exists()
    assert [row.id for row in claimed] == [message.pk] or (written and not archived)


@ON_POSTGRESQL
def test_it_is_one_statement(worker, at, statements):
    enqueue_many([("job", n) for n in range(20)])
    held = worker.claim(now=at(0))

    with statements() as seen:
        written, claimed = worker.settle_and_claim(held, now=at(1))

    assert (len(written), len(claimed), len(seen)) == (10, 10, 1)


def test_a_paused_queue_is_settled_and_not_claimed_from(worker, at):
    from django_letsgo_worker import queues

    done, _waits = enqueue_many([("job", 1), ("job", 2)])
    held = worker.claim(now=at(0), free=1)
    queues.pause("default")

    assert worker.settle_and_claim(held, now=at(1)) == ({done: "succeeded"}, [])


@pytest.mark.skipif(connection.vendor != "sqlite", reason="SQLite only")
def test_no_answer_has_more_than_one_row(worker, at, monkeypatch):
    # The driver lets go of Python's lock for each row, and a handler that computes keeps it for 5 ms.
    engine, answers = type(worker.engine), []
    execute = engine.execute
    monkeypatch.setattr(engine, "execute", lambda *args: answers.append(execute(*args)) or answers[-1])
    enqueue_many([("job", n) for n in range(20)])
    held = worker.claim(now=at(0))

    written, claimed = worker.settle_and_claim(held, now=at(1))

    assert (len(written), len(claimed)) == (10, 10)
    assert max(len(rows) for rows in answers) == 1
