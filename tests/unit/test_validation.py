"""What may be a message: payloads, names, numbers and times, and the sentences that refuse the rest."""

from __future__ import annotations

import collections
import datetime as dt
import decimal
import enum
import json
import math
import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest
from django.contrib.auth.models import Group
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy
from hypothesis import example, given
from hypothesis import strategies as st

from django_letsgo_worker import validation
from django_letsgo_worker.errors import InvalidMessage, LetsGoError
from django_letsgo_worker.validation import encode, storable

HUGE = 10**5000
LONE = "\ud800"


class Colour(enum.StrEnum):
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


def encoded(value, max_bytes=None):
    return encode("payload", value, max_bytes)


def refused(value, max_bytes=None):
    with pytest.raises(InvalidMessage) as caught:
        encoded(value, max_bytes)
    return str(caught.value)


def nested(depth, leaf=None):
    """Return `depth` containers, dictionaries and lists by turns, one inside the other."""
    value = leaf
    for level in range(depth):
        value = {"a": value} if level % 2 else [value]
    return value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    lambda inner: st.lists(inner)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), inner),
    max_leaves=20,
)  # fmt: skip


class TestEncode:
    @pytest.mark.parametrize("has_inner_encoder", [True, False])
    @given(value=json_values)
    def test_the_text_is_what_the_json_module_writes(self, has_inner_encoder, value):
        with pytest.MonkeyPatch.context() as patch:
            if not has_inner_encoder:
                patch.setattr(validation, "c_make_encoder", None)
            write = validation._writer.__wrapped__(None)

        assert write(value) == json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    def test_a_value_that_contains_itself_ends(self):
        circle = []
        circle.append(circle)

        with pytest.raises(RecursionError):
            validation.exact_json(circle)

    @given(json_values)
    @example({"ключ": "значение", "emoji": "🙂", 'quote"': "\\\u2028\x01\x7f"})
    @example([-0.0, 1e-320, 1.7976931348623157e308, 2**63, -(2**200), 0.1 + 0.2])
    def test_whatever_json_has_comes_back_identical(self, value):
        back = json.loads(encoded(value))
        assert repr(back) == repr(value)

    def test_the_order_of_keys_is_kept(self):
        assert encoded({"b": 1, "a": 2}) == '{"b":1,"a":2}'

    def test_it_is_compact_and_readable_unicode(self):
        assert encoded({"name": "Zoë 🙂", "n": [1, 2]}) == '{"name":"Zoë 🙂","n":[1,2]}'

    @pytest.mark.parametrize("value", [None, "", 0, False, 1.5, "text", [], {}])
    def test_a_payload_need_not_be_a_dictionary(self, value):
        assert json.loads(encoded(value)) == value

    def test_tuples_become_lists(self):
        point = collections.namedtuple("point", "x y")
        assert encoded({"t": (1, (2,)), "p": point(3, 4)}) == '{"t":[1,[2]],"p":[3,4]}'

    def test_kinds_of_dictionaries_texts_and_numbers_count_as_such(self):
        value = collections.OrderedDict(
            a=collections.defaultdict(int, b=1), c=mark_safe("<b>"), d=Colour.RED, e=Size.LARGE
        )
        assert encoded(value) == '{"a":{"b":1},"c":"<b>","d":"red","e":3}'

    def test_the_payload_itself_is_left_alone(self):
        value = {"list": (1, 2), "inner": {"a": None}}
        encoded(value, 1000)
        assert value == {"list": (1, 2), "inner": {"a": None}}


