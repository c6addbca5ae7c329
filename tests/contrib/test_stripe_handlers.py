"""The handlers of Stripe's events: a visible stub for each type, replaced by a project's own."""

from __future__ import annotations

import importlib
import logging

import pytest
from django.core.management import call_command

from django_letsgo_worker import enqueue, handler, registry
from django_letsgo_worker.contrib.stripe import EVENT_TYPES, apps, handlers
from django_letsgo_worker.models import ArchivedMessage
from tests.contrib.stripe_events import event


@pytest.fixture(autouse=True)
def restored(monkeypatch):
    """As in a project without a handler of its own (the shop has one), and put back afterwards."""
    monkeypatch.delitem(registry._handlers, "letsgo:stripe")
    importlib.reload(handlers)


def test_there_are_the_24_types_that_letsgo_lists():
    assert len(set(EVENT_TYPES)) == 24


def test_each_type_has_a_handler_that_one_can_see():
    stubs = [one for one in registry.handlers() if one.type == "letsgo:stripe"]
    assert {one.where["type"] for one in stubs} == set(EVENT_TYPES)
    assert len({one.dotted for one in stubs}) == 24
    assert all(one.is_shipped for one in stubs)


def test_a_handler_of_the_project_takes_the_place_of_a_stub(restored):
    @handler("letsgo:stripe", where={"type": "invoice.paid"})
    def paid(delivery):
        pass

    assert registry.choose("letsgo:stripe", event("invoice.paid")).function is paid
    assert registry.choose("letsgo:stripe", event("customer.subscription.created")).function is not paid


def test_a_handler_may_ask_for_more_than_the_type(restored):
    @handler("letsgo:stripe", where={"type": "invoice.paid", "stripeMode": "LIVE"})
    def paid(delivery):
        pass

    assert registry.choose("letsgo:stripe", {**event(), "stripeMode": "LIVE"}).function is paid
    assert registry.choose("letsgo:stripe", {**event(), "stripeMode": "TEST"}).function is not paid


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("type", ["invoice.paid", "radar.early_fraud_warning.created"])
def test_an_event_without_a_handler_of_the_project_is_done_with_one_line_in_the_log(caplog, type):
    enqueue("letsgo:stripe", {**event(type=type), "stripeMode": "LIVE"})
    with caplog.at_level(logging.INFO, logger="django_letsgo_worker"):
        call_command("runworker", "--until-empty")
    assert ArchivedMessage.objects.get().outcome == "succeeded"
    said = {"invoice.paid": "Stripe event invoice.paid evt_1PgJ8kLkdIwHu7ixq2mE4VbT (LIVE)"}
    assert caplog.text.count(said.get(type, "No handler of letsgo:stripe matches message")) == 1
    assert "Müller" not in caplog.text


def test_a_missing_library_is_said_before_anything_runs(monkeypatch):
    assert apps.check_library(None) == []
    monkeypatch.setattr(apps, "find_spec", lambda name: None)
    assert "needs the stripe library" in apps.check_library(None)[0].msg


def test_a_deployment_without_any_secret_is_warned(settings, monkeypatch):
    for name in ("LETSGO_STRIPE_LIVE_WEBHOOK_KEY", "LETSGO_STRIPE_TEST_WEBHOOK_KEY"):
        monkeypatch.delenv(name, raising=False)
        setattr(settings, name, "")
    assert [one.id for one in apps.check_secrets(None)] == ["letsgo_stripe.W001"]
    settings.LETSGO_STRIPE_TEST_WEBHOOK_KEY = "whsec_x"
    assert apps.check_secrets(None) == []
