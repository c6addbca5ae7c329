"""The address of the JWK set: `.well-known/jwks.json`, below wherever a project includes it.

What it answers is in views.py.
"""

from django.urls import path

from .views import jwks

urlpatterns = [path(".well-known/jwks.json", jwks, name="letsgo_api_token_jwks")]
