"""What may be written in a schedule, and what every refusal says to write instead."""

from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.recurrence import Recurrence

SUNDAY_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def times_of_the_next(count, expression, after=SUNDAY_NOON):
    found = islice(Recurrence.parse(expression).occurrences_after(after), count)
    return [f"{occurrence:%m-%d %H:%M}" for occurrence in found]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("*/20 * * * *", ["03-01 12:20", "03-01 12:40", "03-01 13:00"]),
        ("5,35 13 * * *", ["03-01 13:05", "03-01 13:35", "03-02 13:05"]),
        ("0 9-11 * * *", ["03-02 09:00", "03-02 10:00", "03-02 11:00"]),
        ("0-10/5 0 * * *", ["03-02 00:00", "03-02 00:05", "03-02 00:10"]),
        ("40/10 12 * * *", ["03-01 12:40", "03-01 12:50", "03-02 12:40"]),
        ("59/15 12 * * *", ["03-01 12:59", "03-02 12:59", "03-03 12:59"]),
        ("0 0 * * mon-wed", ["03-02 00:00", "03-03 00:00", "03-04 00:00"]),
        ("0 0 1 jun,Aug *", ["06-01 00:00", "08-01 00:00", "06-01 00:00"]),
        ("0 0 1 */6 *", ["07-01 00:00", "01-01 00:00", "07-01 00:00"]),
        ("0 0 * * 0", ["03-08 00:00", "03-15 00:00", "03-22 00:00"]),
        ("0 0 * * 7", ["03-08 00:00", "03-15 00:00", "03-22 00:00"]),
        ("0 0 * * 5-7", ["03-06 00:00", "03-07 00:00", "03-08 00:00"]),
        ("0 0 ? * MON", ["03-02 00:00", "03-09 00:00", "03-16 00:00"]),
        ("00 09 * * *", ["03-02 09:00", "03-03 09:00", "03-04 09:00"]),
        ("  0   9 * * *  ", ["03-02 09:00", "03-03 09:00", "03-04 09:00"]),
        ("cron(0 0 * * 1)", ["03-02 00:00", "03-09 00:00", "03-16 00:00"]),
        ("*/60 * * * *", ["03-01 13:00", "03-01 14:00", "03-01 15:00"]),
        ("0 */24 * * *", ["03-02 00:00", "03-03 00:00", "03-04 00:00"]),
        ("@hourly", ["03-01 13:00", "03-01 14:00", "03-01 15:00"]),
        ("@Daily", ["03-02 00:00", "03-03 00:00", "03-04 00:00"]),
        ("@MIDNIGHT", ["03-02 00:00", "03-03 00:00", "03-04 00:00"]),
        ("@weekly", ["03-08 00:00", "03-15 00:00", "03-22 00:00"]),
        ("@monthly", ["04-01 00:00", "05-01 00:00", "06-01 00:00"]),
        ("@yearly", ["01-01 00:00", "01-01 00:00", "01-01 00:00"]),
        ("@annually", ["01-01 00:00", "01-01 00:00", "01-01 00:00"]),
    ],
)
def test_an_expression_runs_at_the_times_it_says(expression, expected):
    assert times_of_the_next(3, expression) == expected


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [
        ("rate(1 minute)", 1),
        ("rate(1 minutes)", 1),
        ("rate(5 minute)", 5),
        ("rate(5 minutes)", 5),
        ("rate( 05  minutes )", 5),
        ("rate(2 hours)", 120),
        ("rate(1 day)", 24 * 60),
        ("rate(999999 minutes)", 999_999),
        ("@every 90m", 90),
        ("@every 1h30m", 90),
        ("@every 1.5h", 90),
        ("@every .5h", 30),
        ("@every 1h0.5m30s", 61),
        ("@every +60s", 1),
        ("@every 60000ms", 1),
        ("@every 60000000us", 1),
        ("@every 60000000\u00b5s", 1),  # the sign for micro
        ("@every 60000000\u03bcs", 1),  # the Greek letter
        ("@every\t1m", 1),
        ("rate(1\tminute)", 1),
        ("@every 59s1000000us", 1),
        ("@every 59s999ms1000000ns", 1),
        ("@EVERY 1m", 1),
        ("@every 8784h", 366 * 24 * 60),
    ],
)
def test_an_interval_is_as_long_as_it_says(expression, minutes):
    recurrence = Recurrence.parse(expression, anchor=SUNDAY_NOON)

    assert next(recurrence.occurrences_after(SUNDAY_NOON)) == SUNDAY_NOON + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("expression", "instead"),
    [
        # Steps that croniter and others take, and that then mean something else.
        ("*/90 * * * *", "use rate(90 minutes)"),
        ("0/90 * * * *", "use rate(90 minutes)"),
        ("0-59/61 * * * *", "use rate(61 minutes)"),
        ("0 */36 * * *", "use rate(36 hours)"),
        ("0 0 */45 * *", "use rate(45 days)"),
        ("0 0 * * */14", "use rate(14 days)"),
        ("0 0 1 */18 *", "list the values you mean, such as 1,4, instead"),
        ("cron(0 0 1 1 ? */300)", "list the values you mean, such as 2027,2030, instead"),
        ("0 0 */45 * *", "begin a day field with it where both must match, as in 0 9 */45,1-7 * MON"),
        ("0 0 1-7,*/45 * MON", "begin a day field with it where both must match, as in 0 9 */45,1-7 * MON"),
        ("0 0 */45 * ?", "use rate(45 days)"),
        ("0 0 2/45 * MON", "use rate(45 days) instead, or write 2 for that day alone"),
        ("0 0 1-7/45,* * MON", "write 1 for that day alone"),
        ("0 0 5 * MON-FRI/9", "use rate(9 days) instead, or write MON for that day alone"),
        ("0 0 */1000000,1-7 * MON", "list the values"),
        ("*/0 * * * *", "a step of at least 1"),
        # Ranges that wrap around.
        ("0 22-2 * * *", "write 22-23,0-2"),
        ("0 22-2/2 * * *", "write 22,0,2"),
        ("0 0 * * SAT-SUN", "write SAT,SUN"),
        ("0 0 * * MON-SUN", "write MON-SAT,SUN"),
        ("0 0 * * FRI-MON", "write FRI-SAT,SUN-MON"),
        ("0 0 * NOV-FEB *", "write NOV-DEC,JAN-FEB"),
        ("50-10 * * * *", "write 50-59,0-10"),
        # Too many fields, or too few.
        ("0 0 * * * *", "seconds are not supported; write five"),
        ("0 0 10 * * ? *", "seconds are not supported; write five"),
        ("0 0 * *", "write five fields"),
        ("cron(0 0 * *)", "write five"),
        ("cron()", "write five"),
        ("* * * * * *", "@every 30s"),
        # Values that are chosen by somebody else.
        ("H * * * *", "write a fixed number"),
        ("H/15 * * * *", "write a fixed number"),
        ("H(0-29) * * * *", "write a fixed number"),
        ("R * * * *", "write a fixed number"),
        ("0 R(1-5) * * *", "write a fixed number"),
        # Dates that never come.
        ("0 0 30 2 *", "a day that its months have"),
        ("0 0 31 4,6,9,11 *", "a day that its months have"),
        ("0 0 31W 2 *", "a day that its months have"),
        ("0 0 */31 * MON#4", "a day that its months have"),
        ("cron(0 0 29 2 ? 2023)", "a day that its months have"),
        # Macros and intervals.
        ("@reboot", "write one such as @hourly"),
        ("@dayly", "write @daily"),
        ("@fortnight", "write"),
        ("hourly", "write @hourly"),
        ("@every 1d", "write @every 24h or rate(1 day)"),
        ("@every 2w", "write @every 336h or rate(14 days)"),
        ("@every 400d", "write rate(400 days)"),
        ("@every 5 minutes", "write rate(5 minutes)"),
        ("@every 500ms", "write @every 1s"),
        ("@every 1500ms", "write @every 1s"),
        ("@every 90\u00b5s", "write @every 1s"),
        ("@every 0", "write @every 1s"),
        ("@every 90", "such as 90s"),
        ("@every 1H", "such as 90s"),
        ("@every -5m", "write '5m'"),
        ("@every", "such as 90s"),
        ("@every 8785h", "366 days"),
        ("rate(0 minutes)", "rate(1 minute)"),
        ("rate(30 seconds)", "@every 30s"),
        ("rate(2 weeks)", "rate(14 days)"),
        ("rate(1000000 minutes)", "at most 6 digits"),
        ("rate(1.5 hours)", "a whole number"),
        ("rate(-5 minutes)", "a whole number"),
        ("rate(5minutes)", "a space"),
        ("rate(5)", "minutes, hours or days"),
        # One moment.
        ("at(2027-01-01)", "at(2027-01-01T09:00:00)"),
        ("at(2027-01-01 09:00:00)", "at(2027-01-01T09:00:00)"),
        ("at(2027-01-01T09:00)", "at(2027-01-01T09:00:00)"),
        ("at(2027-01-01T09:00:00Z)", "the schedule's own zone"),
        ("at(2027-01-01T09:00:00+01:00)", "the schedule's own zone"),
        ("at(2027-02-29T09:00:00)", "write one that exists"),
        ("at(2027-01-01T24:00:00)", "write one that exists"),
        ("at(0000-01-01T00:00:00)", "write one that exists"),
        # Out of range.
        ("60 * * * *", "a number from 0 to 59"),
        ("0 24 * * *", "a number from 0 to 23"),
        ("0 0 0 * *", "a number from 1 to 31"),
        ("0 0 32 * *", "a number from 1 to 31"),
        ("0 0 * 0 *", "a number from 1 to 12"),
        ("0 0 * 13 *", "a number from 1 to 12"),
        ("0 0 * * 8", "a number from 0 to 7"),
        ("9" * 200 + " * * * *", "a number from 0 to 59"),
        ("*/" + "9" * 200 + " * * * *", "list the values"),
        # Day forms in the wrong place or the wrong order.
        ("0 0 5L * *", "the day-of-week field"),
        ("0 0 MON#2 * *", "the day-of-week field"),
        ("0 0 L-3 * *", "write L for the last day"),
        ("0 0 W15 * *", "write 15W"),
        ("0 0 0W * *", "a number from 1 to 31"),
        ("0 0 1-5W * *", "write numbers"),
        ("0 0 * * L", "write 5L"),
        ("0 0 * * L5", "write 5L"),
        ("0 0 * * 15W", "the day-of-month field"),
        ("0 0 * * MON#6", "from 1 to 5"),
        ("0 0 * * MON#0", "from 1 to 5"),
        ("L * * * *", "write numbers"),
        ("? * * * *", "write *"),
        ("0 0 ?/2 * *", "write *"),
        ("0 0 ?,1 * *", "write *"),
        # AWS's form.
        ("cron(0 10 * * * *)", "cron(0 10 * * ? *)"),
        ("cron(0 10 ? * ? *)", "cron(0 10 * * ? *)"),
        ("cron(0 10 1 * MON *)", "cron(0 10 1 * ? *)"),
        ("cron(0 10 * * MON *)", "cron(0 10 ? * MON *)"),
        ("cron(0 10 ? * 0 *)", "a number from 1 to 7"),
        ("cron(0 10 ? * 8 *)", "a number from 1 to 7"),
        ("cron(0 10 ? * SAT-SUN *)", "write SAT,SUN"),
        ("cron(0 10 ? * MON 1969)", "a number from 1970 to 2199"),
        ("cron(0 10 ? * MON 2200)", "a number from 1970 to 2199"),
        ("cron(0 0 10 * * ?)", "AWS's six fields"),
        # What is no schedule at all.
        ("", "write one such as"),
        ("   ", "write one such as"),
        ("tomorrow", "write five fields"),
        ("every 5 minutes", "write five fields"),
        ("CRON_TZ=Europe/Berlin 0 9 * * *", "time zone in its own field"),
        ("1,,2 * * * *", "without stray commas"),
        (", * * * *", "without stray commas"),
        ("5;6 * * * *", "write numbers"),
        ("1-2-3 * * * *", "write numbers"),
        ("*-5 * * * *", "write numbers"),
        ("**/5 * * * *", "write numbers"),
        ("0 0 * * MONDAY", "names such as SUN,MON"),
    ],
)
def test_a_refusal_says_what_to_write_instead(expression, instead):
    with pytest.raises(InvalidSchedule) as refusal:
        Recurrence.parse(expression)

    sentence = str(refusal.value)
    assert instead in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert refusal.value.field == "schedule"


