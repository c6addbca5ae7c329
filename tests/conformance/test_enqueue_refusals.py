"""What enqueue() refuses: in one sentence, before any SQL, and the caller's transaction goes on."""

from __future__ import annotations

import datetime as dt
import decimal
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.db import transaction

from django_letsgo_worker import enqueue, enqueue_many
from django_letsgo_worker.errors import InvalidMessage, LetsGoError
from django_letsgo_worker.models import ArchivedMessage, Message

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)
LONE = "\ud800"


def nested(depth):
    value = []
    for _ in range(depth - 1):
        value = [value]
    return value


REFUSED = {
    "type": [None, 1, True, b"job", ["job"], "", " ", "a b", "a\n", "größe", "a\0", LONE, "x" * 256, "a/b",
             "letsgo:nothing", "letsgo:", "letsgo:task:os.system", {}, {"payload": 1}, {"type": "a b"},
             {"type": None}, {"type": "job", "delay": 1}, {"type": "job", 1: 2}],
    "payload": [{1}, frozenset(), b"b", 1j, object(), object, decimal.Decimal(1), uuid.UUID(int=1), NOW,
                dt.date(2026, 1, 1), timedelta(1), math.nan, [math.inf], {"a": -math.inf}, "\0", {"a": LONE},
                {LONE: 1}, {"\0": 1}, {1: 1}, {None: 1}, nested(21), 10**5000, "x" * 262_143, "🙂" * 65_536],
    "delay": [-1, -0.001, math.nan, math.inf, "5", True, b"5", decimal.Decimal(5), 10**400, 1e300,
              timedelta(-1), timedelta.max, NOW, [1]],
    "visible_at": [NOW.replace(tzinfo=None), "2026-01-01", 5, NOW.date(), timedelta(1), True,
                   datetime.max.replace(tzinfo=UTC),
                   datetime.min.replace(tzinfo=timezone(timedelta(hours=14)))],
    "queue": ["", " ", "a b", "größe", "a\0", LONE, "x" * 65, 5, 0, True, b"q", ["q"], "a,b"],
    "priority": [101, -101, 1.0, "1", True, math.nan, decimal.Decimal(1), [1], 2**70],
    "max_attempts": [0, -1, 32_001, 1.0, "3", True, math.inf, 2**70],
    "deadline": [NOW - timedelta(seconds=1), NOW.replace(tzinfo=None), timedelta(0), timedelta(-1),
                 "tomorrow", "0s",
                 5, NOW.date(), timedelta.max, True, datetime.max.replace(tzinfo=UTC)],
    "unique_key": ["", 5, True, b"k", "k" * 201, "a\0", LONE, ["k"]],
    "on_conflict": ["", "ignore", "RETURN", None, 1, True],
    "headers": ["x", 5, [1], [("a", 1)], {1: 2}, {"a": {1}}, {"a": "\0"}, {"a": "x" * 70_000}, object()],
}  # fmt: skip
TOGETHER = [
    {"delay": 5, "visible_at": NOW + timedelta(days=1)},
    {"delay": 0, "visible_at": NOW + timedelta(days=1)},
    {"visible_at": NOW + timedelta(days=2), "deadline": NOW + timedelta(days=1)},
    {"visible_at": NOW + timedelta(days=2), "deadline": timedelta(days=1)},
    {"delay": 7200, "deadline": timedelta(hours=1)},
    {"delay": timedelta(days=2), "deadline": NOW + timedelta(days=1)},
    {"type": {"type": "job", "payload": 1}, "payload": 2},
]
CASES = {
    f"{option} {n}": {option: value} for option, values in REFUSED.items() for n, value in enumerate(values)
}
CASES |= {f"together {n}": options for n, options in enumerate(TOGETHER)}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_bad_input_is_refused_in_one_sentence_and_the_transaction_goes_on(statements, case):
    options = {"type": "job", **case}

    with transaction.atomic():
        with statements() as sent, pytest.raises(InvalidMessage) as caught:
            enqueue(**options)
        after = enqueue("job", {"still": "usable"})

    assert sent == []
    assert Message.objects.get().pk == after.pk
    sentence = str(caught.value)
    assert sentence.encode()
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert len(sentence) < 400


@pytest.mark.parametrize("value", [[], "", 0, False], ids=repr)
def test_headers_that_are_no_dictionary_are_refused_even_when_empty(value):
    with pytest.raises(InvalidMessage, match="headers"):
        enqueue("job", headers=value)


def test_an_option_that_does_not_exist_is_a_type_error():
    with pytest.raises(TypeError):
        enqueue("job", prioritee=1)


def test_a_refusal_is_a_value_error_and_one_of_ours():
    for kind in (ValueError, LetsGoError):
        with pytest.raises(kind):
            enqueue("a b")


def test_the_place_inside_the_payload_is_named():
    with pytest.raises(InvalidMessage, match=r"payload\.orders\[1\]\.at"):
        enqueue("job", {"orders": [{}, {"at": NOW}]})


class TestTheLimitOfAPayload:
    def test_its_last_byte_is_allowed(self):
        assert enqueue("job", "x" * 262_142).pk

    def test_it_is_a_setting(self, settings):
        settings.LETSGO_WORKER = {"MAX_PAYLOAD_BYTES": 10}
        assert enqueue("job", "x" * 8).pk
        with pytest.raises(InvalidMessage, match="at most 10"):
            enqueue("job", "x" * 9)

    def test_twenty_levels_are_allowed(self):
        assert enqueue("job", nested(20)).payload == nested(20)


MANY = {
    "nothing": None,
    "a number": 5,
    "text of two letters": "ab",
    "one of a pair": ("job",),
    "three of a pair": ("job", 1, 2),
    "no type": {"payload": 1},
    "an unknown option": {"type": "job", "prioritee": 1},
    "unknown options of several kinds": {"type": "job", 1: 2, "prioritee": 1},
    "a bad type": ("a b", 1),
    "a bad payload": ("job", {1}),
    "a bad conflict": {"type": "job", "unique_key": "k", "on_conflict": "ignore"},
    "an unhashable conflict": {"type": "job", "unique_key": "k", "on_conflict": []},
    "an alias of its own": {"type": "job", "using": "default"},
}


@pytest.mark.parametrize("bad", MANY.values(), ids=MANY)
def test_one_bad_message_among_many_refuses_all_and_is_named(statements, bad):
    with transaction.atomic():
        with statements() as sent, pytest.raises(InvalidMessage, match=r"^Message 2: ") as caught:
            enqueue_many([("job", 1), {"type": "job"}, bad, ("job", 2)])
        after = enqueue("job")

    assert sent == []
    assert Message.objects.get().pk == after.pk
    assert not ArchivedMessage.objects.exists()
    assert "\n" not in str(caught.value)


def test_a_bad_default_is_refused_too():
    with pytest.raises(InvalidMessage, match="priority"):
        enqueue_many([("job", 1)], priority=1000)
    assert not Message.objects.exists()


class Speechless:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("name", [name for name in REFUSED if name != "payload"])
@pytest.mark.parametrize("value", [Speechless(), [b"\0" * 10_000]], ids=["without-repr", "long"])
def test_a_refusal_stays_one_short_sentence_whatever_the_value_is(name, value):
    given = {"type": "job", name: value}
    with pytest.raises((InvalidMessage, LetsGoError)) as caught:
        enqueue(given.pop("type"), {}, **given)

    assert len(str(caught.value)) < 300
