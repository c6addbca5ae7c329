"""get_access_token(): a token with which a handler calls the project's API.

Who trusts it, and why, is verifying.py's.
"""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass, field

import jwt
from django.views.decorators.debug import sensitive_variables

from . import conf
from .keys import signing_key

SUBJECT = "letsgo:worker"
LIFETIME_SECONDS = 3600
RENEW_SECONDS_BEFORE = 60


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
    TokenKeyUnusable when the key is no good.
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
