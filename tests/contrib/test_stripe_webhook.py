"""Stripe's webhooks: who is let in, what becomes a message, and that it becomes one only once."""

from __future__ import annotations

import json
import logging
import sys
import threading
import urllib.error
import urllib.request
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.urls import reverse
from django.utils import timezone

from django_letsgo_worker import messages
from django_letsgo_worker.contrib.stripe import views
from django_letsgo_worker.contrib.stripe.models import SeenEvent
from django_letsgo_worker.contrib.stripe.views import MAX_BODY_BYTES
from django_letsgo_worker.models import ArchivedMessage, Message
from tests.contrib.stripe_events import LIVE_SECRET, TEST_SECRET, event, post, signature

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.contrib.urls")]


@pytest.fixture(autouse=True)
def secrets(settings, monkeypatch):
    for name in ("LETSGO_STRIPE_LIVE_WEBHOOK_KEY", "LETSGO_STRIPE_TEST_WEBHOOK_KEY"):
        monkeypatch.delenv(name, raising=False)
    settings.LETSGO_STRIPE_LIVE_WEBHOOK_KEY = LIVE_SECRET
    settings.LETSGO_STRIPE_TEST_WEBHOOK_KEY = TEST_SECRET
    settings.DEBUG = True  # where a mistake would show most


def assert_refused(response, status=400):
    """One sentence, and nothing stored."""
    text = response.content.decode()
    assert response.status_code == status, text
    assert text.endswith(".\n")
    assert len(text.splitlines()) == 1
    assert "Traceback" not in text
    assert not Message.objects.exists()
    assert not SeenEvent.objects.exists()


def without_database(execute, sql, params, many, context):
    if "django_letsgo_worker_message" in sql:
        raise OperationalError("the server has gone away\nDETAIL: Zoë Müller")
    return execute(sql, params, many, context)


# -- what becomes a message -------------------------------------------------------------------------------


def test_an_event_becomes_a_message_with_the_whole_event_and_its_mode(client):
    sent = event("invoice.paid")

    response = post(client, sent)

    message = Message.objects.get()
    assert response.status_code == 200
    assert message.type == "letsgo:stripe"
    assert message.payload == {**sent, "stripeMode": "LIVE"}
    assert message.unique_key == sent["id"]


@pytest.mark.parametrize(
    "name",
    ["customer.subscription.created", "payment_intent.succeeded.jpy", "payment_intent.succeeded.bhd"],
)
def test_an_event_of_the_test_mode_says_so(client, name):
    assert post(client, event(name), mode="test").status_code == 200
    assert Message.objects.get().payload["stripeMode"] == "TEST"


def test_the_addresses_have_a_name_and_may_end_in_a_slash(client):
    body = json.dumps(event())
    address = reverse("letsgo_stripe_webhook", kwargs={"mode": "live"})
    assert address == "/stripe/webhook/live"
    headers = {"Stripe-Signature": signature(body)}
    assert client.post(f"{address}/", body, "application/json", headers=headers).status_code == 200


def test_a_type_that_nobody_listed_is_stored_too(client):
    assert post(client, event(type="radar.early_fraud_warning.created")).status_code == 200
    assert Message.objects.get().payload["type"] == "radar.early_fraud_warning.created"


def test_one_of_two_signatures_is_enough_while_stripe_rolls_the_secret(client):
    body = json.dumps(event())
    old, new = signature(body, "whsec_the_next"), signature(body)
    both = f"{old},{new.partition(',')[2]}"
    assert post(client, body, **{"Stripe-Signature": both}).status_code == 200


