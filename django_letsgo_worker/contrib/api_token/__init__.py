"""Access tokens for handlers that call the project's API, and for that API to trust them.

Here are the errors, which never carry a key or a token. The functions are imported when they are asked for:
without PyJWT and cryptography one sentence says so.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ...errors import LetsGoError

_HOMES = {"get_access_token": "tokens", "authenticate": "tokens", "verify": "tokens", "api_url": "conf"}

NEEDS_LIBRARY = (
    "django_letsgo_worker.contrib.api_token needs PyJWT with cryptography: "
    "pip install 'django-letsgo-worker[api_token]'."
)

if TYPE_CHECKING:
    from .conf import api_url as api_url
    from .tokens import authenticate as authenticate
    from .tokens import get_access_token as get_access_token
    from .tokens import verify as verify

__all__ = ["NEEDS_LIBRARY", "InvalidToken", "TokenKeyMissing", "TokenKeyUnusable", *_HOMES]


class TokenKeyMissing(LetsGoError):
    """A missing setting, without which no token can be made."""

    def __init__(self, setting: str) -> None:
        super().__init__(f"Cannot make an access token: {setting} is not set.")
        self.setting = setting


class TokenKeyUnusable(LetsGoError):
    """A setting of contrib.api_token whose value cannot be used."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"{setting} cannot be used: {why}.")
        self.setting = setting


class InvalidToken(LetsGoError):
    """A token that is not to be trusted."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The access token is refused: {why}.")


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
