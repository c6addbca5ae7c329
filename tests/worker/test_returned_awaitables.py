"""What a handler gives back may be work that has not run: it is awaited, or the attempt has failed."""

from __future__ import annotations

import asyncio
import functools
import threading
from dataclasses import dataclass

import pytest
from asgiref.sync import sync_to_async

from django_letsgo_worker import Delivery, Reject, Retry, enqueue, message_type, registry, typed
from django_letsgo_worker.context import correlation_id, get_correlation_id
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.testapp.models import Effect

pytestmark = pytest.mark.django_db(transaction=True)


async def write_one(delivery):
    """Done only if somebody awaits it."""
    await asyncio.sleep(0)
    await Effect.objects.acreate(n=delivery.attempt, receipt=delivery.receipt)
    return "written"


def plainly(function):
    """A decorator that knows nothing of async functions."""

    @functools.wraps(function)
    def wrapper(*args):
        return function(*args)

    return wrapper


class Callable:
    async def __call__(self, delivery):
        return await write_one(delivery)

    async def method(self, delivery):
        return await write_one(delivery)

    __eq__ = object.__eq__  # and so it cannot be hashed
    __hash__ = None


class View:
    """As class-based views are made into functions."""

    @classmethod
    def as_handler(cls):
        def handle(delivery):
            return cls().dispatch(delivery)

        return handle

    async def dispatch(self, delivery):
        return await write_one(delivery)


async def twice(delivery):
    """The await was forgotten."""
    return write_one(delivery)


NOT_SEEN_TO_BE_ASYNC = {
    "behind a plain decorator": plainly(write_one),
    "behind a lambda": lambda delivery: write_one(delivery),
    "a class-based one": View.as_handler(),
    "a coroutine that gives back another": plainly(twice),
    "a partial of one behind a decorator": functools.partial(plainly(write_one)),
}
SEEN_TO_BE_ASYNC = {
    "async def": write_one,
    "an object with an async __call__": Callable(),
    "a partial of such an object": functools.partial(Callable()),
    "an async method": Callable().method,
    "a partial": functools.partial(write_one),
    "a static method": staticmethod(write_one),
    "one that forgot an await": twice,
}


def the_end_of(message):
    return ArchivedMessage.objects.filter(pk=message.pk).first() or Message.objects.get(pk=message.pk)


@pytest.mark.parametrize("name", [*NOT_SEEN_TO_BE_ASYNC, *SEEN_TO_BE_ASYNC])
def test_an_async_handler_runs_however_it_is_wrapped(handle, work, name):
    handle("t:it")({**NOT_SEEN_TO_BE_ASYNC, **SEEN_TO_BE_ASYNC}[name])
    assert registry.get("t:it").is_async == (name in SEEN_TO_BE_ASYNC)
    message = enqueue("t:it")

    work()

    assert (the_end_of(message).outcome, the_end_of(message).result) == ("succeeded", "written")
    assert Effect.objects.count() == 1


@pytest.mark.parametrize("name", NOT_SEEN_TO_BE_ASYNC)
def test_what_an_atomic_handler_gives_back_is_awaited_in_its_transaction(handle, work, name):
    handle("t:it", atomic=True)(NOT_SEEN_TO_BE_ASYNC[name])
    message = enqueue("t:it")

    work()

    assert (the_end_of(message).outcome, the_end_of(message).result) == ("succeeded", "written")
    assert Effect.objects.count() == 1


def test_what_it_wrote_before_it_failed_is_rolled_back_with_an_atomic_handler(handle, work):
    async def write_and_fail(delivery):
        await write_one(delivery)
        raise ValueError("after the row")

    handle("t:it", atomic=True, backoff=[3600])(plainly(write_and_fail))
    message = enqueue("t:it")

    work()

    assert the_end_of(message).errors[0]["class"] == "ValueError"
    assert not Effect.objects.exists()


@pytest.mark.parametrize("atomic", [False, True])
def test_its_orm_calls_are_made_on_the_thread_of_its_handler(handle, work, atomic):
    threads = []

    def look():
        threads.append(threading.current_thread())

    @handle("t:it", atomic=atomic)
    def outside(delivery):
        look()
        return sync_to_async(look)()

    enqueue("t:it")

    work()

    assert len(threads) == 2 and threads[0] is threads[1]


