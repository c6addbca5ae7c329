"""The day fields: how two of them join, the special words, and AWS's numbering."""

from datetime import UTC, datetime
from itertools import islice

import pytest

from django_letsgo_worker.recurrence import Recurrence

# January 2027 begins on a Friday and has five Fridays, Saturdays and Sundays.
NEW_YEAR = datetime(2026, 12, 31, 12, tzinfo=UTC)


def days_of_the_next(count, expression):
    found = islice(Recurrence.parse(expression).occurrences_after(NEW_YEAR), count)
    return [f"{occurrence:%b %d %a}" for occurrence in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # Neither begins with a star: either may match.
        ("0 0 1,15 * MON", ["Jan 01 Fri", "Jan 04 Mon", "Jan 11 Mon", "Jan 15 Fri"]),
        # One begins with a star: both must match, even if it isn't every day.
        ("0 0 */2 * 1", ["Jan 11 Mon", "Jan 25 Mon", "Feb 01 Mon", "Feb 15 Mon"]),
        ("0 0 13 * */5", ["Jun 13 Sun", "Aug 13 Fri", "Feb 13 Sun", "Aug 13 Sun"]),
        ("0 0 * * MON", ["Jan 04 Mon", "Jan 11 Mon", "Jan 18 Mon", "Jan 25 Mon"]),
        ("0 0 ? * MON", ["Jan 04 Mon", "Jan 11 Mon", "Jan 18 Mon", "Jan 25 Mon"]),
        ("0 0 13 * ?", ["Jan 13 Wed", "Feb 13 Sat", "Mar 13 Sat", "Apr 13 Tue"]),
        ("0 0 *,5 * MON", ["Jan 04 Mon", "Jan 11 Mon", "Jan 18 Mon", "Jan 25 Mon"]),
        # A step longer than its field is its first day, and a star all the same: Debian's first Monday.
        ("1 1 */100,1-7 * MON", ["Jan 04 Mon", "Feb 01 Mon", "Mar 01 Mon", "Apr 05 Mon"]),
        ("1 1 */100,1-7 * *", ["Jan 01 Fri", "Jan 02 Sat", "Jan 03 Sun", "Jan 04 Mon"]),
        ("1 1 */100 * MON", ["Feb 01 Mon", "Mar 01 Mon", "Nov 01 Mon", "May 01 Mon"]),
        ("0 0 1-7 * */100", ["Jan 03 Sun", "Feb 07 Sun", "Mar 07 Sun", "Apr 04 Sun"]),
        ("0 0 1-7 * */9,TUE", ["Jan 03 Sun", "Jan 05 Tue", "Feb 02 Tue", "Feb 07 Sun"]),
        ("cron(0 0 */100,8-14 * MON)", ["Jan 11 Mon", "Feb 01 Mon", "Feb 08 Mon", "Mar 01 Mon"]),
        # Every day in so many words is no star: either may match, so every day does.
        ("0 0 1-31 * MON", ["Jan 01 Fri", "Jan 02 Sat", "Jan 03 Sun", "Jan 04 Mon"]),
        ("0 0 13 * 0-6", ["Jan 01 Fri", "Jan 02 Sat", "Jan 03 Sun", "Jan 04 Mon"]),
    ],
)
def test_the_day_fields_join_by_their_first_character(expression, expected):
    assert days_of_the_next(4, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 L * *", ["Jan 31 Sun", "Feb 28 Sun", "Mar 31 Wed"]),
        ("0 0 LW * *", ["Jan 29 Fri", "Feb 26 Fri", "Mar 31 Wed"]),
        ("0 0 1,L * *", ["Jan 01 Fri", "Jan 31 Sun", "Feb 01 Mon"]),
        ("0 0 15W * *", ["Jan 15 Fri", "Feb 15 Mon", "Mar 15 Mon"]),
        # A Saturday goes back to Friday, a Sunday on to Monday, and neither leaves its month.
        ("0 0 16W * *", ["Jan 15 Fri", "Feb 16 Tue", "Mar 16 Tue"]),
        ("0 0 17W * *", ["Jan 18 Mon", "Feb 17 Wed", "Mar 17 Wed"]),
        ("0 0 1W 5 *", ["May 03 Mon", "May 01 Mon", "May 01 Tue"]),
        ("0 0 31W * *", ["Jan 29 Fri", "Mar 31 Wed", "May 31 Mon"]),
        ("0 0 * * 5L", ["Jan 29 Fri", "Feb 26 Fri", "Mar 26 Fri"]),
        ("0 0 * * FRIL", ["Jan 29 Fri", "Feb 26 Fri", "Mar 26 Fri"]),
        ("0 0 * * 7L", ["Jan 31 Sun", "Feb 28 Sun", "Mar 28 Sun"]),
        ("0 0 * * MON#2", ["Jan 11 Mon", "Feb 08 Mon", "Mar 08 Mon"]),
        ("0 0 * * mon#2", ["Jan 11 Mon", "Feb 08 Mon", "Mar 08 Mon"]),
        ("0 0 * * 5#5", ["Jan 29 Fri", "Apr 30 Fri", "Jul 30 Fri"]),
        ("0 0 * * 7#1", ["Jan 03 Sun", "Feb 07 Sun", "Mar 07 Sun"]),
        ("0 0 * * MON#1,MON#3", ["Jan 04 Mon", "Jan 18 Mon", "Feb 01 Mon"]),
        ("0 0 * * 2,5L", ["Jan 05 Tue", "Jan 12 Tue", "Jan 19 Tue"]),
        ("0 0 29 2 *", ["Feb 29 Tue", "Feb 29 Sun", "Feb 29 Fri"]),
    ],
)
def test_a_special_word_names_its_days(expression, expected):
    assert days_of_the_next(3, expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        # croniter raises or drops one side of each of these.
        ("0 0 1 * 5#3", ["Jan 01 Fri", "Jan 15 Fri", "Feb 01 Mon", "Feb 19 Fri"]),
        ("0 0 15W * MON", ["Jan 04 Mon", "Jan 11 Mon", "Jan 15 Fri", "Jan 18 Mon"]),
        ("0 0 L * 5L", ["Jan 29 Fri", "Jan 31 Sun", "Feb 26 Fri", "Feb 28 Sun"]),
        ("0 0 */2 * 5#3", ["Jan 15 Fri", "Feb 19 Fri", "Mar 19 Fri", "May 21 Fri"]),
    ],
)
def test_special_words_join_like_plain_numbers(expression, expected):
    assert days_of_the_next(4, expression) == expected


