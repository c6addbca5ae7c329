"""Access tokens: made for a handler that calls the project's API, verified on the side of that API.

Only a key that is known makes a token trusted: none is fetched from anywhere, and no algorithm is taken from
a token.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import jwt
from django.http import HttpRequest
from django.views.decorators.debug import sensitive_variables

from . import InvalidToken, conf
from .keys import VerifyingKey, issuer_of, signing_key, verifying_key

SUBJECT = "letsgo:worker"
LIFETIME_SECONDS = 3600
RENEW_SECONDS_BEFORE = 60
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Issued:
    """The token in use, and the settings that it was made from."""

    token: str = field(repr=False)
    given: conf.Settings
    issued_at: int

    def serves(self, given: conf.Settings) -> bool:
        """Whether it can still be handed out: same settings, not about to expire, the clock not set back."""
        age = time.time() - self.issued_at
        return 0 <= age < LIFETIME_SECONDS - RENEW_SECONDS_BEFORE and self.given == given


class _Cache:
    """One token per process."""

    lock = threading.Lock()
    issued: _Issued | None = None


@sensitive_variables()
def get_access_token() -> str:
    """Return an access token for the API at LETSGO_API_URL, to be sent as `Authorization: Bearer ...`.

    It is valid for at least another minute: cached in this process, renewed a minute before its hour
    is over or when a setting changes, by one thread. Raises TokenKeyMissing without a key or key id,
    TokenKeyUnusable when the key is invalid.
    """
    given = conf.read()
    issued = _Cache.issued
    if issued is not None and issued.serves(given):
        return issued.token
    with _Cache.lock:
        issued = _Cache.issued
        if issued is None or not issued.serves(given):
            issued = _Cache.issued = _issue(given)
        return issued.token


@sensitive_variables()
def _issue(given: conf.Settings) -> _Issued:
    key = signing_key(given)
    now = int(time.time())
    claims = {
        "sub": SUBJECT,
        "aud": given.audience,
        "iss": key.issuer,
        "iat": now,
        "exp": now + LIFETIME_SECONDS,
        "jti": uuid.uuid4().hex,
    }
    token = jwt.encode(claims, key.private, algorithm=key.algorithm, headers={"kid": key.kid})
    return _Issued(token=token, given=given, issued_at=now)


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
