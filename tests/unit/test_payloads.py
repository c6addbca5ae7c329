"""Payloads that JSON does not have: what ENCODER writes, and what handlers get back."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy, override

from django_letsgo_worker import payloads
from django_letsgo_worker.errors import InvalidMessage

DJANGO = "django.core.serializers.json.DjangoJSONEncoder"
NUMBER = UUID("12345678-1234-5678-1234-567812345678")


@pytest.fixture
def encoder(settings):
    settings.LETSGO_WORKER = {"ENCODER": DJANGO}


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("6.50"), "6.50"),
        (NUMBER, str(NUMBER)),
        (date(2026, 2, 28), "2026-02-28"),
        (datetime(2026, 2, 28, 9, 30, tzinfo=UTC), "2026-02-28T09:30:00Z"),
        (timedelta(minutes=90), "P0DT01H30M00S"),
    ],
)
def test_what_django_writes_comes_back_as_its_text(value, text):
    assert payloads.as_json({"a": [value, {"b": (value,)}]}) == {"a": [text, {"b": [text]}]}
    assert payloads.written([value, {"b": value}]) == [text, {"b": text}]


@pytest.mark.usefixtures("encoder")
def test_a_lazy_text_is_that_of_the_language_at_that_moment():
    subject = gettext_lazy("Yes")
    with override("de"):
        assert payloads.as_json([subject]) == ["Ja"]


@pytest.mark.usefixtures("encoder")
@pytest.mark.parametrize("value", [{1}, object(), time(9, tzinfo=UTC), b"bytes"])
def test_what_the_encoder_does_not_know_is_refused_as_without_it(value):
    with pytest.raises(InvalidMessage, match=r"payload\.a\[0\] is of type \w+, which is not JSON"):
        payloads.encode({"a": [value]}, None)


@pytest.mark.parametrize("made", [float("nan"), {1: "a"}, "a NUL: \0", [1, 2] * 3 + [float("inf")]])
def test_the_other_rules_hold_for_what_an_encoder_makes(monkeypatch, made):
    monkeypatch.setattr(payloads, "_default", lambda path: lambda value: made)
    with pytest.raises(InvalidMessage):
        payloads.encode([object()], None)


def test_an_encoder_that_makes_containers_for_ever_is_stopped(monkeypatch):
    monkeypatch.setattr(payloads, "_default", lambda path: lambda value: [value])
    with pytest.raises(InvalidMessage, match="nested deeper than 20 levels"):
        payloads.encode(object(), None)


def test_without_an_encoder_datetimes_are_refused():
    with pytest.raises(InvalidMessage, match="is of type date"):
        payloads.encode({"day": date(2026, 2, 28)}, None)


@pytest.mark.parametrize("path", ["no.such.Encoder", "tests.unit.test_payloads.NUMBER", "json"])
def test_an_encoder_that_is_none_is_refused(settings, path):
    settings.LETSGO_WORKER = {"ENCODER": path}
    with pytest.raises(ImproperlyConfigured, match="ENCODER"):
        payloads.encode({}, None)


def test_equal_payloads_have_one_key():
    assert payloads.key_of('{"a":1,"b":[1,2]}') == payloads.key_of('{"b": [1, 2], "a": 1}')
    assert payloads.key_of('{"a":1}') != payloads.key_of('{"a":"1"}')
    assert len(payloads.key_of("null")) <= 200