class TestRefusedPayloads:
    @pytest.mark.parametrize(
        "value",
        [
            {1}, frozenset(), b"bytes", bytearray(), memoryview(b""), 1j, decimal.Decimal("1.5"),
            uuid.UUID(int=1), dt.date(2026, 1, 1), dt.time(1), datetime(2026, 1, 1, tzinfo=UTC),
            timedelta(1), Group(name="a model"), gettext_lazy("later"), object(), object, len, range(3),
            iter([]), (n for n in ()), ..., NotImplemented, collections.deque(), collections.UserDict(),
            enum.Enum("E", "A").A, ValueError("x"),
        ],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_what_json_does_not_have_is_refused_with_its_type_and_place(self, value):
        sentence = refused({"orders": [{"what": value}]})
        assert sentence.startswith(
            f"payload.orders[0].what is of type {type(value).__name__}, which is not JSON"
        )

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=repr)
    def test_numbers_that_json_does_not_have(self, value):
        assert refused([{"ratio": value}]).startswith(f"payload[0].ratio is {value!r}")

    @pytest.mark.parametrize("text", ["\0", "a\0b", "é\0"])
    def test_nul_characters(self, text):
        assert refused({"a": [text]}).startswith("payload.a[0] contains a NUL character")

    @pytest.mark.parametrize("text", [LONE, "a\udfff", "\ud83d\ude42"], ids=ascii)
    def test_lone_surrogates_and_pairs_of_them(self, text):
        assert refused({"a": text}).startswith("payload.a contains a lone surrogate")

    @pytest.mark.parametrize("key", ["\0", LONE], ids=ascii)
    def test_keys_that_no_database_can_store(self, key):
        sentence = refused({"a": {key: 1}})
        assert sentence.startswith("a key of payload.a contains")
        sentence.encode()

    @pytest.mark.parametrize("key", [1, None, True, 1.5, b"a", ("a",), frozenset()], ids=repr)
    def test_keys_that_are_no_text(self, key):
        assert refused({"a": [{key: 1}]}).startswith(f"payload.a[0] has the key {key!r}: keys must be text")

    def test_integers_of_more_digits_than_python_writes(self):
        assert refused({"a": HUGE}).startswith("payload cannot be written as JSON")

    def test_the_name_of_what_was_checked_stands_in_the_sentence(self):
        with pytest.raises(InvalidMessage, match=r"^headers\.a is of type set"):
            encode("headers", {"a": set()}, None)

    def test_a_refusal_is_a_value_error_and_one_of_ours(self):
        for kind in (ValueError, LetsGoError):
            with pytest.raises(kind):
                encoded({1})

    def test_a_long_path_is_cut_in_the_sentence(self):
        sentence = refused({"k" * 10_000: "\0"})
        assert len(sentence) < 250

    @pytest.mark.parametrize(
        "value",
        [{"k" * 10_000: math.nan}, {"k" * 10_000: {1}}, {b"k" * 10_000: 1}],
        ids=["nan", "set", "key"],
    )
    def test_every_sentence_stays_short(self, value):
        assert len(refused(value)) < 500

    def test_a_key_that_cannot_be_shown_is_refused_all_the_same(self):
        class Hostile:
            def __repr__(self):
                raise RuntimeError("no")

        refused({Hostile(): 1})


class TestDepth:
    @pytest.mark.parametrize("leaf", [None, "text", 1])
    def test_twenty_containers_are_allowed(self, leaf):
        assert json.loads(encoded(nested(20, leaf))) == nested(20, leaf)

    def test_twenty_one_are_not(self):
        assert "is nested deeper than 20 levels" in refused(nested(21))

    def test_empty_containers_count(self):
        assert "is nested deeper" in refused(nested(20, []))

    def test_a_depth_that_would_end_python_is_refused_like_any_other(self):
        assert "is nested deeper" in refused(nested(100_000))

    @pytest.mark.parametrize("make", [list, dict], ids=["list", "dict"])
    def test_a_container_that_contains_itself_is_refused(self, make):
        value = make()
        value.append(value) if make is list else value.update(me=value)
        assert "is nested deeper" in refused(value)


class TestSize:
    def test_the_limit_itself_is_allowed_and_one_byte_more_is_not(self):
        assert len(encoded("x" * 98, 100)) == 100
        assert refused("x" * 99, 100).startswith("payload has 101 bytes as JSON; at most 100 are allowed.")

    @pytest.mark.parametrize(
        ("character", "size"), [("x", 1), ("é", 2), ("€", 3), ("🙂", 4), ("\x01", 6), ('"', 2)]
    )
    def test_bytes_count_as_they_are_stored(self, character, size):
        encoded(character * 10, 2 + 10 * size)
        assert f"has {2 + 10 * size} bytes" in refused(character * 10, 1 + 10 * size)

    def test_none_lifts_the_limit(self):
        assert len(encoded("x" * 1_000_000, None)) == 1_000_002

    def test_the_sentence_says_what_to_do(self):
        assert "Store it and send its key, or raise MAX_PAYLOAD_BYTES" in refused("xx", 1)


