"""What becomes of a message, whatever its handler returns or raises."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction

from django_letsgo_worker import Reject, Retry, Snooze, enqueue
from django_letsgo_worker.models import ArchivedMessage, Message
from django_letsgo_worker.signals import WantedSignal, delivery_finished, delivery_started, message_died
from tests.support import wait_until
from tests.testapp.models import Effect, Entry

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("connection_is")]


class Unreadable(Exception):
    def __str__(self):
        raise RuntimeError("my text is secret")


class UnreadableResult:
    def __str__(self):
        raise RuntimeError("my text is secret")


HOSTILE_TEXTS = [
    "NUL \x00 in the middle",
    "a lone surrogate \ud800 of nothing",
    "<script>alert(1)</script> %s %(x)s {} {0.__class__}",
    "'; DROP TABLE django_letsgo_worker_message; --",
    "astral \U0001f600 and right-to-left \u202e",
    "x" * 1_000_000,
    "",
]


def test_a_plain_handler_is_given_the_delivery_and_archived_with_its_result(outcome_of):
    given = []

    def handler(delivery):
        given.append(delivery)
        return {"doubled": delivery.payload["n"] * 2}

    row = outcome_of(handler, {"n": 21})

    (delivery,) = given
    assert (row.outcome, row.result) == ("succeeded", {"doubled": 42})
    assert (delivery.message_id, delivery.attempt, delivery.max_attempts) == (row.pk, 1, 3)
    assert (delivery.receipt, row.receipt, row.attempts) == (1, 1, 1)
    assert not delivery.is_last_attempt
    assert row.first_started_at <= row.finished_at
    assert row.seconds >= 0


def test_an_async_handler_is_awaited(outcome_of):
    async def handler(delivery):
        await Entry.objects.acreate(n=delivery.payload, receipt=1, attempt=1, process=0)
        return delivery.payload + 1

    row = outcome_of(handler, 1)

    assert (row.outcome, row.result, Entry.objects.get().n) == ("succeeded", 2, 1)


def test_an_atomic_handler_commits_its_rows_and_its_acknowledgement_together(outcome_of):
    seen = []

    def handler(delivery):
        Effect.objects.create(n=1, receipt=delivery.receipt)
        transaction.on_commit(
            lambda: seen.append(ArchivedMessage.objects.filter(outcome="succeeded").count())
        )
        return connection.in_atomic_block

    row = outcome_of(handler, atomic=True)

    assert (row.outcome, row.result, row.attempts, row.receipt) == ("succeeded", True, 1, 1)
    assert Effect.objects.get().receipt == 1
    assert seen == [1]


def test_a_failed_atomic_handler_leaves_no_rows(outcome_of):
    def handler(delivery):
        Effect.objects.create(n=1, receipt=1)
        raise ValueError("too late")

    row = outcome_of(handler, atomic=True)

    assert isinstance(row, Message)
    assert not Effect.objects.exists()
    assert (row.attempts, row.leased_by, row.errors[0]["message"]) == (1, None, "too late")


@pytest.mark.parametrize("atomic", [False, True])
def test_a_failure_is_recorded_and_tried_again_later(outcome_of, atomic):
    def handler(delivery):
        raise LookupError(f"nothing under {delivery.payload}")

    row = outcome_of(handler, "here", atomic=atomic)

    (error,) = row.errors
    assert isinstance(row, Message)
    assert row.visible_at - row.enqueued_at > timedelta(minutes=59)
    assert (row.attempts, row.leased_by, row.leased_at, row.deaths) == (1, None, None, 0)
    assert set(error) == {"attempt", "at", "seconds", "process", "class", "message", "traceback"}
    assert (error["attempt"], error["class"], error["message"]) == (1, "LookupError", "nothing under here")
    assert "in handler" in error["traceback"]


@pytest.mark.parametrize("atomic", [False, True])
def test_the_last_attempt_that_fails_makes_a_dead_letter(outcome_of, atomic):
    was_last = []

    def handler(delivery):
        was_last.append(delivery.is_last_attempt)
        raise LookupError("nothing")

    row = outcome_of(handler, max_attempts=1, atomic=atomic)

    assert was_last == [True]
    assert (row.outcome, row.attempts, row.error_class) == ("dead", 1, "LookupError")
    assert row.error_fingerprint


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("delay", [1800, timedelta(minutes=30)])
def test_retry_tries_again_after_its_own_delay(outcome_of, atomic, delay):
    def handler(delivery):
        raise Retry(delay, "the other side sleeps")

    row = outcome_of(handler, atomic=atomic)

    assert timedelta(minutes=29) < row.visible_at - row.enqueued_at < timedelta(minutes=31)
    assert (row.attempts, row.errors[0]["message"]) == (1, "the other side sleeps")


def test_retry_without_a_delay_takes_the_back_off(outcome_of):
    def handler(delivery):
        raise Retry

    assert outcome_of(handler).visible_at - outcome_of_now() > timedelta(minutes=59)


def outcome_of_now():
    from django_letsgo_worker.engines import engine_for

    return engine_for("default").clock() - timedelta(seconds=1)


@pytest.mark.parametrize("atomic", [False, True])
def test_snooze_uses_no_attempt_and_records_nothing(outcome_of, atomic):
    def handler(delivery):
        raise Snooze(1800)

    row = outcome_of(handler, max_attempts=1, atomic=atomic)

    assert isinstance(row, Message)
    assert (row.attempts, row.errors, row.receipt, row.leased_by) == (0, [], 1, None)
    assert row.visible_at - row.enqueued_at > timedelta(minutes=29)


@pytest.mark.parametrize("atomic", [False, True])
def test_reject_makes_a_dead_letter_at_once(outcome_of, atomic):
    def handler(delivery):
        raise Reject("no such customer")

    row = outcome_of(handler, max_attempts=10, atomic=atomic)

    assert (row.outcome, row.attempts, row.errors[0]["message"]) == ("dead", 1, "no such customer")
    assert row.error_class.endswith("Reject")


def test_an_async_handler_may_raise_the_same(outcome_of):
    async def handler(delivery):
        raise Snooze(1800)

    assert outcome_of(handler).attempts == 0


@pytest.mark.parametrize("result", [0, "", False, [], {}, "text", 1.5, [1, [2, {"a": None}]], "ä\U0001f600"])
def test_a_result_comes_back_as_it_was(outcome_of, result):
    row = outcome_of(lambda delivery: result)

    assert (row.result, type(row.result)) == (result, type(result))


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ({1, 2}, "{1, 2}"),
        (object, "<class 'object'>"),
        (float("nan"), "nan"),
        (b"bytes", "b'bytes'"),
        ({"a": float("inf")}, "{'a': inf}"),
        (UnreadableResult(), "(a UnreadableResult whose text cannot be read)"),
    ],
)
def test_a_result_that_is_not_json_is_kept_as_its_text_with_a_warning(outcome_of, caplog, result, kept):
    row = outcome_of(lambda delivery: result)

    assert (row.outcome, row.result) == ("succeeded", kept)
    assert [r for r in caplog.records if r.levelno == logging.WARNING and "not JSON" in r.getMessage()]


@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_a_result_of_hostile_text_is_stored(outcome_of, text):
    assert outcome_of(lambda delivery: text).outcome == "succeeded"


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize(
    "error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit(), BaseException("base")]
)
def test_what_would_end_a_program_is_a_failed_attempt(outcome_of, atomic, error):
    def handler(delivery):
        raise error

    row = outcome_of(handler, atomic=atomic)

    assert isinstance(row, Message)
    assert row.errors[0]["class"] == type(error).__name__


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), BaseException("base")])
def test_in_an_async_handler_too_and_the_next_one_runs(handle, work_off, error):
    @handle("t:exits", backoff=[3600])
    async def exits(delivery):
        raise error

    @handle("t:runs")
    async def runs(delivery):
        return "ran"

    first, second = enqueue("t:exits", priority=1), enqueue("t:runs")

    work_off()

    first.refresh_from_db()
    assert first.errors[0]["class"] == type(error).__name__
    assert ArchivedMessage.objects.get(pk=second.pk).result == "ran"


@pytest.mark.parametrize("atomic", [False, True])
def test_an_exception_that_cannot_be_read_is_recorded_all_the_same(outcome_of, atomic):
    def handler(delivery):
        raise Unreadable

    row = outcome_of(handler, atomic=atomic)

    assert row.errors[0]["class"].endswith("Unreadable")
    assert "cannot be read" in row.errors[0]["message"]


@pytest.mark.parametrize("atomic", [False, True])
@pytest.mark.parametrize("text", HOSTILE_TEXTS, ids=range(len(HOSTILE_TEXTS)))
def test_an_exception_of_hostile_text_is_recorded(outcome_of, atomic, text):
    def handler(delivery):
        raise ValueError(text)

    row = outcome_of(handler, atomic=atomic, max_attempts=1)

    assert (row.outcome, row.error_class) == ("dead", "ValueError")
    assert len(row.errors[0]["message"].encode()) <= 65_536
    assert row.errors[0]["message"][:3] == text[:3].replace("\x00", "")


def test_an_exception_with_hostile_causes_and_notes_is_recorded(outcome_of):
    def handler(delivery):
        error = ValueError("outer")
        error.add_note("note \x00 \ud800")
        raise error from Unreadable()

    row = outcome_of(handler)

    assert row.errors[0]["message"] == "outer"


def test_endless_recursion_is_a_failed_attempt(outcome_of):
    def handler(delivery):
        return handler(delivery)

    assert outcome_of(handler).errors[0]["class"] == "RecursionError"


def test_an_exception_class_with_an_endless_name_is_recorded(outcome_of):
    def handler(delivery):
        raise type("E" * 1000, (Exception,), {})("x")

    assert len(outcome_of(handler, max_attempts=1).error_class) <= 255


def test_what_a_handler_changes_in_its_payload_changes_no_row(outcome_of):
    def handler(delivery):
        delivery.payload["n"] = "changed"
        delivery.payload["more"] = True
        delivery.headers["x"] = 1
        raise ValueError("no")

    row = outcome_of(handler, {"n": 1})

    assert (row.payload, row.headers) == ({"n": 1}, {})


def test_a_delivery_cannot_be_changed(outcome_of):
    def handler(delivery):
        delivery.attempt = 0

    assert outcome_of(handler).errors[0]["class"] == "dataclasses.FrozenInstanceError"


def test_a_workers_delivery_is_as_the_constructor_makes_it(outcome_of):
    seen = []

    outcome_of(seen.append, {"n": 1})

    (given,) = seen
    made = dataclasses.replace(given)
    assert (made, repr(made), list(vars(made))) == (given, repr(given), list(vars(given)))


def test_ten_errors_are_kept_the_newest(handle, work_off):
    @handle("t:fails", backoff=[0])
    def fails(delivery):
        raise ValueError(f"attempt {delivery.attempt}")

    message = enqueue("t:fails", max_attempts=12)

    work_off()

    errors = ArchivedMessage.objects.get(pk=message.pk).errors
    assert [error["attempt"] for error in errors] == list(range(3, 13))


def test_a_failure_is_logged_with_its_traceback_and_without_its_payload(outcome_of, caplog):
    def handler(delivery):
        raise ValueError("no")

    with caplog.at_level(logging.DEBUG, logger="django_letsgo_worker"):
        outcome_of(handler, {"canary": "tweet-tweet"})

    assert [r for r in caplog.records if r.exc_info and r.exc_info[0] is ValueError]
    assert "tweet-tweet" not in caplog.text


@pytest.mark.parametrize("atomic", [False, True])
def test_signals_tell_of_each_delivery(handle, work_off, atomic):
    told = []

    def started(sender, delivery, **_):
        told.append(("started", delivery.attempt))

    def finished(sender, delivery, outcome, seconds, exception, **_):
        told.append((outcome, delivery.attempt, type(exception).__name__))

    def died(sender, message_id, type, errors, **_):
        told.append(("died", message_id, type, len(errors)))

    delivery_started.connect(started)
    delivery_finished.connect(finished)
    message_died.connect(died)

    @handle("t:fails", backoff=[0], atomic=atomic)
    def fails(delivery):
        raise ValueError("no")

    message = enqueue("t:fails", max_attempts=2)

    work_off()

    assert told == [
        ("started", 1), ("retry", 1, "ValueError"),
        ("started", 2), ("dead", 2, "ValueError"), ("died", message.pk, "t:fails", 2),
    ]  # fmt: skip


@pytest.mark.parametrize("atomic", [False, True])
def test_broken_receivers_break_nothing(handle, work_off, atomic):
    def broken(**_):
        raise RuntimeError("this receiver is broken")

    def broken_query(**_):
        connection.cursor().execute("SELECT nonsense FROM nowhere")

    signals = (delivery_started, delivery_finished, message_died)
    for signal in signals:
        signal.connect(broken)
        signal.connect(broken_query)
    try:
        handle("t:runs", atomic=atomic)(lambda delivery: Effect.objects.create(n=1, receipt=1) and None)

        @handle("t:dies")
        def dies(delivery):
            raise Reject("no")

        first, second = enqueue("t:runs", priority=1), enqueue("t:dies")
        work_off()
    finally:
        for signal in signals:
            signal.disconnect(broken)
            signal.disconnect(broken_query)

    assert ArchivedMessage.objects.get(pk=first.pk).outcome == "succeeded"
    assert ArchivedMessage.objects.get(pk=second.pk).outcome == "dead"
    assert Effect.objects.count() == 1


def test_the_signal_of_the_end_comes_when_the_row_is_written(handle, work_off):
    found = []

    def finished(sender, delivery, **_):
        found.append(ArchivedMessage.objects.filter(pk=delivery.message_id).exists())

    delivery_finished.connect(finished)
    handle("t:runs")(lambda delivery: None)
    enqueue("t:runs")

    work_off()
    assert found == [True]


@pytest.mark.parametrize("level", ["INFO", "WARNING"])
def test_a_receiver_hears_of_successes_whether_they_are_logged_or_not(handle, work_off, caplog, level):
    caplog.set_level(level, logger="django_letsgo_worker.worker")
    heard = []

    def finished(outcome, **_):
        heard.append(outcome)

    delivery_finished.connect(finished)
    handle("t:runs")(lambda delivery: None)
    enqueue("t:runs")

    work_off()
    assert heard == ["succeeded"]
    assert ("succeeded: message" in caplog.text) is (level == "INFO")


def test_a_receiver_that_is_gone_wants_nothing():
    signal = WantedSignal("")

    def picky(**_): ...

    def eager(**_): ...

    signal.connect(picky, wants=lambda: False)
    assert not signal.is_wanted
    signal.disconnect(picky)
    signal.connect(eager)
    assert signal.is_wanted


@pytest.mark.parametrize("atomic", [False, True])
def test_a_receiver_of_the_start_cannot_leave_a_broken_connection_to_the_handler(handle, work_off, atomic):
    def sloppy(**_):
        connection.set_autocommit(False)

    delivery_started.connect(sloppy)
    handle("t:runs", atomic=atomic)(lambda delivery: Effect.objects.create(n=1, receipt=1) and None)
    message = enqueue("t:runs")
    try:
        work_off()
    finally:
        delivery_started.disconnect(sloppy)

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
    assert Effect.objects.count() == 1


def test_a_swallowed_sql_error_inside_an_atomic_handler_is_not_half_a_success(outcome_of, engine):
    def handler(delivery):
        Effect.objects.create(n=1, receipt=1)
        with contextlib.suppress(DatabaseError):
            connection.cursor().execute("SELECT nonsense FROM nowhere")

    row = outcome_of(handler, atomic=True)

    if engine == "postgres":
        # There the transaction is spoilt, and the database refuses the rest.
        assert isinstance(row, Message)
        assert not Effect.objects.exists()
        assert row.attempts == 1
    else:
        assert row.outcome == "succeeded"
        assert Effect.objects.count() == 1


def test_an_atomic_handler_whose_callback_on_commit_fails_has_succeeded(outcome_of):
    def handler(delivery):
        Effect.objects.create(n=1, receipt=1)
        transaction.on_commit(lambda: 1 / 0)

    row = outcome_of(handler, atomic=True)

    assert (row.outcome, Effect.objects.count()) == ("succeeded", 1)


def test_what_an_atomic_handler_enqueues_exists_only_if_it_commits(handle, work_off):
    seen = []
    handle("t:child")(lambda delivery: seen.append(delivery.payload))

    @handle("t:parent", atomic=True, backoff=[0])
    def parent(delivery):
        enqueue("t:child", delivery.attempt)
        if delivery.attempt == 1:
            raise ValueError("not yet")

    enqueue("t:parent")

    work_off()

    assert seen == [2]


def test_sync_and_async_and_atomic_work_side_by_side(handle, start_worker):
    handle("t:plain")(lambda delivery: Entry.objects.create(n=1, receipt=1, attempt=1, process=1) and None)
    handle("t:atomic", atomic=True)(lambda delivery: Effect.objects.create(n=1, receipt=1) and None)

    @handle("t:async")
    async def of_a_loop(delivery):
        await Entry.objects.acreate(n=2, receipt=1, attempt=1, process=1)

    start_worker(seats=4)
    for _ in range(30):
        for type in ("t:plain", "t:atomic", "t:async"):
            enqueue(type)

    wait_until(lambda: ArchivedMessage.objects.filter(outcome="succeeded").count() == 90)
    assert Entry.objects.count() == 60
    assert Effect.objects.count() == 30


def test_an_atomic_handler_that_goes_on_after_a_database_error_has_failed(outcome_of):
    def handler(delivery):
        Effect.objects.create(n=1, receipt=1)
        with contextlib.suppress(IntegrityError):
            Effect.objects.create(n=None, receipt=1)
        return "done"

    row = outcome_of(handler, atomic=True)

    assert isinstance(row, Message)
    assert row.errors[0]["class"] == "django.db.transaction.TransactionManagementError"
    assert "of its own" in row.errors[0]["message"]
    assert not Effect.objects.exists()


def test_an_atomic_handler_may_catch_what_fails_in_a_block_of_its_own(outcome_of):
    def handler(delivery):
        Effect.objects.create(n=1, receipt=1)
        with contextlib.suppress(IntegrityError), transaction.atomic():
            Effect.objects.create(n=None, receipt=1)

    assert outcome_of(handler, atomic=True).outcome == "succeeded"
    assert [effect.n for effect in Effect.objects.all()] == [1]