def test_the_nearest_weekday_of_a_day_that_a_month_lacks_is_no_day():
    """croniter makes 31W the 28th in February; a month without a 31st is left out."""
    found = islice(Recurrence.parse("0 0 31W * *").occurrences_after(NEW_YEAR), 7)

    assert [occurrence.month for occurrence in found] == [1, 3, 5, 7, 8, 10, 12]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("cron(0 0 ? * 1 *)", ["Jan 03 Sun", "Jan 10 Sun"]),
        ("cron(0 0 ? * 2 *)", ["Jan 04 Mon", "Jan 11 Mon"]),
        ("cron(0 0 ? * 7 *)", ["Jan 02 Sat", "Jan 09 Sat"]),
        ("cron(0 0 ? * SUN *)", ["Jan 03 Sun", "Jan 10 Sun"]),
        ("cron(0 0 ? * 2-6 *)", ["Jan 01 Fri", "Jan 04 Mon"]),
        ("cron(0 0 ? * MON-FRI *)", ["Jan 01 Fri", "Jan 04 Mon"]),
        ("cron(0 0 ? * 6/1 *)", ["Jan 01 Fri", "Jan 02 Sat"]),
        ("cron(0 0 ? * 6L *)", ["Jan 29 Fri", "Feb 26 Fri"]),
        ("cron(0 0 ? * 3#2 *)", ["Jan 12 Tue", "Feb 09 Tue"]),
        ("cron(0 0 ? * L *)", ["Jan 02 Sat", "Jan 09 Sat"]),
        ("cron(0 0 L * ? *)", ["Jan 31 Sun", "Feb 28 Sun"]),
        ("cron(0 0 LW * ? *)", ["Jan 29 Fri", "Feb 26 Fri"]),
        ("cron(0 0 16W * ? *)", ["Jan 15 Fri", "Feb 16 Tue"]),
        ("cron(0 0 1 * ? *)", ["Jan 01 Fri", "Feb 01 Mon"]),
    ],
)
def test_the_six_fields_of_aws_count_weekdays_from_sunday_as_1(expression, expected):
    assert days_of_the_next(2, expression) == expected


def test_five_fields_inside_cron_count_weekdays_from_sunday_as_0():
    assert days_of_the_next(2, "cron(0 0 * * 1)") == ["Jan 04 Mon", "Jan 11 Mon"]
    assert days_of_the_next(2, "cron(0 0 ? * 1 *)") == ["Jan 03 Sun", "Jan 10 Sun"]


@pytest.mark.parametrize(
    ("years", "expected"),
    [
        ("2027", [2027]),
        ("2028-2030", [2028, 2029, 2030]),
        ("2031,2028", [2028, 2031]),
        ("2020/4", list(range(2028, 2200, 4))),
        ("2190-2199/5", [2190, 2195]),
        ("*/100", [2070, 2170]),
        ("2026", []),
        ("1970-2020", []),
    ],
)
def test_the_years_of_aws_end(years, expected):
    found = Recurrence.parse(f"cron(0 0 1 3 ? {years})").occurrences_after(NEW_YEAR)

    assert [occurrence.year for occurrence in found] == expected


def test_a_leap_day_on_a_sunday_is_found_across_forty_years_without_one():
    """2100 is no leap year, so that 29 February is no Sunday between 2088 and 2128."""
    found = Recurrence.parse("0 0 29 2 */7").occurrences_after(datetime(2088, 3, 1, tzinfo=UTC))

    assert next(found) == datetime(2128, 2, 29, tzinfo=UTC)
