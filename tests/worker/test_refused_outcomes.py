"""Outcomes that the database refuses: each holds up no other, and none is lost.

The refusals are the database's own: triggers, the size of a packet, a limit of a column.
"""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import Sum

from django_letsgo_worker import counts, enqueue, enqueue_many, messages, queues
from django_letsgo_worker.engines import ARCHIVE, TABLE, engine_for
from django_letsgo_worker.models import ArchivedMessage, DeadLetter, Message, Process, Statistic
from django_letsgo_worker.testing import drain
from django_letsgo_worker.worker import counting
from tests.support import wait_until

from .conftest import SETTINGS

pytestmark = pytest.mark.django_db(transaction=True)

DROP = {
    "sqlite": "DROP TRIGGER IF EXISTS refuse_{n}",
    "postgresql": "DROP FUNCTION IF EXISTS refuse_{n} CASCADE",
    "mysql": "DROP TRIGGER IF EXISTS refuse_{n}",
}
CREATE = {
    "sqlite": ["CREATE TRIGGER refuse_{n} BEFORE {event} ON {table} WHEN {when} "
               "BEGIN SELECT RAISE(ABORT, 'refused by the trigger'); END"],
    "postgresql": ["CREATE FUNCTION refuse_{n}() RETURNS trigger LANGUAGE plpgsql AS "
                   "$$ BEGIN RAISE EXCEPTION 'refused by the trigger'; END $$",
                   "CREATE TRIGGER refuse_{n} BEFORE {event} ON {table} FOR EACH ROW WHEN ({when}) "
                   "EXECUTE FUNCTION refuse_{n}()"],
    "mysql": ["CREATE TRIGGER refuse_{n} BEFORE {event} ON {table} FOR EACH ROW IF {when} "
              "THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'refused by the trigger'; END IF"],
}  # fmt: skip


def execute(*statements):
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


@pytest.fixture
def refuse():
    """Have the database refuse rows: refuse("NEW.type = 't:bad'"); what it returns takes that back."""
    made = []

    def create(when, event="INSERT", table=ARCHIVE):
        n = len(made)
        made.append(n)
        execute(
            *(each.format(n=n, event=event, table=table, when=when) for each in CREATE[connection.vendor])
        )
        return lambda: execute(DROP[connection.vendor].format(n=n))

    yield create
    execute(*(DROP[connection.vendor].format(n=n) for n in made))


@pytest.fixture
def all_at_once(monkeypatch):
    """Have one batch settle so many messages: until they have finished, none is taken."""
    from django_letsgo_worker.worker.inflight import InFlightTable

    take = InFlightTable.take_finished

    def gather(count):
        gathered = threading.Event()

        def take_finished(entries):
            if not gathered.is_set() and len(entries._finished) < count:
                return []
            gathered.set()
            return take(entries)

        monkeypatch.setattr(InFlightTable, "take_finished", take_finished)

    return gather


def outcomes():
    return dict(ArchivedMessage.objects.values_list("payload", "outcome"))


def lines_with(caplog, text):
    return [record for record in caplog.records if text in record.getMessage()]


@pytest.mark.parametrize("together", [1, 100])
def test_an_outcome_that_is_refused_for_good_stops_no_other(
    together, refuse, handle, start_worker, all_at_once, caplog
):
    take_back = refuse("NEW.type = 't:bad'")
    runs = []
    handle("t:bad")(lambda delivery: runs.append(delivery.payload) or {"a": "result"})
    handle("t:good")(lambda delivery: {"a": "result"})
    bad = enqueue("t:bad", "bad")
    enqueue_many([("t:good", n) for n in range(together - 1)])
    all_at_once(together)

    start_worker(seats=together)

    wait_until(lambda: lines_with(caplog, "refuses the outcome"), what="the line about the refusal")
    wait_until(lambda: ArchivedMessage.objects.count() == together - 1)
    # The worker goes on claiming.
    later = enqueue("t:good", "later")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=later.pk).exists())
    wait_until(lambda: Message.objects.filter(pk=bad.pk, leased_by__isnull=False).exists())
    take_back()
    wait_until(lambda: ArchivedMessage.objects.filter(pk=bad.pk, outcome="succeeded").exists())
    assert set(outcomes().values()) == {"succeeded"}
    assert runs == ["bad"]
    assert ArchivedMessage.objects.get(pk=bad.pk).result == {"a": "result"}
    # Said once, without what the message is about.
    (line,) = lines_with(caplog, "refuses the outcome")
    assert f"message {bad.pk} (t:bad)" in line.getMessage()
    assert "refused by the trigger" in line.getMessage()
    assert line.exc_info is None
    assert len(lines_with(caplog, "is written after all")) == 1


