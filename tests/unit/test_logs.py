"""Log lines of successes: one each, until there are more than anybody reads."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from django_letsgo_worker import logs
from django_letsgo_worker.logs import LINES_A_SECOND, Crowd


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


def test_a_slow_stream_has_all_its_lines(clock, successes):
    for _ in range(10):
        assert all(successes.has_a_line() for _ in range(LINES_A_SECOND))
        clock.seconds += 1.0
