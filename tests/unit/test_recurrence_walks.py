"""Intervals and their anchor, ranges and their newest, and which moments may be asked about."""

import threading
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice

import pytest

from django_letsgo_worker.recurrence import Recurrence, pattern

CREATED = datetime(2026, 3, 1, 12, 0, 7, 250_000, tzinfo=UTC)
A_MINUTE = timedelta(minutes=1)


def test_the_first_run_of_an_interval_is_one_interval_after_its_anchor():
    recurrence = Recurrence.parse("rate(5 minutes)", anchor=CREATED)

    found = list(islice(recurrence.occurrences_after(CREATED), 2))

    assert found == [CREATED + 5 * A_MINUTE, CREATED + 10 * A_MINUTE]


def test_an_anchor_in_the_future_is_the_first_run():
    recurrence = Recurrence.parse("rate(5 minutes)", anchor=CREATED)

    assert next(recurrence.occurrences_after(CREATED - timedelta(days=400))) == CREATED


def test_no_question_moves_the_grid():
    recurrence = Recurrence.parse("@every 7m", anchor=CREATED)

    for late in [0, 1, 419, 420, 421, 10**6, 10**6 + 1]:
        found = next(recurrence.occurrences_after(CREATED + timedelta(seconds=late)))
        assert (found - CREATED) % (7 * A_MINUTE) == timedelta(0)
        assert timedelta(0) < found - CREATED - timedelta(seconds=late) <= 7 * A_MINUTE


def test_without_an_anchor_the_moment_asked_about_is_the_anchor():
    recurrence = Recurrence.parse("rate(5 minutes)")

    assert recurrence.anchor is None
    assert next(recurrence.occurrences_after(CREATED)) == CREATED + 5 * A_MINUTE
    assert recurrence.newest_between(CREATED, CREATED + 11 * A_MINUTE, 5).occurrences == [
        CREATED + 5 * A_MINUTE,
        CREATED + 10 * A_MINUTE,
    ]


def test_a_day_of_rate_is_24_hours_whatever_the_clocks_do():
    """Berlin went to summer time in that night: what was at 09:00 is then at 10:00."""
    recurrence = Recurrence.parse("rate(1 day)", "Europe/Berlin", anchor=datetime(2026, 3, 28, 8, tzinfo=UTC))

    assert next(recurrence.occurrences_after(recurrence.anchor)) == datetime(2026, 3, 29, 8, tzinfo=UTC)


def test_an_interval_ends_with_the_calendar():
    recurrence = Recurrence.parse("rate(999999 days)", anchor=CREATED)

    assert [found.year for found in recurrence.occurrences_after(CREATED)] == [4764, 7501]


def test_an_anchor_may_be_in_any_zone():
    anchor = CREATED.astimezone(timezone(timedelta(hours=5, minutes=45)))

    recurrence = Recurrence.parse("rate(5 minutes)", anchor=anchor)

    assert recurrence.anchor == CREATED
    assert recurrence.anchor.tzinfo is UTC


