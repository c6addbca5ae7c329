"""contrib.attempts: what is known of an attempt when the carriers around its handler are left."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from django_letsgo_worker import Delivery, Snooze
from django_letsgo_worker.contrib import attempts
from django_letsgo_worker.delivery import Control
from django_letsgo_worker.signals import delivery_failed

DELIVERY = Delivery(
    message_id=7, type="t:x", payload=None, headers={}, queue="default", priority=0, attempt=1,
    max_attempts=10, receipt=1, enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
)  # fmt: skip


@pytest.fixture(autouse=True)
def connected():
    attempts.connect()


def control(**flags):
    control = Control()
    for name, value in flags.items():
        setattr(control, name, value)
    return control


@pytest.mark.parametrize(
    ("flags", "error", "decided", "outcome"),
    [
        ({}, None, None, "succeeded"),
        ({}, Snooze(1), None, "snoozed"),
        ({}, ValueError(), "retry", "retry"),
        ({}, ValueError(), "dead", "dead"),
        ({"should_stop": True}, ValueError(), "dead", "dead"),
        # A policy has it in succeed_on.
        ({}, ValueError(), None, "succeeded"),
        # Nobody decides about what a shutdown cuts short.
        ({"should_stop": True}, SystemExit(), None, "released"),
        ({"should_stop": True}, None, None, "succeeded"),
        ({"lease_lost": True}, None, None, "lost"),
        ({"lease_lost": True}, ValueError(), None, "lost"),
    ],
)
def test_the_outcome_is_what_was_decided_or_what_the_delivery_says(flags, error, decided, outcome):
    delivery = replace(DELIVERY, _control=control(**flags))
    with attempts.watched(delivery) as attempt:
        if decided:
            delivery_failed.send_robust(
                sender=Delivery, delivery=delivery, outcome=decided, seconds=0.1, exception=error, delay=None
            )
        assert attempt.outcome(error) == outcome


def test_carriers_around_one_handler_learn_the_same():
    facts = {"seconds": 0.1, "exception": ValueError(), "delay": None}
    with attempts.watched(DELIVERY) as outer, attempts.watched(DELIVERY) as inner:
        delivery_failed.send_robust(sender=Delivery, delivery=DELIVERY, outcome="dead", **facts)
    assert outer.outcome(ValueError()) == inner.outcome(ValueError()) == "dead"


def test_a_delivery_within_another_one_is_an_attempt_of_its_own():
    """A handler may call drain()."""
    facts = {"seconds": 0.1, "exception": ValueError(), "delay": None}
    within = replace(DELIVERY, message_id=8)
    with attempts.watched(DELIVERY) as outer:
        with attempts.watched(within) as inner:
            delivery_failed.send_robust(sender=Delivery, delivery=within, outcome="dead", **facts)
        assert outer.outcome(None) == "succeeded"
    assert inner.outcome(ValueError()) == "dead"
