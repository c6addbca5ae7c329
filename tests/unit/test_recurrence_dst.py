"""What a schedule does in the nights in which a clock changes.

Each table begins with what the clock on the wall did that night. The rule is Debian's: an interval job (its
minute or hour begins with a star) follows the clock, a fixed-time job is neither lost in a gap nor run twice.
"""

from datetime import UTC, datetime, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

import pytest

from django_letsgo_worker.recurrence import Recurrence


def runs_in_utc(expression, zone, after, until):
    start, end = (datetime.fromisoformat(moment).replace(tzinfo=UTC) for moment in (after, until))
    found = takewhile(
        lambda occurrence: occurrence <= end, Recurrence.parse(expression, zone).occurrences_after(start)
    )
    return [f"{occurrence:%H:%M}" for occurrence in found]


# Berlin, the night to Sunday, 29 March 2026
#   UTC   00:30   00:59   01:00   01:30
#   wall  01:30   01:59   03:00   03:30      02:00 to 02:59 are skipped
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["01:00"]),
        ("0 2 * * *", ["01:00"]),
        ("0,15,30 2 * * *", ["01:00"]),
        ("0-59/15 2 * * *", ["01:00"]),
        ("30 2,3 * * *", ["01:00", "01:30"]),
        ("0 2,3 * * *", ["01:00"]),
        ("0 3 * * *", ["01:00"]),
        ("30 1-3 * * *", ["00:30", "01:00", "01:30"]),
        ("0 1-4 * * *", ["00:00", "01:00", "02:00"]),
        ("30 2 * * SUN", ["01:00"]),
        ("30 2 * * MON", []),
        ("30 2 29 * *", ["01:00"]),
        ("*/15 2 * * *", []),
        ("* 2 * * *", []),
        ("*/30 * * * *", ["00:00", "00:30", "01:00", "01:30", "02:00", "02:30"]),
        ("30 * * * *", ["00:30", "01:30", "02:30"]),
        ("@hourly", ["00:00", "01:00", "02:00"]),
        ("0 */3 * * *", ["01:00"]),
        ("0 */2 * * *", ["02:00"]),
    ],
)
def test_in_spring_a_fixed_time_job_runs_right_after_the_gap_and_an_interval_job_follows_the_clock(
    expression, expected
):
    assert runs_in_utc(expression, "Europe/Berlin", "2026-03-28T23:59", "2026-03-29T02:59") == expected


# Berlin, the night to Sunday, 25 October 2026
#   UTC   00:00   00:59   01:00   01:59   02:00
#   wall  02:00   02:59   02:00   02:59   03:00      02:00 to 02:59 come twice
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("30 2 * * *", ["00:30"]),
        ("0 2 * * *", ["00:00"]),
        ("59 2 * * *", ["00:59"]),
        ("0,30 2,3 * * *", ["00:00", "00:30", "02:00", "02:30"]),
        ("0-59/20 2 * * *", ["00:00", "00:20", "00:40"]),
        ("0 0-23 * * *", ["00:00", "02:00"]),
        ("0 3 * * *", ["02:00"]),
        ("0 * * * *", ["00:00", "01:00", "02:00"]),
        ("@hourly", ["00:00", "01:00", "02:00"]),
        ("*/20 2 * * *", ["00:00", "00:20", "00:40", "01:00", "01:20", "01:40"]),
        ("30 */2 * * *", ["00:30", "01:30"]),
    ],
)
def test_in_autumn_a_fixed_time_job_runs_in_the_first_pass_only_and_an_interval_job_in_both(
    expression, expected
):
    assert runs_in_utc(expression, "Europe/Berlin", "2026-10-24T23:59", "2026-10-25T02:59") == expected


@pytest.mark.parametrize(
    "after", ["2026-10-25T00:30", "2026-10-25T00:45", "2026-10-25T01:00", "2026-10-25T01:29"]
)
def test_asked_within_the_repeated_hour_a_fixed_time_job_waits_for_the_next_day(after):
    assert runs_in_utc("30 2 * * *", "Europe/Berlin", after, "2026-10-26T01:30") == ["01:30"]


def test_a_moment_may_be_given_in_any_zone_and_in_either_pass():
    recurrence = Recurrence.parse("*/30 2 * * *", "Europe/Berlin")
    second_pass = datetime(2026, 10, 25, 2, 15, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)

    assert next(recurrence.occurrences_after(second_pass)) == datetime(2026, 10, 25, 1, 30, tzinfo=UTC)