@pytest.mark.parametrize("together", [1, 100])
def test_an_outcome_that_is_refused_with_its_result_is_kept_without_it(
    together, refuse, handle, start_worker, all_at_once, caplog
):
    refuse("NEW.type = 't:bad' AND NEW.result IS NOT NULL")
    runs = []
    handle("t:bad")(lambda delivery: runs.append(delivery.payload) or {"a": "result"})
    handle("t:good")(lambda delivery: {"a": "result"})
    enqueue("t:bad", "bad")
    enqueue_many([("t:good", n) for n in range(together - 1)])
    all_at_once(together)

    start_worker(seats=together)

    wait_until(lambda: ArchivedMessage.objects.count() == together)
    kept = dict(ArchivedMessage.objects.values_list("payload", "result"))
    assert kept == {"bad": None} | {n: {"a": "result"} for n in range(together - 1)}
    assert set(outcomes().values()) == {"succeeded"}
    assert runs == ["bad"]
    (line,) = lines_with(caplog, "kept without its result")
    assert line.levelname == "ERROR"


def test_a_retry_that_is_refused_stops_no_other(refuse, handle, start_worker, caplog):
    """It is no row of the archive that is refused, but the live one's change."""
    take_back = refuse("NEW.type = 't:bad' AND NEW.leased_by IS NULL", event="UPDATE", table=TABLE)
    runs = []

    @handle("t:bad", backoff=[3600])
    def fail(delivery):
        runs.append(delivery.payload)
        raise ValueError("it fails")

    handle("t:good")(lambda delivery: None)
    bad = enqueue("t:bad")
    start_worker(seats=1)

    wait_until(lambda: lines_with(caplog, "refuses the outcome"))
    good = enqueue("t:good")
    wait_until(lambda: ArchivedMessage.objects.filter(pk=good.pk).exists())
    take_back()
    wait_until(lambda: Message.objects.filter(pk=bad.pk, leased_by=None).exists())
    row = Message.objects.get(pk=bad.pk)
    assert [(entry["attempt"], entry["message"]) for entry in row.errors] == [(1, "it fails")]
    assert len(runs) == 1


def test_what_an_atomic_handler_wrote_is_taken_back_with_an_outcome_that_is_refused(
    refuse, handle, start_worker, ended
):
    refuse("NEW.type = 't:bad' AND NEW.outcome = 'succeeded'")
    runs = []

    @handle("t:bad", atomic=True, max_attempts=2, backoff=0)
    def write(delivery):
        runs.append(delivery.attempt)
        enqueue("t:later", delay=3600)

    handle("t:good", atomic=True)(lambda delivery: None)
    bad, good = enqueue("t:bad"), enqueue("t:good")
    start_worker(seats=1)

    dead = ended(bad)
    assert ended(good).outcome == "succeeded"
    assert (dead.outcome, runs) == ("dead", [1, 2])
    assert dead.errors[-1]["class"] == "django_letsgo_worker.errors.OutcomeRefused"
    assert "refused by the trigger" in dead.errors[-1]["message"]
    assert not Message.objects.filter(type="t:later").exists()


