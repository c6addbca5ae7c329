"""testing.drain() beside a real worker: the same handler, the same rows, the same signals."""

from __future__ import annotations

import contextlib

import pytest
from django.db import connection, transaction

from django_letsgo_worker import Reject, Retry, Snooze, enqueue, messages, registry
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import Message
from django_letsgo_worker.signals import delivery_finished, delivery_started, lease_lost, message_died
from django_letsgo_worker.testing import drain
from django_letsgo_worker.worker import Options
from tests.testapp.models import Effect
from tests.worker.conftest import WorkerThread

pytestmark = pytest.mark.django_db(transaction=True)

SIGNALS = {
    "started": delivery_started,
    "finished": delivery_finished,
    "lost": lease_lost,
    "died": message_died,
}


def effect(n):
    Effect.objects.create(n=n, receipt=0)


def raising(error):
    def it(delivery):
        effect(1)
        raise error

    return it


def returning(result):
    def it(delivery):
        effect(1)
        return result

    return it


async def awaited(delivery):
    await Effect.objects.acreate(n=1, receipt=0)
    return delivery.payload


async def ended(delivery):
    raise SystemExit(3)


def on_commit(delivery):
    with transaction.atomic():
        transaction.on_commit(lambda: effect(2))
    effect(1)


def failing_on_commit(delivery):
    def fail():
        raise LookupError("on commit")

    with transaction.atomic():
        effect(1)
        transaction.on_commit(fail)


def rolled_back(delivery):
    with contextlib.suppress(ValueError), transaction.atomic():
        effect(1)
        transaction.on_commit(lambda: effect(2))
        raise ValueError
    effect(3)


def enqueuing(delivery):
    if delivery.payload != "again":
        enqueue("t:it", "again", unique_key="the key")


def own_key(delivery):
    assert enqueue("t:it", "other", unique_key="the key").pk == delivery.message_id


def cancelling(delivery):
    messages.cancel(delivery.message_id)


def extending(delivery):
    delivery.extend(90)


def closing(delivery):
    effect(1)
    connection.close()
    effect(2)


def leaving_open(delivery):
    effect(1)
    transaction.atomic().__enter__()
    effect(2)


HOSTILE = "NUL \x00, a lone surrogate \ud800, <script>%s {} {0.__class__}" + "x" * 100_000

HANDLERS = {
    "nothing returned": returning(None),
    "a result": returning({"a": [1, 2.5, None, "ä"]}),
    "a result that is no JSON": returning({1, 2}.__class__),
    "a failure": raising(ValueError("no")),
    "a hostile text": raising(ValueError(HOSTILE)),
    "an exit": raising(SystemExit(3)),
    "a retry": raising(Retry(8, "busy")),
    "a retry by the back-off": raising(Retry()),
    "a snooze": raising(Snooze(8)),
    "a rejection": raising(Reject("not for us")),
    "a callback on commit": on_commit,
    "a callback that fails": failing_on_commit,
    "a block rolled back": rolled_back,
    "a message more": enqueuing,
    "its own key": own_key,
    "its own cancellation": cancelling,
    "more time": extending,
}
ASYNC = {"awaited": awaited, "ended": ended}
# Nothing of these is possible inside a transaction of the caller.
IN_AUTOCOMMIT_ONLY = {"a closed connection": closing, "a block left open": leaving_open}

MORE_CASES = [
    pytest.param(function, atomic, id=f"{name}{', atomic' * atomic}")
    for name, function in IN_AUTOCOMMIT_ONLY.items()
    for atomic in (False, True)
]
# Of these the last attempt ends otherwise.
FAILING = {"a failure", "an exit", "a retry", "a snooze", "a rejection", "a callback that fails", "ended"}


def by_a_worker():
    working = WorkerThread(Options(seats=1, until_empty=True, lease_seconds=30.0, poll_seconds=0.2))
    try:
        working.join()
    finally:
        working.stop()


def inside_a_transaction():
    with transaction.atomic():
        drain()


@pytest.fixture
def story():
    """Run one message by a function, somehow, and return all that can be seen of it afterwards."""

    def tell(function, work, *, max_attempts, **options):
        heard, receivers = [], []
        for name, signal in SIGNALS.items():

            def receive(sender, signal, name=name, **facts):
                heard.append((name, *told(facts)))

            receivers.append((signal, receive))
            signal.connect(receive)
        registry.handler("t:it", backoff=[3600], **options)(function)
        try:
            message = enqueue("t:it", "payload", max_attempts=max_attempts, unique_key="the key")
            work()
            row = seen(find(message.pk))
            return {**row, "effects": effects(), "heard": heard, "live": Message.objects.count()}
        finally:
            registry.remove("t:it")
            for signal, receive in receivers:
                signal.disconnect(receive)
            Message.objects.all().delete()
            Effect.objects.all().delete()

    return tell


def told(facts):
    for name in ("outcome", "result", "delay", "exception"):
        if name in facts:
            yield repr(facts[name])
    if "errors" in facts:
        yield len(facts["errors"])


def effects():
    return sorted(Effect.objects.values_list("n", flat=True))


def seen(row):
    """The facts of a row that do not depend on the moment."""
    names = ("attempts", "max_attempts", "receipt", "deaths", "leased_by", "unique_key", "queue", "priority")
    facts = {name: getattr(row, name) for name in names}
    facts |= {name: getattr(row, name, None) for name in ("outcome", "result", "error_class")}
    facts["leased_by"] = row.leased_by is not None
    facts["began"] = row.first_started_at is not None
    # To ten seconds, and no delay here is near the middle of two.
    facts["pause"] = round((row.visible_at - row.enqueued_at).total_seconds(), -1)
    facts["errors"] = [(error["attempt"], error["class"], error["message"]) for error in row.errors]
    return facts


@pytest.mark.parametrize(
    ("function", "atomic", "max_attempts"),
    [
        pytest.param(function, atomic, most, id=f"{name}{', atomic' * atomic}, {most} at most")
        for name, function in (HANDLERS | ASYNC).items()
        for atomic in (False, True)
        for most in (3, 1)
        if not (atomic and name in ASYNC) and (most == 3 or name in FAILING)
    ],
)
def test_it_ends_as_it_does_with_a_worker(story, function, atomic, max_attempts):
    options = {"atomic": atomic, "max_attempts": max_attempts}
    expected = story(function, by_a_worker, **options)
    assert story(function, drain, **options) == expected
    assert story(function, inside_a_transaction, **options) == expected


@pytest.mark.parametrize(("function", "atomic"), MORE_CASES)
def test_whatever_it_leaves_behind_it_ends_as_it_does_with_a_worker(story, function, atomic):
    expected = story(function, by_a_worker, atomic=atomic, max_attempts=3)
    assert story(function, drain, atomic=atomic, max_attempts=3) == expected


def test_the_story_tells_different_ends_apart(story):
    ends = [story(HANDLERS[name], drain, max_attempts=3) for name in ("a retry", "a snooze", "a rejection")]
    assert all(one != other for one in ends for other in ends if one is not other)
