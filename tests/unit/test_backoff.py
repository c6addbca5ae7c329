"""Back-offs: what may be one, and how long it waits after each failed attempt."""

from __future__ import annotations

import random
from collections import UserList
from datetime import timedelta
from fractions import Fraction

import pytest

from django_letsgo_worker.backoff import backoff_seconds, check_backoff

ERROR = RuntimeError("the handler failed")


@pytest.mark.parametrize(
    ("name", "full_delays"),
    [
        ("1m", [1, 2, 4, 8, 16, 32, 60, 60]),
        ("10m", [5, 10, 20, 40, 80, 160, 320, 600, 600]),
        ("1h", [60, 120, 240, 480, 960, 1920, 3600, 3600]),
    ],
)
class TestNamed:
    def test_doubles_up_to_its_name(self, name, full_delays, monkeypatch):
        monkeypatch.setattr(random, "uniform", lambda low, high: high)
        assert [backoff_seconds(name, n, ERROR) for n, _ in enumerate(full_delays, 1)] == full_delays

    def test_jitter_goes_down_to_three_quarters_and_never_up(self, name, full_delays):
        for attempt, full in enumerate(full_delays, 1):
            seen = [backoff_seconds(name, attempt, ERROR) for _ in range(200)]
            assert all(0.75 * full <= seconds <= full for seconds in seen)
            assert len(set(seen)) > 100

    def test_the_last_attempt_there_can_be_overflows_nothing(self, name, full_delays):
        assert backoff_seconds(name, 32_000, ERROR) <= full_delays[-1]

    def test_is_returned_as_it_is(self, name, full_delays):
        assert check_backoff(name) == name


@pytest.mark.parametrize("seconds", [0, 1, 2.5, 86_400])
def test_a_number_is_exact_for_every_attempt(seconds):
    backoff = check_backoff(seconds)
    assert {backoff_seconds(backoff, attempt, ERROR) for attempt in (1, 2, 32_000)} == {float(seconds)}


@pytest.mark.parametrize("listed", [[1, 5, 60.5], (1, 5, 60.5)])
def test_a_list_is_exact_and_its_last_item_repeats(listed):
    backoff = check_backoff(listed)
    assert [backoff_seconds(backoff, attempt, ERROR) for attempt in (1, 2, 3, 4, 1000)] == [
        1,
        5,
        60.5,
        60.5,
        60.5,
    ]


def test_changing_the_list_afterwards_changes_no_back_off():
    listed = [1, 2]
    backoff = check_backoff(listed)
    listed[:] = [99]
    assert backoff_seconds(backoff, 1, ERROR) == 1.0


def test_a_function_is_given_the_attempt_and_the_error():
    seen = []
    backoff = check_backoff(lambda attempt, error: seen.append((attempt, error)) or 7)
    assert backoff_seconds(backoff, 3, ERROR) == 7.0
    assert seen == [(3, ERROR)]


@pytest.mark.parametrize(
    "nonsense", [-1, float("nan"), float("inf"), True, "10m", "5", [1], timedelta(seconds=1)], ids=repr
)
def test_a_function_that_returns_nonsense_is_a_value_error(nonsense):
    with pytest.raises(ValueError, match="must"):
        backoff_seconds(lambda attempt, error: nonsense, 1, ERROR)


def test_a_function_that_returns_none_gives_up():
    assert backoff_seconds(lambda attempt, error: None, 1, ERROR) is None


def test_an_error_of_the_function_is_not_hidden():
    def broken(attempt, error):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        backoff_seconds(broken, 1, ERROR)


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, b"10m", {}, {"first": 1}, set(), Fraction(1, 2), timedelta(seconds=5),
        "", " ", "10 minutes", "10M", "1d", "5", "10m\n",
        -1, -0.001, float("nan"), float("inf"), float("-inf"),
        [], (), [1, None], [1, "2"], [1, -1], [True], [[1]], [float("nan")], UserList([1]),
    ],
    ids=repr,
)  # fmt: skip
def test_whatever_is_no_back_off_is_refused_in_words(value):
    with pytest.raises(ValueError, match=r"^must "):
        check_backoff(value)


def test_a_name_that_is_nearly_right_is_suggested():
    with pytest.raises(ValueError, match="did you mean '10m'"):
        check_backoff("10min")


@pytest.mark.parametrize("value", [10**400, [1, 10**400]], ids=["number", "list"])
def test_an_enormous_integer_is_refused_like_any_other_nonsense(value):
    with pytest.raises(ValueError):
        check_backoff(value)


@pytest.mark.parametrize("seconds", [1e300, 1e12, [1, 1e12]])
def test_a_delay_beyond_the_year_9999_is_refused_where_it_is_written(seconds):
    with pytest.raises(ValueError):
        check_backoff(seconds)


def test_an_async_function_is_refused():
    async def later(attempt, error):
        return 1

    with pytest.raises(ValueError):
        check_backoff(later)