def test_a_worker_that_is_to_end_when_all_is_done_ends_beside_a_refused_outcome(refuse, handle, start_worker):
    refuse("NEW.type = 't:bad'")
    handle("t:bad")(lambda delivery: None)
    handle("t:good")(lambda delivery: None)
    bad = enqueue("t:bad", "bad")
    enqueue_many([("t:good", n) for n in range(20)])

    working = start_worker(seats=2, until_empty=True)

    assert working.join() is False
    assert working.worker.count_unwritten() == 1
    assert outcomes() == dict.fromkeys(range(20), "succeeded")
    assert Message.objects.get().pk == bad.pk


@pytest.mark.parametrize("by_signal", [False, True])
def test_a_drain_that_could_not_write_an_outcome_says_so_and_exits_with_1(
    by_signal, refuse, manage, tmp_path
):
    gate = tmp_path / "gate"
    gate.touch()
    refuse("NEW.type = 'work:hold'")
    message = enqueue("work:hold", {"n": 1, "gate": str(gate)})

    worker = manage("runworker", *([] if by_signal else ["--until-empty"]), settings_module=SETTINGS)
    worker.wait_for_line(f"The database refuses the outcome of message {message.pk} (work:hold).")
    if by_signal:
        worker.terminate()

    assert worker.wait() == 1
    worker.wait_for_line(f"what became of that could not be written: {message.pk} (work:hold).")
    worker.wait_for_line("Outcomes that could not be written: 1.")
    assert Message.objects.get().pk == message.pk


def test_a_drain_tries_a_refused_outcome_once_more(refuse, handle, start_worker, caplog):
    take_back = refuse("NEW.type = 't:bad'")
    handle("t:bad")(lambda delivery: None)
    bad = enqueue("t:bad", "bad")
    working = start_worker(seats=2)
    wait_until(lambda: lines_with(caplog, "refuses the outcome"))
    entry = working.worker.inflight.unwritten()[0]
    # Not before the test is over, were it not for the drain.
    entry.again_at += 3600
    take_back()

    working.worker.stop()

    assert working.join() is True
    assert outcomes() == {"bad": "succeeded"}
    assert ArchivedMessage.objects.get().pk == bad.pk


def test_a_worker_claims_nothing_more_once_the_database_refuses_all_outcomes(
    refuse, handle, start_worker, monkeypatch, caplog
):
    from django_letsgo_worker.worker import loop

    monkeypatch.setattr(loop, "MOST_UNWRITTEN", 5)
    take_back = refuse("1 = 1")
    runs = []
    handle("t:bad")(lambda delivery: runs.append(delivery.payload))
    enqueue_many([("t:bad", n) for n in range(200)])

    working = start_worker(seats=1)

    wait_until(lambda: lines_with(caplog, "claims nothing"))
    settled = len(runs)
    wait_until(lambda: working.worker.inflight.load.unwritten == settled)
    assert settled < 200
    take_back()
    wait_until(lambda: len(outcomes()) == 200)
    assert sorted(runs) == list(range(200))


def test_a_message_that_nobody_may_claim_holds_up_its_own_lane_only(refuse, handle, start_worker, caplog):
    take_back = refuse("NEW.type = 't:bad' AND NEW.leased_by IS NOT NULL", event="UPDATE", table=TABLE)
    handle("t:bad")(lambda delivery: None)
    handle("t:good")(lambda delivery: None)
    bad = enqueue("t:bad", queue="first", priority=5)
    good = enqueue("t:good", queue="second")

    start_worker(seats=2)

    wait_until(lambda: ArchivedMessage.objects.filter(pk=good.pk).exists())
    wait_until(lambda: lines_with(caplog, "lets nobody claim the first message of the queue first"))
    take_back()
    wait_until(lambda: ArchivedMessage.objects.filter(pk=bad.pk).exists())


