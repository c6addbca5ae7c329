"""Authentication by a worker's token for Django REST framework's `authentication_classes`.

The framework is imported only when a token is refused; when that is, tokens.py decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from . import InvalidToken, authenticate


@dataclass(frozen=True, slots=True, eq=False)
class ServiceUser:
    """The caller, a worker known by its claims: no row of any table, and without any permission."""

    claims: dict[str, Any] = field(repr=False)

    pk = id = None
    is_active = is_authenticated = True
    is_anonymous = is_staff = is_superuser = False

    @property
    def username(self) -> str:
        return str(self.claims["sub"])

    def get_username(self) -> str:
        return self.username

    def has_perm(self, perm: str, obj: object = None) -> bool:
        return False

    def has_perms(self, perms: Any, obj: object = None) -> bool:
        return False

    def has_module_perms(self, module: str) -> bool:
        return False

    def __str__(self) -> str:
        return self.username


class AccessTokenAuthentication:
    """Make `request.user` a ServiceUser and `request.auth` the claims; answer a bad token with 401."""

    def authenticate(self, request: HttpRequest) -> tuple[ServiceUser, dict[str, Any]] | None:
        """Return the caller and its claims; None when the request brings no bearer token."""
        try:
            claims = authenticate(request)
        except InvalidToken as invalid:
            from rest_framework.exceptions import AuthenticationFailed

            raise AuthenticationFailed(str(invalid)) from None
        return None if claims is None else (ServiceUser(claims), claims)

    def authenticate_header(self, request: HttpRequest) -> str:
        """Return the WWW-Authenticate header of a 401."""
        return 'Bearer realm="api"'
