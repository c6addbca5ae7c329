"""LetsGo's surroundings: contact forms, Stripe's events, access tokens (rows L14, L15 and L17)."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import json
import logging

import httpx
import jwt
import pytest
from django.core.cache import cache
from django.db import OperationalError, connection

from django_letsgo_worker import registry
from django_letsgo_worker.contrib.api_token import (
    InvalidToken,
    TokenKeyMissing,
    get_access_token,
    tokens,
    verify,
)
from django_letsgo_worker.contrib.stripe import EVENT_TYPES
from django_letsgo_worker.models import ArchivedMessage, Message
from testproject.shop import outside
from testproject.shop.models import Invoice, Order
from tests.contrib.keys import private_pem, public_pem
from tests.contrib.stripe_events import LIVE_SECRET, TEST_SECRET, event, post, signature

pytestmark = pytest.mark.django_db(transaction=True)

FORM = {"name": "Ada", "email": "ada@example.com", "message": "Hello?"}
OPTIONAL = {"query": {"q": "tea"}, "tenantId": "t1", "identityId": "i1", "timestamp": "2026-05-01T09:00:00Z"}


@pytest.fixture(autouse=True)
def from_outside(settings, monkeypatch):
    """Settings of this test only, and nobody who posted or signed before it."""
    for name in ("PRIVATE_KEY", "KEY_ID", "PUBLIC_KEYS"):
        monkeypatch.delenv(f"LETSGO_API_TOKEN_{name}", raising=False)
    monkeypatch.setattr(tokens._Cache, "issued", None)
    settings.LETSGO_STRIPE_LIVE_WEBHOOK_KEY = LIVE_SECRET
    settings.LETSGO_STRIPE_TEST_WEBHOOK_KEY = TEST_SECRET
    cache.clear()
    outside.parcels.clear()


@pytest.fixture
def contact(live_server):
    """Post a contact form over HTTP."""
    return lambda **request: httpx.post(f"{live_server.url}/v1/contact", trust_env=False, **request)


@pytest.mark.parametrize("form", [FORM, FORM | OPTIONAL])
def test_L14_a_contact_form_is_answered_at_once_and_handled_later(contact, ended, mailoutbox, settings, form):
    settings.LETSGO_CONTACT_EMAIL = "shop@example.com"
    answer = contact(json=form)

    message = Message.objects.get(type="letsgo:contact")
    assert (answer.status_code, answer.json(), mailoutbox) == (202, {"id": message.pk}, [])
    assert message.payload["message"] == "Hello?" and set(message.payload) == set(form)

    assert ended(message).outcome == "succeeded"
    assert "Hello?" in mailoutbox[0].body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *[({key: value for key, value in FORM.items() if key != field}, field) for field in FORM],
        ({**FORM, "colour": "red"}, "colour"),
        ("not json", "body"),
        ({**FORM, "message": "x" * 70_000}, "body"),
    ],
)
def test_L14_what_is_no_contact_form_is_refused_with_the_field(contact, body, field):
    content = body if isinstance(body, str) else json.dumps(body)

    answer = contact(content=content, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["field"]) == (400, field)
    assert not Message.objects.exists()


def test_L15_an_event_is_handled_by_the_handler_of_its_own_type(client, handle, ended):
    registry.remove("letsgo:stripe")
    handle("letsgo:stripe", where={"type": "invoice.paid"})(lambda delivery: delivery.payload["stripeMode"])

    assert post(client, event("invoice.paid")).status_code == 200

    row = ended(Message.objects.get())
    assert (row.outcome, row.result) == ("succeeded", "LIVE")
    assert row.payload == {**event("invoice.paid"), "stripeMode": "LIVE"}


def test_L15_an_event_that_nobody_handles_is_logged_and_done(client, ended, caplog):
    caplog.set_level(logging.INFO)
    post(client, event("customer.subscription.created", livemode=True))

    assert ended(Message.objects.get()).outcome == "succeeded"
    assert "Stripe event customer.subscription.created" in caplog.text
    known = {one.where.get("type") for one in registry.handlers() if one.type == "letsgo:stripe"}
    assert known == set(EVENT_TYPES) and len(EVENT_TYPES) == 24


@pytest.mark.parametrize("bad", ["", "t=1,v1=abc", "old", "of the other endpoint", "no secret"])
def test_L15_an_event_that_stripe_did_not_sign_is_refused(client, settings, bad):
    body = json.dumps(event())
    made = {"old": signature(body, age=600), "of the other endpoint": signature(body, TEST_SECRET)}
    if bad == "no secret":
        settings.LETSGO_STRIPE_LIVE_WEBHOOK_KEY = ""
        made[bad] = signature(body)

    answer = post(client, body, **{"Stripe-Signature": made.get(bad, bad)})

    assert answer.status_code == 400
    assert not Message.objects.exists()


def test_L15_an_event_that_is_sent_again_is_one_message_before_and_after_it_is_handled(client, work_off):
    for _ in range(2):
        assert post(client, event()).status_code == 200
        assert post(client, event()).status_code == 200
        work_off()

    assert ArchivedMessage.objects.filter(type="letsgo:stripe").count() == 1


def test_L15_stripe_is_told_to_send_again_when_the_event_could_not_be_stored(client):
    def is_down(execute, sql, params, many, context):
        raise OperationalError("the server has gone away")

    with connection.execute_wrapper(is_down):
        assert post(client, event()).status_code == 503

    assert post(client, event()).status_code == 200
    assert Message.objects.count() == 1


def test_L15_in_the_shop_a_paid_invoice_gets_its_parcel(live_server, client, work_off, settings, monkeypatch):
    for name, value in outside.environment(live_server.url).items():
        if name.startswith("LETSGO_API"):
            monkeypatch.setenv(name, value)
    client.post("/", {"article": "tea", "customer": "ada@example.com"})
    work_off()
    with httpx.Client(base_url=live_server.url, trust_env=False) as browser:
        browser.get("/")
        token = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        for _ in range(2):
            assert browser.post(f"/outside/stripe/pay/{Invoice.objects.get().pk}", data=token).is_redirect
        work_off()
        page = browser.get("/outside/").text

    (parcel,) = outside.parcels.values()
    assert parcel == {"article": "tea", "to": Order.objects.get().customer, "by": "letsgo:worker"}
    assert "tea to ada@example.com" in page
    assert httpx.post(f"{live_server.url}/outside/api/parcels", json={}, trust_env=False).status_code == 401


def test_L17_a_token_says_who_calls_whom_and_for_how_long_and_is_cached(settings):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY, settings.LETSGO_API_TOKEN_KEY_ID = private_pem(), "k1"

    token = get_access_token()

    claims = jwt.decode(token, options={"verify_signature": False})
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    assert (claims["sub"], claims["aud"]) == ("letsgo:worker", "letsgo:service")
    assert (claims["iss"], claims["exp"] - claims["iat"]) == ("letsgo:k1", 3600)
    assert get_access_token() == token
    assert verify(token) == claims


def test_L17_without_a_key_there_is_one_clear_error(settings):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = ""

    with pytest.raises(TokenKeyMissing, match="^Cannot make .* token: .*_TOKEN_PRIVATE_KEY is not set.$"):
        get_access_token()


def test_L17_keys_are_rotated_by_their_ids_and_published(settings, client):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY, settings.LETSGO_API_TOKEN_KEY_ID = private_pem(), "old"
    old = get_access_token()
    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {"old": public_pem(private_pem())}
    settings.LETSGO_API_TOKEN_PRIVATE_KEY = private_pem("rsa", "new")
    settings.LETSGO_API_TOKEN_KEY_ID = "new"
    new = get_access_token()

    assert (verify(old)["iss"], verify(new)["iss"]) == ("letsgo:old", "letsgo:new")
    keys = client.get("/.well-known/jwks.json").json()["keys"]
    assert {key["kid"] for key in keys} == {"old", "new"}
    settings.LETSGO_API_TOKEN_PUBLIC_KEYS = {}
    with pytest.raises(InvalidToken, match="its key is unknown"):
        verify(old)


def test_L17_a_token_that_never_expires_is_refused(settings):
    settings.LETSGO_API_TOKEN_PRIVATE_KEY, settings.LETSGO_API_TOKEN_KEY_ID = private_pem(), "k1"
    claims = jwt.decode(get_access_token(), options={"verify_signature": False})
    del claims["exp"]

    with pytest.raises(InvalidToken, match="lacks a required claim"):
        verify(jwt.encode(claims, private_pem(), algorithm="RS256", headers={"kid": "k1"}))
