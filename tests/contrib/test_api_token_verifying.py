"""authenticate(request), the JWK set and the class for Django REST framework: whom the API trusts."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import jwt
import pytest
from django.test import RequestFactory

from django_letsgo_worker.contrib.api_token import (
    InvalidToken,
    TokenKeyUnusable,
    authenticate,
    conf,
    get_access_token,
    tokens,
)
from tests.contrib.keys import private_pem, public_pem

pytestmark = pytest.mark.urls("tests.contrib.urls")
OTHER = private_pem("rsa", "other")


@pytest.fixture(autouse=True)
def key(settings, monkeypatch):
    for name in (conf.PRIVATE_KEY, conf.KEY_ID, conf.PUBLIC_KEYS, conf.AUDIENCE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tokens._Cache, "issued", None)
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = private_pem()
    settings.LETSGO_API_TOKEN_KEY_ID = "new"


def request(token=None, scheme="Bearer"):
    headers = {} if token is None else {"Authorization": f"{scheme} {token}"}
    return RequestFactory().get("/", headers=headers)


def forged(*, key="", algorithm="RS256", kid="new", without=(), **changes):
    """Return a token like ours with something changed."""
    now = int(time.time())
    claims = {
        "sub": "letsgo:worker", "aud": "letsgo:service", "iss": "letsgo:new", "iat": now, "exp": now + 600,
    } | changes  # fmt: skip
    claims = {name: value for name, value in claims.items() if name not in without}
    headers = {} if kid is None else {"kid": kid}
    return jwt.encode(claims, private_pem() if key == "" else key, algorithm=algorithm, headers=headers)


def signed_with_the_public_key():
    """HS256 with our public key as the secret, as a verifier that believes the header would accept it."""

    def part(value):
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = jwt.decode(forged(), options={"verify_signature": False})
    text = f"{part({'alg': 'HS256', 'kid': 'new'})}.{part(claims)}"
    digest = hmac.new(public_pem(private_pem()).encode(), text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


# -- who is trusted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_the_token_of_a_worker_is_accepted(settings, kind):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = private_pem(kind)
    claims = authenticate(request(get_access_token()))
    assert claims is not None
    assert claims["sub"] == "letsgo:worker"


@pytest.mark.parametrize("scheme", ["bearer", "BEARER"])
def test_the_name_of_the_scheme_may_be_written_in_any_case(scheme):
    assert authenticate(request(get_access_token(), scheme))


def test_a_request_without_a_bearer_token_is_none_of_our_business():
    assert authenticate(request()) is None
    assert authenticate(request("dXNlcjpwYXNz", "Basic")) is None


def test_an_api_needs_only_the_public_key(settings, tmp_path):
    token = get_access_token()
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = settings.LETSGO_API_TOKEN_KEY_ID = ""
    with pytest.raises(InvalidToken, match="its key is unknown"):
        authenticate(request(token))
    path = tmp_path / "public.pem"
    path.write_text(public_pem(private_pem()))
    for given in (public_pem(private_pem()), str(path), path):
        settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {"new": given}
        assert authenticate(request(token))


def test_a_key_is_rotated_without_a_token_being_refused(settings):
    before = get_access_token()
    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {"new": public_pem(private_pem())}
    settings.LETSGO_API_TOKEN_PRIVATE_KEY, settings.LETSGO_API_TOKEN_KEY_ID = OTHER, "newer"
    after = get_access_token()

    assert authenticate(request(before))["iss"] == "letsgo:new"
    assert authenticate(request(after))["iss"] == "letsgo:newer"

    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {}
    with pytest.raises(InvalidToken, match="its key is unknown"):
        authenticate(request(before))


def test_public_keys_of_the_environment_are_json(monkeypatch):
    monkeypatch.setenv("LETSGO_API_TOKEN_PUBLIC_KEYS", json.dumps({"other": public_pem(OTHER)}))
    assert authenticate(request(forged(key=OTHER, kid="other", iss="letsgo:other")))


def test_clocks_may_differ_by_some_seconds():
    now = int(time.time())
    assert authenticate(request(forged(iat=now + 20)))
    assert authenticate(request(forged(iat=now - 600, exp=now - 20)))


# -- who is not -------------------------------------------------------------------------------------------


def later(seconds):
    return int(time.time()) + seconds


REFUSED = {
    "empty": (lambda: "", "its key is unknown"),
    "no token": (lambda: "a.b.c", "its key is unknown"),
    "not ASCII": (lambda: "é.é.é", "its key is unknown"),
    "endless": (lambda: "a" * 9000, "it is too long"),
    "deep": (lambda: f"{base64.urlsafe_b64encode(b'[' * 6000).decode()}.e30.e30", "its key is unknown"),
    "no kid": (lambda: forged(kid=None), "its key is unknown"),
    "unknown kid": (lambda: forged(kid="old"), "its key is unknown"),
    "empty kid": (lambda: forged(kid=""), "its key is unknown"),
    "another key": (lambda: forged(key=OTHER), "its signature is wrong"),
    "no signature": (lambda: forged().rpartition(".")[0] + ".", "its signature is wrong"),
    "alg none": (lambda: forged(key=None, algorithm="none"), "its algorithm is not that of its key"),
    "public key as secret": (signed_with_the_public_key, "its algorithm is not that of its key"),
    "PS256": (lambda: forged(algorithm="PS256"), "its algorithm is not that of its key"),
    "RS512": (lambda: forged(algorithm="RS512"), "its algorithm is not that of its key"),
    "expired": (lambda: forged(iat=later(-4000), exp=later(-61)), "it has expired"),
    "of tomorrow": (lambda: forged(iat=later(86400), exp=later(90000)), "it is not valid yet"),
    "not before": (lambda: forged(nbf=later(600)), "it is not valid yet"),
    "another audience": (lambda: forged(aud="another"), "it is for another audience"),
    "another issuer": (lambda: forged(iss="letsgo:other"), "its issuer is not the owner of its key"),
    "another subject": (lambda: forged(sub="somebody"), "its subject is not the worker"),
    "a century": (lambda: forged(exp=later(3_000_000_000)), "it is valid for too long"),
    "infinity": (lambda: forged(exp=float("inf")), "it is not well formed"),
    **{
        f"without {claim}": (lambda claim=claim: forged(without=(claim,)), "it lacks a required claim")
        for claim in ("exp", "iat", "aud", "iss", "sub")
    },
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_token_that_is_not_to_be_trusted_is_refused_without_being_shown(case):
    make, why = REFUSED[case]
    with pytest.raises(InvalidToken) as caught:
        authenticate(request(make()))
    assert str(caught.value) == f"The access token is refused: {why}."
    assert caught.value.__context__ is None


def test_the_owner_of_one_key_cannot_speak_for_another(settings):
    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {"other": public_pem(OTHER)}
    with pytest.raises(InvalidToken, match="issuer"):
        authenticate(request(forged(key=OTHER, kid="other", iss="letsgo:new")))


def test_an_rsa_key_does_not_verify_what_claims_to_be_eddsa(settings):
    token = forged(key=private_pem("ed25519"), algorithm="EdDSA")
    with pytest.raises(InvalidToken, match="algorithm"):
        authenticate(request(token))


def test_a_public_key_that_cannot_be_used_is_named(settings):
    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {"short": public_pem(private_pem("short-rsa"))}
    with pytest.raises(TokenKeyUnusable, match=r"PUBLIC_KEYS\['short'\] cannot be used: an RSA key has"):
        authenticate(request(forged(kid="short")))
    # Whoever presents another key is not concerned.
    assert authenticate(request(get_access_token()))


# -- the JWK set ------------------------------------------------------------------------------------------


def test_the_jwk_set_holds_all_public_keys_and_nothing_private(client, settings):
    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {"ed": public_pem(private_pem("ed25519"))}

    response = client.get("/.well-known/jwks.json")

    own, other = response.json()["keys"]
    assert {name: own[name] for name in ("kid", "kty", "alg", "use")} == {
        "kid": "new", "kty": "RSA", "alg": "RS256", "use": "sig",
    }  # fmt: skip
    assert {**other, "x": ""} == {
        "kid": "ed", "kty": "OKP", "crv": "Ed25519", "x": "", "alg": "EdDSA", "use": "sig",
    }  # fmt: skip
    assert {"d", "p", "q", "dp", "dq", "qi"}.isdisjoint({*own, *other})
    assert response["Cache-Control"] == "public, max-age=300"


def test_a_token_is_verified_by_the_jwk_set_alone(client):
    token = get_access_token()
    keys = jwt.PyJWKSet.from_dict(client.get("/.well-known/jwks.json").json())
    found = keys[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, found, algorithms=["RS256"], audience="letsgo:service", issuer="letsgo:new")


def test_without_keys_the_set_is_empty(client, settings):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = ""
    assert client.get("/.well-known/jwks.json").json() == {"keys": []}


def test_with_a_broken_key_the_set_is_not_available(client, settings, caplog):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = "/nowhere"
    response = client.get("/.well-known/jwks.json")
    assert (response.status_code, response.json()) == (503, {"error": "The keys are not available."})
    assert "LETSGO_API_TOKEN_PRIVATE_KEY cannot be used" in caplog.text
    assert "/nowhere" not in caplog.text


def test_the_set_is_only_read(client):
    assert client.post("/.well-known/jwks.json").status_code == 405


# -- Django REST framework --------------------------------------------------------------------------------


@pytest.fixture
def view():
    """A view of the framework for which the worker's token is needed."""
    pytest.importorskip("rest_framework")
    from rest_framework.permissions import IsAuthenticated
    from rest_framework.response import Response
    from rest_framework.views import APIView

    from django_letsgo_worker.contrib.api_token.rest import AccessTokenAuthentication

    class Orders(APIView):
        authentication_classes = [AccessTokenAuthentication]
        permission_classes = [IsAuthenticated]

        def get(self, request):
            return Response({"by": str(request.user), "iss": request.auth["iss"]})

    return Orders.as_view()


def test_the_framework_knows_the_worker_by_its_token(view):
    response = view(request(get_access_token()))
    assert (response.status_code, response.data) == (200, {"by": "letsgo:worker", "iss": "letsgo:new"})


def test_the_framework_answers_a_bad_or_missing_token_with_401(view):
    for bad in (request(), request("a.b.c"), request(forged(aud="another"))):
        response = view(bad)
        assert response.status_code == 401
        assert response["WWW-Authenticate"] == 'Bearer realm="api"'


def test_a_worker_has_no_permission_of_any_user():
    from django_letsgo_worker.contrib.api_token.rest import ServiceUser

    user = ServiceUser({"sub": "letsgo:worker"})
    assert user.is_authenticated
    assert not user.is_anonymous
    assert not (user.is_staff or user.is_superuser or user.has_perm("shop.add_order"))
    assert not (user.has_perms(["shop.add_order"]) or user.has_module_perms("shop"))
    assert user.get_username() == "letsgo:worker"
