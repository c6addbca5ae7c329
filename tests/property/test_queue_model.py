"""The queue against a dictionary: whatever is done to it, in whatever order, both say the same.

Two workers and an operator act on a few messages, at moments that the model chooses; no clock is read.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.engines import Claimed, ClaimRequest, Lane, Settlement, engine_for
from django_letsgo_worker.errors import MessageNotFound
from django_letsgo_worker.messages.settlements import refusal_of
from django_letsgo_worker.models import ArchivedMessage, Message

LEASE, MOST_ATTEMPTS = 30, 3
KEPT = frozenset({"succeeded", "dead", "cancelled", "expired"})
WORKERS = [UUID(int=1), UUID(int=2)]

workers = st.sampled_from(WORKERS)
places = st.integers(0, 5)


class Model:
    """What the queue promises, in a dictionary: id -> what it would say about that message."""

    def __init__(self) -> None:
        self.rows: dict[int, dict[str, Any]] = {}

    def enqueue(self, id: int, visible_at: datetime) -> None:
        self.rows[id] = {
            "state": "live", "visible_at": visible_at, "holder": None,
            "receipt": 0, "attempts": 0, "deaths": 0,
        }  # fmt: skip

    def live(self) -> list[int]:
        return [id for id, row in self.rows.items() if row["state"] == "live"]

    def dead(self) -> list[int]:
        return [id for id, row in self.rows.items() if row["state"] == "dead"]

    def may_be_claimed(self, now: datetime, grace: timedelta) -> set[int]:
        rows = {id: self.rows[id] for id in self.live()}
        return {
            i for i, r in rows.items() if r["visible_at"] + (grace if r["holder"] else timedelta(0)) <= now
        }

    def claim(self, id: int, holder: UUID, now: datetime) -> None:
        row = self.rows[id]
        row["deaths"] += row["holder"] is not None
        row["receipt"] += 1
        row["attempts"] += 1
        row["holder"], row["visible_at"] = holder, now + timedelta(seconds=LEASE)

    def holds(self, id: int, holder: UUID, receipt: int) -> bool:
        row = self.rows[id]
        return (row["state"], row["holder"], row["receipt"]) == ("live", holder, receipt)

    def end(self, id: int, outcome: str) -> None:
        self.rows[id] |= {"state": outcome}

    def put_back(self, id: int, visible_at: datetime, attempts: int) -> None:
        self.rows[id] |= {"visible_at": visible_at, "attempts": attempts, "holder": None, "deaths": 0}

    def cancel(self, id: int) -> None:
        self.rows[id]["receipt"] += 1
        self.end(id, "cancelled")

    def redrive(self, id: int, visible_at: datetime) -> None:
        self.rows[id]["receipt"] += 1
        self.rows[id]["state"] = "live"
        self.put_back(id, visible_at, 0)


class Queue(RuleBasedStateMachine):
    """Does each thing to the queue and to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = engine_for("default")
        self.transaction = transaction.atomic()
        self.transaction.__enter__()
        # A minute ahead of the database's clock, by which redriven messages become visible.
        self.now = self.engine.clock().replace(microsecond=0) + timedelta(minutes=1)
        self.grace = timedelta(seconds=self.engine.lapse_grace * LEASE)
        self.model = Model()
        self.claims: list[tuple[UUID, Claimed]] = []

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.transaction.__exit__(None, None, None)

    # -- what is done ---------------------------------------------------------------------------------

    @rule(delay=st.sampled_from([0, 0, 5, 40]))
    def enqueue(self, delay):
        at = self.now + timedelta(seconds=delay)
        message = enqueue("job", visible_at=at, max_attempts=MOST_ATTEMPTS)
        self.model.enqueue(message.pk, at)

    @rule(seconds=st.sampled_from([1, 10, LEASE, 41, 120]))
    def let_time_pass(self, seconds):
        self.now += timedelta(seconds=seconds)

    @rule(holder=workers, free=st.integers(1, 4))
    def claim(self, holder, free):
        may = self.model.may_be_claimed(self.now, self.grace)
        claimed = self.engine.claim(
            ClaimRequest(
                lane=Lane("default", 0), types=["job"], process=holder, lease_seconds=LEASE, free=free,
                now=self.now,
            )
        ).rows  # fmt: skip

        assert len({one.id for one in claimed}) == len(claimed) <= free
        assert {one.id for one in claimed} <= may
        # Fewer only where one that may kill its workers stands aside, or alone.
        assert len(claimed) == min(free, len(may)) or any(self.is_poison_suspect(id) for id in may)
        assert claimed or not may
        for one in claimed:
            self.model.claim(one.id, holder, self.now)
            self.claims.append((holder, one))
            if unfit := refusal_of(one, "a worker"):
                assert self.engine.settle(holder, [unfit], keep=KEPT, now=self.now) == {one.id: "dead"}
                self.model.rows[one.id] |= {"state": "dead", "attempts": MOST_ATTEMPTS}

    def is_poison_suspect(self, id):
        row = self.model.rows[id]
        return row["deaths"] + (row["holder"] is not None) >= 1

    @precondition(lambda self: self.claims)
    @rule(place=places, outcome=st.sampled_from(["succeeded", "dead", "expired"]))
    def end(self, place, outcome):
        """By whom it was once claimed, which need not be who holds it now."""
        holder, one = self.claims[-1 - place % len(self.claims)]
        if self.settle(holder, one, outcome):
            self.model.end(one.id, outcome)

    @precondition(lambda self: self.claims)
    @rule(place=places, delay=st.sampled_from([0, 7, 60]))
    def retry(self, place, delay):
        holder, one = self.claims[-1 - place % len(self.claims)]
        if self.settle(holder, one, "again", delay_seconds=delay):
            self.model.put_back(one.id, self.now + timedelta(seconds=delay), one.attempts)

    @precondition(lambda self: self.claims)
    @rule(place=places, delay=st.sampled_from([0, 7]))
    def snooze(self, place, delay):
        holder, one = self.claims[-1 - place % len(self.claims)]
        if self.settle(holder, one, "again", delay_seconds=delay, attempts=one.attempts - 1):
            self.model.put_back(one.id, self.now + timedelta(seconds=delay), one.attempts - 1)

    def settle(self, holder, one, outcome, **facts):
        settlement = Settlement(id=one.id, receipt=one.receipt, outcome=outcome, **facts)
        written = self.engine.settle(holder, [settlement], keep=KEPT, now=self.now)

        assert bool(written) == self.model.holds(one.id, holder, one.receipt)
        return written

    @precondition(lambda self: self.claims)
    @rule(place=places, seconds=st.sampled_from([1, LEASE, 90]))
    def renew(self, place, seconds):
        holder, one = self.claims[-1 - place % len(self.claims)]
        renewed = self.engine.renew(holder, [(one.id, one.receipt)], seconds, self.now)

        assert bool(renewed) == self.model.holds(one.id, holder, one.receipt)
        if renewed:
            row = self.model.rows[one.id]
            row["visible_at"] = max(row["visible_at"], self.now + timedelta(seconds=seconds))

    @precondition(lambda self: self.model.rows)
    @rule(place=places)
    def cancel(self, place):
        id = sorted(self.model.rows)[place % len(self.model.rows)]
        if id in self.model.live():
            messages.cancel(id)
            self.model.cancel(id)
        else:
            with pytest.raises(MessageNotFound):
                messages.cancel(id)

    @precondition(lambda self: self.model.dead())
    @rule(place=places)
    def redrive(self, place):
        id = self.model.dead()[place % len(self.model.dead())]
        message = messages.redrive(id)

        assert message.visible_at < self.now
        self.model.redrive(id, message.visible_at)

    # -- what always holds ----------------------------------------------------------------------------

    @invariant()
    def nothing_is_lost_and_all_is_as_the_model_says(self):
        columns = ("id", "visible_at", "leased_by", "receipt", "attempts", "deaths")
        live = {id: facts for id, *facts in Message.objects.values_list(*columns)}
        ended = {
            id: facts
            for id, *facts in ArchivedMessage.objects.values_list("id", "outcome", "receipt", "attempts")
        }

        for id, row in self.model.rows.items():
            if row["state"] == "live":
                names = ("visible_at", "holder", "receipt", "attempts", "deaths")
                assert live.pop(id) == [row[name] for name in names]
            else:
                assert ended.pop(id) == [row[name] for name in ("state", "receipt", "attempts")]
        assert live == ended == {}

    @invariant()
    def an_attempt_is_one_that_was_claimed(self):
        for id, row in self.model.rows.items():
            assert 0 <= row["attempts"] <= sum(one.id == id for _, one in self.claims)
            assert row["attempts"] <= MOST_ATTEMPTS

    @invariant()
    def receipts_never_repeat_and_so_no_message_has_two_holders(self):
        given = [(one.id, one.receipt) for _, one in self.claims]
        held = [one.id for holder, one in self.claims if self.model.holds(one.id, holder, one.receipt)]

        assert len(set(given)) == len(given)
        assert len(set(held)) == len(held)


def run(examples, *, phases=tuple(Phase)):
    run_state_machine_as_test(
        Queue,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            derandomize=True,
            deadline=None,
            database=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)  # thousands of statements, on a machine that does other things too
@pytest.mark.django_db
def test_the_queue_does_what_the_model_says():
    run(60)


@pytest.mark.parametrize(
    ("guard", "instead"),
    [
        (r"(receipt = (?:m\.)?receipt) \+ 1", r"\1"),
        (r"(attempts = (?:m\.)?attempts) \+ 1", r"\1"),
        (r"AND (?:m\.)?leased_by = %\(process\)s", r"AND CAST(%(process)s AS char(40)) IS NOT NULL"),
        (r"(visible_at) <= (?=STATEMENT|UTC|strftime|%\(now)", r"\1 IS NOT NULL OR \1 <= "),
    ],
    ids=["the receipt", "the count of attempts", "the holder", "the moment"],
)
@pytest.mark.django_db
def test_it_is_noticed_when_a_guard_is_missing(guard, instead):
    def without(execute, sql, params, many, context):
        return execute(re.sub(guard, instead, sql), params, many, context)

    with connection.execute_wrapper(without), pytest.raises(AssertionError):
        run(200, phases=[Phase.generate])
