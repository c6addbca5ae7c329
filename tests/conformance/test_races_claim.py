"""Several workers claim at once: nobody is given what another has, and nothing is missed.

Each race stands beside its control: the same with the guard taken away must show the violation.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import pytest
from django.db import connection, transaction

from django_letsgo_worker import enqueue_many
from django_letsgo_worker.engines import ClaimRequest, Lane, Settlement, adopt_own_connection, engine_for
from django_letsgo_worker.models import Message

from .conftest import PATIENCE, Rewrite, Worker

pytestmark = pytest.mark.django_db(transaction=True)

CLAIMERS, MESSAGES = 6, 600


@pytest.fixture
def claim_all(race):
    """Let workers claim until nothing is left; return how often each id was given out."""

    def run(prepare):
        def claims():
            prepare()
            worker, taken = Worker(), []
            while claimed := worker.claim(free=7):
                taken += [(message.id, message.receipt) for message in claimed]
            return taken

        rivals = race(*[claims] * CLAIMERS)
        return Counter(pair for rival in rivals for pair in rival.result())

    return run


@pytest.mark.parametrize("connections", ["users", "workers"])
def test_many_workers_never_share_a_message_and_miss_none(claim_all, connections):
    ids = enqueue_many(("job", n) for n in range(MESSAGES))
    given = claim_all(
        {"users": lambda: None, "workers": lambda: adopt_own_connection("default")}[connections]
    )

    assert given == Counter((id, 1) for id in ids)
    assert set(Message.objects.values_list("receipt", "attempts", "deaths")) == {(1, 1, 0)}


class TestBetweenALookAndItsCommit:
    """One worker has looked and not committed; another claims from the same lane."""

    @pytest.fixture
    def claims_of_two(self, begin):
        """Return the ids that both were given; `wrap` goes around the claim, `wrappers` around statements."""

        def run(wrap=transaction.atomic, wrappers=(), wait_for_the_other=True):
            enqueue_many(("job", n) for n in range(4))
            other = []

            def claim_meanwhile(execute, sql, params, many, context):
                result = execute(sql, params, many, context)
                if "ORDER BY visible_at LIMIT" in sql and not other:
                    other.append(begin(lambda: claim(wrap), *wrappers))
                    if wait_for_the_other:
                        other[0].wait_until_stuck()
                        if connection.vendor == "sqlite":
                            assert other[0].ended.wait(PATIENCE)
                return result

            def claim(around):
                worker = Worker()
                with around():
                    found = worker.engine.claim_within(request(worker), 10)
                return [message.id for message in found.rows]

            first = begin(lambda: claim(wrap), *wrappers, claim_meanwhile).result()
            return first, other[0].result()

        return run

    def test_the_other_is_given_nothing_of_it(self, claims_of_two):
        locks_rows = engine_for("default").skip_locked
        first, second = claims_of_two(wait_for_the_other=locks_rows)

        assert len(first) == 4
        assert second == []

    def test_control_without_the_guard_both_are_given_the_same(self, claims_of_two):
        if engine_for("default").skip_locked:
            unlocked = Rewrite(r"FOR UPDATE SKIP LOCKED")
            first, second = claims_of_two(wrappers=(unlocked,))
            assert unlocked.hits
        else:
            # Its guard is the transaction that lets one writer in at a time.
            first, second = claims_of_two(wrap=nullcontext)

        assert set(first) & set(second)


def request(worker):
    return ClaimRequest(
        lane=Lane("default", 0), types=worker.types, process=worker.process, lease_seconds=30, free=10
    )


def test_a_claim_does_not_wait_for_a_message_that_somebody_has_locked(begin, worker):
    if not engine_for("default").skip_locked:
        pytest.skip("one writer at a time: everybody waits for everybody")
    locked, free = enqueue_many([("job", 1), ("job", 2)])
    with transaction.atomic():
        Message.objects.select_for_update().get(pk=locked)
        claimed = begin(worker.claim).result()

    assert [message.id for message in claimed] == [free]


def test_renewing_passes_over_what_is_locked_and_still_held_tells(begin, worker):
    if not engine_for("default").skip_locked:
        pytest.skip("one writer at a time: everybody waits for everybody")
    enqueue_many([("job", 1), ("job", 2)])
    leases = [(message.id, message.receipt) for message in worker.claim()]
    with transaction.atomic():
        Message.objects.select_for_update().get(pk=leases[0][0])
        renewed = begin(lambda: worker.engine.renew(worker.process, leases, 60)).result()
        held = begin(lambda: worker.engine.still_held(worker.process, leases)).result()
        settled = begin(lambda: worker.settle_all(settlements(leases))).result()

    assert renewed == {leases[1][0]}
    assert held == {id for id, _ in leases}
    assert settled == {leases[1][0]: "succeeded"}


def settlements(leases):
    return [Settlement(id=id, receipt=receipt, outcome="succeeded") for id, receipt in leases]


def test_claims_settlements_and_enqueues_at_once_lose_nothing(race):
    enqueue_many(("job", n) for n in range(200))

    def works():
        worker, done = Worker(), []
        while claimed := worker.claim(free=5):
            for message in claimed:
                outcome = "again" if message.attempts == 1 and message.id % 3 == 0 else "succeeded"
                if settle_at_last(worker, message, outcome) == "succeeded":
                    done.append(message.id)
        return done

    def enqueues():
        return enqueue_many([("job", n) for n in range(100)])

    rivals = race(works, works, works, enqueues)
    done = [id for rival in rivals[:3] for id in rival.result()] + works()

    assert len(done) == len(set(done)) == 300
    assert not Message.objects.exists()


def settle_at_last(worker, message, outcome):
    """Settle as a worker does: a row that is passed over because somebody has it locked comes next time."""
    while (written := worker.settle(message, outcome)) is None:
        assert worker.engine.still_held(worker.process, [(message.id, message.receipt)])
    return written
