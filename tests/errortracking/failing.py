"""Each way in which a message can fail, with the secret in its payload, its headers or its result.

No function here has the secret in a variable, but the one that shows that a tracker would send it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import sentry_sdk
from django.core.management import call_command
from django.db import connection

from django_letsgo_worker import (
    Delivery,
    aenqueue,
    context,
    enqueue,
    enqueue_many,
    handler,
    message_type,
    schedules,
)
from django_letsgo_worker.engines import ARCHIVE, TABLE
from django_letsgo_worker.models import Message
from tests.worker.test_refused_outcomes import CREATE, DROP

logger = logging.getLogger("tests.errortracking")
CASES: dict[str, Callable[[], Any]] = {}


def secret() -> str:
    return os.environ["ERRORTRACKING_SECRET"]


def order(**more: Any) -> Any:
    return {"card": secret(), "lines": [{"of": [secret()]}], **more}


def case(function: Callable[[], Any]) -> Callable[[], Any]:
    CASES[function.__name__] = function
    return function


def work() -> None:
    call_command("letsgo", "worker", "run", "--until-empty", "--concurrency", "2")


@contextlib.contextmanager
def reported() -> Iterator[None]:
    """What a view's error does: it is logged, and sent."""
    try:
        yield
    except Exception as error:
        sentry_sdk.capture_exception(error)
        logger.exception("It failed.")
    else:
        raise AssertionError("nothing failed")


@contextlib.contextmanager
def refused(when: str, table: str = ARCHIVE, event: str = "INSERT") -> Iterator[None]:
    facts = {"n": 9, "table": table, "event": event, "when": when}
    with connection.cursor() as cursor:
        for statement in CREATE[connection.vendor]:
            cursor.execute(statement.format(**facts))
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(DROP[connection.vendor].format(**facts))


# -- handlers that fail -------------------------------------------------------------------------------------


@handler("tracked:sync", max_attempts=2, backoff=0)
def fail(delivery: Delivery) -> None:
    raise ValueError("it fails")


@handler("tracked:atomic", max_attempts=2, backoff=0, atomic=True)
def fail_in_a_transaction(delivery: Delivery) -> None:
    raise ValueError("it fails")


@handler("tracked:async", max_attempts=2, backoff=0)
async def fail_on_the_loop(delivery: Delivery) -> None:
    raise ValueError("it fails")


@handler("tracked:timeout", max_attempts=1, timeout=0.05)
async def take_too_long(delivery: Delivery) -> None:
    await asyncio.sleep(30)


@handler("tracked:result")
def give_back(delivery: Delivery) -> Any:
    return order()


@handler("tracked:atomic-result", atomic=True, max_attempts=1)
def give_back_in_a_transaction(delivery: Delivery) -> Any:
    return order()


@handler("tracked:odd-result")
def give_back_no_json(delivery: Delivery) -> Any:
    return {secret(): {secret()}}


@handler("tracked:long-result")
def give_back_too_much(delivery: Delivery) -> Any:
    return [secret()] * 200_000


@handler("tracked:own", max_attempts=1)
def fail_with_the_payload_in_a_variable(delivery: Delivery) -> None:
    payload = delivery.payload
    raise ValueError(f"it fails with {len(payload)} facts")


@message_type("tracked:typed")
@dataclass
class Order:
    card: str
    count: int


@handler(Order, max_attempts=1)
def fail_typed(delivery: Delivery[Order]) -> None:
    raise ValueError("it fails")


def enqueue_all(*types: str, **options: Any) -> None:
    for type in types:
        enqueue(type, order(), headers={"authorization": secret()}, **options)


def restore(value: Any) -> Any:
    del value
    raise ValueError("it fails")


context.carrier("tracked", capture=secret, restore=restore)
context.carrier("tracked-too-much", capture=lambda: [secret()] * 1_000, restore=restore)


@case
def carriers_that_fail() -> None:
    """That is said once of each, so this comes first."""
    enqueue_all("tracked:result")
    work()


