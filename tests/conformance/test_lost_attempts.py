"""An attempt that ended with its worker leaves its trace, and so does a redrive."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_letsgo_worker import enqueue, messages, processes
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.messages import settlements
from django_letsgo_worker.models import Process
from django_letsgo_worker.testing import drain

pytestmark = pytest.mark.django_db(transaction=True)

WORKER_DIED = "django_letsgo_worker.errors.WorkerDied"


@pytest.fixture
def died(worker, at):
    """Give the worker of the test a row that says when it was last heard of."""
    process = Process(id=worker.process, kind="worker", name="reports-1", host="h", pid=7, types=[], seats=1)
    processes.register(process, "default")
    Process.objects.filter(pk=process.pk).update(heartbeat_at=at(3))
    return process


def take_over(rival, now):
    """Claim as a worker does: note which attempts were lost, and write that."""
    claimed = rival.claim(now=now)
    engine_for("default").write_errors(rival.process, settlements.note_lost_attempts(claimed, "default"))
    return claimed


def test_the_claim_of_a_lapsed_lease_says_whose_it_was_and_since_when(worker, rival, at, died, row):
    message = enqueue("job")
    begun_at = worker.claim_one(now=at(0)).leased_at

    (claimed,) = take_over(rival, at(60))

    assert claimed.lapse.process == worker.process
    (entry,) = row(message.pk)["errors"]
    assert entry == {
        "attempt": 1,
        "at": begun_at.isoformat(timespec="microseconds"),
        "seconds": None,
        "process": "reports-1",
        "class": WORKER_DIED,
        "message": "the worker reports-1 died while it held the message: "
        f"it was last heard of at {at(3):%Y-%m-%d %H:%M:%S} UTC",
        "traceback": "",
    }


def test_of_a_worker_without_a_row_the_number_is_told(worker, rival, at, row):
    message = enqueue("job")
    worker.claim_one(now=at(0))

    take_over(rival, at(60))

    (entry,) = row(message.pk)["errors"]
    assert entry["process"] == str(worker.process)
    assert entry["message"].endswith("it has left no sign of life")


def test_a_claim_that_takes_over_nothing_asks_nothing_more(worker, at, statements):
    enqueue("job")
    claimed = worker.claim(now=at(0))

    with statements() as seen:
        engine_for("default").write_errors(worker.process, settlements.note_lost_attempts(claimed, "default"))

    assert (seen, claimed[0].lapse) == ([], None)


def test_what_was_taken_over_once_more_meanwhile_is_not_written(worker, rival, at, row):
    message = enqueue("job")
    worker.claim_one(now=at(0))
    claimed = rival.claim(now=at(60))
    worker.claim_one(now=at(120))

    engine_for("default").write_errors(rival.process, settlements.note_lost_attempts(claimed, "default"))

    assert row(message.pk)["errors"] == []


def test_all_lost_attempts_stand_there_and_the_last_one_says_how_many(worker, rival, at, died, archived):
    message = enqueue("job", max_attempts=2)
    worker.claim_one(now=at(0))
    take_over(rival, at(60))
    (worn_out,) = take_over(worker, at(120))
    worker.settle_all([settlements.refusal_of(worn_out, "host:1")], now=at(120))

    letter = archived(message.pk)
    assert [(entry["attempt"], entry["process"], entry["seconds"]) for entry in letter.errors] == [
        (1, "reports-1", None),
        (2, str(rival.process), None),
    ]
    assert letter.errors[-1]["message"] == "the worker died 2 times while handling it"
    assert {entry["class"] for entry in letter.errors} == {WORKER_DIED}


def test_a_redrive_says_who_and_why_between_the_attempts(worker, at, archived):
    message = enqueue("job", max_attempts=1)
    worker.claim_one(now=at(0))
    worker.settle_all([settlements.refusal_of(worker.claim_one(now=at(60)), "host:1")], now=at(60))

    live = messages.redrive(message.pk, by="anna", reason="the provider is back")

    lost, redriven = live.errors
    assert lost["attempt"] == 1
    assert (redriven["redrive"], redriven["by"], redriven["reason"]) == (True, "anna", "the provider is back")
    assert engine_for("default").clock() - timedelta(minutes=1) < live.visible_at


def test_drain_tells_it_too(worker, at, handled, archived):
    handled("job")
    message = enqueue("job")
    worker.claim_one(now=at(0))

    drain(now=at(60))

    assert [entry["class"] for entry in archived(message.pk).errors] == [WORKER_DIED]
