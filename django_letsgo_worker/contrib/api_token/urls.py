"""The JWK set at `.well-known/jwks.json`, below wherever a project includes it.

It holds the public keys with which others verify the worker's tokens. Tokens are never issued by a view.
"""

from __future__ import annotations

import logging

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_safe

from ...errors import LetsGoError
from . import NEEDS_LIBRARY, conf

logger = logging.getLogger("django_letsgo_worker.api_token")

# How long others may keep a set, and so how long a new key may be unknown to them.
CACHE_SECONDS = 300


@require_safe
def jwks(request: HttpRequest) -> HttpResponse:
    """Return all known public keys as a JWK set; 503 when a setting is wrong."""
    try:
        from .keys import verifying_keys

        keys = [key.as_jwk() for key in verifying_keys(conf.read())]
    except (LetsGoError, ImportError) as error:
        logger.error("%s", error if isinstance(error, LetsGoError) else NEEDS_LIBRARY)
        return JsonResponse({"error": "The keys are not available."}, status=503)
    return JsonResponse({"keys": keys}, headers={"Cache-Control": f"public, max-age={CACHE_SECONDS}"})


urlpatterns = [path(".well-known/jwks.json", jwks, name="letsgo_api_token_jwks")]
