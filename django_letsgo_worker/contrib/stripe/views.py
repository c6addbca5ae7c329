"""The two webhook endpoints: what Stripe posts is answered at once and handled by a worker later.

4xx: never send this again as it is. 5xx: it was not stored, and Stripe sends it again for three days.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import Error as DatabaseTrouble
from django.db import transaction
from django.http import HttpRequest, HttpResponse, UnreadablePostError
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from .intake import forget_now_and_then, take
from .signatures import Refused, verified_event

logger = logging.getLogger("django_letsgo_worker.stripe")

# Stripe's events have some kilobytes, large invoices some hundred.
MAX_BODY_BYTES = 1 << 20


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
            return _refuse(413, f"The body has more than {MAX_BODY_BYTES} bytes.")
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
        logger.warning("Old Stripe events were not forgotten: %s.", _first_line(error))
    return _answer(200, "The event is stored." if is_new else "The event was stored before.")


def _refuse(status: int, sentence: str) -> HttpResponse:
    logger.warning("A Stripe webhook was refused: %s", sentence)
    return _answer(status, sentence)


def _fail(what: str, error: Exception) -> HttpResponse:
    # No traceback: its last lines may quote the payload, which may be personal data.
    logger.error("Stripe's %s was not stored (%s): %s", what, type(error).__name__, _first_line(error))
    return _answer(503, "The event could not be stored; send it again later.")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0][:200]


def _answer(status: int, sentence: str) -> HttpResponse:
    return HttpResponse(f"{sentence}\n", status=status, content_type="text/plain; charset=utf-8")
