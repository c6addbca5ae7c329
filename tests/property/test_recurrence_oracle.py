"""Recurrences against an oracle without shortcuts: it looks at the clock in every minute of UTC.

The oracle shares no code with the app. It has its own reading of the fields, it knows the second pass of a
repeated hour by the `fold` that zoneinfo sets, and a gap by two successive minutes whose wall times are not.
"""

import calendar
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_letsgo_worker.recurrence import Recurrence, wallclock, zones
from django_letsgo_worker.recurrence.pattern import Pattern

SEED = 20_260_329
A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(days=1)

# What the clock did there, the zone, and the UTC day of it.
CLOCK_CHANGES = [
    ("spring, 02:00 to 03:00", "Europe/Berlin", "2026-03-29"),
    ("autumn, 03:00 to 02:00", "Europe/Berlin", "2026-10-25"),
    ("spring, 02:00 to 03:00", "America/New_York", "2026-03-08"),
    ("autumn, 02:00 to 01:00", "America/New_York", "2026-11-01"),
    ("half an hour forward", "Australia/Lord_Howe", "2026-10-03"),
    ("half an hour back", "Australia/Lord_Howe", "2026-04-04"),
    ("midnight to 01:00", "America/Sao_Paulo", "2018-11-04"),
    ("midnight to 23:00 of the day before", "America/Sao_Paulo", "2018-02-18"),
    ("midnight to 01:00", "America/Havana", "2026-03-08"),
    ("01:00 to midnight", "America/Havana", "2026-11-01"),
    ("midnight to 01:00", "Asia/Beirut", "2026-03-28"),
    ("midnight to 23:00 of the day before", "Asia/Beirut", "2026-10-24"),
    ("midnight to 01:00", "Africa/Cairo", "2026-04-23"),
    ("midnight to 23:00 of the day before", "Africa/Cairo", "2026-10-29"),
    ("spring, where winter is the exception", "Europe/Dublin", "2026-03-29"),
    ("autumn, where winter is the exception", "Europe/Dublin", "2026-10-25"),
    ("a whole day left out", "Pacific/Apia", "2011-12-30"),
    ("a whole day left out", "Pacific/Kwajalein", "1993-08-21"),
    ("an hour back for Ramadan", "Africa/Casablanca", "2026-02-15"),
    ("an hour forward after Ramadan", "Africa/Casablanca", "2026-03-22"),
    ("a quarter of an hour forward", "Asia/Kathmandu", "1985-12-31"),
    ("half an hour forward", "Asia/Pyongyang", "2018-05-04"),
    ("half an hour back", "Asia/Pyongyang", "2015-08-14"),
    ("two hours forward", "Antarctica/Troll", "2026-03-29"),
    ("two hours back", "Antarctica/Troll", "2026-10-25"),
    ("02:45 to 03:45", "Pacific/Chatham", "2026-09-26"),
    ("03:45 to 02:45", "Pacific/Chatham", "2026-04-04"),
    ("forward, and back within the week", "America/Recife", "2000-10-08"),
    ("and back again, 167 hours later", "America/Recife", "2000-10-15"),
    ("nothing at all", "UTC", "2026-03-29"),
]
NAMES = [f"{zone} {day}: {what}" for what, zone, day in CLOCK_CHANGES]

EXPRESSIONS = [
    "* * * * *",
    "*/5 * * * *",
    "*/7 * * * *",
    "17 * * * *",
    "@hourly",
    "* 2 * * *",
    "*/15 2 * * *",
    "0-59/15 2 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "15,45 0-3 * * *",
    "0 0-23 * * *",
    "0 */3 * * *",
    "30 */2 * * *",
    "5-5 1 * * *",
    "0 3 * * *",
    "15 2 * * SUN",
    "30 1 * * 0,6",
    "30 23 29 * *",
    "10 1 */2 * *",
    "10 1 */2 * 1",
    "1 1 */100,1-7 * MON",
    "30 2 */40 * SUN",
    "30 2 22-31 * */100,SAT",
    "0 0 1-31 * MON",
    "20 0 29,30 * MON",
    "30 0 L * *",
    "30 2 LW * *",
    "45 1 29W * *",
    "30 2 * * 0L",
    "30 2 * * SUN#4",
    "30 2 25 * SUN#1",
    "cron(30 2 ? * 1 *)",
    "cron(0/20 2-3 * * ? *)",
    "cron(*/20 2 ? * SAT-SAT *)",
    "cron(30 0 ? * SUN 1985-2026/1)",
]


