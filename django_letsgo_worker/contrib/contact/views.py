"""POST v1/contact: check, throttle, enqueue and answer at once; a worker tells those who read it.

Without CSRF protection: nobody is logged in here, so that there is no session to abuse, and forms on
other pages may post. Browsers on other origins need CORS headers, which are the project's.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import time
from ipaddress import ip_address, ip_network

from django.core.cache import cache
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from ...errors import InvalidMessage
from ...messages import enqueue
from . import conf
from .form import BODY, Refused, clean, is_from_a_robot, read

logger = logging.getLogger("django_letsgo_worker.contact")

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
            given = read(request)
            if is_from_a_robot(given):
                # It gets the usual answer, so that it learns nothing.
                return _accepted(1 + secrets.randbelow(1_000_000))
            payload = clean(given)
            wait = seconds_to_wait(request.META.get("REMOTE_ADDR") or "", conf.rate())
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


def seconds_to_wait(address: str, rate: conf.Rate | None, now: float | None = None) -> int:
    """Count a post in Django's cache; return 0 when it may pass, else in how many seconds the next may.

    A fixed window: at its edge twice the rate may pass. With a cache for each process each process counts
    for itself, and a cache that is down lets everybody through: a contact form must not fail because of it.
    """
    if rate is None:
        return 0
    now = time.time() if now is None else now
    window = int(now // rate.seconds)
    if _count(f"letsgo-contact:{_who(address)}:{rate.seconds}:{window}", rate.seconds) <= rate.posts:
        return 0
    return max(1, int((window + 1) * rate.seconds - now + 0.999))


def _count(key: str, seconds: int) -> int:
    try:
        if cache.add(key, 1, timeout=seconds + 1):
            return 1
        return int(cache.incr(key))
    except ValueError:  # it ran out between the two
        return 1
    except Exception as error:
        logger.warning("Contact forms are not throttled: the cache fails (%s).", type(error).__name__)
        return 0


def _who(address: str) -> str:
    """Return a name for an address that does not show it; a household's IPv6 addresses are one."""
    try:
        ip = ip_address(address)
    except ValueError:
        name = address
    else:
        name = str(ip_network((ip, 64), strict=False)) if ip.version == 6 else str(ip)
    return hashlib.blake2b(name.encode("utf-8", "replace"), digest_size=16).hexdigest()
