"""Outcomes: what becomes of an attempt, and the record of a failure whatever the exception carries."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import Delivery, Reject, Retry, Snooze
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.outcomes import Policy, decide, dotted, error_entry, fingerprint, with_entry

KIB_64 = 64 * 1024


def delivery(attempt=1, max_attempts=3):
    return Delivery(
        message_id=1, type="job", payload=None, headers={}, queue="default", priority=0, attempt=attempt,
        max_attempts=max_attempts, receipt=1, enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


def entry_of(error):
    return error_entry(error, attempt=2, at="2026-01-01T00:00:00.000000+00:00", seconds=1.5, process="w")


def raised(error):
    """The same exception, with a traceback."""
    try:
        raise error
    except BaseException as caught:
        return caught


def give_up(attempt, error):
    raise Reject("three times the same")


LATER = {"counted": True, "recorded": True}


class TestDecide:
    @pytest.mark.parametrize(
        ("attempt", "error", "expected"),
        [
            (1, None, {"name": "succeeded", "recorded": False}),
            (3, None, {"name": "succeeded", "recorded": False}),
            (1, ValueError("no"), {"name": "retry", "delay_seconds": 7.0, **LATER}),
            (2, KeyboardInterrupt(), {"name": "retry", "delay_seconds": 7.0, **LATER}),
            (1, SystemExit(0), {"name": "retry", "delay_seconds": 7.0, **LATER}),
            (3, ValueError("no"), {"name": "dead", "delay_seconds": 0.0, **LATER}),
            (4, ValueError("no"), {"name": "dead", **LATER}),
            (1, Retry(), {"name": "retry", "delay_seconds": 7.0, **LATER}),
            (1, Retry(0), {"name": "retry", "delay_seconds": 0.0, **LATER}),
            (1, Retry(timedelta(hours=1)), {"name": "retry", "delay_seconds": 3600.0, **LATER}),
            (3, Retry(60), {"name": "dead", **LATER}),
            (1, Snooze(60), {"name": "snoozed", "delay_seconds": 60.0, "counted": False, "recorded": False}),
            (3, Snooze(0), {"name": "snoozed", "delay_seconds": 0.0, "counted": False, "recorded": False}),
            (1, Reject("never"), {"name": "dead", **LATER}),
        ],
    )
    def test_the_table(self, attempt, error, expected):
        outcome = decide(delivery(attempt), error, Policy(backoff=7))

        assert {name: getattr(outcome, name) for name in expected} == expected
        assert outcome.exception is error

    @pytest.mark.parametrize(
        ("error", "settled_as"),
        [(None, "succeeded"), (ValueError(), "again"), (Snooze(1), "again"), (Reject(), "dead")],
    )
    def test_the_settlements_word(self, error, settled_as):
        assert decide(delivery(), error, Policy()).settled_as == settled_as

    @pytest.mark.parametrize("result", [0, "", False, [], {"a": 1}])
    def test_what_was_returned_is_kept(self, result):
        assert decide(delivery(), None, Policy(), result).result is result

    def test_a_subclass_is_what_its_parent_is(self):
        class NotToday(Snooze):
            pass

        assert decide(delivery(3), NotToday(5), Policy()).name == "snoozed"

    def test_the_back_off_is_asked_with_the_attempt_and_the_error(self):
        error = ValueError()
        outcome = decide(
            delivery(2), error, Policy(backoff=lambda attempt, given: 100 * attempt + (given is error))
        )

        assert outcome.delay_seconds == 201.0

    @pytest.mark.parametrize(
        "backoff",
        [
            lambda attempt, error: 1 / 0, lambda attempt, error: -1,
            lambda attempt, error: float("nan"), lambda attempt: 1, lambda attempt, error: "5",
        ],
        ids=["raises", "negative", "nan", "wrong signature", "text"],
    )  # fmt: skip
    def test_a_back_off_that_fails_is_said_and_ten_minutes_serves(self, backoff, caplog):
        with caplog.at_level(logging.WARNING, "django_letsgo_worker"):
            outcome = decide(delivery(), ValueError(), Policy(backoff=backoff))

        assert (outcome.name, 3.75 <= outcome.delay_seconds <= 5) == ("retry", True)
        assert "back-off of job failed" in caplog.text


class Broken(ValueError):
    pass


class TestPolicy:
    """retry_on and give_up_on, by (policy, error): whether there is another attempt."""

    @pytest.mark.parametrize(
        ("policy", "error", "becomes"),
        [
            ({"retry_on": (ValueError,)}, ValueError(), "retry"),
            ({"retry_on": (ValueError,)}, Broken(), "retry"),
            ({"retry_on": (ValueError,)}, KeyError(), "dead"),
            ({"retry_on": (ValueError,)}, SystemExit(), "dead"),
            ({"retry_on": (ValueError,)}, TimeoutError(), "dead"),
            ({"retry_on": ()}, ValueError(), "dead"),
            ({"retry_on": ()}, Retry(), "retry"),
            ({"retry_on": ()}, Snooze(1), "snoozed"),
            ({"give_up_on": (Broken,)}, Broken(), "dead"),
            ({"give_up_on": (Broken,)}, ValueError(), "retry"),
            ({"give_up_on": (Exception,)}, Retry(), "retry"),
            ({"give_up_on": (Exception,)}, Snooze(1), "snoozed"),
            ({"retry_on": (ValueError,), "give_up_on": (Broken,)}, Broken(), "dead"),
            ({"retry_on": (Broken,), "give_up_on": (ValueError,)}, Broken(), "dead"),
            ({"retry_on": (Exception,)}, Reject(), "dead"),
            ({}, InvalidMessage("no"), "dead"),
            ({}, InvalidSchedule("no"), "dead"),
            ({"retry_on": (InvalidMessage,)}, InvalidMessage("no"), "retry"),
            ({}, Broken(), "retry"),
        ],
    )
    def test_the_table(self, policy, error, becomes):
        assert decide(delivery(), error, Policy(**policy)).name == becomes
        assert decide(delivery(3), error, Policy(**policy)).name in ("dead", "snoozed")

    @pytest.mark.parametrize("end", [lambda attempt, error: None, give_up])
    def test_a_back_off_function_may_give_up(self, end):
        error = ValueError("no")
        outcome = decide(delivery(), error, Policy(backoff=end))

        assert (outcome.name, outcome.exception) == ("dead", error)

    def test_its_reason_stands_in_the_record(self):
        error = raised(ValueError("no"))
        decide(delivery(), error, Policy(backoff=give_up))

        assert "Given up by its back-off: three times the same" in entry_of(error)["traceback"]

    def test_a_retry_that_says_when_asks_no_function(self):
        outcome = decide(delivery(), Retry(5), Policy(backoff=give_up))

        assert (outcome.name, outcome.delay_seconds) == ("retry", 5.0)

    @pytest.mark.parametrize(
        ("attempt", "asked", "expected"),
        [
            (3, 5, ("retry", 5)), (4, 5, ("retry", 5)), (5, 5, ("dead", None)), (1, 2, ("retry", None)),
            (1, 3, ("retry", None)), (3, 3, ("dead", None)), (1, 4, ("retry", 4)), (3, None, ("dead", None)),
        ],
    )  # fmt: skip
    def test_a_retry_raises_the_limit_and_never_lowers_it(self, attempt, asked, expected):
        outcome = decide(delivery(attempt), Retry(0, max_attempts=asked), Policy())

        assert (outcome.name, outcome.max_attempts) == expected

    @pytest.mark.parametrize("limit", [0, -1, True, 1.5, "5", 32_001])
    def test_a_limit_that_is_none_is_refused_where_it_is_written(self, limit):
        with pytest.raises(InvalidMessage, match="^max_attempts is a whole number from 1 to"):
            Retry(max_attempts=limit)


class TestArguments:
    @pytest.mark.parametrize(
        "delay",
        [-1, -0.001, True, "5", float("nan"), float("inf"), 10**400, [], timedelta(seconds=-1)],
        ids=repr,
    )
    @pytest.mark.parametrize("kind", [Retry, Snooze])
    def test_a_delay_that_is_none_is_refused_where_it_is_written(self, kind, delay):
        with pytest.raises(InvalidMessage, match="^delay "):
            kind(delay)

    def test_a_snooze_needs_a_delay(self):
        for arguments in [(), (None,)]:
            with pytest.raises((TypeError, InvalidMessage)):
                Snooze(*arguments)

    def test_a_reason_may_be_anything_that_has_a_text(self):
        assert (str(Reject()), str(Reject(7)), str(Reject(ValueError("no")))) == ("rejected", "7", "no")
        assert (str(Retry()), str(Retry(reason="busy")), Retry(5, "busy").delay) == ("retry", "busy", 5.0)


class Speechless(Exception):
    def __str__(self):
        raise RuntimeError("no words")


class Shapeless(Exception):
    """Its text is no text at all."""

    def __str__(self):
        return 7

    __repr__ = __str__


class Interrupting(Exception):
    def __str__(self):
        raise KeyboardInterrupt


def with_itself_as_cause():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    return first


def recursion():
    def dig():
        dig()

    try:
        dig()
    except RecursionError as error:
        return error


def with_a_hostile_note():
    error = ValueError("noted")
    error.__notes__ = [Speechless(), "\0", 5]
    return error


def of_a_module(module):
    return type("Odd", (Exception,), {"__module__": module})("odd")


HOSTILE = {
    "no words": lambda: Speechless(),
    "a text that is a number": lambda: Shapeless(),
    "a text that interrupts": lambda: Interrupting(),
    "a cause without words": lambda: raised_from(Speechless()),
    "a circle of causes": with_itself_as_cause,
    "a hostile note": with_a_hostile_note,
    "NUL": lambda: ValueError("a\0b"),
    "a lone surrogate": lambda: ValueError("a\ud800b"),
    "bytes": lambda: ValueError(b"\xff\x00"),
    "a megabyte": lambda: ValueError("é" * 500_000),
    "recursion": recursion,
    "no module": lambda: of_a_module(None),
    "a module that is a number": lambda: of_a_module(7),
    "a module with NUL and surrogates": lambda: of_a_module("a\0\ud800"),
    "a name of a thousand letters": lambda: type("O" * 1000, (Exception,), {})("long"),
    "a group": lambda: ExceptionGroup("many", [Speechless(), ValueError("\0"), ValueError("é" * 100_000)]),
}


def raised_from(cause):
    error = ValueError("effect")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
class TestRecordingNeverFails:
    def test_its_entry_can_be_stored(self, make):
        entry = entry_of(raised(make()))

        assert list(entry) == ["attempt", "at", "seconds", "process", "class", "message", "traceback"]
        text = json.dumps(entry, ensure_ascii=False)
        assert "\\u0000" not in text and text.encode()
        assert len(entry["class"].encode()) <= 255
        assert max(len(entry[name].encode()) for name in ("message", "traceback")) <= KIB_64
        assert entry["class"] and entry["message"] and entry["traceback"]

    def test_it_has_a_fingerprint_and_a_name(self, make):
        error = raised(make())

        assert re.fullmatch("[0-9a-f]{32}", fingerprint(error))
        assert fingerprint(error) == fingerprint(error)
        assert dotted(error).encode()

    def test_it_is_decided_like_any_other(self, make):
        assert decide(delivery(), make(), Policy()).name == "retry"


class TestEntries:
    def test_an_entry_says_what_people_need(self):
        entry = entry_of(raised(LookupError("gone")))

        assert entry | {"traceback": ""} == {
            "attempt": 2, "at": "2026-01-01T00:00:00.000000+00:00", "seconds": 1.5, "process": "w",
            "class": "LookupError", "message": "gone", "traceback": "",
        }  # fmt: skip
        assert "in raised" in entry["traceback"] and entry["traceback"].endswith("LookupError: gone\n")

    def test_classes_are_named_with_their_module_except_pythons_own(self):
        assert dotted(InvalidMessage("x")) == "django_letsgo_worker.errors.InvalidMessage"
        assert dotted(Reject("x")) == "django_letsgo_worker.outcomes.Reject"
        assert dotted(KeyError("x")) == "KeyError"

    def test_of_a_long_text_the_middle_is_cut(self):
        message = entry_of(ValueError("begin" + "x" * 1_000_000 + "end"))["message"]

        assert message.startswith("begin") and message.endswith("end") and "... [cut] ..." in message
        assert len(message) == KIB_64

    def test_the_newest_ten_are_kept(self):
        errors = []
        for attempt in range(1, 14):
            before = list(errors)
            grown = with_entry(errors, {"attempt": attempt})
            assert errors == before
            errors = grown

        assert [entry["attempt"] for entry in errors] == list(range(4, 14))


class TestFingerprints:
    def here(self, error):
        return fingerprint(raised(error))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (ValueError("order 12 is late"), ValueError("order 7 is late")),
            (ValueError("no 'apple' here"), ValueError("no 'pear tree' here")),
            (ValueError('no "apple" here'), ValueError('no "pear" here')),
            (KeyError("a"), KeyError("b")),
        ],
    )
    def test_numbers_and_quoted_parts_make_no_difference(self, one, other):
        assert self.here(one) == self.here(other)

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (ValueError("order 12 is late"), ValueError("order 12 is lost")),
            (ValueError("late"), LookupError("late")),
            (ValueError("late"), ValueError("")),
        ],
    )
    def test_words_and_classes_do(self, one, other):
        assert self.here(one) != self.here(other)

    def test_the_place_does_too(self):
        def elsewhere():
            raise ValueError("late")

        with pytest.raises(ValueError) as caught:
            elsewhere()
        assert fingerprint(caught.value) != self.here(ValueError("late"))
