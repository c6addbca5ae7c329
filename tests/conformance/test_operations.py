"""What people do: cancel, redrive, discard and find."""

from __future__ import annotations

import pytest
from django.db import transaction

from django_letsgo_worker import enqueue, enqueue_many, messages
from django_letsgo_worker.errors import DuplicateMessage, MessageNotFound
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message

from .conftest import COLUMNS

pytestmark = pytest.mark.django_db

NOWHERE = [0, -1, 999_999_999, 2**63 - 1, 2**63, -(2**63) - 1, 10**30]


class TestCancel:
    def test_a_waiting_message_is_archived_as_cancelled(self, row, archived):
        message = enqueue("job", {"a": 1}, delay=60, unique_key="k", headers={"h": 1})
        before = row(message.pk)
        returned = messages.cancel(message.pk)
        after = archived(message.pk)

        assert {name: getattr(after, name) for name in COLUMNS} == before | {
            "receipt": 1,
            "error_fingerprint": "",
        }
        assert (after.outcome, after.result, after.seconds) == ("cancelled", None, None)
        assert (returned.pk, returned.outcome, returned.finished_at) == (
            after.pk,
            "cancelled",
            after.finished_at,
        )
        assert not Message.objects.exists()

    @pytest.mark.parametrize("outcome", ["succeeded", "dead", "again", "released", "expired"])
    def test_a_running_message_is_taken_from_its_holder(self, worker, at, archived, outcome):
        message = enqueue("job")
        claimed = worker.claim_one(now=at(0))
        messages.cancel(message.pk)

        assert worker.settle(claimed, outcome, now=at(1)) is None
        assert not worker.renew(claimed, 30)
        assert worker.engine.still_held(worker.process, [(claimed.id, claimed.receipt)]) == set()
        assert (archived(message.pk).outcome, archived(message.pk).receipt) == ("cancelled", 2)

    @pytest.mark.parametrize("id", NOWHERE)
    def test_an_id_that_is_nowhere_is_said(self, id):
        with transaction.atomic():
            with pytest.raises(MessageNotFound):
                messages.cancel(id)
            assert enqueue("job").pk

    def test_what_is_archived_cannot_be_cancelled(self, worker, archived):
        message = enqueue("job")
        worker.settle(worker.claim_one())

        with pytest.raises(MessageNotFound):
            messages.cancel(message.pk)
        assert archived(message.pk).outcome == "succeeded"

    def test_twice_is_once(self, archived):
        message = enqueue("job")
        messages.cancel(message.pk)

        with pytest.raises(MessageNotFound):
            messages.cancel(message.pk)
        assert archived(message.pk).receipt == 1

    def test_nothing_is_kept_where_nothing_is_to_be_kept(self, settings):
        settings.LETSGO_WORKER = {"KEEP_SUCCEEDED_FOR": 0}
        message = enqueue("job")

        assert messages.cancel(message.pk).outcome == "cancelled"
        assert not ArchivedMessage.objects.exists()
        assert not Message.objects.exists()


class TestRedrive:
    def test_a_dead_letter_lives_again_under_its_id(self, worker, dead_letter, row):
        id = dead_letter(
            {"b": 1, "a": 2}, errors='[{"attempt":1}]', queue="default", max_attempts=3, unique_key="k",
            headers={"h": 1},
        )  # fmt: skip
        letter = ArchivedMessage.objects.get(pk=id)
        before = worker.engine.clock()
        message = messages.redrive(id)
        now = row(id)

        assert {name: getattr(message, name) for name in COLUMNS} == now
        assert (now["attempts"], now["deaths"], now["receipt"]) == (0, 0, letter.receipt + 1)
        assert (now["leased_by"], now["leased_at"], now["deadline"]) == (None, None, None)
        assert before <= now["visible_at"] <= worker.engine.clock()
        for name in ("type", "payload", "headers", "queue", "priority", "max_attempts",
                     "unique_key", "enqueued_at", "first_started_at"):  # fmt: skip
            assert now[name] == getattr(letter, name), name
        assert now["errors"][:-1] == letter.errors
        assert not ArchivedMessage.objects.exists()

    def test_it_is_claimed_with_the_next_receipt_and_its_errors(self, worker, dead_letter):
        messages.redrive(dead_letter(errors='[{"attempt":1}]'))
        claimed = worker.claim_one()

        assert (claimed.receipt, claimed.attempts) == (3, 1)
        assert claimed.errors.startswith('[{"attempt":1},{"redrive":true,')

    def test_its_deadline_is_cleared(self, worker, at):
        message = enqueue("job", deadline=at(100))
        worker.settle(worker.claim_one(now=at(0)), "dead", now=at(1))

        assert messages.redrive(message.pk).deadline is None

    def test_a_key_that_lives_again_refuses_it_in_one_sentence(self, dead_letter, row):
        id = dead_letter(unique_key="k")
        twin = enqueue("job", "twin", unique_key="k")
        before = row(twin.pk)

        with transaction.atomic():
            with pytest.raises(DuplicateMessage) as caught:
                messages.redrive(id)
            assert enqueue("job").pk
        assert "\n" not in str(caught.value)
        assert row(twin.pk) == before
        assert DeadLetter.objects.filter(pk=id).exists()

    @pytest.mark.parametrize("id", NOWHERE)
    def test_an_id_that_is_nowhere_is_said(self, id):
        with pytest.raises(MessageNotFound):
            messages.redrive(id)

    @pytest.mark.parametrize("outcome", ["succeeded", "cancelled", "expired"])
    def test_only_dead_letters_are_redriven(self, worker, outcome):
        message = enqueue("job")
        worker.settle(worker.claim_one(), outcome)

        with pytest.raises(MessageNotFound):
            messages.redrive(message.pk)
        assert not Message.objects.exists()

    def test_a_live_message_is_no_dead_letter(self):
        with pytest.raises(MessageNotFound):
            messages.redrive(enqueue("job").pk)


