"""What an atomic handler runs in: locked under the guard, taken back to the savepoint, settled in one piece.

On PostgreSQL both forms: a connection that is new, and one whose statements are sent together.
"""

from __future__ import annotations

import re

import pytest
from django.db import Error, connection, transaction

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.engines import AtomicScope, Settlement, engine_for
from django_letsgo_worker.errors import MessageInTransaction
from django_letsgo_worker.models import ArchivedMessage, Message, Queue

from .conftest import KEPT

pytestmark = pytest.mark.django_db(transaction=True)

ON_POSTGRESQL = connection.vendor == "postgresql"
HOSTILE = """{"it's": "\\\\' ; ROLLBACK; -- $1 %(id)s"}"""


TOGETHER = pytest.param("together", marks=pytest.mark.fastpath)


@pytest.fixture(params=[TOGETHER, "singly"] if ON_POSTGRESQL else ["singly"])
def hold_of(request, monkeypatch, worker):
    """Make the hold of a claimed message, on a connection that was used before or not."""
    if ON_POSTGRESQL:
        from django_letsgo_worker.engines.postgresql import fastpath

        monkeypatch.setattr(fastpath, "PREPARED_FROM", 1 if request.param == "together" else 10**9)

    def make(claimed) -> AtomicScope:
        hold = engine_for("default").atomic_scope(worker.process, (claimed.id, claimed.receipt))
        assert (type(hold) is not AtomicScope) == (request.param == "together")
        return hold

    return make


def done(claimed, outcome: str = "succeeded", **facts) -> Settlement:
    return Settlement(id=claimed.id, receipt=claimed.receipt, outcome=outcome, seconds=0.25, **facts)


def effect(name: str = "effect") -> None:
    Queue.objects.create(name=name)


def carry_out(hold: AtomicScope, settlement: Settlement, *, act=effect, keep=KEPT) -> dict[int, str]:
    """Open, act and settle, as a worker does inside its transaction."""
    assert hold.open()
    with hold:
        act()
    return hold.settle(settlement, keep=keep)


def test_the_effect_and_the_outcome_are_there_together(hold_of, worker, archived):
    enqueue("job")
    claimed = worker.claim_one()

    with transaction.atomic():
        written = carry_out(hold_of(claimed), done(claimed, started_seconds_ago=5.0))
        assert written == {claimed.id: "succeeded"}

    row = archived(claimed.id)
    assert (row.outcome, row.seconds, row.attempts, row.result) == ("succeeded", 0.25, 1, None)
    assert (row.finished_at - row.first_started_at).total_seconds() == pytest.approx(5.0, abs=0.001)
    assert Queue.objects.exists() and not Message.objects.exists()


def test_neither_is_there_when_the_transaction_fails(hold_of, worker):
    enqueue("job")
    claimed = worker.claim_one()

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        carry_out(hold_of(claimed), done(claimed))
        raise ZeroDivisionError

    assert not Queue.objects.exists() and not ArchivedMessage.objects.exists()
    assert Message.objects.get().leased_by == worker.process


def test_what_is_not_kept_leaves_no_row(hold_of, worker):
    enqueue("job")
    claimed = worker.claim_one()

    with transaction.atomic():
        written = carry_out(hold_of(claimed), done(claimed), keep=frozenset())
        assert written == {claimed.id: "succeeded"}

    assert not Message.objects.exists() and not ArchivedMessage.objects.exists()


@pytest.mark.parametrize("outcome", ["again", "dead"])
def test_an_error_takes_back_the_effect_and_keeps_the_lock(hold_of, worker, begin, outcome):
    enqueue("job")
    claimed = worker.claim_one()

    with transaction.atomic():
        hold = hold_of(claimed)
        hold.open()
        with pytest.raises(ZeroDivisionError), hold:
            effect()
            raise ZeroDivisionError
        if engine_for("default").skip_locked:
            with pytest.raises(MessageInTransaction):
                begin(lambda: messages.cancel(claimed.id)).result()
        assert hold.settle(done(claimed, outcome, errors="[]", deaths=0), keep=KEPT) == {claimed.id: outcome}

    assert not Queue.objects.exists()
    assert Message.objects.filter(leased_by=None).exists() == (outcome == "again")


def test_an_error_takes_back_the_callbacks_of_the_handler_alone(hold_of, worker):
    called = []
    enqueue("job")
    claimed = worker.claim_one()

    with transaction.atomic():
        transaction.on_commit(lambda: called.append("before"))
        hold = hold_of(claimed)
        hold.open()
        with pytest.raises(ZeroDivisionError), hold:
            transaction.on_commit(lambda: called.append("within"))
            with transaction.atomic():
                transaction.on_commit(lambda: called.append("further within"))
            raise ZeroDivisionError
        transaction.on_commit(lambda: called.append("behind"))
        hold.settle(done(claimed, "dead", errors="[]"), keep=KEPT)

    assert called == ["before", "behind"]


