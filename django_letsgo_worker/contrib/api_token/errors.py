"""The errors of contrib.api_token; none of them ever carries a key or a token.

What a request is answered is the view's or the framework's.
"""

from __future__ import annotations

from django_letsgo_worker.errors import LetsGoError


class TokenKeyMissing(LetsGoError):
    """There is nothing to sign with: a setting is not set."""

    def __init__(self, setting: str) -> None:
        super().__init__(f"No access token can be made: {setting} is not set.")
        self.setting = setting


class TokenKeyUnusable(LetsGoError):
    """A setting of contrib.api_token does not hold what it must."""

    def __init__(self, setting: str, why: str) -> None:
        super().__init__(f"{setting} cannot be used: {why}.")
        self.setting = setting


class InvalidToken(LetsGoError):
    """A token that is not to be trusted."""

    def __init__(self, why: str) -> None:
        super().__init__(f"The access token is refused: {why}.")