@pytest.mark.parametrize(
    ("expression", "limit", "expected", "total"),
    [
        ("@every 1s", 2, ["11:59:59", "12:00:00"], 30 * 24 * 3600),
        ("rate(7 minutes)", 2, ["11:50:00", "11:57:00"], 30 * 24 * 60 // 7),
        ("* * * * *", 3, ["11:58:00", "11:59:00", "12:00:00"], 30 * 24 * 60),
        ("0 12 * * *", 2, ["12:00:00", "12:00:00"], 30),
        ("0 0 L * *", 5, ["00:00:00"], 1),
        ("0 0 1 1 *", 5, [], 0),
        ("at(2026-03-20T10:00:00)", 5, ["10:00:00"], 1),
        ("at(2026-03-20T10:00:00)", 0, [], 1),
        ("at(2026-03-31T12:00:01)", 5, [], 0),
        ("* * * * *", 0, [], 30 * 24 * 60),
    ],
)
def test_the_newest_of_a_range_come_oldest_first_with_the_number_of_all(expression, limit, expected, total):
    after, until = datetime(2026, 3, 1, 12, tzinfo=UTC), datetime(2026, 3, 31, 12, tzinfo=UTC)

    newest = Recurrence.parse(expression, anchor=after).newest_between(after, until, limit)

    assert [f"{occurrence:%T}" for occurrence in newest.occurrences] == expected
    assert newest.total == total


@pytest.mark.parametrize("expression", ["* * * * *", "rate(1 minute)", "at(2026-03-01T12:00:00)"])
def test_a_range_excludes_its_beginning_and_includes_its_end(expression):
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    recurrence = Recurrence.parse(expression, anchor=noon - timedelta(days=1))

    assert recurrence.newest_between(noon - timedelta.resolution, noon, 9) == ([noon], 1)
    assert recurrence.newest_between(noon, noon, 9) == ([], 0)
    assert recurrence.newest_between(noon, noon - A_MINUTE, 9) == ([], 0)


def test_a_range_before_the_anchor_is_empty():
    recurrence = Recurrence.parse("@every 1s", anchor=CREATED)

    assert recurrence.newest_between(CREATED - timedelta(days=9), CREATED - A_MINUTE, 5) == ([], 0)
    assert recurrence.newest_between(CREATED - timedelta(days=9), CREATED, 5) == ([CREATED], 1)


def test_a_century_of_seconds_and_one_of_minutes_are_counted_without_walking_them(monkeypatch):
    def no_walk(*arguments):
        raise AssertionError("walked forwards through a range that is only counted")

    monkeypatch.setattr(pattern.Pattern, "forwards", no_walk)
    after, until = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    days = (until - after).days

    seconds = Recurrence.parse("@every 1s", anchor=after).newest_between(after, until, 1)
    minutes = Recurrence.parse("* * * * *", "Europe/Berlin").newest_between(after, until, 1)

    assert seconds == ([until], days * 24 * 3600)
    assert minutes == ([until], days * 24 * 60)


@pytest.mark.parametrize("expression", ["* * * * *", "rate(1 minute)", "at(2027-01-01T09:00:00)"])
def test_a_naive_moment_is_a_value_error_at_once(expression):
    recurrence = Recurrence.parse(expression)
    naive = datetime(2026, 3, 1, 12)

    with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
        recurrence.occurrences_after(naive)
    with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
        recurrence.newest_between(naive, CREATED, 1)
    with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
        recurrence.newest_between(CREATED, naive, 1)
    with pytest.raises(ValueError, match=r"The anchor .* has no time zone"):
        Recurrence.parse(expression, anchor=naive)


@pytest.mark.parametrize("expression", ["* * * * *", "0 0 29 2 *", "0 0 L * *", "rate(1 minute)"])
def test_the_ends_of_the_calendar_are_no_trap(expression):
    recurrence = Recurrence.parse(expression, "America/New_York", anchor=CREATED)

    assert next(recurrence.occurrences_after(datetime.min.replace(tzinfo=UTC)))
    assert next(recurrence.occurrences_after(datetime.max.replace(tzinfo=UTC)), None) is None


def test_seconds_of_the_moment_asked_about_count():
    recurrence = Recurrence.parse("* * * * *")
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)

    assert next(recurrence.occurrences_after(noon)) == noon + A_MINUTE
    assert next(recurrence.occurrences_after(noon - timedelta.resolution)) == noon
    assert next(recurrence.occurrences_after(noon + timedelta.resolution)) == noon + A_MINUTE


def test_walks_of_one_recurrence_do_not_disturb_each_other():
    recurrence = Recurrence.parse("*/5 * * * *", "Europe/Berlin")
    moments = [CREATED + timedelta(days=n) for n in range(8)]
    expected = [list(islice(recurrence.occurrences_after(moment), 300)) for moment in moments]
    found = [None] * len(moments)
    together = threading.Barrier(len(moments))

    def walk(n):
        together.wait()
        found[n] = list(islice(recurrence.occurrences_after(moments[n]), 300))

    threads = [threading.Thread(target=walk, args=(n,)) for n in range(len(moments))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == expected