def test_a_lease_that_cannot_be_renewed_costs_no_other_its_lease(refuse, handle, start_worker, caplog):
    go_on = threading.Event()
    handle("t:bad")(lambda delivery: go_on.wait(30))
    handle("t:good")(lambda delivery: go_on.wait(30) and delivery.lease_lost)
    enqueue("t:bad")
    good = enqueue("t:good")
    working = start_worker(seats=2, lease_seconds=1.5)
    wait_until(lambda: len(working.worker.inflight.in_state("running")) == 2)
    before = Message.objects.get(pk=good.pk).visible_at
    # The claim is through; all that the heartbeat does is refused from now on.
    take_back = refuse("NEW.type = 't:bad' AND NEW.leased_by IS NOT NULL", event="UPDATE", table=TABLE)

    wait_until(lambda: lines_with(caplog, "renewed one by one"))
    wait_until(lambda: Message.objects.get(pk=good.pk).visible_at > before)
    take_back()
    go_on.set()
    wait_until(lambda: ArchivedMessage.objects.filter(pk=good.pk, outcome="succeeded").exists())
    assert ArchivedMessage.objects.get(pk=good.pk).result is False


def test_a_chore_that_is_refused_holds_up_no_message_and_no_other_chore(
    refuse, handle, start_worker, ended, caplog
):
    old = dead_letter("t:old", finished_at=engine_for("default").clock() - timedelta(days=400))
    refuse("OLD.type = 't:old'", event="DELETE")
    # Beside one whose end is refused, what has expired in a paused queue is found by the next chore.
    queues.pause("paused")
    refuse("NEW.type = 't:bad'")
    stuck, late = enqueue("t:bad", queue="paused"), enqueue("t:late", queue="paused")
    Message.objects.update(deadline=engine_for("default").clock() - timedelta(hours=1))
    handle("t:good")(lambda delivery: None)
    start_worker(seats=1)

    wait_until(lambda: lines_with(caplog, "A part of the housekeeping was refused"))
    assert ended(late).outcome == "expired"
    assert ended(enqueue("t:good")).outcome == "succeeded"
    assert lines_with(caplog, f"The database refuses to archive message {stuck.pk} (t:bad)")
    assert ArchivedMessage.objects.filter(pk=old).exists()
    assert not lines_with(caplog, "The database cannot be used")


def test_a_process_row_that_is_refused_costs_no_lease(refuse, handle, start_worker, ended, caplog):
    started, go_on = threading.Event(), threading.Event()

    @handle("t:hold")
    def hold(delivery):
        started.set()
        go_on.wait(30)
        return delivery.lease_lost

    message = enqueue("t:hold")
    working = start_worker(seats=1, lease_seconds=1.0)
    assert started.wait(20)
    refuse("NEW.state = 'running'", event="UPDATE", table=Process._meta.db_table)
    wait_until(lambda: lines_with(caplog, "The row of this process cannot be written"))
    # Longer than the lease: without renewal it would be lost by now.
    lapse = engine_for("default").clock() + timedelta(seconds=1.5)
    wait_until(lambda: engine_for("default").clock() > lapse)
    go_on.set()

    row = ended(message)
    assert (row.result, row.attempts) == (False, 1)
    assert working.worker.heartbeat.renewing.is_set()


def test_a_worker_claims_again_as_soon_as_its_leases_can_be_renewed(start_worker, monkeypatch):
    """It rests for up to a poll while they cannot."""
    worker = start_worker(seats=1).worker
    woken = threading.Event()
    monkeypatch.setattr(worker.wakeup, "wake", woken.set)
    worker.heartbeat.renewing.clear()

    worker.heartbeat.say(Process.State.RUNNING)

    assert woken.wait(20)
    assert worker.heartbeat.renewing.is_set()


