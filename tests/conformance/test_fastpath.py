"""PostgreSQL: what is sent in one call of the driver's library keeps every promise of what is not."""

from __future__ import annotations

import threading

import pytest
from django.db import OperationalError, connection, transaction

from django_letsgo_worker import enqueue
from django_letsgo_worker.models import Message
from tests.support import PATIENCE

pytestmark = [
    pytest.mark.fastpath,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="PostgreSQL only"),
]

HOSTILE = {"text": "it's \\ $1 %(id)s; ROLLBACK; -- \u2028 \U0001f600", "nothing": None, "exact": 0.1}


@pytest.fixture
def prepared(monkeypatch):
    """What is prepared by a name of ours on this connection, which counts as used from the first use on."""
    from django_letsgo_worker.engines.postgresql import fastpath

    monkeypatch.setattr(fastpath, "PREPARED_FROM", 1)
    run("DEALLOCATE ALL")

    def statements():
        with connection.cursor() as cursor:
            cursor.execute(r"SELECT statement FROM pg_prepared_statements WHERE name LIKE 'letsgo\_%'")
            return [statement for (statement,) in cursor.fetchall()]

    return statements


def run(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def test_messages_of_one_kind_share_a_prepared_statement(prepared):
    messages = [enqueue("job", HOSTILE, priority=n) for n in range(3)]
    enqueue("job", delay=60)

    assert len([sql for sql in prepared() if "INSERT INTO" in sql]) == 2
    for message in messages:
        row = Message.objects.get(pk=message.pk)
        assert (row.payload, row.priority) == (HOSTILE, message.priority)
        assert (row.visible_at, row.enqueued_at) == (message.visible_at, message.enqueued_at)


def test_a_statement_that_was_discarded_is_prepared_again(prepared):
    enqueue("job", 1)
    run("DEALLOCATE ALL")

    assert enqueue("job", 2).created
    assert Message.objects.count() == 2


def test_in_a_transaction_a_discarded_statement_breaks_nothing(prepared):
    enqueue("job", 1)

    with transaction.atomic():
        run("DEALLOCATE ALL")
        enqueue("job", 2)
        assert Message.objects.count() == 2


def test_a_transaction_that_is_rolled_back_takes_the_message_along(prepared):
    enqueue("job", 1)

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        enqueue("job", 2)
        raise ZeroDivisionError

    assert [message.payload for message in Message.objects.all()] == [1]


def test_what_the_server_refuses_is_an_error_of_django_and_the_connection_stays_usable(prepared, begin):
    locked, over = threading.Event(), threading.Event()

    def lock_the_table():
        with transaction.atomic():
            run(f"LOCK TABLE {Message._meta.db_table}")
            locked.set()
            assert over.wait(PATIENCE)

    enqueue("job", 1)
    run("SET lock_timeout = '20ms'")
    rival = begin(lock_the_table)
    assert locked.wait(PATIENCE)
    try:
        with pytest.raises(OperationalError):
            enqueue("job", 2)
    finally:
        over.set()
        run("RESET lock_timeout")
    rival.result()

    assert enqueue("job", 3).created
    assert [message.payload for message in Message.objects.order_by("pk")] == [1, 3]


def test_a_message_with_a_key_does_not_go_that_way_since_it_may_wait_for_its_twin(prepared):
    enqueue("job", unique_key="one")

    assert prepared() == []
