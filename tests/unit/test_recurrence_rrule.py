"""rrule(): what may be written in one, what every refusal says, where it begins and ends, and its English.

Its times against an oracle: tests/property/test_recurrence_rrule_oracle.
"""

from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.recurrence import Recurrence
from django_letsgo_worker.recurrence.rrule import walk

BERLIN = ZoneInfo("Europe/Berlin")
# A Wednesday.
ANCHOR = datetime(2026, 3, 4, 10, 17, tzinfo=UTC)


def parse(text, zone="UTC", anchor=ANCHOR):
    return Recurrence.parse(f"rrule({text})", zone, anchor=anchor)


def next_of(count, text, zone="UTC", anchor=ANCHOR, after=ANCHOR - timedelta.resolution):
    found = islice(parse(text, zone, anchor).occurrences_after(after), count)
    return [f"{run.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}" for run in found]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYHOUR=9;BYMINUTE=0", ["2026-03-16 09:00", "2026-03-30 09:00"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,WE;WKST=MO", ["2026-03-04 10:17", "2026-03-08 10:17"]),
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,WE;WKST=SU", ["2026-03-04 10:17", "2026-03-15 10:17"]),
        ("FREQ=WEEKLY", ["2026-03-04 10:17", "2026-03-11 10:17"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=0;BYMINUTE=5", ["2026-03-31 00:05", "2026-04-30 00:05"]),
        ("FREQ=MONTHLY;BYMONTHDAY=31", ["2026-03-31 10:17", "2026-05-31 10:17"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1", ["2026-03-31 10:17", "2026-04-30 10:17"]),
        ("FREQ=MONTHLY;BYDAY=MO,1FR", ["2026-03-06 10:17", "2026-03-09 10:17"]),
        (
            "FREQ=MONTHLY;BYDAY=TU;BYHOUR=8,20;BYMINUTE=0;BYSETPOS=2,-1",
            ["2026-03-31 20:00", "2026-04-07 20:00"],
        ),
        ("FREQ=YEARLY", ["2026-03-04 10:17", "2027-03-04 10:17"]),
        ("FREQ=YEARLY;BYMONTH=1,6", ["2026-06-04 10:17", "2027-01-04 10:17"]),
        ("FREQ=YEARLY;BYWEEKNO=-1;BYDAY=MO", ["2026-12-28 10:17", "2027-12-27 10:17"]),
        ("FREQ=YEARLY;BYYEARDAY=-1", ["2026-12-31 10:17", "2027-12-31 10:17"]),
        ("FREQ=DAILY;INTERVAL=10", ["2026-03-04 10:17", "2026-03-14 10:17"]),
        ("FREQ=DAILY;INTERVAL=3;BYDAY=SA", ["2026-03-07 10:17", "2026-03-28 10:17"]),
        ("FREQ=DAILY;BYHOUR=8,12,18;BYMINUTE=0;BYSETPOS=-1", ["2026-03-04 18:00", "2026-03-05 18:00"]),
        ("FREQ=HOURLY;INTERVAL=5", ["2026-03-04 10:17", "2026-03-04 15:17"]),
        ("FREQ=HOURLY;BYMINUTE=5,50;BYSETPOS=-1", ["2026-03-04 10:50", "2026-03-04 11:50"]),
        ("FREQ=MINUTELY;INTERVAL=90", ["2026-03-04 10:17", "2026-03-04 11:47"]),
        ("FREQ=MINUTELY;INTERVAL=7;BYHOUR=9;BYMINUTE=0", ["2026-03-11 09:00", "2026-03-18 09:00"]),
        ("freq=monthly;byday=+1mo,-1Fr", ["2026-03-27 10:17", "2026-04-06 10:17"]),
        (" FREQ=DAILY ", ["2026-03-04 10:17", "2026-03-05 10:17"]),
        ("INTERVAL=2;FREQ=DAILY", ["2026-03-04 10:17", "2026-03-06 10:17"]),
    ],
)
def test_a_rule_runs_at_the_times_it_says(text, expected):
    assert next_of(2, text) == expected


def test_the_anchor_is_the_wall_time_of_the_zone_at_which_the_rule_begins():
    assert next_of(1, "FREQ=DAILY", "Asia/Kathmandu") == ["2026-03-04 16:02"]
    assert next_of(1, "FREQ=WEEKLY", "Pacific/Auckland", datetime(2026, 3, 4, 12, tzinfo=UTC)) == [
        "2026-03-05 01:00"
    ]


def test_of_an_anchor_with_seconds_the_minute_counts_but_its_own_is_past():
    """As with rate(): a rule that is written now comes an interval later, and not within the minute."""
    late = ANCHOR + timedelta(seconds=59, microseconds=999_999)

    assert next_of(2, "FREQ=MINUTELY;INTERVAL=5", anchor=late) == ["2026-03-04 10:22", "2026-03-04 10:27"]
    assert next_of(2, "FREQ=WEEKLY", anchor=late) == ["2026-03-11 10:17", "2026-03-18 10:17"]
    assert next_of(1, "FREQ=WEEKLY;COUNT=1", anchor=late) == ["2026-03-11 10:17"]
    assert next_of(1, "FREQ=DAILY;BYHOUR=10;BYMINUTE=17", anchor=late) == ["2026-03-05 10:17"]
    assert next_of(1, "FREQ=DAILY;BYHOUR=10;BYMINUTE=17") == ["2026-03-04 10:17"]


def test_without_an_anchor_the_rule_begins_with_the_moment_asked_about():
    assert next_of(2, "FREQ=DAILY;INTERVAL=3", anchor=None, after=ANCHOR) == [
        "2026-03-07 10:17",
        "2026-03-10 10:17",
    ]
    assert parse("FREQ=HOURLY;INTERVAL=6", anchor=None).newest_between(
        ANCHOR, ANCHOR + timedelta(days=1), 1
    ) == ([ANCHOR + timedelta(days=1)], 4)


def test_nothing_comes_before_the_anchor():
    recurrence = parse("FREQ=DAILY")
    start = ANCHOR - timedelta(days=30)

    assert next(recurrence.occurrences_after(start)) == ANCHOR
    assert recurrence.newest_between(start, ANCHOR - timedelta.resolution, 5) == ([], 0)
    assert recurrence.newest_between(start, ANCHOR, 5) == ([ANCHOR], 1)


def test_an_anchor_in_the_second_pass_of_a_repeated_hour_has_its_first_run_after_it():
    second_pass = datetime(2026, 10, 25, 1, 10, tzinfo=UTC)  # Berlin: 02:10 for the second time

    found = next(parse("FREQ=MINUTELY;COUNT=1", "Europe/Berlin", second_pass).occurrences_after(ANCHOR))

    assert found == datetime(2026, 10, 25, 2, tzinfo=UTC)


def test_it_is_a_fixed_time_job_whatever_its_frequency():
    """Berlin jumps from 02:00 to 03:00 on 29 March, and back from 03:00 to 02:00 on 25 October."""
    spring = datetime(2026, 3, 29, 0, 30, tzinfo=BERLIN)
    autumn = datetime(2026, 10, 25, 0, 30, tzinfo=BERLIN)

    def hours(text, day):
        return [run[-5:] for run in next_of(4, text, "Europe/Berlin", after=day)]

    assert hours("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", spring)[:2] == ["03:00", "02:30"]
    assert hours("FREQ=HOURLY;BYMINUTE=0", spring) == ["01:00", "03:00", "04:00", "05:00"]
    assert hours("FREQ=HOURLY;BYMINUTE=0", autumn) == ["01:00", "02:00", "03:00", "04:00"]


def test_a_run_that_the_gap_moved_is_known_as_moved():
    recurrence = parse("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "Europe/Berlin")
    runs = islice(recurrence.occurrences_after(datetime(2026, 3, 28, 12, tzinfo=UTC)), 2)
    without_anchor = parse("FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "Europe/Berlin", None)

    for run, is_moved in zip(runs, [True, False], strict=True):
        assert recurrence.is_moved(run) is is_moved
        assert without_anchor.is_moved(run) is is_moved


# ---- ends


@pytest.mark.parametrize(
    ("text", "last", "total"),
    [
        ("FREQ=DAILY;COUNT=3", "03-06 10:17", 3),
        ("FREQ=DAILY;BYHOUR=9;BYMINUTE=0;COUNT=3", "03-07 08:00", 3),
        ("FREQ=DAILY;UNTIL=20260307", "03-07 10:17", 4),
        ("FREQ=DAILY;UNTIL=20260307T111700", "03-07 10:17", 4),  # on the wall
        ("FREQ=DAILY;UNTIL=20260307T111659", "03-06 10:17", 3),
        ("FREQ=DAILY;UNTIL=20260307T101700Z", "03-07 10:17", 4),
        ("FREQ=DAILY;UNTIL=20260307T101659Z", "03-06 10:17", 3),
        ("FREQ=HOURLY;UNTIL=20260304", "03-04 22:17", 13),  # 23:17 on the wall
    ],
)
def test_count_and_until_end_a_rule(text, last, total):
    recurrence = parse(text, "Europe/Berlin")
    runs = list(recurrence.occurrences_after(ANCHOR - timedelta.resolution))

    assert (f"{runs[-1]:%m-%d %H:%M}", len(runs)) == (last, total)
    assert recurrence.newest_between(ANCHOR - timedelta(1), ANCHOR + timedelta(365), 2) == (runs[-2:], total)
    assert list(recurrence.occurrences_after(runs[-1])) == []


def test_a_rule_that_has_ended_is_a_schedule_without_a_next_run():
    assert list(parse("FREQ=DAILY;UNTIL=20200101").occurrences_after(ANCHOR)) == []


def test_count_counts_runs_and_not_the_times_that_a_gap_swallows():
    anchor = datetime(2026, 3, 28, 12, tzinfo=UTC)
    text = "FREQ=DAILY;BYHOUR=2;BYMINUTE=0,30;COUNT=3"

    assert next_of(9, text, "Europe/Berlin", anchor, anchor) == [
        "2026-03-29 03:00",
        "2026-03-30 02:00",
        "2026-03-30 02:30",
    ]


# ---- cost


def test_a_step_does_not_walk_from_the_anchor(monkeypatch):
    walked = []
    found = walk._dateutil
    monkeypatch.setattr(walk, "_dateutil", lambda *arguments: map(seen, found(*arguments)))

    def seen(wall):
        walked.append(wall)
        return wall

    old = datetime(1950, 1, 1, 8, tzinfo=UTC)
    rules = ["FREQ=DAILY", "FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY;INTERVAL=5", "FREQ=YEARLY;INTERVAL=3"]
    rules += ["FREQ=HOURLY;INTERVAL=7", "FREQ=MINUTELY;INTERVAL=11", "FREQ=DAILY;BYDAY=MO"]
    for text in rules:
        recurrence = parse(text, anchor=old)
        walked.clear()

        next(recurrence.occurrences_after(ANCHOR))

        assert len(walked) <= 12, text


def test_ten_years_of_minutes_are_counted_by_days():
    recurrence, years = parse("FREQ=MINUTELY"), timedelta(days=3650)

    newest = recurrence.newest_between(ANCHOR, ANCHOR + years, 2)

    assert newest.total == 3650 * 24 * 60
    assert newest.occurrences == [ANCHOR + years - timedelta(minutes=1), ANCHOR + years]


# ---- sameness


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("FREQ=DAILY", "freq=daily;interval=1"),
        ("FREQ=WEEKLY;BYDAY=MO,FR", "BYDAY=FR,MO,MO;FREQ=WEEKLY"),
        ("FREQ=WEEKLY;BYDAY=MO;WKST=SU", "FREQ=WEEKLY;BYDAY=MO"),
        ("FREQ=MONTHLY;BYDAY=+1MO", "FREQ=MONTHLY;BYDAY=1MO;WKST=TU"),
    ],
)
def test_another_spelling_means_the_same(one, other):
    assert parse(one).means_the_same_as(parse(other))
    assert parse(one, anchor=None).means_the_same_as(parse(other, anchor=None))


def test_another_rule_zone_or_anchor_means_another_thing():
    rule = parse("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO")

    assert not rule.means_the_same_as(parse("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;WKST=SU"))
    assert not rule.means_the_same_as(parse("FREQ=WEEKLY;INTERVAL=3;BYDAY=MO"))
    assert not rule.means_the_same_as(parse("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", "Europe/Berlin"))
    assert not rule.means_the_same_as(
        parse("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO", anchor=ANCHOR + timedelta(weeks=1))
    )


# ---- refusals


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "rrule\\(\\) is empty; write a rule such as"),
        ("RRULE:FREQ=DAILY", "Inside rrule\\(...\\) the word RRULE: is left out"),
        ("INTERVAL=2", "An rrule\\(\\) needs FREQ, such as FREQ=WEEKLY"),
        (
            "FREQ=DAILY;DTSTART=20260101",
            "DTSTART is the start of the schedule; leave it out here and set starts_at",
        ),
        ("DTSTART:20260101T090000;FREQ=DAILY", "DTSTART is the start of the schedule"),
        ("FREQ=DAILY;TZID=Europe/Berlin", "TZID is the zone of the schedule"),
        ("FREQ=DAILY;EXDATE=20260101", "EXDATE is no part of a rule"),
        ("FREQ=DAILY;RDATE=20260101", "RDATE is no part of a rule"),
        ("FREQ=DAILY;BYSECOND=0", "BYSECOND is refused, since schedules start on full minutes; leave it out"),
        ("FREQ=YEARLY;BYEASTER=0", "BYEASTER is not in RFC 5545"),
        ("FREQ=WEEKLY;BYWEEKDAY=MO", "BYWEEKDAY is BYDAY here"),
        ("FREQ=MONTHLY;RSCALE=GREGORIAN", "RSCALE is not supported"),
        ("FREQ=MONTHLY;SKIP=BACKWARD", "SKIP is not supported; write BYMONTHDAY=-1"),
        ("FREQ=DAILY;INTERVALL=2", "'INTERVALL' is no part of a rule; did you mean INTERVAL\\?"),
        ("FREQ=DAILY;XQZ=2", "'XQZ' is no part of a rule; write one of FREQ, INTERVAL"),
        ("FREQ=DAILY;", "The rule has an empty part"),
        ("FREQ=DAILY; INTERVAL=2", "' INTERVAL=2' has a space in it"),
        ("FREQ=DAILY;INTERVAL", "'INTERVAL' has no value; write it as in INTERVAL=1"),
        ("FREQ=DAILY;BYDAY=", "'BYDAY=' has no value; write it as in BYDAY=MO"),
        ("FREQ=DAILY;FREQ=WEEKLY", "FREQ stands twice in the rule"),
        ("FREQ=SECONDLY", "In FREQ, 'SECONDLY' is refused; write @every and a duration instead"),
        ("FREQ=WEEKLEY", "In FREQ, 'WEEKLEY' is unknown; write WEEKLY"),
        ("FREQ=QQ", "In FREQ, 'QQ' is not YEARLY, MONTHLY, WEEKLY, DAILY, HOURLY or MINUTELY"),
        ("FREQ=DAILY;INTERVAL=0", "In INTERVAL, '0' is not a whole number from 1 to 9999"),
        ("FREQ=DAILY;INTERVAL=-1", "In INTERVAL, '-1' is not a whole number from 1 to 9999"),
        ("FREQ=DAILY;INTERVAL=1.5", "In INTERVAL, '1.5' is not a whole number"),
        ("FREQ=DAILY;COUNT=0", "In COUNT, '0' is not a whole number from 1 to 1000"),
        ("FREQ=DAILY;COUNT=1001", "In COUNT, '1001' is not a whole number from 1 to 1000"),
        ("FREQ=DAILY;COUNT=2;UNTIL=20270101", "COUNT and UNTIL both end the rule; write one of them"),
        ("FREQ=DAILY;UNTIL=2027-01-01", "In UNTIL, '2027-01-01' cannot be read; write it as in 20271231"),
        ("FREQ=DAILY;UNTIL=20270230", "In UNTIL, '20270230' is in no calendar"),
        ("FREQ=DAILY;UNTIL=20270101T250000", "In UNTIL, '20270101T250000' is in no calendar"),
        ("FREQ=DAILY;UNTIL=20270101T1200+0100", "In UNTIL, '20270101T1200\\+0100' cannot be read"),
        ("FREQ=WEEKLY;WKST=SUN", "In WKST, 'SUN' is not MO, TU, WE, TH, FR, SA or SU"),
        ("FREQ=WEEKLY;BYDAY=MON", "In BYDAY, 'MON' is not a day of the week; write MO"),
        ("FREQ=MONTHLY;BYDAY=2MONDAY", "In BYDAY, '2MONDAY' is not a day of the week; write 2MO"),
        ("FREQ=WEEKLY;BYDAY=MO,", "In BYDAY, '' is not a day of the week"),
        ("FREQ=WEEKLY;BYDAY=1", "In BYDAY, '1' is not a day of the week"),
        ("FREQ=MONTHLY;BYDAY=0MO", "In BYDAY, '0MO' counts from 1 to 53"),
        ("FREQ=YEARLY;BYDAY=54MO", "In BYDAY, '54MO' counts from 1 to 53"),
        ("FREQ=MONTHLY;BYDAY=6MO", "No month has a weekday more than five times"),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=-6MO", "No month has a weekday more than five times"),
        ("FREQ=WEEKLY;BYDAY=1MO", "A number in BYDAY counts within months or years"),
        ("FREQ=DAILY;BYDAY=-1FR", "A number in BYDAY counts within months or years"),
        ("FREQ=YEARLY;BYWEEKNO=2;BYDAY=1MO", "A number in BYDAY counts within months or years"),
        ("FREQ=YEARLY;BYWEEKNO=2", "BYWEEKNO alone names no day; write BYDAY too"),
        ("FREQ=MONTHLY;BYWEEKNO=2;BYDAY=MO", "BYWEEKNO counts the weeks of a year"),
        (
            "FREQ=YEARLY;BYWEEKNO=52;BYDAY=MO",
            "In BYWEEKNO, '52' is refused; write a week from 1 to 51, or -1",
        ),
        ("FREQ=YEARLY;BYWEEKNO=-2;BYDAY=MO", "In BYWEEKNO, '-2' is refused"),
        ("FREQ=YEARLY;BYWEEKNO=54;BYDAY=MO", "In BYWEEKNO, '54' is not a number from 1 to 53"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY counts the days of a year"),
        (
            "FREQ=YEARLY;BYYEARDAY=367",
            "In BYYEARDAY, '367' is not a number from 1 to 366, or from -366 to -1",
        ),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY counts the days of a month"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "In BYMONTHDAY, '32' is not a number from 1 to 31, or from -31 to -1"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "In BYMONTHDAY, '0' is not a number"),
        ("FREQ=YEARLY;BYMONTH=13", "In BYMONTH, '13' is not a number from 1 to 12"),
        ("FREQ=YEARLY;BYMONTH=-1", "In BYMONTH, '-1' is not a number from 1 to 12\\."),
        ("FREQ=YEARLY;BYMONTH=JAN", "In BYMONTH, 'JAN' is not a number from 1 to 12"),
        ("FREQ=DAILY;BYHOUR=24", "In BYHOUR, '24' is not a number from 0 to 23"),
        ("FREQ=DAILY;BYMINUTE=60", "In BYMINUTE, '60' is not a number from 0 to 59"),
        ("FREQ=MONTHLY;BYDAY=MO;BYSETPOS=0", "In BYSETPOS, '0' is not a number from 1 to 366"),
        ("FREQ=MONTHLY;BYSETPOS=1", "BYSETPOS chooses among other parts, and there are none"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=30;BYMONTH=2",
            "No date ever matches 'FREQ=MONTHLY;BYMONTHDAY=30;BYMONTH=2'",
        ),
        ("FREQ=DAILY;BYMONTHDAY=31;BYMONTH=4,6", "No date ever matches"),
        ("FREQ=WEEKLY;BYDAY=MO;BYSETPOS=2", "No date ever matches"),
        ("FREQ=DAILY;BYHOUR=9;BYSETPOS=2", "No date ever matches"),
        ("FREQ=MINUTELY;BYMINUTE=9;BYSETPOS=2", "No date ever matches"),
        ("FREQ=MONTHLY;BYMONTHDAY=15;BYDAY=MO;BYSETPOS=2", "No date ever matches"),
    ],
)
def test_a_refusal_says_what_to_write(text, sentence):
    with pytest.raises(InvalidSchedule, match=f"^{sentence}") as caught:
        parse(text, anchor=None)

    assert caught.value.field == "schedule"
    assert str(caught.value).endswith((".", "?"))


