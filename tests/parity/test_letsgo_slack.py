"""LetsGo's Slack messages (rows L16 and L23), with a real HTTP server in Slack's place."""

# ruff: noqa: N802  (a row is called by its id: L7, A3)

from __future__ import annotations

import json
import logging

import httpx
import pytest

from django_letsgo_worker import Reject, enqueue, schedules
from django_letsgo_worker.contrib.slack import send_slack_message
from django_letsgo_worker.models import ArchivedMessage, Message, ScheduledJob
from testproject.shop import outside
from tests.contrib.stripe_events import LIVE_SECRET, event, post
from tests.slackserver import CANARY, closed_port, slack_fixture, work_off

pytestmark = pytest.mark.django_db(transaction=True)

__all__ = ["slack_fixture"]


def test_L16_a_message_reaches_slack_and_without_a_url_nothing_happens(slack, settings):
    send_slack_message("Hello")
    work_off()
    settings.LETSGO_SLACK_URL = ""

    assert send_slack_message("Hello?") is None
    assert slack.texts == ["Hello"]
    assert not Message.objects.exists()


def test_L16_a_contact_form_is_announced(slack, client):
    client.post("/v1/contact", {"name": "Ada", "email": "ada@example.com", "message": "Hello?"})
    work_off()

    (text,) = slack.texts
    assert "Contact form" in text and "Ada" in text and "Hello?" in text


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [(1099, "usd", "10.99 USD"), (500, "jpy", "500 JPY"), (1500, "bhd", "1.500 BHD")],
)
def test_L16_a_paid_invoice_is_announced_with_the_right_amount(
    slack, client, settings, amount, currency, said
):
    settings.LETSGO_STRIPE_LIVE_WEBHOOK_KEY = LIVE_SECRET
    paid = event("invoice.paid")
    paid["data"]["object"] |= {"amount_paid": amount, "currency": currency}

    assert post(client, json.dumps(paid)).status_code == 200
    work_off()

    (text,) = slack.texts
    assert f"invoice.paid, {said}" in text


def test_L16_a_dead_letter_and_an_unknown_type_are_announced(slack, handle):
    @handle("t:fails")
    def fail(delivery):
        raise Reject("There is no such customer.")

    enqueue("t:fails")
    enqueue("t:nobody-knows")
    work_off()

    assert any("Dead letter" in text and "There is no such customer." in text for text in slack.texts)
    assert any("Unknown type" in text and "t:nobody-knows" in text for text in slack.texts)


def test_L16_a_schedule_that_cannot_run_is_announced(slack):
    schedules.add("nightly", "0 2 * * *", "t:night")
    ScheduledJob.objects.update(schedule="nonsense")

    schedules.fire_due()
    work_off()

    (text,) = slack.texts
    assert "Broken schedule" in text and "nightly" in text


def test_L16_a_slack_that_is_down_fails_no_business_message_and_its_url_is_in_no_log(
    slack, settings, handle, caplog
):
    caplog.set_level(logging.DEBUG)
    settings.LETSGO_SLACK_URL = f"http://127.0.0.1:{closed_port()}/services/{CANARY}"
    handle("t:order")(lambda delivery: send_slack_message("An order") and "done")
    order = enqueue("t:order")

    work_off()

    assert ArchivedMessage.objects.get(pk=order.pk).outcome == "succeeded"
    waiting = Message.objects.get(type="letsgo:slack")
    assert waiting.attempts == 1
    assert CANARY not in caplog.text + json.dumps([waiting.payload, waiting.headers, waiting.errors])


@pytest.mark.parametrize(
    ("type", "said"), [("letsgo:tenant:new", "New tenant"), ("letsgo:tenant:deleted", "Tenant deleted")]
)
@pytest.mark.parametrize("payload", [{"tenantId": "t1", "displayName": "Tea & Co"}, {}, None, "text"])
def test_L23_tenants_are_announced_whatever_their_payload_lacks(slack, type, said, payload):
    message = enqueue(type, payload)
    work_off()

    assert ArchivedMessage.objects.get(pk=message.pk).outcome == "succeeded"
    (text,) = slack.texts
    assert said in text
    if isinstance(payload, dict) and payload:
        assert "Tea &amp; Co (t1)" in text


def test_L16_in_the_shop_slack_is_a_page_of_its_own(live_server, settings):
    outside.slack_texts.clear()
    settings.LETSGO_SLACK_URL = f"{live_server.url}/outside/slack"
    form = {"name": "Ada", "email": "ada@example.com", "message": "Hello from the shop"}

    assert httpx.post(f"{live_server.url}/v1/contact", json=form, trust_env=False).status_code == 202
    work_off()

    assert "Hello from the shop" in httpx.get(f"{live_server.url}/outside/", trust_env=False).text
