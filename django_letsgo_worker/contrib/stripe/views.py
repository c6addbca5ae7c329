"""The two webhook endpoints: each event of Stripe's becomes one message, however often it is sent.

4xx: never send this again as it is. 5xx: it was not stored, and Stripe sends it again for three days.
"""

from __future__ import annotations

import hashlib
import logging
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import Error as DatabaseTrouble
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from ...conf import settings
from ...messages import enqueue
from . import MESSAGE_TYPE
from .models import SeenEvent
from .signatures import Refused, verified_event

logger = logging.getLogger("django_letsgo_worker.stripe")

# Stripe's events have some kilobytes, large invoices some hundred.
MAX_BODY_BYTES = 1 << 20
# Stripe keeps an event for 30 days, and sends it again for as long on request.
REMEMBERED_FOR = timedelta(days=31)
FORGET_EVERY_SECONDS = 60.0
BATCH = 1_000


# Not within the request's transaction: what is answered must be committed, or known to have failed.
@csrf_exempt
@require_POST
@transaction.non_atomic_requests
def webhook(request: HttpRequest, mode: str) -> HttpResponse:
    """Make one message of a Stripe event; `mode` is live or test.

    200 stored, now or before; 400 no event of Stripe's for this endpoint; 413 too large; 503 not stored.
    """
    mode = mode.upper()
    try:
        body = request.read(MAX_BODY_BYTES + 1)
        if len(body) > MAX_BODY_BYTES:
            return _refuse(413, f"The body is larger than {MAX_BODY_BYTES} bytes.")
        event = verified_event(body, request.headers.get("Stripe-Signature", ""), mode)
    except UnreadablePostError:
        return _refuse(400, "The body could not be read.")
    except Refused as refused:
        return _refuse(400, str(refused))
    except Exception as error:
        return _fail("a request", error)
    return _store(event, mode)


def _store(event: dict[str, Any], mode: str) -> HttpResponse:
    try:
        is_new = take(event, mode)
    except Exception as error:
        return _fail(f"event {event['id']}", error)
    try:
        forget_now_and_then()
    except DatabaseTrouble as error:
        # The event is safe; the old rows go another time.
        logger.warning("Old Stripe events could not be deleted: %s.", _first_line(error))
    return _answer(200, "The event is stored." if is_new else "The event was stored before.")


def _refuse(status: int, sentence: str) -> HttpResponse:
    logger.warning("A Stripe webhook was refused: %s", sentence)
    return _answer(status, sentence)


def _fail(what: str, error: Exception) -> HttpResponse:
    # No traceback: its last lines may quote the payload, which may be personal data.
    logger.error(
        "A Stripe webhook failed: %s was not stored (%s): %s", what, type(error).__name__, _first_line(error)
    )
    return _answer(503, "The event could not be stored; send it again later.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _answer(status: int, sentence: str) -> HttpResponse:
    return HttpResponse(f"{sentence}\n", status=status, content_type="text/plain; charset=utf-8")


def take(event: dict[str, Any], mode: str) -> bool:
    """Enqueue the event; return False when its message was made before, finished or not.

    The memory and the message commit together: neither a crash nor a second delivery at the same
    moment leaves an event without its message, or with two.
    """
    alias = settings().database
    with transaction.atomic(using=alias):
        if not _remember(event["id"], alias):
            return False
        payload = {**event, "stripeMode": mode}
        return bool(enqueue(MESSAGE_TYPE, payload, unique_key=event["id"], using=alias).created)


def _remember(event_id: str, alias: str) -> bool:
    """Whether the event is new; one that is being taken elsewhere is waited for."""
    row = SeenEvent(digest=hashlib.sha256(event_id.encode()).hexdigest(), seen_at=timezone.now())
    try:
        with transaction.atomic(using=alias):
            row.save(force_insert=True, using=alias)
    except IntegrityError:
        return False
    return True


class _Forgetting:
    """The next time that this process forgets old events: once a minute is enough, however many come."""

    next_at = float("-inf")


def forget_now_and_then() -> None:
    """Forget a batch of old events if this process has not done so for a minute."""
    if time.monotonic() >= _Forgetting.next_at:
        _Forgetting.next_at = time.monotonic() + FORGET_EVERY_SECONDS
        forget_old()


def forget_old(*, now: datetime | None = None) -> int:
    """Delete at most 1,000 rows of events that Stripe can no longer send; return their number."""
    rows = SeenEvent.objects.using(settings().database)
    old = rows.filter(seen_at__lt=(now or timezone.now()) - REMEMBERED_FOR).order_by("seen_at")
    digests = list(old.values_list("pk", flat=True)[:BATCH])
    return rows.filter(pk__in=digests).delete()[0] if digests else 0