class TestNames:
    @pytest.mark.parametrize("name", ["order:new", "a", "A.b-c_d:9", "letsgo:scheduled", "0", "-", "x" * 64])
    @pytest.mark.parametrize("what", ["type", "queue"])
    def test_letters_digits_and_four_signs_make_a_name(self, what, name):
        assert validation.check_name(what, name) == name

    @pytest.mark.parametrize(
        "name",
        [
            "",
            " ",
            "a b",
            "a\n",
            "\na",
            "a/b",
            "a,b",
            "größe",
            "a\0",
            LONE,
            "a;DROP TABLE x",
            "%s",
            "*",
            "١",
            "ａ",
            "a\u200b",
        ],
        ids=ascii,
    )
    @pytest.mark.parametrize("what", ["type", "queue"])
    def test_anything_else_is_refused_in_words(self, what, name):
        with pytest.raises(InvalidMessage, match=f"^The {what} .* is refused") as caught:
            validation.check_name(what, name)
        str(caught.value).encode()

    @pytest.mark.parametrize("name", [None, 1, True, b"a", ["a"]], ids=repr)
    def test_what_is_no_text_is_refused_by_its_type(self, name):
        with pytest.raises(InvalidMessage, match=f"^A type is text, not {type(name).__name__}"):
            validation.check_name("type", name)

    @pytest.mark.parametrize(("what", "longest"), [("type", 255), ("queue", 64)])
    def test_a_name_fits_its_column(self, what, longest):
        assert validation.check_name(what, "x" * longest)
        with pytest.raises(InvalidMessage, match=f"longer than {longest} characters") as caught:
            validation.check_name(what, "x" * (longest + 1))
        assert len(str(caught.value)) < 150

    def test_a_million_bad_characters_make_a_short_sentence(self):
        with pytest.raises(InvalidMessage) as caught:
            validation.check_name("type", "é" * 1_000_000)
        assert len(str(caught.value)) < 250

    def test_a_member_of_an_enumeration_of_texts_becomes_plain_text(self):
        assert type(validation.check_name("type", Colour.RED)) is str


class TestUniqueKeys:
    @pytest.mark.parametrize("key", ["1", " ", "order 17", "größe", "🙂" * 200, "a" * 200, "'; --", "a "])
    def test_any_text_is_a_key(self, key):
        assert validation.check_unique_key(key) == key

    @pytest.mark.parametrize("key", ["", None, 17, b"a", "a" * 201, "a\0", LONE, ["a"]], ids=ascii)
    def test_no_text_no_characters_too_many_or_hostile_ones_are_refused(self, key):
        with pytest.raises(InvalidMessage, match="^unique_key ") as caught:
            validation.check_unique_key(key)
        assert len(str(caught.value)) < 150


class TestNumbers:
    @pytest.mark.parametrize("value", [-100, -1, 0, 100, Size.LARGE])
    def test_a_priority_is_a_whole_number_within_a_hundred(self, value):
        assert validation.check_priority(value) == value

    @pytest.mark.parametrize(
        "value", [-101, 101, 1.0, "1", None, True, math.nan, decimal.Decimal(1), 2**70], ids=repr
    )
    def test_other_priorities_are_refused(self, value):
        with pytest.raises(InvalidMessage, match="^A priority is a whole number from -100 to 100"):
            validation.check_priority(value)

    @pytest.mark.parametrize("value", [1, 10, 32_000])
    def test_a_number_of_attempts_fits_its_column(self, value):
        assert validation.check_max_attempts(value) == value

    @pytest.mark.parametrize("value", [0, -1, 32_001, 1.0, "3", None, True, math.inf], ids=repr)
    def test_other_numbers_of_attempts_are_refused(self, value):
        with pytest.raises(InvalidMessage, match="^max_attempts is a whole number from 1 to 32000"):
            validation.check_max_attempts(value)

    @pytest.mark.parametrize(
        "check", [validation.check_priority, validation.check_max_attempts, validation.check_timeout]
    )
    def test_an_enormous_integer_is_refused_like_any_other(self, check):
        with pytest.raises(InvalidMessage):
            check(HUGE)


