"""One message per Stripe event, however often it is sent, and the memory of what was seen.

Whether an event is Stripe's was decided before, in signatures.py.
"""

from __future__ import annotations

import hashlib
import time
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from django_letsgo_worker.conf import settings
from django_letsgo_worker.messages import enqueue

from .event_types import MESSAGE_TYPE
from .models import SeenEvent

# Stripe keeps an event for 30 days, and sends it again for as long when somebody asks for it.
REMEMBERED_FOR = timedelta(days=31)
FORGET_EVERY_SECONDS = 60.0
BATCH = 1_000


def take(event: dict[str, Any], mode: str) -> bool:
    """Enqueue the event, or return False when its message was made before, finished or not.

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
    """When this process last forgot old events: once a minute is enough, however many come."""

    next_at = float("-inf")


def forget_now_and_then() -> None:
    """Forget a batch of old events if this process has not done so for a minute."""
    if time.monotonic() >= _Forgetting.next_at:
        _Forgetting.next_at = time.monotonic() + FORGET_EVERY_SECONDS
        forget_old()


def forget_old(*, now: datetime | None = None) -> int:
    """Delete at most 1,000 rows of events that Stripe cannot send any more; return how many."""
    rows = SeenEvent.objects.using(settings().database)
    old = rows.filter(seen_at__lt=(now or timezone.now()) - REMEMBERED_FOR).order_by("seen_at")
    digests = list(old.values_list("pk", flat=True)[:BATCH])
    return rows.filter(pk__in=digests).delete()[0] if digests else 0
