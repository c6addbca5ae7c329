"""A worker records what fails in groups, while it is still retried, and in few writes."""

from __future__ import annotations

import logging

import pytest
from django.db import OperationalError, connection

from django_letsgo_worker import enqueue, enqueue_many, failures, handler, registry
from django_letsgo_worker.engines import Claimed, Refused, Settlement, engine_for
from django_letsgo_worker.inspection import failures as failures_now
from django_letsgo_worker.models import Failure, Message
from django_letsgo_worker.worker import failure_tally
from django_letsgo_worker.worker.failure_tally import FailureTally
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def failing():
    """Register a handler of t:fails that fails."""

    @handler("t:fails", backoff=3_600)
    def fail(delivery):
        raise ValueError(f"card {delivery.message_id} was declined")

    yield
    registry.remove("t:fails")


def test_what_fails_is_one_group_while_it_is_still_retried(failing, start_worker):
    enqueue_many([("t:fails", n) for n in range(30)])
    start_worker()
    wait_until(lambda: sum(Failure.objects.values_list("count", flat=True)) == 30)

    (group,) = failures_now()
    assert (group.retrying, group.dead, group.count, group.state) == (30, 0, 30, "retrying")
    assert group.title.startswith("ValueError: card ")
    assert group.versions and group.began and group.began.startswith("began ")
    assert set(Message.objects.values_list("error_fingerprint", flat=True)) == {group.fingerprint}


def test_a_row_that_somebody_wrote_by_hand_ends_no_worker(failing, work_off, caplog):
    enqueue("t:fails")
    work_off()
    Failure.objects.update(recent={"not": "pairs"})
    enqueue("t:fails")
    enqueue("t:fails")
    work_off()

    assert Message.objects.filter(attempts=1, leased_by=None).count() == 3
    assert "Failures could not be recorded." in caplog.text


def test_a_worker_that_ends_writes_the_last_ones(failing, work_off):
    enqueue_many([("t:fails", n) for n in range(30)])
    enqueue("t:fails", max_attempts=1)
    work_off()

    (group,) = failures_now()
    assert (group.retrying, group.dead, group.count) == (30, 1, 31)


def test_two_thousand_failures_are_a_few_writes(failing, work_off, monkeypatch):
    writes = []
    record = failures.record
    monkeypatch.setattr(failures, "record", lambda some, **rest: writes.append(1) or record(some, **rest))
    enqueue_many([("t:fails", n) for n in range(300)])
    work_off()

    assert Failure.objects.get().count == 300
    assert len(writes) < 30


# -- what waits for a write ----------------------------------------------------------------------------------


def claimed(type="t:x", id=1):
    return Claimed(
        id=id, type=type, payload="null", headers="{}", queue="default", priority=0, attempts=1,
        max_attempts=10, receipt=1, deaths=0, errors="[]", enqueued_at=None, deadline=None, planned_at=None,
        leased_at=None,
    )  # fmt: skip


def failed(fingerprint):
    errors = '[{"class": "ValueError", "message": "late", "traceback": "T"}]'
    return Settlement(id=1, receipt=1, outcome="again", errors=errors, error_fingerprint=fingerprint)


def test_any_further_failure_of_a_type_counts_among_the_others(monkeypatch):
    monkeypatch.setattr(failure_tally, "MOST_OF_A_TYPE", 3)
    tally = FailureTally()
    for n in range(5):
        tally.note(claimed(), failed(f"f{n}"))
    tally.note(claimed("t:y"), failed("f9"))

    marks = [attempts.key for attempts in tally.so_far(engine_for("default").clock())]
    assert marks == [("t:x", "f0"), ("t:x", "f1"), ("t:x", "f2"), ("t:x", failures.OTHER), ("t:y", "f9")]


def test_what_did_not_fail_is_not_noted():
    tally = FailureTally()
    tally.note(claimed(), Settlement(id=1, receipt=1, outcome="again"))
    tally.note(claimed(), None)
    tally.note_lost(claimed())

    assert tally.is_empty and tally.due_in == float("inf")


def test_in_an_outage_they_wait_and_are_written_after_it(monkeypatch):
    tally = FailureTally()
    tally.note(claimed(), failed("f1"))
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(engine_for("default").__class__, "insist", gone)
        tally.write(engine_for("default"))
    tally.note(claimed(), failed("f1"))
    tally.write(engine_for("default"))

    assert Failure.objects.get().count == 2
    assert tally.is_empty


def gone(*_, **__):
    raise OperationalError("gone")


def test_a_refusal_is_said_once_and_costs_no_message(monkeypatch, caplog):
    def refuse(*_, **__):
        raise Refused("no") from OperationalError("no")

    tally = FailureTally()
    monkeypatch.setattr(engine_for("default").__class__, "insist", refuse)
    with caplog.at_level(logging.ERROR, "django_letsgo_worker.worker"):
        for _ in range(3):
            tally.note(claimed(), failed("f1"))
            tally.write(engine_for("default"))

    assert [record.getMessage() for record in caplog.records if "refuses the record" in record.getMessage()]
    assert len(caplog.records) == 1


def test_no_message_waits_for_a_table_of_failures_that_is_not_there(failing, work_off, caplog):
    enqueue("t:fails")
    table = Failure._meta.db_table
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER TABLE {table} RENAME TO letsgo_hidden")
    try:
        work_off()
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE letsgo_hidden RENAME TO {table}")

    assert Message.objects.get().attempts == 1
    assert "The database refuses the record of failures" in caplog.text
