"""Bulk operations: each message once, spread evenly, stopped and taken back; whoever is killed."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise

import pytest

from django_letsgo_worker import enqueue, enqueue_many, messages
from django_letsgo_worker.errors import InvalidMessage, OperationNotFound, OperationRefused
from django_letsgo_worker.messages.working_off import _Batch
from django_letsgo_worker.models import (
    ArchivedMessage,
    BulkOperation,
    BulkOperationItem,
    DeadLetter,
    Message,
)
from django_letsgo_worker.testing import drain

pytestmark = pytest.mark.django_db


def work_off():
    """Work off all operations, as a worker does between its messages."""
    while messages.work_off_operations():
        pass


@pytest.fixture
def dead_letters(worker):
    """Make so many dead letters; return their ids."""

    def make(number, **options):
        ids = enqueue_many([("job", n) for n in range(number)], **options)
        for _ in range(0, number, 500):
            for claimed in worker.claim(free=500, queue=options.get("queue", "default")):
                worker.settle(claimed, "dead", error_class="shop.Down", error_fingerprint="f" * 32)
        return ids

    return make


class TestKinds:
    def test_redrive(self, dead_letters):
        ids = dead_letters(3)
        operation = messages.operate("redrive", by="ada", reason="fixed")
        assert (operation.state, operation.total, operation.done) == ("waiting", 0, 0)
        work_off()
        operation = messages.find_operation(operation.pk)
        assert (operation.state, operation.total, operation.done, operation.skipped) == ("done", 3, 3, 0)
        assert operation.finished_at >= operation.created_at
        assert sorted(Message.objects.values_list("pk", flat=True)) == sorted(ids)
        entry = Message.objects.first().errors[-1]
        assert (entry["redrive"], entry["by"], entry["reason"]) == (True, "ada", "fixed")

    def test_retry(self, worker):
        ids = enqueue_many([("job", n) for n in range(3)], delay=3600)
        messages.operate("retry", type="job")
        work_off()
        assert sorted(row.id for row in worker.claim()) == sorted(ids)

    def test_discard(self, dead_letters):
        dead_letters(3)
        messages.operate("discard", fingerprint="f" * 32)
        work_off()
        assert not DeadLetter.objects.exists()

    def test_cancel_revokes_those_that_run(self, worker):
        enqueue("job")
        claimed = worker.claim_one()
        enqueue("job", delay=60)
        messages.operate("cancel")
        work_off()
        assert ArchivedMessage.objects.filter(outcome="cancelled").count() == 2
        assert worker.settle(claimed) is None

    def test_move(self, worker):
        enqueue("job", delay=60)
        enqueue("job")
        running = worker.claim_one()
        operation = messages.operate("move", to_queue="slow")
        work_off()
        assert Message.objects.get(queue="slow").receipt == 1
        assert worker.settle(running) == "succeeded"
        assert messages.find_operation(operation.pk).done == 1

    def test_filters_and_what_comes_later_is_not_touched(self, dead_letters):
        wanted = dead_letters(2, queue="mail")
        dead_letters(2)
        operation = messages.operate("redrive", queue="mail", error_class="Down")
        later = dead_letters(1, queue="mail")
        work_off()
        assert sorted(Message.objects.values_list("pk", flat=True)) == sorted(wanted)
        assert DeadLetter.objects.filter(pk__in=later).exists()
        assert messages.find_operation(operation.pk).filter == {"queue": "mail", "error_class": "Down"}

    def test_one_that_dies_again_is_not_redriven_again(self, dead_letters, worker):
        dead_letters(2)
        messages.operate("redrive")
        messages.work_off_operations()
        for claimed in worker.claim():
            worker.settle(claimed, "dead")
        work_off()
        assert not Message.objects.exists()

    def test_what_cannot_be_changed_is_counted_as_skipped(self, dead_letters):
        dead_letters(1, unique_key="k")
        enqueue("job", unique_key="k", delay=60)
        operation = messages.operate("redrive")
        work_off()
        operation.refresh_from_db()
        assert (operation.state, operation.total, operation.done, operation.skipped) == ("done", 1, 0, 1)

    def test_many_go_in_batches(self, dead_letters):
        ids = dead_letters(1100)
        messages.operate("redrive")
        batches = 0
        while messages.work_off_operations():
            batches += 1
        assert batches == 4
        assert Message.objects.count() == len(ids)

    def test_drain_works_off_operations_first(self, dead_letters, handle):
        handle("job")(lambda delivery: None)
        dead_letters(3)
        messages.operate("redrive")
        assert drain() == 3


class TestOver:
    def test_the_starts_are_spread_evenly(self, dead_letters):
        dead_letters(1000)
        messages.operate("redrive", over="10m")
        work_off()
        starts = sorted(Message.objects.values_list("visible_at", flat=True))
        gaps = {later - sooner for sooner, later in pairwise(starts)}
        assert gaps == {timedelta(seconds=0.6)}
        assert starts[-1] - starts[0] == timedelta(minutes=10) - timedelta(seconds=0.6)


class TestStop:
    def test_the_rest_is_left(self, dead_letters):
        dead_letters(1000)
        operation = messages.operate("redrive")
        messages.work_off_operations()
        stopped = messages.stop_operation(operation.pk)
        work_off()
        assert (stopped.state, stopped.done, stopped.total) == ("stopped", 500, 1000)
        assert (Message.objects.count(), DeadLetter.objects.count()) == (500, 500)

    @pytest.mark.parametrize(("verb", "word"), [("stop_operation", "stopped"), ("undo_operation", "undone")])
    def test_the_log_says_who_did_it(self, verb, word, caplog):
        caplog.set_level("INFO", "django_letsgo_worker.messages")
        operation = messages.operate("redrive")
        getattr(messages, verb)(operation.pk, by="ada")
        assert f"Bulk operation {operation.pk} (redrive) was {word} by ada." in caplog.messages

    def test_what_has_ended_cannot_be_stopped(self):
        operation = messages.operate("redrive")
        work_off()
        with pytest.raises(OperationRefused) as caught:
            messages.stop_operation(operation.pk)
        assert str(caught.value) == (f"Bulk operation {operation.pk} cannot be stopped: it is done already.")

    @pytest.mark.parametrize("id", [7, 0, 2**70, "7"])
    @pytest.mark.parametrize("verb", ["find_operation", "stop_operation", "undo_operation"])
    def test_one_that_is_not_there(self, verb, id):
        with pytest.raises(OperationNotFound, match=f"There is no bulk operation with the id {id}"):
            getattr(messages, verb)(id)


COLUMNS = [field.attname for field in ArchivedMessage._meta.concrete_fields if field.attname != "receipt"]


class TestUndo:
    def test_redriven_ones_are_the_dead_letters_that_they_were(self, dead_letters, worker):
        dead_letters(5, deadline=worker.engine.clock() + timedelta(days=1))
        before = {row["id"]: row for row in DeadLetter.objects.values(*COLUMNS)}
        operation = messages.operate("redrive", over=600)
        work_off()
        first = Message.objects.order_by("visible_at").first()
        assert first is not None
        worker.claim_one()

        messages.undo_operation(operation.pk)
        work_off()
        operation.refresh_from_db()
        assert (operation.state, operation.done, operation.given_back) == ("undone", 5, 4)
        assert operation.finished_at is not None
        # The one that had begun goes on.
        assert [row.pk for row in Message.objects.all()] == [first.pk]
        del before[first.pk]
        assert {row["id"]: row for row in DeadLetter.objects.values(*COLUMNS)} == before
        assert not BulkOperationItem.objects.exists()

    @pytest.mark.parametrize(
        "errors", [[{"attempt": n, "message": "x"} for n in range(10)], {"not": "a list"}]
    )
    def test_all_errors_are_given_back_however_many_there_were(self, dead_letter, errors):
        id = dead_letter(7)
        DeadLetter.objects.filter(pk=id).update(errors=errors)
        operation = messages.operate("redrive", over=600)
        work_off()
        assert Message.objects.get(pk=id).errors != errors
        messages.undo_operation(operation.pk)
        work_off()
        assert DeadLetter.objects.get(pk=id).errors == errors

    def test_one_that_goes_on_is_stopped_and_taken_back(self, dead_letters):
        dead_letters(1000)
        operation = messages.operate("redrive", over="1h")
        messages.work_off_operations()
        messages.undo_operation(operation.pk)
        work_off()
        assert (Message.objects.count(), DeadLetter.objects.count()) == (0, 1000)

    def test_retried_ones_wait_as_long_as_they_would_have(self):
        enqueue_many([("job", n) for n in range(3)], delay=3600)
        before = dict(Message.objects.values_list("pk", "visible_at"))
        operation = messages.operate("retry")
        work_off()
        messages.undo_operation(operation.pk)
        work_off()
        assert dict(Message.objects.values_list("pk", "visible_at")) == before

    def test_moved_ones_go_back(self):
        enqueue_many([("job", n) for n in range(3)], queue="mail")
        operation = messages.operate("move", to_queue="slow")
        work_off()
        messages.undo_operation(operation.pk)
        work_off()
        assert Message.objects.filter(queue="mail").count() == 3

    def test_what_somebody_changed_since_is_left(self):
        _first, second = enqueue_many([("job", n) for n in range(2)], delay=3600)
        operation = messages.operate("retry", over="1h")
        work_off()
        due = messages.retry(second).visible_at
        messages.undo_operation(operation.pk)
        work_off()
        assert Message.objects.get(pk=second).visible_at == due
        operation.refresh_from_db()
        assert (operation.done, operation.given_back) == (2, 1)

    @pytest.mark.parametrize("kind", ["discard", "cancel"])
    def test_some_can_only_be_stopped(self, kind):
        operation = messages.operate(kind)
        with pytest.raises(OperationRefused, match=f"a {kind} can only be stopped while it goes on"):
            messages.undo_operation(operation.pk)

    def test_twice_is_refused(self):
        operation = messages.operate("redrive")
        messages.undo_operation(operation.pk)
        with pytest.raises(OperationRefused, match="it is undone already"):
            messages.undo_operation(operation.pk)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("kind", "given", "sentence"),
        [
            ("redive", {}, r"There is no kind of operation 'redive'\. Did you mean .*redrive"),
            ("redrive", {"state": "ready"}, r"state can only be dead here, not 'ready'\."),
            ("redrive", {"to_queue": "x"}, r"to_queue says where messages are moved"),
            ("move", {}, r"to_queue says where messages are moved"),
            ("move", {"to_queue": "no queue"}, r"The queue 'no queue' is refused"),
            ("cancel", {"over": 60}, r"over spreads the starts"),
            ("redrive", {"over": "soon"}, r"over is a number of seconds"),
            ("redrive", {"kind_of": 1}, r"There is no filter 'kind_of'"),
        ],
        ids=str,
    )
    def test_one_sentence_and_nothing_is_written(self, kind, given, sentence):
        with pytest.raises(InvalidMessage, match=sentence):
            messages.operate(kind, **given)
        assert not BulkOperation.objects.exists()


class TestRowsThatNobodyChecked:
    """A shell or a script may have written the row: it ends no worker, and holds up no other operation."""

    @pytest.mark.parametrize(
        "facts",
        [
            {"filter": {"tpye": "job"}},
            {"filter": ["job"]},
            {"filter": {"older_than": "soon"}},
            {"kind": "lock"},
        ],
        ids=str,
    )
    def test_one_that_cannot_be_read_is_stopped_and_the_next_goes_on(self, dead_letters, caplog, facts):
        ids = dead_letters(2)
        unreadable = BulkOperation.objects.create(**{"kind": "redrive"} | facts)
        messages.operate("redrive")
        work_off()
        unreadable.refresh_from_db()
        assert (unreadable.state, unreadable.done) == ("stopped", 0)
        assert unreadable.finished_at is not None
        assert f"Bulk operation {unreadable.pk} is stopped: it cannot be worked off" in caplog.text
        assert Message.objects.count() == len(ids)


@pytest.mark.django_db(transaction=True)
class TestKills:
    """A process that dies within a batch leaves it undone; so does an error."""

    def break_down(self, monkeypatch, method):
        real = getattr(_Batch, method)

        def broken(self, *args):
            real(self, *args)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(_Batch, method, broken)
            with pytest.raises(KeyboardInterrupt):
                messages.work_off_operations()

    def starts(self, dead_letters, monkeypatch):
        dead_letters(1000)
        messages.operate("redrive", over="10m")
        for _ in range(2):
            self.break_down(monkeypatch, "_note_progress")
            messages.work_off_operations()
        work_off()
        return sorted(Message.objects.values_list("visible_at", flat=True))

    def test_each_is_done_once(self, dead_letters, monkeypatch):
        starts = self.starts(dead_letters, monkeypatch)
        assert len(starts) == len(set(starts)) == 1000
        assert BulkOperation.objects.get().done == 1000

    def test_without_the_progress_in_the_same_transaction_it_would_not_end(self, dead_letters, monkeypatch):
        """The control: skipped ones would be chosen again and again."""
        dead_letters(1, unique_key="k")
        enqueue("job", unique_key="k", delay=60)
        messages.operate("redrive")
        monkeypatch.setattr(_Batch, "_note_progress", lambda self, last: None)
        for _ in range(5):
            assert messages.work_off_operations()
        assert BulkOperation.objects.get().skipped == 5

    def test_two_workers_share_the_work(self, dead_letters, race):
        ids = dead_letters(1000)
        messages.operate("redrive")
        messages.operate("cancel", type="other")
        for rival in race(work_off_insistently, work_off_insistently):
            rival.result()
        work_off()
        assert Message.objects.count() == len(ids)
        assert BulkOperation.objects.get(kind="redrive").done == 1000


def work_off_insistently():
    from django_letsgo_worker.engines import engine_for

    while engine_for("default").insist(messages.work_off_operations):
        pass


class TestForgetting:
    def test_operations_are_kept_as_long_as_dead_letters(self, dead_letters, worker, settings):
        settings.LETSGO_WORKER = {"KEEP_DEAD_FOR": 2}
        dead_letters(3)
        messages.operate("redrive")
        work_off()
        messages.operate("cancel", type="never")
        clock = worker.engine.clock()
        assert messages.forget_operations(now=clock + timedelta(days=1), using="default") == 0
        assert messages.forget_operations(now=clock + timedelta(days=3), using="default") == 1
        assert BulkOperation.objects.get().kind == "cancel"
        assert not BulkOperationItem.objects.exists()


class TestCopies:
    def test_a_copy_with_another_payload_is_linked_both_ways(self, dead_letter):
        id = dead_letter({"card": "old"}, headers={"h": 1}, queue="default", max_attempts=3)
        copy = messages.redrive(id, payload={"card": "new"}, by="ada", reason="a new card")
        assert copy.pk != id
        assert (copy.type, copy.payload, copy.max_attempts, copy.attempts) == ("job", {"card": "new"}, 3, 0)
        assert copy.headers["redriven_from"] == id and copy.headers["h"] == 1
        letter = DeadLetter.objects.get(pk=id)
        assert letter.payload == {"card": "old"}
        entry = letter.errors[-1]
        assert (entry["redrive"], entry["copy"], entry["by"], entry["reason"]) == (
            True, copy.pk, "ada", "a new card",
        )  # fmt: skip

    def test_headers_that_are_no_object_are_left_out(self, dead_letter):
        id = dead_letter(7)
        DeadLetter.objects.filter(pk=id).update(headers=["odd"])
        assert messages.redrive(id, payload=8).headers["redriven_from"] == id

    def test_none_is_a_payload_too(self, dead_letter):
        assert messages.redrive(dead_letter(7), payload=None).payload is None

    def test_an_unfit_payload_is_refused_and_nothing_happens(self, dead_letter):
        id = dead_letter(7)
        with pytest.raises(InvalidMessage):
            messages.redrive(id, payload={"at": object()})
        assert DeadLetter.objects.get(pk=id).errors == []
