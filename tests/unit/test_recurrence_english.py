"""What a schedule says of itself."""

import locale

import pytest

from django_letsgo_worker.recurrence import Recurrence


@pytest.mark.parametrize(
    ("expression", "english"),
    [
        ("rate(1 minute)", "every minute"),
        ("rate(5 minutes)", "every 5 minutes"),
        ("rate(1 hour)", "every hour"),
        ("rate(12 hours)", "every 12 hours"),
        ("rate(1 day)", "every day"),
        ("rate(7 days)", "every 7 days"),
        ("@every 1s", "every second"),
        ("@every 90s", "every 1 minute and 30 seconds"),
        ("@every 1h30m", "every 1 hour and 30 minutes"),
        ("@every 1h1m1s", "every 1 hour, 1 minute and 1 second"),
        ("@every 1h", "every hour"),
        ("@every 24h", "every 24 hours"),
        ("at(2027-01-01T09:00:00)", "once, on 2027-01-01 at 09:00"),
        ("at(2027-01-01T09:00:30)", "once, on 2027-01-01 at 09:00:30"),
    ],
)
def test_intervals_and_single_moments(expression, english):
    assert Recurrence.parse(expression).describe() == english


@pytest.mark.parametrize(
    ("expression", "english"),
    [
        ("* * * * *", "every minute"),
        ("*/1 * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("0/5 * * * *", "every 5 minutes"),
        ("0,30 * * * *", "every 30 minutes"),
        ("*/60 * * * *", "every hour"),
        ("@hourly", "every hour"),
        ("0 */2 * * *", "every 2 hours"),
        ("17 * * * *", "at minute 17 of every hour"),
        ("5-5 * * * *", "at minute 5 of every hour"),
        ("10,20,30 * * * *", "at minutes 10, 20 and 30 of every hour"),
        ("*/7 * * * *", "at minutes 0 to 56 in steps of 7 of every hour"),
        ("30 2 * * *", "at 02:30 every day"),
        ("0 9,12,18 * * *", "at 09:00, 12:00 and 18:00 every day"),
        ("0 9-17 * * *", "every hour from 09:00 to 17:00"),
        ("*/5 9-17 * * *", "every 5 minutes from 09:00 to 17:55"),
        ("* 2 * * *", "every minute from 02:00 to 02:59"),
        ("5 9-17 * * *", "at minute 5 of hours 9 to 17 every day"),
        ("*/20 8,12,16 * * *", "every 20 minutes in hours 8, 12 and 16"),
        ("7,23 1,5,9 * * *", "at minutes 7 and 23 of hours 1, 5 and 9 every day"),
        ("5 */4 * * *", "at minute 5 of hours 0 to 20 in steps of 4 every day"),
    ],
)
def test_times_of_the_day(expression, english):
    assert Recurrence.parse(expression).describe() == english


@pytest.mark.parametrize(
    ("expression", "english"),
    [
        ("30 2 * * MON-FRI", "at 02:30, Monday to Friday"),
        ("0 9 * * 1-5", "at 09:00, Monday to Friday"),
        ("@weekly", "at 00:00 on Sunday"),
        ("0 9 * * SAT,SUN", "at 09:00 on Saturday and Sunday"),
        ("0 9 * * 5-7", "at 09:00, Friday to Sunday"),
        ("0 9 * * 1/2", "at 09:00 on Monday, Wednesday and Friday"),
        ("0 9 * * 0-6", "at 09:00 every day"),
        ("*/5 9-17 * * MON-FRI", "every 5 minutes from 09:00 to 17:55, Monday to Friday"),
        ("@monthly", "at 00:00 on day 1 of the month"),
        ("0 0 1,15 * *", "at 00:00 on days 1 and 15 of the month"),
        ("0 0 1-7 * *", "at 00:00 on days 1 to 7 of the month"),
        ("0 0 */2 * *", "at 00:00 on days 1 to 31 in steps of 2 of the month"),
        ("0 0 L * *", "at 00:00 on the last day of the month"),
        ("0 0 LW * *", "at 00:00 on the last weekday of the month"),
        ("0 0 15W * *", "at 00:00 on the weekday nearest to day 15 of the month"),
        ("0 0 1,L * *", "at 00:00 on day 1 and the last day of the month"),
        ("0 0 * * 5L", "at 00:00 on the last Friday of the month"),
        ("0 0 * * MON#2", "at 00:00 on the second Monday of the month"),
        ("@yearly", "at 00:00 on 1 January"),
        ("0 0 1 1,7 *", "at 00:00 on day 1 of the month, in January and July"),
        ("0 0 * 3-5 *", "at 00:00 every day, in March to May"),
        ("* * * 12 *", "every minute, in December"),
        ("0 0 L 2 *", "at 00:00 on the last day of the month, in February"),
    ],
)
def test_days_and_months(expression, english):
    assert Recurrence.parse(expression).describe() == english


@pytest.mark.parametrize(
    ("expression", "english"),
    [
        ("0 0 1,15 * MON", "at 00:00 on days 1 and 15 of the month and also on Monday"),
        ("0 0 13 * 5", "at 00:00 on day 13 of the month and also on Friday"),
        ("0 0 1 * 5#3", "at 00:00 on day 1 of the month and also on the third Friday of the month"),
        ("0 0 1-31 * MON", "at 00:00 every day"),
        ("1 1 */100,1-7 * MON", "at 01:01 on days 1 to 7 of the month, if that day is also Monday"),
        ("0 0 */2 * 1", "at 00:00 on days 1 to 31 in steps of 2 of the month, if that day is also Monday"),
        (
            "0 0 13 * */2",
            "at 00:00 on day 13 of the month, if that day is also Tuesday, Thursday, Saturday or Sunday",
        ),
        ("0 0 13 6 */5", "at 00:00 on day 13 of the month, if that day is also Friday or Sunday, in June"),
    ],
)
def test_both_day_fields_are_joined_as_they_are_meant(expression, english):
    assert Recurrence.parse(expression).describe() == english


@pytest.mark.parametrize(
    ("expression", "english"),
    [
        ("cron(0 10 ? * 2 *)", "at 10:00 on Monday"),
        ("cron(0 10 * * 2)", "at 10:00 on Tuesday"),
        ("cron(0 10 ? * 2-6 *)", "at 10:00, Monday to Friday"),
        ("cron(0 10 ? * 6L *)", "at 10:00 on the last Friday of the month"),
        ("cron(0 10 ? * 3#1 *)", "at 10:00 on the first Tuesday of the month"),
        ("cron(0 10 * * ? 2027)", "at 10:00 every day, in 2027"),
        ("cron(0 10 1 1 ? 2027-2030)", "at 10:00 on 1 January, in 2027 to 2030"),
        ("cron(0 10 1 1 ? 2027,2029)", "at 10:00 on 1 January, in 2027 and 2029"),
    ],
)
def test_the_six_fields_of_aws(expression, english):
    assert Recurrence.parse(expression).describe() == english


def test_the_words_are_english_whatever_the_locale_of_the_process():
    before = locale.setlocale(locale.LC_TIME)
    available = [name for name in ("de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8", "C") if _is_available(name)]

    try:
        locale.setlocale(locale.LC_TIME, available[0])
        assert Recurrence.parse("0 9 * 5 MON").describe() == "at 09:00 on Monday, in May"
    finally:
        locale.setlocale(locale.LC_TIME, before)


def _is_available(name):
    before = locale.setlocale(locale.LC_TIME)
    try:
        locale.setlocale(locale.LC_TIME, name)
    except locale.Error:
        return False
    locale.setlocale(locale.LC_TIME, before)
    return True
