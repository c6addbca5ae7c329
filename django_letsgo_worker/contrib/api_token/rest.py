"""For Django REST framework: requests with a worker's token, as `authentication_classes` wants them.

The framework is imported only when a token is refused; what a token must be is verifying.py's.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from django.http import HttpRequest

from . import authenticate
from .errors import InvalidToken


@dataclass(frozen=True, slots=True, eq=False)
class ServiceUser:
    """Who calls: a worker, known by its claims. No row of any table, and without any permission."""

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
    """`request.user` is a ServiceUser and `request.auth` the claims; a bad token is answered with 401."""

    def authenticate(self, request: HttpRequest) -> tuple[ServiceUser, dict[str, Any]] | None:
        """Return the caller and its claims; None when the request brings no bearer token."""
        try:
            claims = authenticate(request)
        except InvalidToken as invalid:
            from rest_framework.exceptions import AuthenticationFailed

            raise AuthenticationFailed(str(invalid)) from None
        return None if claims is None else (ServiceUser(claims), claims)

    def authenticate_header(self, request: HttpRequest) -> str:
        """Return what a 401 asks for."""
        return 'Bearer realm="api"'