# -- who is let in ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "",
        "nonsense",
        "t=,v1=",
        "t=1,v1=00",
        "v1=00",
        "t=99999999999999999999,v1=é",
        "t=" + "9" * 5000 + ",v1=00",
        # Signed when the test runs: a moment after it was collected they would be refused as old.
        pytest.param(lambda: signature("another body"), id="another body"),
        pytest.param(lambda: signature(json.dumps(event()), "whsec_of_somebody_else"), id="another's secret"),
        pytest.param(lambda: signature(json.dumps(event()), TEST_SECRET), id="the secret of tests"),
        pytest.param(lambda: signature(json.dumps(event()), ""), id="no secret"),
        pytest.param(lambda: signature(json.dumps(event()), age=3600), id="old"),
    ],
    ids=lambda header: header[:12] or "none",
)
def test_a_bad_missing_or_old_signature_is_refused(client, header):
    header = header() if callable(header) else header
    assert_refused(post(client, event(), **{"Stripe-Signature": header}))


def test_a_signature_of_four_minutes_ago_still_counts(client):
    body = json.dumps(event())
    assert post(client, body, **{"Stripe-Signature": signature(body, age=240)}).status_code == 200


@pytest.mark.parametrize("secret", [None, "", "  "])
def test_without_a_secret_everything_is_refused(client, settings, secret):
    settings.LETSGO_STRIPE_LIVE_WEBHOOK_KEY = secret
    response = post(client, event(), **{"Stripe-Signature": signature(json.dumps(event()), secret or "")})
    assert_refused(response)
    assert "No webhook secret is configured for live events." in response.content.decode()


def test_the_secret_of_the_environment_wins(client, monkeypatch):
    monkeypatch.setenv("LETSGO_STRIPE_LIVE_WEBHOOK_KEY", "whsec_environment")
    body = json.dumps(event())
    assert post(client, body).status_code == 400
    assert post(client, body, **{"Stripe-Signature": signature(body, "whsec_environment")}).status_code == 200


def test_a_test_event_is_refused_at_the_live_endpoint_whoever_signed_it(client):
    assert_refused(post(client, event(livemode=False)))


def test_a_live_event_is_refused_at_the_test_endpoint(client):
    assert_refused(post(client, event(livemode=True), mode="test"))


@pytest.mark.parametrize(
    "body",
    [
        "",
        "no JSON",
        "[" * 100_000,
        "[]",
        "null",
        "{}",
        '{"id": 7, "type": "x", "livemode": true}',
        '{"id": "", "type": "x", "livemode": true}',
        '{"id": "evt_\\u0000", "type": "x", "livemode": true}',
        '{"id": "evt_1", "livemode": true}',
        '{"id": "evt_1", "type": "v1.x", "object": "v2.core.event", "livemode": true}',
    ],
    ids=range(11),
)
def test_a_signed_body_that_is_no_event_is_refused(client, body):
    assert_refused(post(client, body))


def test_a_body_that_is_no_text_is_refused(client):
    response = client.generic(
        "POST", "/stripe/webhook/live", b"\xff\xfe", headers={"Stripe-Signature": "t=1,v1=00"}
    )
    assert_refused(response)


def test_a_body_that_is_too_large_is_refused_before_it_is_read_through(client):
    assert_refused(post(client, event(padding="x" * MAX_BODY_BYTES)), 413)


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "head"])
def test_only_a_post_is_taken(client, method):
    assert getattr(client, method)("/stripe/webhook/live").status_code == 405


@pytest.mark.parametrize("mode", ["LIVE", "prod", ""])
def test_there_is_no_third_endpoint(client, mode):
    assert client.post(f"/stripe/webhook/{mode}").status_code == 404


def test_no_token_against_forgery_is_asked_for():
    from django.test import Client

    assert post(Client(enforce_csrf_checks=True), event()).status_code == 200


def test_what_is_refused_leaves_no_secret_and_no_body_in_the_log(client, caplog):
    with caplog.at_level(logging.DEBUG):
        post(client, event(), **{"Stripe-Signature": "t=1,v1=c0ffee"})
    assert "was refused" in caplog.text
    for hidden in (LIVE_SECRET, "c0ffee", "Müller", "Traceback"):
        assert hidden not in caplog.text


# -- once -------------------------------------------------------------------------------------------------


def test_an_event_that_is_sent_again_is_one_message(client):
    assert [post(client, event()).status_code for _ in range(3)] == [200, 200, 200]
    assert Message.objects.count() == 1