def test_a_sql_error_takes_back_the_effect_and_the_transaction_goes_on(hold_of, worker, archived):
    enqueue("job")
    claimed = worker.claim_one()

    with transaction.atomic():
        hold = hold_of(claimed)
        hold.open()
        with pytest.raises(Error), hold:
            effect()
            effect()
        hold.settle(done(claimed, "dead", errors="[]"), keep=KEPT)

    assert archived(claimed.id).outcome == "dead"
    assert not Queue.objects.exists()


def test_a_result_of_any_text_is_kept_as_it_is(hold_of, worker, archived):
    enqueue("job")
    claimed = worker.claim_one()

    with transaction.atomic():
        carry_out(hold_of(claimed), done(claimed, result=HOSTILE))

    assert archived(claimed.id).result == {"it's": "\\' ; ROLLBACK; -- $1 %(id)s"}
    assert Queue.objects.exists()


def test_a_lease_that_somebody_else_has_is_not_opened(hold_of, worker, rival, at):
    enqueue("job")
    stale = worker.claim_one(now=at(0))
    rival.claim_one(now=at(60))

    with transaction.atomic():
        assert not hold_of(stale).open()
        # Nothing of it is left behind: the transaction can be used.
        effect()

    assert Queue.objects.exists()


def test_a_receipt_that_is_not_ones_own_is_not_opened(hold_of, worker):
    enqueue("job")
    claimed = worker.claim_one()
    Message.objects.update(receipt=claimed.receipt + 1)

    with transaction.atomic():
        assert not hold_of(claimed).open()


def test_a_lease_that_was_lost_after_all_settles_nothing(hold_of, worker):
    enqueue("job")
    claimed = worker.claim_one()

    def lose_it() -> None:
        Message.objects.update(receipt=claimed.receipt + 1)

    with transaction.atomic():
        assert carry_out(hold_of(claimed), done(claimed), act=lose_it) == {}

    assert not ArchivedMessage.objects.exists()


@pytest.mark.fastpath
@pytest.mark.skipif(not ON_POSTGRESQL, reason="PostgreSQL only")
def test_a_used_connection_makes_two_trips(worker, monkeypatch):
    from django_letsgo_worker.engines.postgresql import fastpath

    monkeypatch.setattr(fastpath, "PREPARED_FROM", 1)
    sent: list[tuple[str, ...]] = []
    send = fastpath.send
    monkeypatch.setattr(fastpath, "send", lambda on, *sql: sent.append(sql) or send(on, *sql))
    for n in range(2):
        enqueue("job")
        claimed = worker.claim_one()
        sent.clear()
        with transaction.atomic():
            hold = engine_for("default").atomic_scope(worker.process, (claimed.id, claimed.receipt))
            carry_out(hold, done(claimed), act=lambda n=n: effect(f"effect {n}"))

    assert [len(statements) for statements in sent] == [4, 2]
    assert Queue.objects.count() == 2


@pytest.mark.skipif(not ON_POSTGRESQL, reason="PostgreSQL only")
def test_what_a_handler_discards_is_prepared_again(hold_of, worker, archived):
    enqueue("job")
    claimed = worker.claim_one()

    def discard_all() -> None:
        effect()
        with connection.cursor() as cursor:
            cursor.execute("DEALLOCATE ALL")

    with transaction.atomic():
        written = carry_out(hold_of(claimed), done(claimed), act=discard_all)
        assert written == {claimed.id: "succeeded"}

    assert archived(claimed.id).outcome == "succeeded"
    assert Queue.objects.exists()


@pytest.mark.fastpath
@pytest.mark.skipif(not ON_POSTGRESQL, reason="PostgreSQL only")
def test_control_without_the_guard_a_stale_lease_is_opened_and_settled(worker, rival, at, monkeypatch):
    from django_letsgo_worker.engines.postgresql import fastpath

    guard = re.compile(r"(m\.)?receipt = \$2 AND (m\.)?leased_by = \$3")
    unguarded = tuple(guard.sub("$2 > 0 AND $3 IS NOT NULL", sql) for sql in fastpath.PREPARE)
    assert all(len(guard.findall(sql)) == 1 for sql in fastpath.PREPARE)
    monkeypatch.setattr(fastpath, "PREPARED_FROM", 1)
    monkeypatch.setattr(fastpath, "PREPARE", unguarded)
    enqueue("job")
    stale = worker.claim_one(now=at(0))
    rival.claim_one(now=at(60))

    # On a session of its own: what is prepared stays with it.
    connection.close()
    connection.ensure_connection()
    with transaction.atomic():
        hold = engine_for("default").atomic_scope(worker.process, (stale.id, stale.receipt))
        assert carry_out(hold, done(stale)) == {stale.id: "succeeded"}
    connection.close()

    assert not Message.objects.exists()
