"""The walk over naive wall time against croniter's, and the spans of a zone against zoneinfo.

What both make together, in zones and around clock changes, is `test_recurrence_oracle`.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from django_letsgo_worker.recurrence import zones
from django_letsgo_worker.recurrence.days import EVERY_MONTH_DAY, EVERY_WEEKDAY, DayRule, MonthDays, WeekDays
from django_letsgo_worker.recurrence.pattern import EVERY_HOUR, EVERY_MONTH, Pattern

A_SECOND, AN_HOUR, A_DAY = timedelta(seconds=1), timedelta(hours=1), timedelta(days=1)
STEPS = 60

steady = settings(derandomize=True, database=None, deadline=None, max_examples=150)


# ---- the walk


def sets(whole: frozenset[int]) -> st.SearchStrategy[frozenset[int]]:
    return st.one_of(st.just(whole), st.frozensets(st.sampled_from(sorted(whole)), min_size=1, max_size=6))


EVERY_MINUTE = frozenset(range(60))
day_rules = st.builds(
    DayRule, sets(EVERY_MONTH_DAY).map(MonthDays), sets(EVERY_WEEKDAY).map(WeekDays), st.booleans()
)
patterns = st.builds(
    Pattern, sets(EVERY_MINUTE), sets(EVERY_HOUR), sets(EVERY_MONTH), day_rules, st.booleans()
).filter(lambda made: made.ever_matches)
any_moments = st.datetimes(datetime(1970, 1, 1), datetime(2098, 1, 1))
# Whole minutes, too, for there lies the difference between at and after.
moments = st.one_of(any_moments, any_moments.map(lambda moment: moment.replace(second=0, microsecond=0)))


def by_croniter(walked: Pattern, start: datetime) -> croniter:
    """Spell the fields as lists of numbers: croniter reads 5-5 as every minute, and 1-31 as a star."""
    rule = walked.days
    month_days, week_days = rule.month_days.numbers, rule.week_days.numbers
    if rule.is_every_day:
        month_days, week_days = EVERY_MONTH_DAY, EVERY_WEEKDAY
    spelled = (
        (walked.minutes, EVERY_MINUTE),
        (walked.hours, EVERY_HOUR),
        (month_days, EVERY_MONTH_DAY),
        (walked.months, EVERY_MONTH),
        (week_days, EVERY_WEEKDAY),
    )
    text = " ".join("*" if own == every else ",".join(map(str, sorted(own))) for own, every in spelled)
    return croniter(text, start, day_or=not rule.both_must_match, max_years_between_matches=50)


@steady
@given(patterns, moments)
def test_a_walk_forwards_is_that_of_croniter(walked, start):
    expected = list(islice(by_croniter(walked, start).all_next(datetime), STEPS))

    found = list(islice(walked.forwards(start + timedelta.resolution, zones.LATEST), STEPS))

    assert found == expected


@steady
@given(patterns, moments)
def test_a_walk_backwards_is_that_of_croniter(walked, end):
    expected = list(islice(by_croniter(walked, end).all_prev(datetime), STEPS))

    found = list(islice(walked.backwards(zones.EARLIEST, end), STEPS))

    assert found == expected


@steady
@given(patterns, moments, st.timedeltas(timedelta(0), timedelta(days=40)))
def test_a_range_is_walked_alike_both_ways_and_counted_right(walked, start, length):
    forwards = list(walked.forwards(start, start + length))

    assert forwards == list(walked.backwards(start, start + length))[::-1]
    assert len(forwards) == walked.count(start, start + length)
    assert walked.matches_within(start, start + length) == bool(forwards)
    assert all(start <= wall < start + length and walked.matches(wall) for wall in forwards)


# ---- the spans


@steady
@given(st.sampled_from(sorted(zones.names())), st.integers(1970, 2150))
def test_the_spans_of_a_year_have_the_offsets_that_zoneinfo_has_in_each_hour(name, year):
    spans = zones.spans_of_year(name, year)

    assert [spans[0].start, spans[-1].end] == [datetime(year, 1, 1), datetime(year + 1, 1, 1)]
    assert all(earlier.end == later.start for earlier, later in pairwise(spans))
    assert differences(name, spans) == set()


def test_a_span_that_ended_a_second_late_would_be_found_out():
    winter, *others = zones.spans_of_year("Europe/Berlin", 2026)
    late = zones.Span(winter.start, winter.end + A_SECOND, winter.offset, winter.unseen_from, winter.gap_from)

    assert differences("Europe/Berlin", [late, *others]) == {winter.end}


def differences(name: str, spans: Sequence[zones.Span]) -> set[datetime]:
    """Return the moments, hourly and at both ends of each span, whose offset zoneinfo tells otherwise."""
    zone, different = ZoneInfo(name), set()
    for span in spans:
        hours = (span.start + number * AN_HOUR for number in range((span.end - span.start) // AN_HOUR + 1))
        inside = [moment for moment in hours if moment < span.end]
        for moment in [*inside, span.end - A_SECOND]:
            if moment.replace(tzinfo=UTC).astimezone(zone).utcoffset() != span.offset:
                different.add(moment)
    return different
