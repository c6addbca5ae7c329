"""Paused types: claims pass over them at once, find what is behind, and take them again once they resume."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection

from django_letsgo_worker import enqueue, enqueue_many, messages, queues
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.errors import InvalidMessage
from django_letsgo_worker.maintenance import Maintenance
from django_letsgo_worker.messages import pause_type, paused_types, resume_due_types, resume_type
from django_letsgo_worker.models import ArchivedMessage, Message, PausedType, Process, Queue

from .conftest import Rewrite, Worker

pytestmark = pytest.mark.django_db

BOTH = ("job", "mail")
# What a claim does about paused types.
GUARD = r"CASE WHEN type (?:IN |= ANY\(ARRAY)\(SELECT name FROM \w+\)+ THEN '' ELSE type END"
SEARCH_GUARD = r"AND type NOT IN \(SELECT name FROM \w+\)"


@pytest.fixture
def worker():
    return Worker(BOTH)


def types(claimed):
    return [row.type for row in claimed]


# -- claims ------------------------------------------------------------------------------------------------


def test_the_next_claim_passes_over_them_and_takes_what_is_behind(worker, at):
    enqueue_many([("mail", 1), ("job", 2), ("mail", 3), ("job", 4)])
    pause_type("mail")

    claim = worker.look(now=at(0))

    assert types(claim.rows) == ["job", "job"]
    assert (claim.unknown, claim.saw_all, claim.left) == ({""}, True, False)


def test_without_the_guard_of_the_claim_they_are_taken(worker, at):
    enqueue_many([("mail", 1), ("job", 2)])
    pause_type("mail")

    with connection.execute_wrapper(guard := Rewrite(GUARD, "type")):
        assert types(worker.claim(now=at(0))) == ["mail", "job"]
    assert guard.hits


def test_a_claim_that_settles_too_passes_over_them(worker, at):
    first, *_ = enqueue_many([("job", 1), ("mail", 2), ("job", 3)])
    held = worker.claim(now=at(0), free=1)
    pause_type("mail")

    written, claimed = worker.settle_and_claim(held, now=at(1))

    assert (written, types(claimed)) == ({first: "succeeded"}, ["job"])


def test_a_message_behind_many_of_them_is_reached(worker, at):
    enqueue_many([("mail", n) for n in range(30)])
    enqueue("job")
    pause_type("mail")

    assert types(worker.claim(now=at(0), free=4)) == ["job"]


def test_a_message_behind_more_than_a_claim_looks_at_is_reached_by_the_next(worker, at):
    enqueue_many([("mail", n) for n in range(100)])
    enqueue("job")
    pause_type("mail")

    first = worker.look(now=at(0), free=4)
    assert (first.rows, first.saw_all) == ([], False)
    second = worker.look(now=at(0), free=4, start_at=first.looked_until)
    third = worker.look(now=at(0), free=4, start_at=second.looked_until)

    assert types(first.rows + second.rows + third.rows) == ["job"]


@pytest.mark.parametrize("is_guarded", [True, False])
def test_a_search_past_those_of_one_moment_passes_over_them_too(worker, at, is_guarded):
    enqueue_many([("mail", n) for n in range(100)])
    enqueue("job")
    Message.objects.update(visible_at=at(0))
    pause_type("mail")
    guard = Rewrite("^$" if is_guarded else SEARCH_GUARD)

    with connection.execute_wrapper(guard):
        claimed = worker.claim(now=at(1), free=4, start_at=at(0))

    # Without its guard the search ends at the first of them.
    assert types(claimed) == (["job"] if is_guarded else [])
    assert bool(guard.hits) is not is_guarded


def test_other_types_other_queues_and_types_that_are_spelled_alike_go_on(worker, at):
    pause_type("mail")
    enqueue("Mail")
    enqueue("mail:daily")

    claimed = worker.claim(types=("Mail", "mail:daily"), now=at(0))

    assert types(claimed) == ["Mail", "mail:daily"]


def test_a_type_is_paused_in_every_queue_and_priority(worker, at):
    enqueue("mail", queue="a")
    enqueue("mail", priority=7)
    pause_type("mail")

    assert worker.claim("a", now=at(0)) == worker.claim(priority=7, now=at(0)) == []


def test_those_that_run_settle_as_ever(worker, archived, at):
    message = enqueue("mail")
    (claimed,) = worker.claim(now=at(0))
    pause_type("mail")

    assert worker.renew(claimed, 60)
    assert worker.settle(claimed) == "succeeded"
    assert archived(message.pk).outcome == "succeeded"


def test_one_whose_worker_died_waits_until_the_type_is_resumed(worker, rival, at):
    enqueue("mail")
    (lost,) = worker.claim(now=at(0))
    pause_type("mail")
    rival.types = BOTH
    assert rival.claim(now=at(100)) == []

    resume_type("mail")

    (claimed,) = rival.claim(now=at(100))
    assert (claimed.id, claimed.deaths) == (lost.id, 1)


def test_new_ones_can_be_enqueued(worker, at):
    pause_type("mail")

    single, (many,) = enqueue("mail"), enqueue_many([("mail", 1)])

    assert worker.claim(now=at(0)) == []
    resume_type("mail")
    assert [row.id for row in worker.claim(now=at(0))] == [single.pk, many]


def test_nothing_of_them_counts_as_due_to_a_worker_that_runs_until_empty(worker, at):
    enqueue("mail")
    (lane,) = worker.engine.lanes()
    assert worker.engine.has_due(lane, BOTH)

    pause_type("mail")

    assert not worker.engine.has_due(lane, BOTH)
    with connection.execute_wrapper(guard := Rewrite(SEARCH_GUARD)):
        assert worker.engine.has_due(lane, BOTH)
    assert guard.hits


def test_housekeeping_does_not_give_them_up_as_unknown(worker, at):
    later = at(0) + timedelta(hours=30)
    Process.objects.create(
        id=worker.process, kind="worker", name="w", pid=1, seats=1, types=["job"], heartbeat_at=later
    )
    enqueue("mail")
    pause_type("mail")
    assert messages.give_up_unknown_types(now=later) == 0

    resume_type("mail")

    assert messages.give_up_unknown_types(now=later) == 1
    assert ArchivedMessage.objects.get().error_class.endswith("UnknownType")


# -- verbs -------------------------------------------------------------------------------------------------


def test_a_pause_says_who_and_why_and_until_when():
    assert paused_types() == {}

    row = pause_type("mail", by="anna", reason="ticket 4711", seconds=600)

    assert "mail" in paused_types() and list(paused_types()) == ["mail"]
    stored = paused_types()["mail"]
    for pause in (row, stored):
        assert (pause.name, pause.paused_by, pause.pause_reason) == ("mail", "anna", "ticket 4711")
        assert pause.is_paused and pause.resume_at - pause.paused_at == timedelta(minutes=10)


def test_a_second_pause_replaces_the_first():
    pause_type("mail", by="anna", reason="ticket 4711", seconds=600)

    pause_type("mail", by="b" * 200, reason="c" * 300)

    row = PausedType.objects.get()
    assert (row.paused_by, row.pause_reason, row.resume_at) == ("b" * 150, "c" * 255, None)


def test_resuming_deletes_the_row_and_says_whether_it_was_there(caplog):
    pause_type("mail")

    with caplog.at_level("INFO", "django_letsgo_worker.messages"):
        assert resume_type("mail", by="anna")
    assert not resume_type("mail", by="anna")

    assert not PausedType.objects.exists()
    assert caplog.messages == ["The type mail was resumed by anna."]


def test_it_resumes_when_its_time_has_come(at):
    pause_type("soon", resume_at=at(60))
    pause_type("later", resume_at=at(120))
    pause_type("never")

    assert [resume_due_types(now=at(seconds)) for seconds in (59, 60, 61)] == [0, 1, 0]
    assert set(paused_types()) == {"later", "never"}


def test_the_housekeeping_resumes_it():
    pause_type("mail", resume_at=engine_for("default").clock() - timedelta(seconds=1))
    pause_type("job")
    housekeeping = Maintenance("default")

    while housekeeping.step():
        pass

    assert set(paused_types()) == {"job"}


def test_types_and_queues_pause_in_the_same_words():
    facts = {"by": "anna", "reason": "ticket 4711", "seconds": timedelta(hours=1)}

    rows = pause_type("mail", **facts), queues.pause("mail", **facts)

    assert isinstance(rows[1], Queue)
    first, second = ((row.name, row.paused_by, row.pause_reason, row.is_paused) for row in rows)
    assert first == second
    assert {row.resume_at - row.paused_at for row in rows} == {timedelta(hours=1)}


@pytest.mark.parametrize(
    ("name", "options", "sentence"),
    [
        ("", {}, "The type '' is refused"),
        ("no spaces", {}, "The type 'no spaces' is refused"),
        ("x" * 256, {}, "longer than 255 characters"),
        (7, {}, "A type is text, not int."),
        ("mail", {"seconds": 0}, "seconds"),
        ("mail", {"seconds": float("nan")}, "seconds"),
        ("mail", {"resume_at": "tomorrow"}, "resume_at"),
    ],
)
def test_what_is_no_type_or_no_time_is_refused_in_a_sentence(name, options, sentence):
    with pytest.raises(InvalidMessage, match=sentence):
        pause_type(name, **options)
    assert paused_types() == {}
