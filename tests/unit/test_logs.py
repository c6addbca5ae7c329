"""Log lines of successes: one each, until there are more than anybody reads; and lines as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from uuid import UUID

import pytest
from django.utils.translation import gettext_lazy

from django_letsgo_worker import Delivery, logs
from django_letsgo_worker.context import CorrelationFilter
from django_letsgo_worker.logs import LINES_A_SECOND, Crowd, JSONFormatter


@pytest.fixture
def clock(monkeypatch):
    """The process's own clock: it stands until the test moves it."""
    clock = SimpleNamespace(seconds=1000.0)
    clock.monotonic = lambda: clock.seconds
    monkeypatch.setattr(logs, "time", clock)
    return clock


@pytest.fixture
def successes(monkeypatch):
    """Without its timer: the test says when the second is over."""
    timer = SimpleNamespace(start=lambda: None)
    monkeypatch.setattr(logs.threading, "Timer", lambda seconds, call: timer)
    return Crowd(logs.logger, "succeeded: %s in %.1f s.", "more message", "messages.succeeded")


def test_a_hundred_in_a_second_have_a_line_each(clock, successes):
    lines = [successes.has_a_line() for _ in range(LINES_A_SECOND + 50)]

    assert lines == [True] * LINES_A_SECOND + [False] * 50


def test_the_rest_share_one_that_counts_them(clock, successes, caplog):
    for _ in range(LINES_A_SECOND + 50):
        successes.has_a_line()
    clock.seconds += 1.0

    with caplog.at_level(logging.INFO, logger="django_letsgo_worker"):
        successes._say()

    assert caplog.messages == ["succeeded: 50 more messages in 1.0 s."]
    assert successes.has_a_line()


@pytest.mark.parametrize("test", ["one", "the next"])
def test_each_test_has_a_hundred_of_its_own(test):
    assert all(logs._successes.has_a_line() for _ in range(LINES_A_SECOND))


def test_a_slow_stream_has_all_its_lines(clock, successes):
    for _ in range(10):
        assert all(successes.has_a_line() for _ in range(LINES_A_SECOND))
        clock.seconds += 1.0


class TestJSON:
    """One record, one line of JSON, whatever the record has in it."""

    @staticmethod
    def line(**facts):
        record = logging.makeLogRecord({"msg": "sold %s", "args": ("tea",), "name": "shop", **facts})
        text = JSONFormatter().format(record)
        assert len(text.splitlines()) == 1
        return json.loads(text)

    def test_a_line_says_when_how_bad_who_and_what(self):
        line = self.line(created=1_800_000_000.25, levelname="WARNING")
        assert line == {
            "time": "2027-01-15T08:00:00.250000+00:00", "level": "WARNING", "logger": "shop",
            "message": "sold tea",
        }  # fmt: skip
        assert list(line) == ["time", "level", "logger", "message"]

    def test_what_extra_says_stands_beside_it_and_takes_the_place_of_nothing(self):
        line = self.line(levelname="INFO", order=7, level="mine", tags=["a", {"b": None}])
        assert (line["order"], line["level"], line["tags"]) == (7, "INFO", ["a", {"b": None}])

    def test_what_a_filter_found_missing_is_left_out(self):
        record = logging.makeLogRecord({"msg": "x"})
        CorrelationFilter().filter(record)
        assert record.message_id == record.attempt == "-"
        assert set(json.loads(JSONFormatter().format(record))) == {"time", "level", "logger", "message"}

    class Unspeakable:
        def __str__(self):
            raise RuntimeError

    @pytest.mark.parametrize(
        "value",
        [
            datetime(2027, 1, 1, tzinfo=UTC), Decimal("1.50"), UUID(int=7), {1, 2}, object(), {(1, 2): 3},
            float("nan"), [float("inf")], "\ud800", "a\nb\u2028c", b"\0", Unspeakable(), gettext_lazy("Name"),
        ],
        ids=lambda value: type(value).__name__,
    )  # fmt: skip
    def test_any_value_becomes_json(self, value):
        assert "thing" in self.line(thing=value)

    def test_a_value_that_holds_itself_becomes_text(self):
        ring = []
        ring.append(ring)
        assert self.line(thing=ring)["thing"] == "[[...]]"

    def test_a_delivery_shows_no_payload(self):
        delivery = Delivery(
            message_id=7, type="t:x", payload={"secret": "hush"}, headers={"key": "hush"}, queue="default",
            priority=0, attempt=1, max_attempts=10, receipt=1, enqueued_at=datetime(2026, 1, 1, tzinfo=UTC),
        )  # fmt: skip
        line = self.line(delivery=delivery)
        assert "message_id=7" in line["delivery"]
        assert "hush" not in json.dumps(line)

    def test_an_exception_and_a_stack_are_text(self):
        try:
            raise KeyError("tea")
        except KeyError:
            line = self.line(exc_info=sys.exc_info(), stack_info="Stack (most recent call last):\n  here")
        assert line["exception"].endswith("KeyError: 'tea'")
        assert "here" in line["stack"]
