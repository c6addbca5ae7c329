"""Retry: what waits for a retry or a delay runs now; what runs or has ended is refused."""

from __future__ import annotations

import pytest

from django_letsgo_worker import enqueue, enqueue_many, messages
from django_letsgo_worker.errors import (
    InvalidMessage,
    MessageEnded,
    MessageInTransaction,
    MessageNotFound,
    MessageRunning,
)
from django_letsgo_worker.models import Failure, Message

pytestmark = pytest.mark.django_db


@pytest.fixture
def failed(worker):
    """Enqueue a message that waits an hour for its second attempt."""

    def make(**options):
        message = enqueue("job", **options)
        claimed = worker.claim_one(queue=message.queue)
        worker.settle(claimed, "again", delay_seconds=3600, errors='[{"attempt":1}]')
        Message.objects.filter(pk=message.pk).update(error_fingerprint="f" * 32)
        return Message.objects.get(pk=message.pk)

    return make


class TestOne:
    def test_a_message_that_waits_for_its_retry_is_due_and_keeps_its_attempts(self, failed, worker):
        message = failed()
        before = worker.engine.clock()
        retried = messages.retry(message.pk, by="ada", reason="the provider is back")
        row = Message.objects.get(pk=message.pk)
        assert (row.attempts, row.receipt) == (1, message.receipt + 1)
        assert before <= row.visible_at == retried.visible_at <= worker.engine.clock()
        attempt, entry = row.errors
        assert attempt == {"attempt": 1}
        assert (entry["retry"], entry["by"], entry["reason"]) == (True, "ada", "the provider is back")
        assert worker.claim_one().attempts == 2

    def test_a_delayed_message_is_due_and_without_a_reason_nothing_is_recorded(self, worker):
        message = enqueue("job", delay=3600)
        assert messages.retry(message.pk).errors == []
        assert worker.claim_one().id == message.pk

    def test_one_that_is_due_already_stays_as_it_is(self, row):
        message = enqueue("job")
        before = row(message.pk)
        messages.retry(message.pk, by="ada")
        assert row(message.pk) == before

    def test_one_that_runs_is_refused(self, worker):
        message = enqueue("job")
        worker.claim_one()
        with pytest.raises(MessageRunning, match=f"Message {message.pk} cannot be retried: it is running"):
            messages.retry(message.pk)

    @pytest.mark.parametrize(("outcome", "hint"), [("succeeded", ""), ("dead", " Redrive it.")])
    def test_one_that_has_ended_is_refused(self, worker, outcome, hint):
        message = enqueue("job")
        worker.settle(worker.claim_one(), outcome)
        with pytest.raises(MessageEnded) as caught:
            messages.retry(message.pk)
        assert str(caught.value) == (
            f"Message {message.pk} cannot be retried: it has ended, {outcome}.{hint}"
        )

    @pytest.mark.parametrize("id", [7, 0, -1, 2**70])
    def test_none_is_not_found(self, id):
        with pytest.raises(MessageNotFound, match=f"There is no message with the id {id}"):
            messages.retry(id)

    @pytest.mark.django_db(transaction=True)
    def test_one_in_the_transaction_of_its_handler_is_refused_at_once(self, worker, begin, engine):
        if engine == "sqlite":
            pytest.skip("There the transaction keeps all writers out.")
        message = enqueue("job")
        claimed = worker.claim_one()
        with worker.engine.transaction():
            worker.engine.lock_held(worker.process, [(claimed.id, claimed.receipt)], wait=True)
            rival = begin(lambda: messages.retry(message.pk))
            with pytest.raises(MessageInTransaction):
                rival.result()


class TestMany:
    def test_all_that_waits_and_nothing_else(self, failed, worker):
        waiting = [failed().pk, failed(queue="mail").pk, enqueue("job", delay=60).pk]
        running = enqueue("job")
        worker.claim_one()
        result = messages.retry_many(by="ada")
        assert (result.done, result.skipped) == (3, 0)
        clock = worker.engine.clock()
        due = Message.objects.filter(visible_at__lte=clock).values_list("pk", flat=True)
        assert sorted(due) == sorted(waiting)
        assert Message.objects.get(pk=running.pk).receipt == 1

    def test_filters_narrow_it(self, failed):
        failed()
        wanted = failed(queue="mail")
        Failure.objects.create(
            fingerprint="f" * 32, type="job", error_class="shop.Down", first_at=wanted.enqueued_at,
            last_at=wanted.enqueued_at,
        )  # fmt: skip
        for narrow in (
            {"queue": "mail"},
            {"queue": "mail", "type": "job", "state": "retrying", "fingerprint": "f" * 32},
            {"queue": "mail", "error_class": "Down"},
            {"queue": "mail", "error_class": "shop.Down", "older_than": 0},
        ):
            Message.objects.update(visible_at=wanted.visible_at)
            assert messages.retry_many(**narrow).done == 1, narrow
        for nothing in (
            {"type": "other"},
            {"state": "scheduled"},
            {"fingerprint": "0" * 32},
            {"error_class": "Up"},
            {"older_than": "1d"},
        ):
            Message.objects.update(visible_at=wanted.visible_at)
            assert messages.retry_many(**nothing).done == 0, nothing

    def test_more_than_a_batch(self, worker):
        enqueue_many([("job", n) for n in range(1100)], delay=3600)
        assert messages.retry_many().done == 1100
        assert messages.retry_many().done == 0

    @pytest.mark.parametrize(
        ("given", "sentence"),
        [
            ({"kind": "job"}, r"There is no filter 'kind'\."),
            ({"fingerprnt": "f"}, r"There is no filter 'fingerprnt'\. Did you mean .*fingerprint"),
            ({"state": "running"}, r"state is retrying or scheduled, not 'running'\."),
            ({"older_than": "soon"}, r"older_than is a number of seconds"),
            ({"queue": "no queue"}, r"The queue 'no queue' is refused"),
            ({"error_class": 7}, r"error_class is text, not 7\."),
        ],
        ids=str,
    )
    def test_a_filter_that_cannot_be_is_refused_in_one_sentence(self, given, sentence):
        with pytest.raises(InvalidMessage, match=sentence):
            messages.retry_many(**given)
