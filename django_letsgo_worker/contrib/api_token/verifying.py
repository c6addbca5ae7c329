"""authenticate(request): the API's side, which trusts a token only by a key that it knows.

No key is fetched from anywhere, and no algorithm is taken from a token.
"""

from __future__ import annotations

from typing import Any

import jwt
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from . import conf
from .errors import InvalidToken
from .keys import VerifyingKey, issuer_of, verifying_key
from .signing import SUBJECT

# For clocks that differ a little.
LEEWAY_SECONDS = 30
# A token that outlives the working day is as good as one that never expires.
MAX_LIFETIME_SECONDS = 8 * 3600
MAX_TOKEN_LENGTH = 8192
REQUIRED = ("exp", "iat", "aud", "iss", "sub")

_REASONS: dict[type[Exception], str] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is for another audience",
    jwt.InvalidIssuerError: "its issuer is not the owner of its key",
    jwt.InvalidAlgorithmError: "its algorithm is not that of its key",
    jwt.InvalidSignatureError: "its signature is wrong",
    jwt.MissingRequiredClaimError: "it lacks a required claim",
}


@sensitive_variables()
def authenticate(request: HttpRequest) -> dict[str, Any] | None:
    """Return the claims of the request's bearer token; None when the request brings none.

    Raises InvalidToken when it brings one that is not to be trusted. `request` may be one of Django
    REST framework too.
    """
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    return verify(token.strip()) if scheme.lower() == "bearer" else None


@sensitive_variables()
def verify(token: str) -> dict[str, Any]:
    """Return the claims of a token; InvalidToken unless all of this holds.

    Its key is known by its `kid` and has signed it with the algorithm of that key; it is for our
    audience, from the worker, issued by the owner of that key, not in the future, and expires within
    eight hours of its issue. TokenKeyUnusable means that the setting of that key is wrong.
    """
    if len(token) > MAX_TOKEN_LENGTH:
        raise InvalidToken("it is too long")
    given = conf.read()
    kid = _kid_of(token)
    key = verifying_key(kid, given) if kid else None
    if key is None:
        raise InvalidToken("its key is unknown")
    claims = _checked(token, key, given.audience)
    # An error raised while another is handled would carry that one along, and its frames with the token.
    if isinstance(claims, str):
        raise InvalidToken(claims)
    return claims


@sensitive_variables()
def _kid_of(token: str) -> str | None:
    try:
        kid = jwt.get_unverified_header(token).get("kid")
    except (jwt.PyJWTError, ValueError, RecursionError):
        return None
    return kid if isinstance(kid, str) else None


@sensitive_variables()
def _checked(token: str, key: VerifyingKey, audience: str) -> dict[str, Any] | str:
    """Return the claims, or why the token is refused."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token,
            key.public,
            algorithms=[key.algorithm],
            audience=audience,
            issuer=issuer_of(key.kid),
            leeway=LEEWAY_SECONDS,
            options={"require": list(REQUIRED)},
        )
        lifetime = int(claims["exp"]) - int(claims["iat"])
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        return _REASONS.get(type(error), "it is not well formed")
    if claims["sub"] != SUBJECT:
        return "its subject is not the worker"
    return claims if lifetime <= MAX_LIFETIME_SECONDS else "it is valid for too long"
