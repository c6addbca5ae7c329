"""POST v1/contact: check, enqueue, answer at once; whoever reads it is told by a worker.

Without CSRF protection: nobody is logged in here, so that there is no session to abuse, and forms on
other pages may post. Browsers on other origins need CORS headers, which are the project's.
"""

from __future__ import annotations

import secrets

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from ...errors import InvalidMessage
from ...messages import enqueue
from . import bodies, conf, throttle
from .fields import BODY, Refused, clean, is_from_a_robot

TYPE = "letsgo:contact"


@method_decorator(csrf_exempt, name="dispatch")
class ContactView(View):
    """Take a contact form, as JSON or as a form.

    202 {"id": ...} when it was enqueued; 400 {"error", "field", "errors"} names what is wrong; 429 with
    Retry-After when too many came from this address. The address is REMOTE_ADDR: behind a proxy the
    server must be told to trust its header, or all share one count.
    """

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            given = bodies.read(request)
            if is_from_a_robot(given):
                # It gets what everybody gets, so that it learns nothing.
                return _accepted(1 + secrets.randbelow(1_000_000))
            payload = clean(given)
            wait = throttle.seconds_to_wait(request.META.get("REMOTE_ADDR") or "", conf.rate())
            return _too_many(wait) if wait else _accepted(_enqueue(payload))
        except Refused as refusal:
            return _refused(refusal)


def _enqueue(payload: dict[str, object]) -> int:
    try:
        return enqueue(TYPE, payload).pk
    except InvalidMessage as error:  # larger than the project's messages may be
        raise Refused({BODY: str(error)}) from None


def _accepted(message_id: int) -> JsonResponse:
    return JsonResponse({"id": message_id}, status=202)


def _too_many(seconds: int) -> JsonResponse:
    sentence = f"Too many messages from this address: try again in {seconds} s."
    return JsonResponse({"error": sentence}, status=429, headers={"Retry-After": str(seconds)})


def _refused(refusal: Refused) -> JsonResponse:
    field, sentence = next(iter(refusal.errors.items()))
    return JsonResponse({"error": sentence, "field": field, "errors": refusal.errors}, status=400)
