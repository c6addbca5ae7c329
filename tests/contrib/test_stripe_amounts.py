"""Stripe's amounts: right for currencies of two decimals, of none and of three."""

from __future__ import annotations

from decimal import Decimal

import pytest

from django_letsgo_worker.contrib.stripe import decimal_amount, format_amount
from django_letsgo_worker.contrib.stripe.amounts import THREE_DECIMAL, ZERO_DECIMAL
from tests.contrib.stripe_events import event


@pytest.mark.parametrize(
    ("amount", "currency", "text"),
    [
        (1099, "usd", "10.99 USD"),
        (5, "eur", "0.05 EUR"),
        (0, "eur", "0.00 EUR"),
        (-1099, "eur", "-10.99 EUR"),
        (500, "jpy", "500 JPY"),
        (500, "KRW", "500 KRW"),
        (-1, "jpy", "-1 JPY"),
        (5120, "kwd", "5.120 KWD"),
        (10, "bhd", "0.010 BHD"),
        (99999999999999999999999999999999, "eur", "999999999999999999999999999999.99 EUR"),
    ],
)
def test_an_amount_is_written_with_the_decimals_of_its_currency(amount, currency, text):
    assert format_amount(amount, currency) == text


@pytest.mark.parametrize("currency", ["ugx", "isk", "huf", "twd"])
def test_currencies_that_stripe_keeps_in_hundredths_are_read_as_hundredths(currency):
    assert decimal_amount(500, currency) == Decimal(5)


def test_the_lists_are_those_that_stripe_documents():
    none = "BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF"
    assert {"".join(sorted(ZERO_DECIMAL)), "".join(sorted(THREE_DECIMAL))} == {
        none.replace(" ", ""),
        "BHDJODKWDOMRTND",
    }


@pytest.mark.parametrize(
    ("name", "key", "text"),
    [
        ("invoice.paid", "amount_paid", "10.99 EUR"),
        ("payment_intent.succeeded.jpy", "amount_received", "500 JPY"),
        ("payment_intent.succeeded.bhd", "amount_received", "5.120 BHD"),
    ],
)
def test_the_amount_of_a_real_event_is_right(name, key, text):
    thing = event(name)["data"]["object"]
    assert format_amount(thing[key], thing["currency"]) == text


@pytest.mark.parametrize("amount", [10.99, "1099", None, True])
def test_an_amount_that_is_no_whole_number_is_refused(amount):
    with pytest.raises(TypeError, match="whole number of the smallest unit"):
        format_amount(amount, "eur")


@pytest.mark.parametrize("currency", ["", "eu", "euro", "€€€", "e1r", None])
def test_what_is_no_code_of_three_letters_is_refused(currency):
    with pytest.raises(ValueError, match="a three-letter code"):
        format_amount(1, currency)