@pytest.mark.parametrize(
    ("error", "becomes"),
    [
        (ValueError("no"), ("dead", "ValueError")),
        (Reject("never"), ("dead", "django_letsgo_worker.outcomes.Reject")),
        (SystemExit("enough"), ("dead", "SystemExit")),
        (asyncio.CancelledError(), ("dead", "asyncio.exceptions.CancelledError")),
    ],
)
def test_what_it_raises_while_it_is_awaited_is_a_failed_attempt(handle, work, error, becomes):
    async def fail(delivery):
        await asyncio.sleep(0)
        raise error

    handle("t:it")(plainly(fail))
    message = enqueue("t:it", max_attempts=1)

    work()

    archived = the_end_of(message)
    assert (archived.outcome, archived.error_class) == becomes


def test_retry_is_heard_from_there(handle, work):
    async def again(delivery):
        raise Retry(3600)

    handle("t:it")(plainly(again))
    message = enqueue("t:it")

    work()

    assert Message.objects.get(pk=message.pk).attempts == 1


def test_a_time_out_cancels_what_is_awaited(handle, work):
    cancelled = []

    async def wait(delivery):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(delivery.message_id)
            raise

    handle("t:it", timeout=0.2)(plainly(wait))
    message = enqueue("t:it", max_attempts=1)

    work()

    assert cancelled == [message.pk]
    assert the_end_of(message).error_class == "TimeoutError"


def test_the_context_of_its_message_is_around_it(handle, work, settings):
    settings.LETSGO_WORKER = {**settings.LETSGO_WORKER, "CONTEXT": ["correlation_id"]}

    async def tell(delivery):
        await asyncio.sleep(0)
        return get_correlation_id()

    handle("t:it")(plainly(tell))
    with correlation_id("of the request"):
        message = enqueue("t:it")

    work()

    assert the_end_of(message).result == "of the request"


def test_a_typed_handler_behind_a_decorator_is_given_its_object(handle, work):
    @message_type("t:typed")
    @dataclass
    class Order:
        number: int

    async def read(delivery: Delivery[Order]):
        return delivery.payload.number

    try:
        handle(Order)(plainly(read))
        message = enqueue(Order(7))

        work()
    finally:
        registry.remove(Order)
        typed.remove("t:typed")

    assert the_end_of(message).result == 7


# -- what cannot be awaited ---------------------------------------------------------------------------------


def generator(delivery):
    yield Effect.objects.create(n=1, receipt=0)


async def async_generator(delivery):
    yield await Effect.objects.acreate(n=1, receipt=0)


async def generator_later(delivery):
    return generator(delivery)


LAZY = {
    "a generator": plainly(generator),
    "an async generator": plainly(async_generator),
    "a map()": lambda delivery: map(generator, [delivery]),
    "a filter()": lambda delivery: filter(generator, [delivery]),
    "a generator, later": generator_later,
}


@pytest.mark.parametrize("name", LAZY)
@pytest.mark.parametrize("atomic", [False, True])
def test_a_generator_that_is_given_back_is_a_failed_attempt(handle, work, name, atomic):
    if atomic and name.endswith("later"):
        pytest.skip("It is async.")
    handle("t:it", atomic=atomic, backoff=[3600])(LAZY[name])
    message = enqueue("t:it")

    work()

    live = Message.objects.get(pk=message.pk)
    kind = name.removesuffix(", later")
    assert live.attempts == 1
    assert live.errors[0]["class"] == "TypeError"
    assert live.errors[0]["message"] == (
        f"The handler of 't:it' gave back {kind}, of which nothing has run: loop over it in the handler."
    )
    assert not Effect.objects.exists()


@pytest.mark.parametrize("result", [[1], (1,), {"a": 1}, range(2), "text", 0, False], ids=repr)
def test_any_other_result_counts_as_before(handle, work, result):
    handle("t:it")(lambda delivery: result)
    message = enqueue("t:it")

    work()

    assert the_end_of(message).outcome == "succeeded"
