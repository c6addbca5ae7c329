"""Failed attempts in groups: the fingerprint on the live row, the table of failures, and its end."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from django_letsgo_worker import enqueue, failures, maintenance, messages, outcomes, registry
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.failures import FailedAttempts, hour_of, record
from django_letsgo_worker.messages import settlements
from django_letsgo_worker.models import Failure, Message, Process
from django_letsgo_worker.testing import drain
from tests.support import PATIENCE

from .conftest import Rewrite, Rival

pytestmark = pytest.mark.django_db(transaction=True)

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)


def attempts(fingerprint="f", *, type="job", at=NOON, count=1, **facts):
    facts = {"error_class": "ValueError", "message": "late", "traceback": "T", "message_id": 7} | facts
    hours = {hour_of(at): count}
    return FailedAttempts(type=type, fingerprint=fingerprint, first_at=at, last_at=at, hours=hours, **facts)


@pytest.fixture
def failing():
    """Register a handler that fails: failing("job", max_attempts=2)."""
    added = []

    def register(type, **options):
        @registry.handler(type, **options)
        def fail(delivery):
            raise ValueError(f"order {delivery.message_id} is late")

        added.append(type)

    yield register
    for type in added:
        registry.remove(type)


class TestTheLiveRow:
    def test_a_retry_writes_the_fingerprint_and_a_snooze_leaves_it(self, worker, at, row):
        message = enqueue("job")
        claimed = worker.claim_one(now=at(0))
        assert worker.settle(claimed, "again", error_fingerprint="f1", now=at(0)) == "again"
        assert row(message.pk)["error_fingerprint"] == "f1"

        worker.settle(worker.claim_one(now=at(1)), "again", now=at(1))
        assert row(message.pk)["error_fingerprint"] == "f1"
        worker.settle(worker.claim_one(now=at(2)), "released", now=at(2))
        assert row(message.pk)["error_fingerprint"] == "f1"

        worker.settle(worker.claim_one(now=at(3)), "again", error_fingerprint="f2", now=at(3))
        assert row(message.pk)["error_fingerprint"] == "f2"

    def test_without_a_failure_there_is_none(self, worker, at, row):
        message = enqueue("job")
        worker.settle(worker.claim_one(now=at(0)), "again", now=at(0))

        assert row(message.pk)["error_fingerprint"] is None

    def test_a_settlement_that_also_claims_writes_it(self, worker, at, row):
        message, other = enqueue("job"), enqueue("job")
        first = worker.claim_one(now=at(0), free=1)
        failed = settlements.settlement_of(
            first,
            outcomes.Outcome(name="retry", delay_seconds=60, exception=ValueError("late"), recorded=True),
            seconds=0.1,
            process="w",
        )
        kept = settlements.kept_outcomes()
        with engine_for("default").transaction():
            engine_for("default").settle_and_claim(worker.process, [failed], kept, worker.request(now=at(0)))

        by_id = dict(Message.objects.values_list("pk", "error_fingerprint"))
        assert by_id == {message.pk: failed.error_fingerprint, other.pk: None}

    @pytest.mark.parametrize("atomic", [False, True])
    def test_plain_and_atomic_handlers_write_it(self, failing, row, atomic):
        failing("job", atomic=atomic)
        message = enqueue("job")
        drain()

        failure = Failure.objects.get()
        assert row(message.pk)["error_fingerprint"] == failure.fingerprint

    def test_a_lost_attempt_writes_it_and_all_of_them_are_one_failure(self, worker, rival, at, row, archived):
        message = enqueue("job", max_attempts=2)
        worker.claim_one(now=at(0))
        claimed = rival.claim(now=at(60))
        engine_for("default").write_errors(rival.process, settlements.note_lost_attempts(claimed, "default"))
        assert row(message.pk)["error_fingerprint"] == outcomes.lost_fingerprint()

        worn_out = worker.claim_one(now=at(120))
        settlements.note_lost_attempts([worn_out], "default")
        worker.settle_all([settlements.refusal_of(worn_out, "w")], now=at(120))
        assert archived(message.pk).error_fingerprint == outcomes.lost_fingerprint()

    def test_a_redrive_keeps_it(self, worker, at, row):
        ids = [enqueue("job").pk for _ in range(2)]
        for claimed, mark in zip(worker.claim(now=at(0)), ("f1", ""), strict=True):
            worker.settle(claimed, "dead", error_fingerprint=mark, now=at(0))
        messages.redrive_many(ids)

        assert [row(id)["error_fingerprint"] for id in ids] == ["f1", None]


class TestRecord:
    def test_a_new_failure_is_a_row(self):
        record([attempts(version="1.0", count=3)])

        row = Failure.objects.get()
        assert (row.type, row.fingerprint, row.error_class, row.message) == ("job", "f", "ValueError", "late")
        assert (row.first_at, row.last_at, row.count, row.versions) == (NOON, NOON, 3, ["1.0"])
        assert (row.recent, row.last_message_id, row.last_traceback) == (
            [["2027-01-01T12:00:00+00:00", 3]],
            7,
            "T",
        )

    def test_more_of_it_is_added_and_the_newest_is_its_face(self):
        record([attempts(version="1.0", count=3)])
        later = NOON + timedelta(hours=1, minutes=5)
        record([attempts(at=later, version="1.1", message="very late", message_id=9, traceback="U")])
        record([attempts(at=NOON - timedelta(minutes=1), message="early", version="1.0")])

        row = Failure.objects.get()
        assert (row.first_at, row.last_at, row.count) == (NOON - timedelta(minutes=1), later, 5)
        assert (row.message, row.last_message_id, row.last_traceback) == ("very late", 9, "U")
        assert row.versions == ["1.0", "1.1"]
        assert [count for _, count in row.recent] == [1, 3, 1]

    def test_the_newest_48_hours_are_kept_and_long_texts_are_cut(self):
        for hour in range(50):
            record([attempts(at=NOON + timedelta(hours=hour), message="m" * 5_000, traceback="t" * 99_999)])

        row = Failure.objects.get()
        assert (len(row.recent), row.count) == (48, 50)
        assert row.recent[-1][0] == (NOON + timedelta(hours=49)).isoformat()
        assert (len(row.message), len(row.last_traceback)) == (1_000, 16_000)

    def test_a_fingerprint_is_a_failure_of_each_type(self):
        record([attempts(type="a"), attempts(type="b"), attempts("g", type="a")])

        assert sorted(Failure.objects.values_list("type", "fingerprint")) == [
            ("a", "f"), ("a", "g"), ("b", "f"),
        ]  # fmt: skip

    def test_an_unstable_fingerprint_fills_one_row_more_than_the_bound(self, monkeypatch):
        monkeypatch.setattr(failures, "MOST_OF_A_TYPE", 5)
        record([attempts(f"f{n}") for n in range(5)])
        record([attempts("f0"), attempts("x"), attempts("y"), attempts("x", type="b")])
        record([attempts("z")])

        counts = dict(Failure.objects.filter(type="job").values_list("fingerprint", "count"))
        assert counts == {"f0": 2, "f1": 1, "f2": 1, "f3": 1, "f4": 1, failures.OTHER: 3}
        assert Failure.objects.get(type="b").fingerprint == "x"

    def test_what_two_workers_record_at_once_is_all_there(self):
        rivals = [Rival(partial(record_often, names)) for names in (["a", "b"], ["b", "a"])]
        for rival in rivals:
            rival.start()
        for rival in rivals:
            rival.result()

        assert dict(Failure.objects.values_list("fingerprint", "count")) == {"a": 60, "b": 60}

    def test_without_the_rows_locks_some_of_it_is_lost(self, monkeypatch):
        if not engine_for("default").skip_locked:
            pytest.skip("There is one writer here.")
        record([attempts()])
        both, add = threading.Barrier(2), failures._add

        def add_together(row, some):
            both.wait(PATIENCE)
            add(row, some)

        monkeypatch.setattr(failures, "_add", add_together)
        without = Rewrite(" FOR UPDATE")
        rivals = [Rival(partial(record, [attempts()]), (without,)) for _ in range(2)]
        for rival in rivals:
            rival.start()
        for rival in rivals:
            rival.result()

        assert without.hits == 2
        assert Failure.objects.get().count == 2


def record_often(names):
    for _ in range(30):
        engine_for("default").insist(lambda: record([attempts(name) for name in names]))


class TestForget:
    def test_what_was_last_met_before_the_keep_time_goes_in_batches(self, settings, monkeypatch):
        settings.LETSGO_WORKER = {"KEEP_DEAD_FOR": 2}
        monkeypatch.setattr(failures, "BATCH", 2)
        record([attempts(f"f{n}", at=NOON - timedelta(days=3)) for n in range(3)] + [attempts("new")])

        assert [failures.forget_old(now=NOON) for _ in range(3)] == [2, 1, 0]
        assert [row.fingerprint for row in Failure.objects.all()] == ["new"]

    def test_the_maintenance_does_it(self):
        record([attempts(at=datetime(2020, 1, 1, tzinfo=UTC))])
        housekeeping = maintenance.Maintenance("default")
        while housekeeping.step():
            pass

        assert not Failure.objects.exists()


def test_messages_of_unknown_types_that_are_given_up_are_a_failure(at):
    process = Process(kind="worker", name="w", host="h", pid=1, types=["job"], seats=1)
    process.started_at = process.heartbeat_at = at(0)
    process.save()
    ids = [enqueue("strange").pk for _ in range(3)]
    later = at(0) + timedelta(hours=25)
    Process.objects.update(heartbeat_at=later)

    assert messages.give_up_unknown_types(now=later) == 3
    row = Failure.objects.get()
    assert (row.type, row.count, row.last_message_id, row.last_at) == ("strange", 3, ids[-1], later)
    assert row.error_class == "django_letsgo_worker.errors.UnknownType"


def test_drain_records_once_at_its_end(failing, statements):
    failing("job")
    for _ in range(3):
        enqueue("job", max_attempts=1)
    with statements() as seen:
        drain()

    assert Failure.objects.get().count == 3
    assert sum("INSERT" in sql.upper() and Failure._meta.db_table in sql for sql, _ in seen) == 1


def test_nothing_is_asked_of_the_failures_when_nothing_fails(handled, statements):
    handled("job")
    enqueue("job")
    with statements() as seen:
        drain()

    assert not [sql for sql, _ in seen if Failure._meta.db_table in sql]


def test_a_retry_and_its_end_are_two_attempts_of_one_failure(failing, at):
    failing("job", max_attempts=2, backoff=60)
    enqueue("job")
    drain(now=at(0))
    drain(now=at(3_600))

    row = Failure.objects.get()
    assert row.count == 2
    moments = {row.first_at: at(0), row.last_at: at(3_600)}
    assert all(timedelta(0) <= now - moment < timedelta(minutes=1) for moment, now in moments.items())