class TestLengthsOfTime:
    @pytest.mark.parametrize(
        ("value", "seconds"),
        [
            (0, 0),
            (1, 1),
            (0.25, 0.25),
            (timedelta(minutes=2), 120),
            (timedelta(microseconds=1), 1e-6),
            (86_400 * 366, 31_622_400),
        ],
    )
    def test_seconds_and_timedeltas_are_the_same(self, value, seconds):
        result = validation.check_seconds("delay", value)
        assert result == seconds
        assert type(result) is float

    @pytest.mark.parametrize(
        ("text", "seconds"), [("5m", 300), ("90s", 90), ("1h30m", 5400), ("2d", 172_800), ("0s", 0)]
    )
    def test_a_delay_may_be_text(self, text, seconds):
        assert validation.check_delay("delay", text) == seconds
        assert validation.check_delay("delay", seconds) == seconds

    @pytest.mark.parametrize(
        "text", ["5", "", "m", "5 m", "5M", "1.5h", "-5m", "30m1h", "\u0665m", "5min", "tomorrow"]
    )
    def test_text_that_is_no_delay_is_refused(self, text):
        with pytest.raises(
            InvalidMessage, match="^delay is a number of seconds or a timedelta, or text such as 90s"
        ):
            validation.check_delay("delay", text)

    @pytest.mark.parametrize("text", ["999999999d", "999999999d999999999d", "99999999h"])
    def test_text_of_ages_is_refused_too(self, text):
        with pytest.raises(InvalidMessage, match="^delay "):
            validation.check_delay("delay", text)

    def test_a_delay_of_decades_is_fine(self):
        assert validation.check_seconds("delay", timedelta(days=365 * 50)) == 365 * 50 * 86_400

    @pytest.mark.parametrize(
        "value",
        [
            None,
            True,
            "5",
            "",
            "m",
            "5 m",
            "5M",
            "1.5h",
            "-5m",
            "30m1h",
            "\u0665m",
            "5min",
            decimal.Decimal(5),
            [5],
            dt.time(1),
            UTC,
        ],
        ids=repr,
    )
    def test_what_is_no_length_of_time_is_refused(self, value):
        with pytest.raises(InvalidMessage, match="^delay is a number of seconds or a timedelta"):
            validation.check_seconds("delay", value)

    @pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=repr)
    def test_it_must_be_finite(self, value):
        with pytest.raises(InvalidMessage, match="^delay must be finite"):
            validation.check_seconds("delay", value)

    @pytest.mark.parametrize("value", [-1, -1e-9, timedelta(microseconds=-1), timedelta.min], ids=repr)
    def test_it_must_not_be_negative(self, value):
        with pytest.raises(InvalidMessage, match="^delay must not be negative"):
            validation.check_seconds("delay", value)

    @pytest.mark.parametrize("value", [1e12, 1e15, 1e300, 10**15, timedelta.max], ids=repr)
    def test_it_must_not_reach_beyond_the_year_9999(self, value):
        with pytest.raises(InvalidMessage, match="^delay reaches beyond the year 9999"):
            validation.check_seconds("delay", value)

    @pytest.mark.parametrize("value", [0, 0.0, -0.0, timedelta(0)], ids=repr)
    def test_a_time_out_of_nothing_is_refused(self, value):
        with pytest.raises(InvalidMessage, match="^timeout must be more than zero"):
            validation.check_timeout(value)


class TestMoments:
    def test_come_back_in_utc_to_the_microsecond(self):
        kathmandu = timezone(timedelta(hours=5, minutes=45))
        moment = validation.check_moment("deadline", datetime(2026, 7, 1, 12, 0, 0, 1, tzinfo=kathmandu))
        assert moment == datetime(2026, 7, 1, 6, 15, 0, 1, tzinfo=UTC)
        assert moment.tzinfo is UTC

    def test_a_naive_one_is_refused(self):
        with pytest.raises(
            InvalidMessage, match="^deadline needs a time zone: 2026-07-01T12:00:00 is a naive datetime"
        ):
            validation.check_moment("deadline", datetime(2026, 7, 1, 12))

    @pytest.mark.parametrize(
        "value", [None, 0, "2026-07-01", dt.date(2026, 7, 1), dt.time(1), timedelta(1)], ids=repr
    )
    def test_what_is_no_datetime_is_refused(self, value):
        with pytest.raises(InvalidMessage, match="^deadline is an aware datetime, not"):
            validation.check_moment("deadline", value)

    @pytest.mark.parametrize(
        "value",
        [
            datetime.max.replace(tzinfo=timezone(timedelta(hours=-12))),
            datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        ],
        ids=["after the end", "before the beginning"],
    )
    def test_one_that_has_no_place_in_utc_is_refused(self, value):
        with pytest.raises(InvalidMessage, match="^deadline is out of range"):
            validation.check_moment("deadline", value)

    def test_one_after_the_end_of_time_is_refused(self):
        with pytest.raises(InvalidMessage):
            validation.check_moment("visible_at", datetime.max.replace(tzinfo=UTC))


class TestStorable:
    @given(st.text(st.characters(exclude_categories=[])))
    @example("\0\ud800é🙂")
    def test_any_text_becomes_one_that_every_engine_stores(self, text):
        result = storable(text)
        assert "\0" not in result
        result.encode()

    @given(st.text(), st.integers(20, 80))
    def test_it_is_never_longer_than_the_limit_in_bytes(self, text, limit):
        assert len(storable(text, limit).encode()) <= limit

    def test_harmless_text_is_left_alone_up_to_the_limit_itself(self):
        assert storable("é" * 50, 100) == "é" * 50

    def test_what_is_cut_says_so(self):
        assert storable("x" * 200, 100) == "x" * 44 + "... [cut] ..." + "x" * 43

    def test_a_character_is_never_cut_in_two(self):
        assert storable("🙂" * 100, 100) == "🙂" * 11 + "... [cut] ..." + "🙂" * 10

    def test_the_usual_limit_is_64_kib(self):
        assert len(storable("x" * 100_000)) == 65_536

    @pytest.mark.parametrize("limit", [0, 1, 8])
    def test_a_limit_smaller_than_the_mark_is_kept_too(self, limit):
        assert len(storable("x" * 100, limit)) <= limit