@case
def handlers_that_raise() -> None:
    enqueue_all("tracked:sync", "tracked:atomic", "tracked:async", "tracked:timeout")
    work()


@case
def an_async_handler_alone() -> None:
    enqueue_all("tracked:async")
    work()


@case
def a_typed_message_that_does_not_fit() -> None:
    message = enqueue(Order("4711", 1))
    Message.objects.filter(pk=message.pk).update(payload=order(count="many"))
    work()


@case
def a_payload_that_nobody_can_read() -> None:
    enqueue("tracked:sync", [[secret()]], max_attempts=1, delay=3600)
    deep = "[" * 5_000 + f'"{secret()}"' + "]" * 5_000
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {TABLE} SET payload = %s", [deep])
    Message.objects.update(visible_at="2020-01-01T00:00:00Z")
    work()


@case
def headers_that_nobody_can_read() -> None:
    enqueue("tracked:sync", order(), max_attempts=1)
    Message.objects.update(headers=[secret()])
    work()


@case
def results_that_are_odd() -> None:
    enqueue_all("tracked:odd-result", "tracked:long-result")
    work()


# -- outcomes that are refused ------------------------------------------------------------------------------


@case
def results_that_the_database_refuses() -> None:
    with refused("NEW.result IS NOT NULL"):
        enqueue_all("tracked:result", "tracked:result")
        work()
    assert not Message.objects.exists()


@case
def outcomes_that_the_database_refuses() -> None:
    with refused("NEW.priority = 7"):
        enqueue_all("tracked:result", "tracked:sync", "tracked:async", "tracked:atomic-result", priority=7)
        with contextlib.suppress(Exception):
            work()
    Message.objects.all().delete()


@case
def an_atomic_outcome_that_the_database_refuses() -> None:
    with refused("NEW.outcome = 'succeeded'"):
        enqueue_all("tracked:atomic-result")
        work()
    assert not Message.objects.exists()


# -- messages that are refused ------------------------------------------------------------------------------


@case
def payloads_that_are_no_json() -> None:
    with reported():
        enqueue("tracked:sync", order(bad={1}))
    with reported():
        enqueue("tracked:sync", order(), headers={"authorization": secret(), "bad": {1}})
    with reported():
        enqueue({"type": "tracked:sync", "payload": order(bad={1})})
    with reported():
        enqueue_many([("tracked:sync", order()), ("tracked:sync", order(bad={1}))])
    with reported():
        enqueue(Order(secret(), "many"))  # type: ignore[arg-type]
    with reported():
        asyncio.run(aenqueue("tracked:sync", order(bad={1})))
    with reported():
        schedules.add("tracked", "@hourly", "tracked:sync", order(bad={1}))
    with reported():
        schedules.ensure("tracked", "@hourly", "tracked:sync", payload=order(bad={1}))


@case
def options_that_there_are_not() -> None:
    with reported():
        enqueue("tracked:sync", order(), countdown=60)  # type: ignore[call-arg]
    with reported():
        asyncio.run(aenqueue("tracked:sync", order(), countdown=60))  # type: ignore[call-arg]
    with reported():
        enqueue_many([("tracked:sync", order())], countdown=60)
    with reported():
        schedules.add("tracked", "@hourly", "tracked:sync", order(), every=60)  # type: ignore[call-arg]


@case
def messages_that_the_database_refuses() -> None:
    with refused("NEW.priority = 7", table=TABLE):
        with reported():
            enqueue("tracked:sync", order(), priority=7)
        with reported():
            enqueue_many([("tracked:sync", order())], priority=7)
        with reported():
            asyncio.run(aenqueue("tracked:sync", order(), priority=7))


@case
def twins() -> None:
    enqueue("tracked:sync", order(), unique_key="one", delay=3600)
    with reported():
        enqueue("tracked:sync", order(), unique_key="one", on_conflict="raise")
    Message.objects.all().delete()


# -- the control --------------------------------------------------------------------------------------------


@case
def a_variable_of_the_handler() -> None:
    """What a handler has in a variable of its own is sent, where variables are."""
    enqueue_all("tracked:own")
    work()
