"""Settling: what each outcome writes, and the guard that keeps everybody else from writing."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.engines import Settlement
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.outcomes import dotted, error_entry, fingerprint

from .conftest import COLUMNS, KEPT

pytestmark = pytest.mark.django_db

SHARED = [name for name in COLUMNS if name not in ("first_started_at", "error_fingerprint")]
HOSTILE = "\"'\\ %s %(x)s \n\t\x01\x7f ü € 🙂 \u2028 <b>&lt; ' OR 1=1 -- {0} null"


class TestEnded:
    @pytest.mark.parametrize("outcome", sorted(KEPT))
    def test_it_moves_to_the_archive_with_all_its_facts(self, worker, at, row, archived, outcome):
        message = enqueue(
            "job", {"b": 1, "a": HOSTILE}, queue="orders", priority=5, max_attempts=4, headers={"h": HOSTILE},
            unique_key="k", deadline=timedelta(days=1),
        )  # fmt: skip
        claimed = worker.claim_one("orders", 5, now=at(0))
        before = row(message.pk)

        assert worker.settle(claimed, outcome, now=at(7), seconds=1.5, started_seconds_ago=2.0) == outcome
        after = archived(message.pk)
        assert {name: getattr(after, name) for name in SHARED} == {name: before[name] for name in SHARED}
        assert (after.outcome, after.finished_at, after.seconds) == (outcome, at(7), 1.5)
        assert (after.first_started_at, after.result) == (at(5), None)
        assert not Message.objects.exists()

    def test_a_result_is_kept_as_it_was(self, worker, archived):
        for result in (0, False, "", [], {"z": 1.0, "a": [HOSTILE]}, 2**70, "x" * 200_000):
            message = enqueue("job")
            claimed = worker.claim_one()
            worker.settle(claimed, result=json.dumps(result, ensure_ascii=False))
            assert archived(message.pk).result == result

    def test_errors_and_what_they_are_known_by_are_kept(self, worker, archived):
        message = enqueue("job")
        errors = [{"message": HOSTILE, "traceback": HOSTILE * 1000, "attempt": 1}]
        worker.settle(
            worker.claim_one(),
            "dead",
            errors=json.dumps(errors),
            error_class="a.B",
            error_fingerprint="f" * 32,
        )
        letter = archived(message.pk)

        assert (letter.errors, letter.error_class, letter.error_fingerprint) == (errors, "a.B", "f" * 32)

    @pytest.mark.parametrize(
        "text", [HOSTILE, "x" * 1_000_000, "🙂" * 100_000, "\0", "\ud800 \udfff"], ids=range(5)
    )
    def test_whatever_an_exception_says_can_be_stored(self, worker, archived, text):
        message = enqueue("job")
        error = ValueError(text)
        entry = error_entry(error, attempt=1, at="2026-01-01", seconds=0.1, process="host:1")
        worker.settle(
            worker.claim_one(), "dead", errors=json.dumps([entry], ensure_ascii=False),
            error_class=dotted(error),
            error_fingerprint=fingerprint(error),
        )  # fmt: skip

        assert archived(message.pk).errors == [entry]

    def test_what_is_not_kept_is_gone(self, worker):
        enqueue("job")
        claimed = worker.claim_one()
        settlement = Settlement(id=claimed.id, receipt=claimed.receipt, outcome="succeeded")

        assert worker.settle_all([settlement], keep=KEPT - {"succeeded"}) == {claimed.id: "succeeded"}
        assert not Message.objects.exists()
        assert not ArchivedMessage.objects.exists()


class TestAgain:
    def test_a_retry_waits_and_is_nobodys(self, worker, at, row):
        message = enqueue("job", deadline=at(1000))
        claimed = worker.claim_one(now=at(0))
        before = row(message.pk)

        assert worker.settle(claimed, "again", now=at(3), delay_seconds=10, errors='[{"a":1}]') == "again"
        assert row(message.pk) == before | {
            "visible_at": at(13), "leased_by": None, "leased_at": None, "errors": [{"a": 1}],
        }  # fmt: skip

    def test_what_is_not_said_stays(self, worker, at, row):
        message = enqueue("job")
        worker.settle(worker.claim_one(now=at(0)), "again", now=at(1), errors="[1]")
        worker.settle(worker.claim_one(now=at(2)), "again", now=at(3))

        assert (row(message.pk)["errors"], row(message.pk)["attempts"]) == ([1], 2)

    def test_a_snooze_gives_its_attempt_back(self, worker, at, row):
        message = enqueue("job")
        claimed = worker.claim_one(now=at(0))
        worker.settle(claimed, "again", now=at(1), delay_seconds=60, attempts=claimed.attempts - 1)

        assert (row(message.pk)["attempts"], row(message.pk)["visible_at"]) == (0, at(61))

    @pytest.mark.parametrize("delay", [0, 0.001, 1.25, 86_400 * 400])
    def test_delays_are_exact(self, worker, at, row, delay):
        message = enqueue("job")
        worker.settle(worker.claim_one(now=at(0)), "again", now=at(1), delay_seconds=delay)

        assert row(message.pk)["visible_at"] == at(1 + delay)

    def test_it_is_claimed_again_then_and_not_before(self, worker, at):
        enqueue("job")
        worker.settle(worker.claim_one(now=at(0)), "again", now=at(1), delay_seconds=10)

        assert worker.claim(now=at(10.999)) == []
        claimed = worker.claim_one(now=at(11))
        assert (claimed.receipt, claimed.attempts, claimed.deaths) == (2, 2, 0)

    def test_released_is_visible_now_and_was_never_claimed(self, worker, at, row):
        message = enqueue("job")
        claimed = worker.claim_one(now=at(0))
        worker.settle(claimed, "released", now=at(2), attempts=claimed.attempts - 1, deaths=1)
        after = row(message.pk)

        assert (after["visible_at"], after["leased_by"], after["attempts"], after["deaths"]) == (
            at(2),
            None,
            0,
            1,
        )
        assert after["receipt"] == 1

    def test_the_first_start_is_remembered_once(self, worker, at, row):
        message = enqueue("job")
        for n in (0, 100):
            worker.settle(worker.claim_one(now=at(n)), "again", now=at(n + 5), started_seconds_ago=4.0)

        assert row(message.pk)["first_started_at"] == at(1)


class TestDeadlines:
    def test_a_retry_beyond_the_deadline_is_expired_with_its_errors(self, worker, at, archived):
        message = enqueue("job", deadline=at(20))
        claimed = worker.claim_one(now=at(0))

        written = worker.settle(claimed, "again", now=at(1), delay_seconds=19.001, errors='[{"attempt":1}]')
        assert written == "expired"
        letter = archived(message.pk)
        assert (letter.outcome, letter.errors, letter.finished_at) == ("expired", [{"attempt": 1}], at(1))

    def test_a_retry_at_the_deadline_is_not(self, worker, at):
        enqueue("job", deadline=at(20))

        assert worker.settle(worker.claim_one(now=at(0)), "again", now=at(1), delay_seconds=19) == "again"

    @pytest.mark.parametrize("outcome", ["succeeded", "dead", "released"])
    def test_other_outcomes_count_after_the_deadline(self, worker, at, outcome):
        enqueue("job", deadline=at(20))

        assert worker.settle(worker.claim_one(now=at(0)), outcome, now=at(21)) == outcome


class TestManyAtOnce:
    def test_each_gets_its_own_outcome(self, worker, at):
        ids = enqueue_many(("job", n) for n in range(100))
        outcomes = [*sorted(KEPT), "again", "released"]
        claimed = worker.claim(free=100, now=at(0))
        settlements = [
            Settlement(id=c.id, receipt=c.receipt, outcome=outcomes[n % 6], delay_seconds=n, errors=f"[{n}]")
            for n, c in enumerate(claimed)
        ]
        written = worker.settle_all(settlements, now=at(1))

        assert written == {id: outcomes[n % 6] for n, id in enumerate(ids)}
        for message in ArchivedMessage.objects.all():
            assert (message.outcome, message.errors) == (outcomes[message.payload % 6], [message.payload])
        for message in Message.objects.filter(leased_by=None):
            late = message.payload if message.payload % 6 == 4 else 0
            assert message.visible_at in (at(1 + late), at(1 + message.payload))
        assert (ArchivedMessage.objects.count(), Message.objects.count()) == (68, 32)

    def test_those_that_are_lost_take_no_other_with_them(self, worker, rival, at):
        enqueue_many(("job", n) for n in range(4))
        first = worker.claim(now=at(0), free=4)
        taken_over = {claimed.id for claimed in rival.claim(now=at(60), free=2)}
        settlements = [Settlement(id=c.id, receipt=c.receipt, outcome="succeeded") for c in first]

        assert set(worker.settle_all(settlements, now=at(61))) == {c.id for c in first} - taken_over
        assert set(Message.objects.values_list("pk", flat=True)) == taken_over


OUTCOMES = [*sorted(KEPT), "again", "released"]


class TestTheGuard:
    @pytest.fixture
    def nothing_changes(self, row):
        """Assert that a call writes nothing about a message."""

        def check(id, call):
            before = row(id)
            assert not call()
            assert row(id) == before
            assert not ArchivedMessage.objects.exists()

        return check

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_a_stale_holder_writes_nothing(self, worker, rival, at, nothing_changes, outcome):
        message = enqueue("job")
        stale = worker.claim_one(now=at(0))
        rival.claim_one(now=at(60))

        nothing_changes(message.pk, lambda: worker.settle(stale, outcome, now=at(61)))

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_an_old_receipt_of_the_holder_itself_writes_nothing(self, worker, at, nothing_changes, outcome):
        message = enqueue("job")
        stale = worker.claim_one(now=at(0))
        worker.claim_one(now=at(60))

        nothing_changes(message.pk, lambda: worker.settle(stale, outcome, now=at(61)))

    @pytest.mark.parametrize("outcome", OUTCOMES)
    def test_the_right_receipt_in_other_hands_writes_nothing(
        self, worker, rival, at, nothing_changes, outcome
    ):
        message = enqueue("job")
        claimed = worker.claim_one(now=at(0))

        nothing_changes(message.pk, lambda: rival.settle(claimed, outcome, now=at(1)))

    def test_nobody_settles_what_is_not_claimed(self, worker, at, nothing_changes):
        message = enqueue("job")
        claimed = worker.claim_one(now=at(0))
        worker.settle(claimed, "released", now=at(1))

        nothing_changes(message.pk, lambda: worker.settle(claimed, now=at(2)))

    def test_nothing_is_settled_twice(self, worker, at):
        enqueue("job")
        claimed = worker.claim_one(now=at(0))

        assert worker.settle(claimed, now=at(1)) == "succeeded"
        assert worker.settle(claimed, "dead", now=at(2)) is None
        assert ArchivedMessage.objects.get().outcome == "succeeded"

    def test_a_lapsed_lease_that_nobody_took_is_still_ours(self, worker, at):
        enqueue("job")

        assert worker.settle(worker.claim_one(now=at(0)), now=at(9999)) == "succeeded"