class TestMany:
    @pytest.fixture
    def dead(self, worker):
        """Make many dead letters; their ids."""

        def make(count):
            ids = enqueue_many(("job", n) for n in range(count))
            for claimed in worker.claim(free=count):
                worker.settle(claimed, "dead")
            return ids

        return make

    def test_over_several_batches_all_are_redriven(self, dead, worker):
        ids = dead(501)

        assert messages.redrive_many(ids) == messages.BulkResult(done=501, skipped=0)
        assert sorted(Message.objects.values_list("pk", flat=True)) == ids
        assert not ArchivedMessage.objects.exists()

    def test_those_that_cannot_be_are_skipped_and_counted(self, dead, dead_letter):
        keyed, taken = dead_letter(unique_key="a"), dead_letter(unique_key="b")
        plain = dead(3)
        enqueue("job", unique_key="b")
        live = enqueue("job").pk
        ids = [*plain, keyed, taken, live, 999_999]

        assert messages.redrive_many(ids) == messages.BulkResult(done=4, skipped=3)
        assert list(DeadLetter.objects.values_list("pk", flat=True)) == [taken]

    def test_of_two_with_one_key_one_is_redriven(self, dead_letter):
        ids = [dead_letter(unique_key="k"), dead_letter(unique_key="k")]

        assert messages.redrive_many(ids) == messages.BulkResult(done=1, skipped=1)
        assert (Message.objects.count(), DeadLetter.objects.count()) == (1, 1)

    def test_an_id_named_twice_is_redriven_once(self, dead):
        ids = dead(2)

        assert messages.redrive_many([*ids, *ids]).done == 2
        assert Message.objects.count() == 2

    def test_none_is_none(self):
        assert messages.redrive_many([]) == messages.discard_many([]) == messages.BulkResult(0, 0)

    def test_discarding_counts_too(self, dead, worker):
        ids = dead(3)
        live = enqueue("job").pk
        other = enqueue("other").pk
        messages.cancel(other)

        assert messages.discard_many([*ids, live, other, 999_999]) == messages.BulkResult(done=3, skipped=3)
        assert list(ArchivedMessage.objects.values_list("pk", flat=True)) == [other]


class TestDiscard:
    def test_it_deletes_the_dead_letter(self, dead_letter):
        messages.discard(dead_letter())

        assert not ArchivedMessage.objects.exists()

    @pytest.mark.parametrize("id", NOWHERE)
    def test_an_id_that_is_nowhere_is_said(self, id):
        with pytest.raises(MessageNotFound):
            messages.discard(id)


class TestFind:
    def test_a_live_message_is_found(self, statements, row):
        message = enqueue("job", {"b": [1, "ü"], "a": None}, headers={"h": 1}, unique_key="k", delay=5)
        with statements() as sent:
            found = messages.find(message.pk)
            assert {name: getattr(found, name) for name in COLUMNS} == row(message.pk)

        assert isinstance(found, Message)
        assert len(sent) == 2  # ours and row()'s

    def test_an_archived_one_too(self, statements, worker, archived):
        message = enqueue("job", {"b": 1, "a": 2})
        worker.settle(worker.claim_one(), result='{"z":1,"y":"2"}', seconds=0.5)
        with statements() as sent:
            found = messages.find(message.pk)
            facts = {
                field.attname: getattr(found, field.attname)
                for field in ArchivedMessage._meta.concrete_fields
            }

        assert len(sent) == 1
        assert isinstance(found, ArchivedMessage)
        assert facts == {name: getattr(archived(message.pk), name) for name in facts}

    @pytest.mark.parametrize("id", [*NOWHERE, None, "1", "x", 1.0, True, b"1", [1]], ids=repr)
    def test_what_is_nowhere_is_said(self, id):
        enqueue("job")
        with transaction.atomic():
            with pytest.raises(MessageNotFound):
                messages.find(id)
            assert enqueue("job").pk

    def test_what_is_found_can_be_saved_and_refreshed(self):
        found = messages.find(enqueue("job").pk)
        found.refresh_from_db()

        assert found.type == "job"