def test_an_event_whose_message_is_archived_is_not_handled_again(client):
    post(client, event())
    messages.cancel(Message.objects.get().pk)

    assert post(client, event()).status_code == 200

    assert not Message.objects.exists()
    assert ArchivedMessage.objects.count() == 1


def test_without_the_memory_an_archived_event_would_be_handled_again(client, monkeypatch):
    """The control of the test above: what makes it true is the memory."""
    monkeypatch.setattr(views, "_remember", lambda *arguments: True)
    post(client, event())
    messages.cancel(Message.objects.get().pk)

    post(client, event())

    assert Message.objects.count() == 1


def test_a_live_message_is_found_even_when_the_event_is_forgotten(client):
    post(client, event())
    SeenEvent.objects.all().delete()
    assert post(client, event()).content == b"The event was stored before.\n"
    assert Message.objects.count() == 1


def test_ids_that_differ_in_case_only_are_two_events(client):
    post(client, event(id="evt_1a"))
    post(client, event(id="evt_1A"))
    assert Message.objects.count() == 2


def test_events_are_forgotten_when_stripe_cannot_send_them_any_more(client, monkeypatch):
    for days in (40, 32, 30, 1):
        SeenEvent.objects.create(digest=str(days), seen_at=timezone.now() - timedelta(days=days))
    monkeypatch.setattr(views._Forgetting, "next_at", float("-inf"))

    post(client, event())

    left = set(SeenEvent.objects.values_list("pk", flat=True))
    assert left & {"40", "32", "30", "1"} == {"30", "1"}


def test_that_old_events_cannot_be_forgotten_is_no_reason_to_refuse_a_new_one(client, monkeypatch, caplog):
    def fail():
        raise OperationalError("locked")

    monkeypatch.setattr("django_letsgo_worker.contrib.stripe.views.forget_now_and_then", fail)
    assert post(client, event()).status_code == 200
    assert "could not be deleted: locked" in caplog.text


# -- what fails is sent again -----------------------------------------------------------------------------


def test_a_database_that_fails_is_said_and_the_event_is_taken_when_it_comes_again(client, caplog):
    with connection.execute_wrapper(without_database):
        response = post(client, event())
    assert_refused(response, 503)
    assert "was not stored (OperationalError): the server has gone away" in caplog.text
    assert "Müller" not in caplog.text + response.content.decode()

    assert post(client, event()).status_code == 200
    assert Message.objects.count() == 1


def test_an_event_that_the_settings_do_not_allow_is_sent_again_until_they_do(client, settings):
    settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": 1000}
    assert_refused(post(client, event()), 503)
    settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": None}
    assert post(client, event()).status_code == 200


def test_without_the_library_one_sentence_in_the_log_says_what_to_install(client, monkeypatch, caplog):
    body = json.dumps(event())
    headers = {"Stripe-Signature": signature(body)}
    monkeypatch.setitem(sys.modules, "stripe", None)
    response = client.post("/stripe/webhook/live", body, "application/json", headers=headers)
    assert_refused(response, 503)
    assert "pip install 'django-letsgo-worker[stripe]'" in caplog.text


# -- over the wire ----------------------------------------------------------------------------------------


def send(url, body, header):
    request = urllib.request.Request(url, body.encode(), {"Stripe-Signature": header}, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.django_db(transaction=True)
def test_an_event_that_is_sent_eight_times_at_once_over_http_is_one_message(live_server):
    url, body = f"{live_server.url}/stripe/webhook/live", json.dumps(event(), ensure_ascii=False)
    answers, start = [], threading.Barrier(8)

    def deliver():
        start.wait()
        answers.append(send(url, body, signature(body)))

    threads = [threading.Thread(target=deliver) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert answers == [200] * 8
    assert Message.objects.get().payload["data"]["object"]["customer_name"] == "Zoë Müller"


@pytest.mark.django_db(transaction=True)
def test_what_is_not_signed_is_refused_over_http_too(live_server):
    assert send(f"{live_server.url}/stripe/webhook/live", json.dumps(event()), "t=1,v1=00") == 400
    assert not Message.objects.exists()