# New York, the night to Sunday, 8 March 2026: at 07:00 UTC 01:59 is followed by 03:00.
# New York, the night to Sunday, 1 November 2026: at 06:00 UTC 01:59 is followed by 01:00.
@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("30 2 * * *", "2026-03-08", ["07:00"]),
        ("*/30 2 * * *", "2026-03-08", []),
        ("30 1 * * *", "2026-11-01", ["05:30"]),
        ("*/30 1 * * *", "2026-11-01", ["05:00", "05:30", "06:00", "06:30"]),
    ],
)
def test_new_york_keeps_the_same_rule(expression, day, expected):
    assert runs_in_utc(expression, "America/New_York", f"{day}T04:59", f"{day}T12:00") == expected


# Lord Howe moves by half an hour.
#   4 October 2026, 15:30 UTC the day before: 01:59 is followed by 02:30.
#   5 April 2026, 15:00 UTC the day before: 01:59 is followed by 01:30.
@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("15 2 * * *", "2026-10-03", ["15:30"]),
        ("15,45 2 * * *", "2026-10-03", ["15:30", "15:45"]),
        ("*/15 2 * * *", "2026-10-03", ["15:30", "15:45"]),
        ("45 1 * * *", "2026-04-04", ["14:45"]),
        ("*/15 1 * * *", "2026-04-04", ["14:00", "14:15", "14:30", "14:45", "15:00", "15:15"]),
        ("0,15,30,45 1 * * *", "2026-04-04", ["14:00", "14:15", "14:30", "14:45"]),
    ],
)
def test_a_change_by_half_an_hour_is_a_change_like_others(expression, day, expected):
    assert runs_in_utc(expression, "Australia/Lord_Howe", f"{day}T13:45", f"{day}T17:00") == expected


# Sao Paulo, 4 November 2018, 03:00 UTC: 23:59 is followed by 01:00 of the next day.
# Sao Paulo, 18 February 2018, 02:00 UTC: 23:59 is followed by 23:00 of the same day.
@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("0 0 * * *", "2018-11-04", ["03:00"]),
        ("@daily", "2018-11-04", ["03:00"]),
        ("0 0 4 * *", "2018-11-04", ["03:00"]),
        ("0 0 * * SUN", "2018-11-04", ["03:00"]),
        ("*/5 0 * * *", "2018-11-04", []),
        ("30 23 * * *", "2018-02-18", ["01:30"]),
        ("30 23 * * SAT", "2018-02-18", ["01:30"]),
        ("*/30 23 * * *", "2018-02-18", ["01:00", "01:30", "02:00", "02:30"]),
        ("0 0 * * *", "2018-02-18", ["03:00"]),
    ],
)
def test_a_change_at_midnight_loses_and_doubles_no_day(expression, day, expected):
    assert runs_in_utc(expression, "America/Sao_Paulo", f"{day}T00:45", f"{day}T03:30") == expected


# Troll moves by two hours.
#   29 March 2026, 01:00 UTC: 00:59 is followed by 03:00.
#   25 October 2026, 01:00 UTC: 02:59 is followed by 01:00.
@pytest.mark.parametrize(
    ("expression", "day", "expected"),
    [
        ("30 1,2 * * *", "2026-03-29", ["01:00"]),
        ("30 1,2 * * *", "2026-10-25", ["23:30", "00:30"]),
        ("30 * * * *", "2026-10-25", ["23:30", "00:30", "01:30", "02:30"]),
    ],
)
def test_a_change_by_two_hours_is_a_change_like_others(expression, day, expected):
    before = datetime.fromisoformat(f"{day}T23:00") - timedelta(days=1)

    assert runs_in_utc(expression, "Antarctica/Troll", before.isoformat(), f"{day}T02:59") == expected


# Apia left out 30 December 2011: at 10:00 UTC the 29th, 23:59 is followed by the 31st, 00:00.
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 12 30 * *", []),
        ("0 12 * * *", ["2011-12-28 22:00", "2011-12-29 22:00", "2011-12-30 22:00"]),
        ("0 12 * * FRI", []),
        ("0 0 * * *", ["2011-12-29 10:00", "2011-12-30 10:00", "2011-12-31 10:00"]),
        ("0 */12 30 * *", []),
    ],
)
def test_a_skipped_day_makes_nothing_up(expression, expected):
    after, until = datetime(2011, 12, 28, 12, tzinfo=UTC), datetime(2011, 12, 31, 12, tzinfo=UTC)
    expected = [occurrence for occurrence in expected if occurrence > f"{after:%F %R}"]

    found = takewhile(
        lambda moment: moment <= until, Recurrence.parse(expression, "Pacific/Apia").occurrences_after(after)
    )

    assert [f"{occurrence:%F %R}" for occurrence in found] == expected