@pytest.mark.parametrize("text", ["RRULE:FREQ=DAILY", "FREQ=DAILY;INTERVAL=2", "DTSTART:20260101T090000"])
def test_a_rule_without_its_word_is_refused_with_the_word(text):
    with pytest.raises(
        InvalidSchedule, match="^A rule of RFC 5545 stands in rrule\\(...\\); write for example"
    ):
        Recurrence.parse(text)


def test_a_rule_is_as_short_as_any_expression():
    with pytest.raises(InvalidSchedule, match="at most 256 characters"):
        parse(f"FREQ=DAILY;BYMINUTE={','.join(map(str, range(60)))};BYHOUR={','.join(map(str, range(24)))}")


@pytest.mark.parametrize(
    "text",
    [
        "FREQ=YEARLY;INTERVAL=2;BYMONTH=2;BYMONTHDAY=29",  # odd years
        "FREQ=MONTHLY;INTERVAL=2;BYMONTH=2",
        "FREQ=WEEKLY;INTERVAL=9999;BYMONTH=1",
        "FREQ=DAILY;INTERVAL=7;BYDAY=TU",
        "FREQ=HOURLY;INTERVAL=2;BYHOUR=9",
        "FREQ=MINUTELY;INTERVAL=60;BYMINUTE=0",
    ],
)
def test_what_never_comes_from_its_anchor_on_is_refused(text):
    anchor = datetime(2027, 3, 3, 10, 17, tzinfo=UTC)  # a Wednesday

    parse(text, anchor=None)
    with pytest.raises(
        InvalidSchedule, match="^Counted from 2027-03-03 10:17, this rule does not come within"
    ):
        parse(text, anchor=anchor)