# Deeper than any Python reads; PostgreSQL does not take it.
TOO_DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize("errors", ['{"a": 1}', "7", TOO_DEEP])
def test_a_failure_is_recorded_whatever_stands_in_its_errors(errors, handle, start_worker, ended):
    if connection.vendor == "postgresql" and errors == TOO_DEEP:
        pytest.skip("PostgreSQL does not take it.")

    @handle("t:fail", max_attempts=1)
    def fail(delivery):
        raise ValueError("it fails")

    handle("t:good")(lambda delivery: None)
    bad = enqueue("t:fail", delay=3600)
    execute_with(f"UPDATE {TABLE} SET errors = %s", errors)
    Message.objects.update(visible_at=engine_for("default").clock())
    good = enqueue("t:good")
    start_worker(seats=2)

    assert ended(good).outcome == "succeeded"
    dead = ended(bad)
    assert (dead.outcome, [entry["message"] for entry in dead.errors]) == ("dead", ["it fails"])


@pytest.mark.parametrize("payload", [TOO_DEEP, "no JSON at all"])
def test_a_payload_that_cannot_be_read_breaks_no_worker_of_a_narrowed_type(
    payload, handle, start_worker, ended
):
    if connection.vendor == "postgresql":
        pytest.skip("PostgreSQL does not take it.")
    seen = []
    handle("t:it", where={"kind": "a"}, max_attempts=1)(lambda delivery: None)
    handle("t:it", max_attempts=1)(lambda delivery: seen.append(delivery.payload))
    bad = enqueue("t:it", delay=3600, max_attempts=1)
    execute_with(f"UPDATE {TABLE} SET payload = %s", payload)
    Message.objects.defer("payload").update(visible_at=engine_for("default").clock())
    start_worker(seats=2)

    wait_until(lambda: DeadLetter.objects.filter(pk=bad.pk).exists())
    good = enqueue("t:it", "fine")
    assert ended(good).outcome == "succeeded"
    assert seen == ["fine"]


def execute_with(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def dead_letter(type, **facts):
    row = ArchivedMessage(id=10**9, type=type, payload=None, outcome="dead", queue="default", priority=0,
                          visible_at=facts["finished_at"], enqueued_at=facts["finished_at"], attempts=1,
                          max_attempts=1, receipt=1, deaths=0, headers={}, errors=[], **facts)  # fmt: skip
    row.save(force_insert=True)
    return row.pk


def test_statistics_that_are_refused_cost_no_message_are_said_once_and_written_later(
    refuse, handle, start_worker, caplog, monkeypatch
):
    monkeypatch.setattr(counting, "MINUTE", 0.2)
    monkeypatch.setattr(counting, "SPREAD", 0.0)
    tries = []
    add = counts.add
    monkeypatch.setattr(counts, "add", lambda *args: (tries.append(args), add(*args)))
    handle("t:a")(lambda delivery: None)
    take_back = refuse("NEW.type = 't:a'", table=Statistic._meta.db_table)
    enqueue("t:a")
    thread = start_worker()
    wait_until(lambda: len(tries) > 2)
    enqueue("t:a")
    wait_until(lambda: ArchivedMessage.objects.count() == 2)

    take_back()
    thread.stop()

    (said,) = [line for line in caplog.messages if "statistics of this worker are refused" in line]
    assert "refused by the trigger" in said
    assert Statistic.objects.filter(span=60).aggregate(sum=Sum("succeeded")) == {"sum": 2}


def test_a_bulk_operation_that_is_refused_holds_up_no_other(refuse, caplog):
    take_back = refuse("NEW.queue = 'refused'", event="UPDATE", table=TABLE)
    enqueue_many([("t:good", n) for n in range(3)])
    refused = messages.operate("move", to_queue="refused")
    other = messages.operate("cancel", type="t:other")

    drain()

    assert messages.find_operation(other.pk).state == "done"
    assert messages.find_operation(refused.pk).state == "waiting"
    assert lines_with(caplog, f"A batch of the bulk operation {refused.pk} was refused")
    take_back()
    drain()
    assert Message.objects.filter(queue="refused").count() == 3