# Recife went forward on 8 October 2000 and back on the 15th, 167 hours later.
def test_a_change_and_its_undoing_within_a_week_are_both_seen():
    found = runs_in_utc("0 12 * * *", "America/Recife", "2000-10-06T16:00", "2000-10-16T16:00")

    assert found == ["15:00"] + ["14:00"] * 7 + ["15:00"] * 2


# Monrovia's clock ran 44 minutes and 30 seconds behind UTC until 7 January 1972, when it skipped them.
def test_an_offset_with_seconds_is_kept():
    found = Recurrence.parse("0 12 * * *", "Africa/Monrovia").occurrences_after(
        datetime(1972, 1, 6, tzinfo=UTC)
    )

    assert next(found) == datetime(1972, 1, 6, 12, 44, 30, tzinfo=UTC)
    assert next(found) == datetime(1972, 1, 7, 12, tzinfo=UTC)


# Europe/Berlin: 02:30 doesn't exist on 29 March 2026, and comes twice on 25 October 2026.
# Pacific/Apia: 30 December 2011 doesn't exist, and the 31st begins at 10:00 UTC of the 30th.
@pytest.mark.parametrize(
    ("wall", "zone", "expected"),
    [
        ("2026-03-29T02:30:00", "Europe/Berlin", "2026-03-29 01:00:00"),
        ("2026-03-29T02:00:00", "Europe/Berlin", "2026-03-29 01:00:00"),
        ("2026-03-29T02:59:59", "Europe/Berlin", "2026-03-29 01:00:00"),
        ("2026-03-29T03:00:00", "Europe/Berlin", "2026-03-29 01:00:00"),
        ("2026-03-29T01:59:59", "Europe/Berlin", "2026-03-29 00:59:59"),
        ("2026-10-25T02:30:00", "Europe/Berlin", "2026-10-25 00:30:00"),
        ("2026-10-25T03:00:00", "Europe/Berlin", "2026-10-25 02:00:00"),
        ("2011-12-30T12:00:00", "Pacific/Apia", "2011-12-30 10:00:00"),
        ("2018-11-04T00:30:00", "America/Sao_Paulo", "2018-11-04 03:00:00"),
        ("2027-01-01T09:00:00", "Asia/Kathmandu", "2027-01-01 03:15:00"),
        ("9999-12-31T23:59:59", "UTC", "9999-12-31 23:59:59"),
    ],
)
def test_at_waits_for_the_end_of_a_gap_and_takes_the_first_pass(wall, zone, expected):
    recurrence = Recurrence.parse(f"at({wall})", zone)

    found = list(recurrence.occurrences_after(datetime(2000, 1, 1, tzinfo=UTC)))

    assert [f"{occurrence:%F %T}" for occurrence in found] == [expected]
    assert found[0].tzinfo is UTC


def test_at_is_over_from_its_own_moment_on():
    recurrence = Recurrence.parse("at(2027-01-01T09:00:00)")
    moment = datetime(2027, 1, 1, 9, tzinfo=UTC)

    assert list(recurrence.occurrences_after(moment - timedelta.resolution)) == [moment]
    assert list(recurrence.occurrences_after(moment)) == []


@pytest.mark.parametrize("wall", ["9999-12-31T23:59:59", "0001-01-01T00:00:00"])
def test_at_beyond_the_calendar_is_refused(wall):
    zone = "America/New_York" if wall.startswith("9") else "Asia/Tokyo"

    with pytest.raises(ValueError, match="write another year"):
        Recurrence.parse(f"at({wall})", zone)


@pytest.mark.parametrize(
    ("expression", "moment", "is_moved"),
    [
        ("30 2 * * *", "2026-03-29T01:00", True),
        ("30 2 * * *", "2026-03-30T00:30", False),
        ("0 2,3 * * *", "2026-03-29T01:00", False),
        ("*/30 * * * *", "2026-03-29T01:00", False),
        ("at(2026-03-29T02:30:00)", "2026-03-29T01:00", True),
        ("at(2026-03-29T03:00:00)", "2026-03-29T01:00", False),
        ("rate(1 hour)", "2026-03-29T01:00", False),
    ],
)
def test_an_occurrence_that_the_gap_moved_is_known(expression, moment, is_moved):
    occurrence = datetime.fromisoformat(moment).replace(tzinfo=UTC)

    assert Recurrence.parse(expression, "Europe/Berlin").is_moved(occurrence) is is_moved