@pytest.mark.parametrize(
    "expression",
    [
        "\u0661 * * * *",  # an Arabic-Indic 1, a digit for int() and \d
        "\uff11 * * * *",  # a full-width 1
        "0\u00a00 * * *",  # a no-break space
        "0\u30000 * * *",  # an ideographic space
        "0 0 * * *\n",
        "0 0\n* * *",
        "0 0 * * \u017fUN",  # a long s, which upper() makes an S
        "rate(90 \u00b5s)",
        "0 \u00b5 * * *",
        "0 0 * * *\x00",
    ],
)
def test_anything_but_plain_ascii_is_refused_by_its_code_point(expression):
    with pytest.raises(InvalidSchedule, match=r"plain ASCII on one line, without U\+[0-9A-F]{4}"):
        Recurrence.parse(expression)


@pytest.mark.parametrize("expression", ["cron(0  12 * *\t*)", "0\t12\t*\t*\t*", "\t0 12 * * *\t"])
def test_a_tab_is_a_space(expression):
    assert times_of_the_next(3, expression) == times_of_the_next(3, "0 12 * * *")


def test_a_schedule_has_at_most_256_characters():
    longest = (",".join(["10"] * 82) + " * * * *").ljust(256)

    assert Recurrence.parse(longest).describe() == "at minute 10 of every hour"
    with pytest.raises(InvalidSchedule, match="at most 256 characters, not 257; split it"):
        Recurrence.parse(longest + " ")
    with pytest.raises(InvalidSchedule, match="at most 256 characters, not 10000000"):
        Recurrence.parse("1," * 5_000_000)


