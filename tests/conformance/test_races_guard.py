"""Stale holders, cancels and redrives against settlements: one side writes, the other changes nothing.

Each stands beside its control: the same with the guard taken away must show the violation.
"""

from __future__ import annotations

from contextlib import ExitStack
from unittest import mock

import pytest
from django.db import IntegrityError, connection, transaction

from django_letsgo_worker import enqueue, messages
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import DuplicateMessage, MessageInTransaction, MessageNotFound
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message

from .conftest import Rewrite

pytestmark = pytest.mark.django_db(transaction=True)


class TestAStaleHolder:
    """The lease lapsed, and somebody else holds the message now."""

    @pytest.fixture
    def writes(self, worker, at):
        """Let the stale holder try everything; return what got through."""

        def attempt(stale, *wrappers, also=None):
            with ExitStack() as stack:
                for wrapper in wrappers:
                    stack.enter_context(connection.execute_wrapper(wrapper))
                if also is not None:
                    stack.enter_context(also)
                done = []
                if worker.renew(stale, 600, now=at(61)):
                    done.append("renew")
                if worker.settle(stale, "again", now=at(62)):
                    done.append("retry")
                if worker.settle(stale, now=at(63)):
                    done.append("ack")
            return done

        return attempt

    def test_another_process_took_over(self, worker, rival, at, row, writes):
        message = enqueue("job")
        stale = worker.claim_one(now=at(0))
        rival.claim_one(now=at(60))
        before = row(message.pk)

        assert writes(stale) == []
        assert row(message.pk) == before

    def test_control_without_the_receipt_its_own_old_claim_writes(self, worker, at, writes):
        enqueue("job")
        stale = worker.claim_one(now=at(0))
        worker.claim_one(now=at(60))
        assert writes(stale) == []

        assert "renew" in writes(stale, Rewrite(r"AND m\.receipt = s\.receipt"), also=receipts_forgotten())

    def test_control_without_the_process_a_receipt_that_repeats_writes(self, worker, rival, at, writes):
        # As after a restore: the row has the receipt of the stale holder, and another holder.
        message = enqueue("job")
        stale = worker.claim_one(now=at(0))
        Message.objects.filter(pk=message.pk).update(leased_by=rival.process)
        assert writes(stale) == []

        unguarded = Rewrite(r"(m\.)?leased_by = %\(process\)s(?!,)", "TRUE")
        assert writes(stale, unguarded) == ["renew", "retry", "ack"]
        assert unguarded.hits


def receipts_forgotten():
    """Take the receipt out of the guard where Python compares it: every receipt counts as the row's own."""
    engine = type(engine_for("default"))
    original = engine.lock_held

    def lock_held(self, process, leases, **options):
        now = dict(Message.objects.filter(pk__in=[id for id, _ in leases]).values_list("pk", "receipt"))
        return original(self, process, [(id, now[id]) for id, _ in leases if id in now], **options)

    return mock.patch.object(engine, "lock_held", lock_held)


class TestCancelAgainstSettle:
    def test_of_both_at_once_exactly_one_counts(self, race, worker):
        for _ in range(15):
            id = enqueue("job").pk
            claimed = worker.claim_one()
            settle, cancel = race(
                lambda claimed=claimed: worker.settle(claimed), lambda id=id: messages.cancel(id)
            )

            outcome = ArchivedMessage.objects.get(pk=id).outcome
            assert not Message.objects.exists()
            if outcome == "succeeded":
                assert settle.result() == "succeeded"
                assert isinstance(cancel.error, (MessageNotFound, MessageInTransaction))
            else:
                assert cancel.result().pk == id
                assert settle.result() is None

    def test_a_message_that_is_being_settled_is_not_waited_for(self, begin, worker):
        if not engine_for("default").skip_locked:
            pytest.skip("one writer at a time: everybody waits for everybody")
        id = enqueue("job").pk
        claimed = worker.claim_one()
        with transaction.atomic():
            worker.settle(claimed)
            with pytest.raises(MessageInTransaction):
                begin(lambda: messages.cancel(id)).result()

        assert ArchivedMessage.objects.get(pk=id).outcome == "succeeded"

    def test_control_without_the_lock_cancel_runs_into_the_settlement(self, begin, worker):
        if not engine_for("default").skip_locked:
            pytest.skip("its guard is the transaction itself; see the claims")
        id = enqueue("job").pk
        claimed = worker.claim_one()
        settled = []

        def settle_meanwhile(execute, sql, params, many, context):
            result = execute(sql, params, many, context)
            if "letsgo_worker_message" in sql and not settled:
                settled.append(begin(lambda: worker.settle(claimed)).result())
            return result

        unlocked = Rewrite(r"FOR UPDATE.*$")
        with pytest.raises(IntegrityError):
            begin(lambda: messages.cancel(id), unlocked, settle_meanwhile).result()
        assert settled == ["succeeded"]
        assert unlocked.hits

    def test_cancelled_first_leaves_the_settlement_nothing(self, begin, worker):
        id = enqueue("job").pk
        claimed = worker.claim_one()
        with transaction.atomic():
            messages.cancel(id)
            settle = begin(lambda: worker.settle(claimed))
            settle.wait_until_stuck()

        assert settle.result() is None
        assert ArchivedMessage.objects.get(pk=id).outcome == "cancelled"


class TestRedriveAgainstEnqueue:
    def test_an_enqueue_that_commits_first_keeps_the_key(self, begin, dead_letter):
        id = dead_letter(unique_key="k")
        with transaction.atomic():
            twin = enqueue("job", unique_key="k")
            redrive = begin(lambda: messages.redrive(id))
            redrive.wait_until_stuck()

        with pytest.raises(DuplicateMessage):
            redrive.result()
        assert Message.objects.get().pk == twin.pk
        assert DeadLetter.objects.get().pk == id

    def test_an_enqueue_that_is_rolled_back_does_not(self, begin, dead_letter):
        id = dead_letter(unique_key="k")
        with transaction.atomic():
            enqueue("job", unique_key="k")
            redrive = begin(lambda: messages.redrive(id))
            redrive.wait_until_stuck()
            transaction.set_rollback(True)

        assert redrive.result().pk == Message.objects.get().pk == id

    def test_a_redrive_that_commits_first_is_the_live_twin(self, begin, dead_letter):
        id = dead_letter(unique_key="k")
        with transaction.atomic():
            messages.redrive(id)
            twin = begin(lambda: enqueue("job", unique_key="k"))
            twin.wait_until_stuck()

        assert (twin.result().pk, twin.result().created) == (id, False)

    def test_control_without_looking_away_the_constraint_fires(self, dead_letter):
        id = dead_letter(unique_key="k")
        enqueue("job", unique_key="k")
        strict = Rewrite(r"ON CONFLICT.*?DO NOTHING|(?<=INSERT) (OR )?IGNORE")

        with connection.execute_wrapper(strict), pytest.raises(IntegrityError):
            messages.redrive(id)
        assert strict.hits

    def test_two_redrives_of_one_dead_letter_make_one_message(self, race, dead_letter):
        for _ in range(5):
            id = dead_letter()
            rivals = race(*[lambda id=id: messages.redrive(id)] * 3)

            assert len([rival for rival in rivals if rival.error is None]) == 1
            refused = [type(rival.error) for rival in rivals if rival.error is not None]
            assert set(refused) <= {MessageNotFound, MessageInTransaction}
            assert Message.objects.get().receipt == 2
            Message.objects.all().delete()
