"""Twenty-eight types of a site in trouble: three fail and one never ends, until the trouble is over.

Its workers import this module; INCIDENT_OVER in their environment says that the trouble is over.
"""

from __future__ import annotations

import os
import threading

from django_letsgo_worker import Delivery, handler, schedule

IS_OVER = bool(os.environ.get("INCIDENT_OVER"))
QUIET = [
    "search:index", "stock:check", "stock:sync", "report:sales", "report:tax", "report:yearly",
    "user:welcome", "user:export", "user:erase", "parcel:book", "parcel:track", "crm:push", "crm:pull",
    "invoice:pdf", "invoice:archive", "export:csv", "import:feed", "webhook:deliver",
    "cache:warm", "audit:write",
]  # fmt: skip


class CardDeclined(Exception):
    pass


class ProviderDown(Exception):
    pass


# A pause that outlasts the test on any machine: a second wave of failures would outweigh what is mended.
@handler("billing:charge", queue="billing", backoff=3600)
def charge(delivery: Delivery) -> None:
    if not IS_OVER:
        order = delivery.payload["order"]
        raise ProviderDown(f"payments.example.com: connect timeout for order {order} after 10.0 s")


@handler("billing:refund", queue="billing", max_attempts=1)
def refund(delivery: Delivery) -> None:
    if not IS_OVER:
        raise CardDeclined(f"card ending {1000 + delivery.message_id % 9000} was declined (code 51)")


@handler("mail:send", queue="mail", max_attempts=1)
def mail(delivery: Delivery) -> None:
    if not IS_OVER:
        delivery.payload["email"]


@handler("mail:newsletter", queue="mail", priority=-10)
def newsletter(delivery: Delivery) -> None:
    pass


@handler("image:resize", queue="images", max_attempts=1)
def resize(delivery: Delivery) -> None:
    if not IS_OVER:
        raise OSError(28, f"No space left on device: '/tmp/img-{delivery.payload['image']}.png'")


@handler("video:encode", queue="videos")
def encode(delivery: Delivery) -> None:
    if not IS_OVER:
        threading.Event().wait()


def quiet(delivery: Delivery) -> None:
    pass


for name in QUIET:
    group = name.partition(":")[0]
    handler(name, queue=group if group in ("report", "webhook", "search") else "default")(quiet)


@schedule("*/5 * * * *")
@handler("sync:prices")
def sync(delivery: Delivery) -> None:
    pass
