"""Exclusions: the days in except_on, which of them a planned time falls on, and what every refusal says."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from django_letsgo_worker import calendar, calendars
from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.recurrence import Exclusions

steady = settings(derandomize=True, database=None, deadline=None, max_examples=200)


@pytest.fixture(autouse=True)
def no_calendars(monkeypatch):
    monkeypatch.setattr(calendars, "_calendars", {})


def reason(text, day, zone="UTC"):
    return Exclusions.parse(text).reason(datetime.fromisoformat(f"{day}T12:00:00+00:00"), zone)


@pytest.mark.parametrize(
    ("text", "day", "expected"),
    [
        ("2026-12-25", "2026-12-25", "2026-12-25 is excepted"),
        ("2026-12-25", "2027-12-25", ""),
        ("12-25", "2026-12-25", "2026-12-25 is excepted as 12-25"),
        ("12-25", "2031-12-25", "2031-12-25 is excepted as 12-25"),
        ("12-25", "2026-12-24", ""),
        ("02-29", "2028-02-29", "2028-02-29 is excepted as 02-29"),
        ("02-29", "2027-02-28", ""),
        ("02-29", "2027-03-01", ""),
        ("2026-12-24..2027-01-02", "2026-12-24", "2026-12-24 is in 2026-12-24..2027-01-02"),
        ("2026-12-24..2027-01-02", "2027-01-02", "2027-01-02 is in 2026-12-24..2027-01-02"),
        ("2026-12-24..2027-01-02", "2026-12-23", ""),
        ("2026-12-24..2027-01-02", "2027-01-03", ""),
        ("2026-12-24..2026-12-24", "2026-12-24", "2026-12-24 is excepted"),
        ("12-24..01-02", "2026-12-24", "2026-12-24 is in 12-24..01-02"),
        ("12-24..01-02", "2030-01-02", "2030-01-02 is in 12-24..01-02"),
        ("12-24..01-02", "2030-01-03", ""),
        ("12-24..01-02", "2030-12-23", ""),
        ("02-20..02-29", "2027-02-28", "2027-02-28 is in 02-20..02-29"),
        ("02-20..02-29", "2027-03-01", ""),
        ("06-01..06-30", "2027-06-15", "2027-06-15 is in 06-01..06-30"),
        ("06-01..06-30", "2027-12-15", ""),
        ("01-01..12-31", "2028-02-29", "2028-02-29 is in 01-01..12-31"),
        ("01-06, 12-25", "2028-12-25", "2028-12-25 is excepted as 12-25"),
    ],
)
def test_a_day_is_excluded_or_not(text, day, expected):
    assert reason(text, day) == expected


def test_items_are_separated_by_commas_blanks_and_line_breaks():
    texts = ["12-25,12-26", "12-25 12-26", "12-25\n12-26", " 12-25 ,\r\n\t12-26,\n", "12-25,,12-26"]

    assert len({Exclusions.parse(text) for text in texts}) == 1


def test_the_date_is_that_of_the_zone():
    late = datetime(2026, 12, 24, 23, 30, tzinfo=UTC)
    exclusions = Exclusions.parse("12-25")

    assert exclusions.reason(late, "Europe/Berlin") == "2026-12-25 is excepted as 12-25"
    assert exclusions.reason(late, "UTC") == ""
    assert exclusions.reason(datetime(2026, 12, 25, 3, tzinfo=UTC), "America/New_York") == ""


def test_nothing_is_excluded_by_nothing():
    assert [bool(Exclusions.parse(text)) for text in ("", " \n,", "12-25", "holidays")] == [
        False,
        False,
        True,
        True,
    ]
    assert reason("", "2026-12-25") == ""
    assert Exclusions.parse("").describe() == ""


def test_a_text_is_read_once():
    assert Exclusions.parse("12-25, 12-26") is Exclusions.parse("12-25, 12-26")


def test_a_calendar_excludes_its_days():
    calendar("holidays")(lambda day: day == date(2026, 12, 25))

    assert reason("holidays", "2026-12-25") == "2026-12-25 is in the calendar 'holidays'"
    assert reason("holidays", "2026-12-26") == ""


def test_a_calendar_is_not_asked_where_a_date_decides():
    calendar("holidays")(lambda day: 1 / 0)

    assert reason("holidays, 12-25", "2026-12-25") == "2026-12-25 is excepted as 12-25"
    with pytest.raises(InvalidSchedule, match="^The calendar 'holidays' failed for 2026-12-26"):
        reason("holidays, 12-25", "2026-12-26")


def test_a_calendar_that_nobody_registered_is_refused_when_it_is_asked_for():
    calendar("holidays")(lambda day: False)
    exclusions = Exclusions.parse("holidays, hollidays")

    with pytest.raises(
        InvalidSchedule, match="^There is no calendar 'hollidays' here. Did you mean 'holidays'?"
    ):
        exclusions.check_calendars()
    with pytest.raises(InvalidSchedule, match="^There is no calendar 'hollidays' here") as caught:
        exclusions.reason(datetime(2026, 12, 25, tzinfo=UTC), "UTC")
    assert caught.value.field == "except_on"
    assert Exclusions.parse("holidays, 12-25").check_calendars() is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("2026-02-30", "No calendar has the day '2026-02-30'; write one that exists."),
        ("2027-02-29", "No calendar has the day '2027-02-29'; write one that exists."),
        ("02-30", "No calendar has the day '02-30'; write one that exists."),
        ("13-01", "No calendar has the day '13-01'; write one that exists."),
        ("0000-01-01", "No calendar has the day '0000-01-01'; write one that exists."),
        ("12-24..12-32", "No calendar has the day '12-32'; write one that exists."),
        (
            "2027-01-02..2026-12-24",
            "'2027-01-02..2026-12-24' runs backwards; write 2026-12-24..2027-01-02 instead.",
        ),
        (
            "2026-12-24..01-02",
            "'2026-12-24..01-02' mixes a day of one year with a day of every year; "
            "write both ends with a year, or both without.",
        ),
        ("Holidays", "'Holidays' is no date, and names of calendars are lower-case; write 'holidays'."),
    ],
)
def test_a_refusal_says_what_to_write(text, sentence):
    with pytest.raises(InvalidSchedule) as caught:
        Exclusions.parse(f"12-25, {text}")

    assert (str(caught.value), caught.value.field) == (sentence, "except_on")


@pytest.mark.parametrize(
    "item",
    ["25.12.2026", "2026-1-5", "12/25", "..", "12-24..", "..12-24", "12-24...12-26", "a..b", "12-24..a",
     "2026", "\u0661\u0662-25", "12-24..12-25..12-26", "-12-25", "x" * 65, "!" * 500],
)  # fmt: skip
def test_what_is_no_item_is_refused_with_examples(item):
    with pytest.raises(
        InvalidSchedule, match="is no day, no range and no name of a calendar; write for example"
    ):
        Exclusions.parse(item)


def test_there_is_an_end_to_its_length():
    longest = "12-25," * 333 + ", "

    assert Exclusions.parse(longest)
    with pytest.raises(InvalidSchedule, match="at most 2,000 characters, not 2,001; put so many days into a"):
        Exclusions.parse(longest + ",")


@pytest.mark.parametrize("text", [None, 5, ["12-25"]])
def test_what_is_no_text_is_refused(text):
    with pytest.raises(InvalidSchedule, match="^except_on is text such as '12-25, 12-31', not "):
        Exclusions.parse(text)


def test_a_moment_without_a_zone_and_an_unknown_zone_are_refused():
    with pytest.raises(ValueError, match="has no time zone; give an aware datetime"):
        Exclusions.parse("12-25").reason(datetime(2026, 12, 25), "UTC")
    with pytest.raises(InvalidSchedule, match="Atlantis"):
        Exclusions.parse("12-25").reason(datetime(2026, 12, 25, tzinfo=UTC), "Europe/Atlantis")


def test_it_is_said_in_english():
    text = "2026-12-25, 2026-05-01..2026-05-03, 10-03, 12-24..01-02, holidays"

    assert Exclusions.parse(text).describe() == (
        "not on 2026-12-25, 2026-05-01 to 2026-05-03, 3 October, 24 December to 2 January "
        "and the days of the calendar 'holidays'"
    )
    assert Exclusions.parse("02-29").describe() == "not on 29 February"


# ---- against every day, one by one

days = st.dates(date(2019, 1, 1), date(2033, 1, 1))


@steady
@given(days, days, days)
def test_a_range_holds_the_days_between_its_ends(one, other, day):
    first, last = sorted((one, other))
    inside = {first + timedelta(n) for n in range((last - first).days + 1)}

    assert bool(reason(f"{first}..{last}", day)) == (day in inside)


@steady
@given(days, days, days)
def test_a_yearly_range_holds_the_days_from_its_beginning_on_to_its_end(first, last, day):
    text = f"{first:%m-%d}..{last:%m-%d}"
    # Walk through a leap year, and on into the next, until the end has come.
    walked, at = [], date(2000, first.month, first.day)
    while not walked or walked[-1] != f"{last:%m-%d}":
        walked.append(f"{at:%m-%d}")
        at += timedelta(1)
        at = date(2000, at.month, at.day)

    assert bool(reason(text, day)) == (f"{day:%m-%d}" in walked)


@steady
@given(st.text(alphabet="0123456789-., \nabcXYZ_/", max_size=40))
def test_any_text_is_read_or_refused_in_a_sentence(text):
    try:
        Exclusions.parse(text).describe()
    except InvalidSchedule as refusal:
        assert refusal.field == "except_on"
        assert str(refusal).endswith(".")
