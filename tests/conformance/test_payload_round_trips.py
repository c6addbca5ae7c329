"""What goes in comes out: byte for byte, on every engine and on every way through the tables."""

from __future__ import annotations

import json

import pytest
from django.db import transaction
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from django_letsgo_worker import enqueue, enqueue_many, messages
from django_letsgo_worker.messages import settlements
from django_letsgo_worker.models import ArchivedMessage, Message

pytestmark = pytest.mark.django_db

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
plain = (
    st.none() | st.booleans() | st.integers() | st.integers(-(2**200), 2**200)
    | st.floats(allow_nan=False, allow_infinity=False) | text
)  # fmt: skip
payloads = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(text, inner, max_size=5), max_leaves=15
)

# How the same value may look different when a database parses it on the way.
DELICATE = {
    "nothing": None,
    "an empty text": "",
    "a text that looks like JSON": '{"a": [1, null]}',
    "texts that look like other things": ["null", "true", "1", "2026-01-01", "{}", "[]", '"'],
    "numbers that floats cannot hold": [2**63, -(2**63) - 1, 10**300, 123456789012345678901234567890],
    "floats": [1.0, -0.0, 0.1, 1e-320, 1.7976931348623157e308, 5e-324, 1e16, 100.0, 0.1 + 0.2],
    "keys in their order": {"b": 1, "a": 2, "": 3, "B": 4, "10": 5, "9": 6},
    "keys that look alike": {"a": 1, "A": 2, "a ": 3, "á": 4, "a\u0301": 5},
    "keys with meaning elsewhere": {"__proto__": 1, "$": 2, "a.b": 3, "%s": 4, "%(x)s": 5, "?": 6, ":x": 7},
    "signs": "".join(map(chr, range(1, 0x180))) + "\u2028\u2029\ufeff\ufffe\U0010ffff🙂👩‍👩‍👧",
    "escapes": "\\ \\u0041 \\n \" ' / \b\f\n\r\t \\\\ \x1a",
    "percent signs": "100 % %% %s %(a)s {} {0} $1",
    "white space": "  a\n\n\t ",
    "empty containers": [[], {}, [[]], {"a": {}}],
}


def exact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def deep(levels):
    value = "leaf"
    for level in range(levels):
        value = {"k": value} if level % 2 else [value]
    return value


@pytest.fixture
def all_ways(worker):
    """Return the texts of a payload after enqueue, claim, retry, archive, redrive and cancel."""

    def travel(payload):
        seen = []
        message = enqueue("job", payload, headers={"p": payload})
        seen += [
            message.payload,
            Message.objects.get(pk=message.pk).payload,
            messages.find(message.pk).payload,
        ]
        claimed = worker.claim_one()
        delivery = settlements.delivery_of(claimed)
        seen += [json.loads(claimed.payload), delivery.payload, delivery.headers["p"]]
        worker.settle(claimed, "again", errors=exact([{"message": payload}]))
        claimed = worker.claim_one()
        seen.append(json.loads(claimed.errors)[0]["message"])
        worker.settle(claimed, "dead", result=None if payload is None else exact(payload))
        letter = ArchivedMessage.objects.get(pk=message.pk)
        seen += [letter.payload, letter.headers["p"], letter.errors[0]["message"], letter.result]
        seen.append(messages.find(message.pk).payload)
        again = messages.redrive(message.pk)
        seen += [again.payload, again.headers["p"], again.errors[0]["message"]]
        gone = messages.cancel(message.pk)
        seen += [gone.payload, ArchivedMessage.objects.get(pk=message.pk).payload]
        ArchivedMessage.objects.all().delete()
        return [exact(value) for value in seen]

    return travel


@pytest.mark.parametrize("payload", DELICATE.values(), ids=DELICATE)
def test_delicate_values_survive_all_ways(all_ways, payload):
    assert set(all_ways(payload)) == {exact(payload)}


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(payload=payloads)
@example(payload={"": [None, {"\x01": -0.0}]})
def test_whatever_json_has_survives_all_ways(all_ways, payload):
    with transaction.atomic():
        assert set(all_ways(payload)) == {exact(payload)}


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(many=st.lists(payloads, max_size=8))
def test_many_at_once_survive_too(many):
    ids = enqueue_many([("job", payload) for payload in many])

    found = Message.objects.in_bulk(ids)
    assert [exact(found[id].payload) for id in ids] == [exact(payload) for payload in many]


def test_twenty_levels_survive(all_ways):
    assert set(all_ways(deep(19))) == {exact(deep(19))}


def test_the_largest_payload_survives(worker):
    payload = "🙂" * 60_000 + "x" * (262_142 - 240_000)
    message = enqueue("job", payload)

    assert Message.objects.get(pk=message.pk).payload == payload
    assert json.loads(worker.claim_one().payload) == payload


def test_five_megabytes_survive_where_the_limit_is_lifted(worker, settings):
    settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": None}
    payload = ["ü" * 1_000] * 2_500
    message = enqueue("job", payload)
    claimed = worker.claim_one()
    assert json.loads(claimed.payload) == payload
    worker.settle(claimed, "dead")

    assert messages.redrive(message.pk).payload == payload


def test_a_payload_can_be_filtered_out_and_left_unread():
    message = enqueue("job", {"a": 1})

    assert Message.objects.defer("payload").get(pk=message.pk).payload == {"a": 1}
    assert Message.objects.values_list("payload", flat=True).get() == {"a": 1}
