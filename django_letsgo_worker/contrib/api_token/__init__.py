"""Access tokens for handlers that call the project's API, and what the API needs to trust them.

Only the public names stand here, and lazily: without PyJWT and cryptography one sentence says so.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_HOMES = {
    "get_access_token": "signing",
    "authenticate": "verifying",
    "verify": "verifying",
    "api_url": "conf",
    "TokenKeyMissing": "errors",
    "TokenKeyUnusable": "errors",
    "InvalidToken": "errors",
}

NEEDS_LIBRARY = (
    "django_letsgo_worker.contrib.api_token needs PyJWT with cryptography: "
    "pip install 'django-letsgo-worker[api_token]'."
)

if TYPE_CHECKING:
    from .conf import api_url as api_url
    from .errors import InvalidToken as InvalidToken
    from .errors import TokenKeyMissing as TokenKeyMissing
    from .errors import TokenKeyUnusable as TokenKeyUnusable
    from .signing import get_access_token as get_access_token
    from .verifying import authenticate as authenticate
    from .verifying import verify as verify

__all__ = ["NEEDS_LIBRARY", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(f".{_HOMES[name]}", __name__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("jwt", "cryptography"):
            raise ImportError(NEEDS_LIBRARY) from None
        raise


def __dir__() -> list[str]:
    return sorted(__all__)