# ---- the oracle


@dataclass(frozen=True)
class Minute:
    """A minute of UTC: what the clock shows, whether for the second time, and what it skipped just before."""

    utc: datetime
    wall: datetime
    is_second_pass: bool
    skipped: tuple[datetime, ...]


@cache
def minutes_between(zone: str, start: datetime, end: datetime) -> tuple[Minute, ...]:
    """Look at every minute in [start, end]."""
    seen = []
    before = (start - A_MINUTE).astimezone(ZoneInfo(zone)).replace(tzinfo=None)
    while start <= end:
        local = start.astimezone(ZoneInfo(zone))
        wall = local.replace(tzinfo=None, fold=0)
        gap = wall - before - A_MINUTE
        skipped = [wall - (n + 1) * A_MINUTE for n in range(gap // A_MINUTE)] if gap > timedelta(0) else []
        seen.append(Minute(start, wall, local.fold == 1, tuple(skipped)))
        before, start = wall.replace(fold=0), start + A_MINUTE
    return tuple(seen)


def occurrences_by_looking(expression: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """Apply Debian's rule to every minute in [start, end]."""
    matches, is_interval = wall_matcher(expression)
    found = []
    for minute in minutes_between(zone, start, end):
        fires = matches(minute.wall)
        if not is_interval:
            was_skipped = len(minute.skipped) <= 180 and any(map(matches, minute.skipped))
            fires = was_skipped or (fires and not minute.is_second_pass)
        if fires:
            found.append(minute.utc)
    return found


def wall_matcher(expression: str) -> tuple[Callable[[datetime], bool], bool]:
    """Return what tells whether a wall time matches, and whether this is an interval job."""
    words = {"@hourly": "0 * * * *"}.get(expression, expression).removeprefix("cron(").rstrip(")").split()
    minute, hour, month_day, month, week_day = words[:5]
    year = words[5] if len(words) == 6 else "*"
    sunday_is_1 = len(words) == 6
    both = month_day[0] in "*?" or week_day[0] in "*?"
    times = {(h, m) for h in range(24) for m in range(60) if allows(hour, h, 23) and allows(minute, m, 59)}

    @cache
    def matches_date(day: date) -> bool:
        if not (allows(month, day.month, 12, MONTHS, low=1) and allows(year, day.year, 2199, low=1970)):
            return False
        found = (matches_month_day(month_day, day), matches_week_day(week_day, day, sunday_is_1))
        return all(found) if both else any(found)

    def matches(wall: datetime) -> bool:
        return (wall.hour, wall.minute) in times and matches_date(wall.date())

    return matches, minute[0] == "*" or hour[0] == "*"


MONTHS = {date(2000, n, 1).strftime("%b").upper(): n for n in range(1, 13)}
WEEKDAYS = {date(2000, 1, 2 + n).strftime("%a").upper(): n for n in range(7)}  # 2 January 2000 was a Sunday


def allows(text: str, value: int, high: int, names: dict[str, int] | None = None, low: int = 0) -> bool:
    def number(word: str) -> int:
        return names[word] if names and word in names else int(word)

    for term in text.split(","):
        span, _, step = term.partition("/")
        first, _, last = span.partition("-")
        if first in ("*", "?"):
            bounds = (low, high)
        else:
            bounds = (number(first), number(last or first) if last or not step else high)
        if bounds[0] <= value <= bounds[1] and (value - bounds[0]) % int(step or 1) == 0:
            return True
    return False


def matches_month_day(text: str, day: date) -> bool:
    return any(matches_month_day_term(term, day) for term in text.split(","))


def matches_month_day_term(term: str, day: date) -> bool:
    month = [date(day.year, day.month, 1) + n * A_DAY for n in range(31)]
    month = [one for one in month if one.month == day.month]
    working = [one for one in month if one.isoweekday() <= 5]
    if term == "L":
        return day == month[-1]
    if term == "LW":
        return day == working[-1]
    if term.endswith("W"):
        wanted = [one for one in month if one.day == int(term[:-1])]
        return bool(wanted) and day == min(working, key=lambda one: abs(one - wanted[0]))
    return allows(term, day.day, 31, low=1)


def matches_week_day(text: str, day: date, sunday_is_1: bool) -> bool:
    return any(matches_week_day_term(term, day, sunday_is_1) for term in text.split(","))


def matches_week_day_term(term: str, day: date, sunday_is_1: bool) -> bool:
    shift = 1 if sunday_is_1 else 0
    names = {name: n + shift for name, n in WEEKDAYS.items()}
    numbers = {day.isoweekday() % 7 + shift} | ({7} if day.isoweekday() == 7 and not sunday_is_1 else set())

    def is_weekday(word: str) -> bool:
        return (names[word] if word in names else int(word)) in numbers

    if term.endswith("L"):
        return is_weekday(term[:-1]) and (day + 7 * A_DAY).month != day.month
    if "#" in term:
        word, _, which = term.partition("#")
        return is_weekday(word) and (day.day - 1) // 7 + 1 == int(which)
    high = 6 + shift
    return any(allows(term, number, high, names, low=shift) for number in numbers)


# ---- the comparison


def window_around(day: str, days: int = 2) -> tuple[datetime, datetime]:
    middle = datetime.fromisoformat(day).replace(tzinfo=UTC, hour=12)
    return middle - days * A_DAY, middle + days * A_DAY


def difference(expression: str, zone: str, day: str, after: datetime | None = None) -> str | None:
    """Return in words how the app and the oracle differ around a day, or None if they don't."""
    start, end = window_around(day)
    after = after or start
    expected = [found for found in occurrences_by_looking(expression, zone, start, end) if found > after]
    recurrence = Recurrence.parse(expression, zone)

    walked = list(takewhile(lambda occurrence: occurrence <= end, recurrence.occurrences_after(after)))
    newest = recurrence.newest_between(after, end, 5)

    found = (walked, newest.occurrences, newest.total)
    wanted = (expected, expected[-5:], len(expected))
    if found == wanted:
        return None
    strange = sorted(set(walked) ^ set(expected)) or [newest]
    return f"{expression!r} in {zone} after {after}: {strange[0]} and others, seed {SEED}"


@pytest.mark.parametrize(("zone", "day"), [change[1:] for change in CLOCK_CHANGES], ids=NAMES)
def test_every_expression_agrees_with_the_minutes_around_every_clock_change(zone, day):
    differences = [difference(expression, zone, day) for expression in EXPRESSIONS]

    assert [found for found in differences if found] == []


@pytest.mark.parametrize(("zone", "day"), [change[1:] for change in CLOCK_CHANGES], ids=NAMES)
def test_it_makes_no_difference_from_which_moment_one_asks(zone, day):
    chance = random.Random(f"{SEED} {zone} {day}")
    start, end = window_around(day)
    asked = [start + chance.random() * (end - start) for _ in range(6)]
    asked += [start + chance.randrange(5760) * A_MINUTE for _ in range(6)]

    differences = [
        difference(chance.choice(EXPRESSIONS), zone, day, after) for after in asked for _ in range(3)
    ]

    assert [found for found in differences if found] == []


@pytest.mark.parametrize(("zone", "day"), [change[1:] for change in CLOCK_CHANGES], ids=NAMES)
def test_random_expressions_agree_with_the_minutes_around_every_clock_change(zone, day):
    chance = random.Random(f"{SEED} {zone} {day}")
    hours_of_the_change = [0, 1, 2, 3, 22, 23]

    def field(values: list[int], longest_step: int) -> str:
        low, high = sorted((chance.choice(values), chance.choice(values)))
        step = chance.randint(1, longest_step)
        shapes = [
            "*",
            f"*/{step}",
            str(low),
            f"{low}-{high}",
            f"{low},{high}",
            f"{low}-{high}/{step}",
            f"{low}/{step}",
        ]
        return chance.choice(shapes)

    def expression() -> str:
        minute, hour = field(list(range(60)), 60), field(hours_of_the_change, 24)
        days, weekdays = field(list(range(1, 29)), 15), field(list(range(7)), 4)
        month_day = chance.choice(["*", days, days, f"*/99,{days}"])
        week_day = chance.choice(["*", weekdays, weekdays, f"*/8,{weekdays}"])
        return f"{minute} {hour} {month_day} * {week_day}"

    expressions = [expression() for _ in range(25)]

    differences = [difference(expression, zone, day) for expression in expressions]

    assert [found for found in differences if found] == []


# ---- the laws

steady = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=120,
    suppress_health_check=[HealthCheck.too_slow],
)


def fields(low: int, high: int, top: int | None = None) -> st.SearchStrategy[str]:
    top = high if top is None else top
    numbers = st.integers(low, top)
    steps = st.integers(1, top - low + 1)
    pairs = st.tuples(numbers, numbers).map(sorted)
    terms = st.one_of(
        numbers.map(str),
        pairs.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(pairs, steps).map(lambda made: f"{made[0][0]}-{made[0][1]}/{made[1]}"),
        st.tuples(numbers, steps).map(lambda made: f"{made[0]}/{made[1]}"),
    )
    stars = st.one_of(st.just("*"), steps.map(lambda step: f"*/{step}"))
    return st.one_of(stars, st.lists(terms, min_size=1, max_size=3).map(",".join))


month_days = st.one_of(
    fields(1, 31),
    st.sampled_from(["L", "LW", "1W", "15W", "31W", "?", "1,L", "15W,LW", "28-31,1W", "*/100,1-7", "*/32,L"]),
)
week_days = st.one_of(
    fields(0, 6),
    st.sampled_from(["?", "5L", "MON#1", "SUN#5", "0,7", "5-7", "MON-FRI", "MON#1,MON#3", "1,5L", "*/8,MON"]),
)
expressions = st.tuples(fields(0, 59), fields(0, 23), month_days, st.just("*"), week_days).map(" ".join)
changes = st.sampled_from(CLOCK_CHANGES)


def is_possible(expression: str) -> bool:
    """Leave out what no day matches, such as the first of a month that is also its last Friday."""
    try:
        Recurrence.parse(expression)
    except ValueError as refusal:
        assert "No date ever matches" in str(refusal)
        return False
    return True


possible_expressions = expressions.filter(is_possible)


@steady
@given(possible_expressions, changes, st.timedeltas(timedelta(0), timedelta(days=3)))
def test_any_expression_agrees_with_the_minutes(expression, change, later):
    _, zone, day = change

    assert difference(expression, zone, day, window_around(day)[0] + later) is None


@steady
@given(possible_expressions, changes, st.timedeltas(timedelta(days=-400), timedelta(days=400)))
def test_occurrences_are_utc_strictly_later_and_strictly_increasing(expression, change, later):
    _, zone, day = change
    moment = window_around(day)[0] + later

    found = [moment]
    found += islice(Recurrence.parse(expression, zone).occurrences_after(moment), 30)

    assert all(earlier < occurrence for earlier, occurrence in pairwise(found))
    assert all(occurrence.tzinfo is UTC for occurrence in found[1:])


@steady
@given(possible_expressions, changes, st.integers(0, 12), st.timedeltas(timedelta(0), timedelta(days=90)))
def test_the_newest_of_a_range_are_the_last_of_a_walk_through_it(expression, change, limit, length):
    _, zone, day = change
    start = window_around(day)[0]
    recurrence = Recurrence.parse(expression, zone)
    first_thousand = islice(recurrence.occurrences_after(start), 1000)
    walked = [occurrence for occurrence in first_thousand if occurrence <= start + length]
    end = walked[-1] if len(walked) == 1000 else start + length

    newest = recurrence.newest_between(start, end, limit)

    assert newest.occurrences == walked[max(0, len(walked) - limit) :]
    assert newest.total == len(walked)


@steady
@given(st.text(max_size=300))
def test_any_text_is_read_or_refused_in_a_sentence(text):
    try:
        Recurrence.parse(text)
    except ValueError as refusal:
        assert type(refusal).__name__ == "InvalidSchedule"
        assert str(refusal).endswith(".")


@steady
@given(st.text(alphabet="0123456789*/,-?LW# MONFRSUat@()every:Thdms", max_size=40))
def test_text_of_the_right_letters_is_read_or_refused_in_a_sentence(text):
    try:
        Recurrence.parse(text)
    except ValueError as refusal:
        assert type(refusal).__name__ == "InvalidSchedule"
        assert str(refusal).endswith(".")


# ---- controls: without the rule that it tests, the comparison must find a difference


@pytest.fixture
def fresh_zones():
    """Forget the spans found so far, before and after a test that changes how they are found."""
    zones.spans_of_year.cache_clear()
    yield
    zones.spans_of_year.cache_clear()


def test_without_the_rule_for_the_repeated_hour_the_oracle_finds_out(monkeypatch):
    def all_walls(self, span):
        return span.start + span.offset, span.end + span.offset

    monkeypatch.setattr(wallclock.WallClock, "_walls", all_walls)

    assert difference("30 2 * * *", "Europe/Berlin", "2026-10-25")
    assert not difference("30 2 * * *", "Europe/Berlin", "2026-03-29")


def test_without_the_rule_for_the_gap_the_oracle_finds_out(monkeypatch):
    monkeypatch.setattr(wallclock, "LONGEST_GAP", timedelta(0))

    assert difference("30 2 * * *", "Europe/Berlin", "2026-03-29")
    assert not difference("30 2 * * *", "Europe/Berlin", "2026-10-25")


def test_if_a_skipped_day_were_made_up_for_the_oracle_would_find_out(monkeypatch):
    monkeypatch.setattr(wallclock, "LONGEST_GAP", timedelta(days=2))

    assert difference("30 2 * * *", "Pacific/Apia", "2011-12-30")
    assert not difference("30 2 * * *", "Europe/Berlin", "2026-03-29")


def test_if_every_job_were_a_fixed_time_job_the_oracle_would_find_out(monkeypatch):
    plain = Recurrence.parse("*/15 2 * * *", "Europe/Berlin")
    fixed = replace(plain._form, pattern=replace(plain._form.pattern, is_interval=False))
    start, end = window_around("2026-10-25")

    total = fixed.newest_between(start, end, 0).total

    assert total != len(occurrences_by_looking("*/15 2 * * *", "Europe/Berlin", start, end))


def test_a_longer_stride_in_the_search_for_clock_changes_would_be_found_out(monkeypatch, fresh_zones):
    monkeypatch.setattr(zones, "STRIDE", timedelta(days=28))

    assert difference("0 12 * * *", "America/Recife", "2000-10-11")


def test_a_naive_walker_differs_from_the_oracle_on_both_nights():
    def naive(pattern: Pattern, zone: str, start: datetime, end: datetime) -> list[datetime]:
        """Walk the wall clock and attach the zone to what comes out, as is often done."""
        walls = pattern.forwards(start.replace(tzinfo=None), end.replace(tzinfo=None))
        return [wall.replace(tzinfo=ZoneInfo(zone)).astimezone(UTC) for wall in walls]

    for day, expression in [("2026-03-29", "30 2 * * *"), ("2026-10-25", "*/15 * * * *")]:
        start, end = window_around(day)
        pattern = Recurrence.parse(expression)._form.pattern
        expected = occurrences_by_looking(expression, "Europe/Berlin", start + A_DAY, end - A_DAY)

        walked = naive(pattern, "Europe/Berlin", start, end)

        assert [found for found in walked if start + A_DAY <= found <= end - A_DAY] != expected


def test_the_oracle_knows_the_nights_it_was_made_for():
    """03:00 summer time follows 01:59 in spring; 02:00 comes again after 02:59 in autumn."""
    spring = occurrences_by_looking("30 2 * * *", "Europe/Berlin", *window_around("2026-03-29", days=1))
    autumn = occurrences_by_looking("30 2 * * *", "Europe/Berlin", *window_around("2026-10-25", days=1))
    frequent = occurrences_by_looking("*/30 2 * * *", "Europe/Berlin", *window_around("2026-10-25", days=1))

    assert spring == [datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC)]
    assert autumn == [datetime(2026, 10, 25, 0, 30, tzinfo=UTC), datetime(2026, 10, 26, 1, 30, tzinfo=UTC)]
    assert len(frequent) == 4 + 2


def test_the_calendar_of_the_oracle_is_that_of_the_standard_library():
    days = [date(2028, 2, 1) + n * A_DAY for n in range(29)]

    assert [day.day for day in days if matches_month_day_term("L", day)] == [calendar.monthrange(2028, 2)[1]]
    assert [day.day for day in days if matches_week_day_term("2#5", day, False)] == [29]