def test_a_rule_that_comes_with_its_anchor_only_is_refused_when_that_is_past():
    assert next_of(2, "FREQ=YEARLY;INTERVAL=500") == ["2026-03-04 10:17", "2526-03-04 10:17"]
    with pytest.raises(InvalidSchedule, match="^Counted from 2026-03-04 10:17"):
        parse("FREQ=YEARLY;INTERVAL=500", anchor=ANCHOR + timedelta(seconds=1))


def test_a_day_of_the_anchor_that_its_months_do_not_have_is_refused():
    with pytest.raises(InvalidSchedule, match="^Counted from 2026-01-30 10:17"):
        parse("FREQ=YEARLY;BYMONTH=2", anchor=datetime(2026, 1, 30, 10, 17, tzinfo=UTC))


# ---- English


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYHOUR=9;BYMINUTE=0", "every 2 weeks on Monday at 09:00"),
        (
            "FREQ=WEEKLY;BYDAY=MO,WE;BYHOUR=9,17;BYMINUTE=30",
            "every week on Monday and Wednesday at 09:30 and 17:30",
        ),
        (
            "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,SU;WKST=SU",
            "every 2 weeks on Monday and Sunday at 10:17, in weeks that begin on Sunday",
        ),
        (
            "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=17;BYMINUTE=0",
            "on the last working day (Monday to Friday) of each month at 17:00",
        ),
        (
            "FREQ=MONTHLY;INTERVAL=3;BYDAY=FR;BYSETPOS=-2",
            "on the second to last Friday of every 3 months at 10:17",
        ),
        (
            "FREQ=MONTHLY;BYDAY=SA,SU;BYSETPOS=1",
            "on the first day of each month that is Saturday or Sunday at 10:17",
        ),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYSETPOS=22", "on the 22nd day of each month at 10:17"),
        (
            "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=0;BYMINUTE=0",
            "every month on the last day of the month at 00:00",
        ),
        ("FREQ=MONTHLY;BYMONTHDAY=1,15", "every month on days 1 and 15 of the month at 10:17"),
        (
            "FREQ=MONTHLY;BYDAY=1MO,-1FR",
            "every month on the first Monday and the last Friday of the month at 10:17",
        ),
        ("FREQ=MONTHLY;BYDAY=MO", "every month on each Monday at 10:17"),
        ("FREQ=YEARLY;BYMONTH=12;BYMONTHDAY=24", "every year on 24 December at 10:17"),
        (
            "FREQ=YEARLY;BYMONTH=1,7;BYDAY=1MO",
            "every year in January and July, on the first Monday of the month, at 10:17",
        ),
        ("FREQ=YEARLY;BYDAY=20MO", "every year on the 20th Monday of the year at 10:17"),
        ("FREQ=YEARLY;BYMONTHDAY=1", "every year on day 1 of each month at 10:17"),
        ("FREQ=YEARLY;BYYEARDAY=100,-1", "every year on day 100 and the last day of the year at 10:17"),
        ("FREQ=DAILY;INTERVAL=3;BYHOUR=9;BYMINUTE=0", "every 3 days at 09:00"),
        ("FREQ=DAILY;BYDAY=MO,TU,WE,TH,FR", "every day, if that is Monday to Friday, at 10:17"),
        ("FREQ=DAILY;BYMONTH=1", "every day in January, at 10:17"),
        ("FREQ=DAILY;BYHOUR=9,10,11,12,13;BYMINUTE=0,30", "every day, every 30 minutes from 09:00 to 13:30"),
        ("FREQ=HOURLY;INTERVAL=5;BYMINUTE=0;BYHOUR=9,10,11", "every 5 hours at minute 0, in hours 9 to 11"),
        ("FREQ=MINUTELY;INTERVAL=7", "every 7 minutes"),
        (
            "FREQ=MINUTELY;INTERVAL=5;BYDAY=MO;BYMINUTE=2,32;BYHOUR=9",
            "every 5 minutes, if that is Monday, if the minute is 2 or 32, in hour 9",
        ),
        ("FREQ=DAILY;COUNT=1", "every day at 10:17, once"),
        ("FREQ=DAILY;COUNT=10", "every day at 10:17, 10 times"),
        ("FREQ=DAILY;UNTIL=20271231", "every day at 10:17, until 2027-12-31"),
        ("FREQ=DAILY;UNTIL=20271231T170000", "every day at 10:17, until 2027-12-31 17:00"),
        ("FREQ=DAILY;UNTIL=20271231T170005Z", "every day at 10:17, until 2027-12-31 17:00:05 UTC"),
        (
            "BYDAY=MO;WKST=SU;INTERVAL=2;FREQ=YEARLY;BYWEEKNO=20;BYHOUR=9;BYMINUTE=0;COUNT=2",
            "by the rule FREQ=YEARLY;INTERVAL=2;WKST=SU;BYWEEKNO=20;BYDAY=MO;BYHOUR=9;BYMINUTE=0, 2 times",
        ),
        (
            "FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9;BYMINUTE=0",
            "by the rule FREQ=MONTHLY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=9;BYMINUTE=0",
        ),
    ],
)
def test_a_rule_in_english(text, said):
    assert parse(text).describe() == said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("FREQ=DAILY", "every day at the time of day of its start"),
        ("FREQ=DAILY;BYHOUR=9", "every day, in hour 9, at the minute of its start"),
        ("FREQ=DAILY;BYMINUTE=30", "every day at minute 30 of the hour of its start"),
        ("FREQ=HOURLY", "every hour at the minute of its start"),
        ("FREQ=WEEKLY;BYHOUR=9;BYMINUTE=0", "every week on the weekday of its start at 09:00"),
        ("FREQ=MONTHLY;BYHOUR=9;BYMINUTE=0", "every month on the day of its start at 09:00"),
        ("FREQ=YEARLY;BYHOUR=9;BYMINUTE=0", "every year on the date of its start at 09:00"),
        (
            "FREQ=YEARLY;BYMONTH=1,7;BYHOUR=9;BYMINUTE=0",
            "every year in January and July, on the day of its start, at 09:00",
        ),
    ],
)
def test_without_an_anchor_it_says_what_the_start_decides(text, said):
    assert parse(text, anchor=None).describe() == said