@pytest.mark.parametrize("expression", [None, 5, b"* * * * *", timedelta(hours=1)])
def test_what_is_no_text_is_refused_too(expression):
    with pytest.raises(InvalidSchedule, match="A schedule is text such as"):
        Recurrence.parse(expression)


def test_a_refusal_is_a_value_error():
    with pytest.raises(ValueError, match="is not a schedule"):
        Recurrence.parse("nonsense")


def test_a_range_of_one_means_that_one():
    """croniter reads 5-5 as every minute."""
    assert times_of_the_next(2, "5-5 * * * *") == ["03-01 12:05", "03-01 13:05"]
    assert times_of_the_next(2, "0 0 1-1 JAN-JAN *") == ["01-01 00:00", "01-01 00:00"]


def test_an_open_step_in_day_of_week_ends_on_saturday():
    """Some parsers go on to 7 and add a Sunday."""
    assert times_of_the_next(4, "0 0 * * 1/2") == ["03-02 00:00", "03-04 00:00", "03-06 00:00", "03-09 00:00"]


def test_what_was_parsed_keeps_its_text_and_zone():
    recurrence = Recurrence.parse("@Daily", "Europe/Berlin")

    assert (recurrence.expression, recurrence.timezone) == ("@Daily", "Europe/Berlin")
    assert recurrence == Recurrence.parse("@Daily", "Europe/Berlin")
    assert recurrence != Recurrence.parse("@Daily", "Europe/Paris")
    assert recurrence != Recurrence.parse("@midnight", "Europe/Berlin")


@pytest.mark.parametrize(
    ("expression", "needs_anchor", "is_once"),
    [
        ("rate(5 minutes)", True, False),
        ("@every 5m", True, False),
        ("@hourly", False, False),
        ("*/5 * * * *", False, False),
        ("at(2027-01-01T09:00:00)", False, True),
        ("rrule(FREQ=DAILY)", True, False),
    ],
)
def test_a_recurrence_knows_its_kind(expression, needs_anchor, is_once):
    recurrence = Recurrence.parse(expression)

    assert recurrence.needs_anchor is needs_anchor
    assert recurrence.is_once is is_once
