"""When a message is given up before its last attempt, or is granted more: by its handler and by Retry."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import DatabaseError, OperationalError

from django_letsgo_worker import Reject, Retry, enqueue
from django_letsgo_worker.engines import AtomicScope, engine_for
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def row_of(message):
    return ArchivedMessage.objects.filter(pk=message.pk).first() or Message.objects.get(pk=message.pk)


def raising(error, *, is_async=False):
    def handle(delivery):
        raise error

    async def handle_later(delivery):
        raise error

    return handle_later if is_async else handle


@pytest.mark.parametrize("how", [{}, {"atomic": True}, {"is_async": True}])
@pytest.mark.parametrize(
    ("options", "error", "outcome"),
    [
        ({"retry_on": [ConnectionError]}, ConnectionResetError("no"), "live"),
        ({"retry_on": [ConnectionError]}, ValueError("no"), "dead"),
        ({"retry_on": ()}, Retry(3600), "live"),
        ({"give_up_on": ValueError}, ValueError("no"), "dead"),
        ({"give_up_on": ValueError}, KeyError("no"), "live"),
        ({"backoff": lambda attempt, error: None}, ValueError("no"), "dead"),
    ],
)
def test_what_a_handler_says_of_exceptions_holds(handle, work, how, options, error, outcome):
    atomic = {"atomic": True} if "atomic" in how else {}
    handle("t:it", **{"backoff": [3600], **options}, **atomic)(raising(error, is_async="is_async" in how))
    message = enqueue("t:it", max_attempts=5)

    work()

    assert getattr(row_of(message), "outcome", "live") == outcome
    assert row_of(message).attempts == 1


def test_a_back_off_that_rejects_gives_up_with_its_reason(handle, work):
    def give_up(attempt, error):
        raise Reject("three times the same")

    handle("t:it", backoff=give_up)(raising(ValueError("no")))
    message = enqueue("t:it")

    work()

    (entry,) = row_of(message).errors
    assert (row_of(message).outcome, entry["class"]) == ("dead", "ValueError")
    assert "Given up by its back-off: three times the same" in entry["traceback"]


def test_a_message_whose_worker_died_is_retried_whatever_retry_on_says(handle, work):
    done = []
    handle("t:it", retry_on=())(lambda delivery: done.append(delivery.attempt))
    message = enqueue("t:it", max_attempts=2)
    Message.objects.filter(pk=message.pk).update(attempts=1, deaths=1)

    work()

    assert (done, row_of(message).outcome) == ([2], "succeeded")


@pytest.mark.parametrize("place", ["open", "settle"])
def test_a_fault_of_the_database_around_an_atomic_handler_is_not_its_own(
    handle, work_off, monkeypatch, place
):
    """retry_on=() is about what the handler raises, not about our lock and our settlement."""
    handle("t:it", atomic=True, retry_on=())(lambda delivery: None)
    message = enqueue("t:it", max_attempts=3)
    failed = []

    def failing_once(real):
        def call(self, *arguments, **options):
            if not failed:
                failed.append(True)
                raise OperationalError("the connection was cut")
            return real(self, *arguments, **options)

        return call

    for hold in (AtomicScope, *AtomicScope.__subclasses__()):
        monkeypatch.setattr(hold, place, failing_once(getattr(hold, place)))
    work_off()

    assert failed
    live = Message.objects.get(pk=message.pk)
    assert live.errors[0]["class"] == "django.db.utils.OperationalError"


# -- Retry(max_attempts=...) --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["plain", "atomic", "async"])
def test_a_retry_grants_more_attempts_and_the_row_keeps_them(handle, work, how):
    error = Retry(3600, max_attempts=7)
    handle("t:it", atomic=how == "atomic")(raising(error, is_async=how == "async"))
    message = enqueue("t:it", max_attempts=1)

    work()

    live = Message.objects.get(pk=message.pk)
    assert (live.attempts, live.max_attempts, len(live.errors)) == (1, 7, 1)


@pytest.mark.parametrize("asked", [1, 3])
def test_a_retry_never_takes_attempts_away(handle, work, asked):
    handle("t:it")(raising(Retry(3600, max_attempts=asked)))
    message = enqueue("t:it", max_attempts=3)

    work()

    assert Message.objects.get(pk=message.pk).max_attempts == 3


def test_the_attempts_that_were_granted_are_made_and_no_more(handle, work_off):
    seen = []

    @handle("t:it", backoff=0)
    def try_again(delivery):
        seen.append((delivery.attempt, delivery.max_attempts))
        raise Retry(0, max_attempts=3)

    message = enqueue("t:it", max_attempts=1)

    wait_until(lambda: work_off() or not Message.objects.exists())

    assert seen == [(1, 1), (2, 3), (3, 3)]
    assert (row_of(message).outcome, row_of(message).max_attempts) == ("dead", 3)


def test_among_many_each_has_its_own_limit(handle, start_worker):
    @handle("t:it")
    def grant(delivery):
        if delivery.payload:
            raise Retry(3600, max_attempts=delivery.payload)

    messages = [enqueue("t:it", n, max_attempts=1) for n in (0, 5, 0, 6, 7)]

    start_worker(seats=5)
    wait_until(lambda: Message.objects.filter(leased_by=None, attempts=1).count() == 3)

    limits = {row.payload: row.max_attempts for row in Message.objects.all()}
    assert limits == {5: 5, 6: 6, 7: 7}
    assert ArchivedMessage.objects.filter(pk__in=[m.pk for m in messages], max_attempts=1).count() == 2


def test_a_limit_that_was_granted_beyond_the_deadline_expires(handle, work):
    handle("t:it")(raising(Retry(3600, max_attempts=7)))
    message = enqueue("t:it", max_attempts=1, deadline=timedelta(minutes=1))

    work()

    assert (row_of(message).outcome, row_of(message).max_attempts) == ("expired", 1)


def test_a_limit_that_could_not_be_written_is_written_with_the_attempt_or_not_at_all(
    handle, work_off, monkeypatch
):
    engine, refused = type(engine_for("default")), []
    settle_more = engine.settle_more

    def refuse_once(self, settlements, written, now):
        settle_more(self, settlements, written, now)
        if not refused and any(s.max_attempts for s in settlements):
            refused.append(True)
            raise DatabaseError("refused, after all of it was written")

    monkeypatch.setattr(engine, "settle_more", refuse_once)
    handle("t:it")(raising(Retry(3600, max_attempts=7)))
    message = enqueue("t:it", max_attempts=1)

    work_off()

    live = Message.objects.get(pk=message.pk)
    assert refused and (live.attempts, live.max_attempts) == (1, 7)
