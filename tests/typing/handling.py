"""Handlers keep their own types, and know those of what they are given."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

from django_letsgo_worker import Delivery, Reject, Retry, Snooze, enqueue, handler, message_type, schedule


@handler("order:new", queue="orders", priority=5, max_attempts=3, backoff=[1, 5.5, 60], atomic=True)
def new_order(delivery: Delivery) -> dict[str, int]:
    assert_type(delivery.message_id, int)
    assert_type(delivery.type, str)
    assert_type(delivery.headers, dict[str, Any])
    assert_type((delivery.attempt, delivery.max_attempts, delivery.receipt), tuple[int, int, int])
    assert_type(delivery.is_last_attempt, bool)
    assert_type((delivery.lease_lost, delivery.should_stop), tuple[bool, bool])
    assert_type(delivery.enqueued_at, datetime)
    assert_type(delivery.planned_at, datetime | None)
    assert_type(delivery.schedule, str | None)
    assert_type(delivery.log, logging.LoggerAdapter[logging.Logger])
    delivery.extend(30)
    delivery.attempt = 2  # type: ignore[misc]
    return {"order": delivery.payload["order"]}


@schedule("0 6 * * MON-FRI", timezone="Europe/Berlin", payload={"days": 1}, queue="reports", misfire="skip")
@schedule("@daily", name="daily report", deadline=timedelta(hours=2), spread=10)
@handler("report:sales", backoff="1h", timeout=2.5, where={"days": 1})
async def write_report(delivery: Delivery) -> str:
    if delivery.is_last_attempt:
        raise Reject("too late")
    if delivery.should_stop:
        raise Snooze(timedelta(minutes=5))
    raise Retry(delay=60, reason="not yet")


def pause(attempt: int, error: BaseException) -> float:
    return 2.0**attempt


@handler("mail:send", backoff=pause)
def send_mail(delivery: Delivery) -> None: ...


plain: Callable[[Delivery], dict[str, int]] = new_order
coroutine: Callable[[Delivery], Awaitable[str]] = write_report


def check(delivery: Delivery) -> None:
    assert_type(new_order(delivery), dict[str, int])
    new_order("order")  # type: ignore[arg-type]
    new_order()  # type: ignore[call-arg]
    handler("order:new")(len)  # type: ignore[type-var]
    handler("order:new", prioritee=5)  # type: ignore[call-overload]
    handler("order:new", queue=5)  # type: ignore[call-overload]
    handler("order:new", timeout="5 s")  # type: ignore[call-overload]
    schedule("@daily", misfires="skip")  # type: ignore[call-arg]
    schedule("@daily", deadline="2h")  # type: ignore[arg-type]
    delivery.extend("30")  # type: ignore[arg-type]
    Retry(delay="soon")  # type: ignore[arg-type]
    Snooze()  # type: ignore[call-arg]


@message_type("parcel:packed")
@dataclass
class ParcelPacked:
    order: int


@message_type("parcel:lost")
class ParcelLost(BaseModel):
    order: int


@handler(ParcelPacked, queue="parcels")
def send_parcel(delivery: Delivery[ParcelPacked]) -> int:
    assert_type(delivery.payload, ParcelPacked)
    enqueue(ParcelLost(order=delivery.payload.order), delay=60)
    return delivery.payload.order


@schedule("@daily", payload={"order": 7})
@handler(ParcelLost, atomic=False)
async def look_for_parcel(delivery: Delivery[ParcelLost]) -> str:
    assert_type(delivery.payload.order, int)
    return ""


@handler(ParcelLost, where={"order": 7})
def shrug(delivery: Delivery) -> None:
    assert_type(delivery.payload, Any)


looking: Callable[[Delivery[ParcelLost]], Awaitable[str]] = look_for_parcel


def check_typed(delivery: Delivery[ParcelPacked]) -> None:
    assert_type(send_parcel(delivery), int)
    enqueue(ParcelPacked(order=7))
    handler(ParcelLost)(send_parcel)  # type: ignore[arg-type]
    handler(ParcelPacked, queue=5)  # type: ignore[call-overload]
