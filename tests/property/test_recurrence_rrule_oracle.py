"""Rules of rrule() against an oracle without shortcuts: it tries every day, and every minute of UTC.

The oracle shares no code with the app, nor with dateutil: it keeps those days of a period for which every
part of the rule holds, chooses by position, and looks at the clock minute by minute.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import groupby, islice, takewhile

import pytest
from dateutil import rrule as dateutil
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.recurrence import Recurrence, wallclock
from django_letsgo_worker.recurrence.rrule import walk
from tests.property.test_recurrence_oracle import CLOCK_CHANGES, minutes_between, window_around

A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(days=1)
LETTERS = ["MO", "TU", "WE", "TH", "FR", "SA", "SU"]
COARSE = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY")

steady = settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=150,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


# ---- the oracle


def parts_of(text: str) -> dict[str, str]:
    return dict(part.split("=") for part in text.split(";"))


def numbers_in(parts: dict[str, str], name: str) -> list[int]:
    return [int(word) for word in parts[name].split(",")] if name in parts else []


def weekdays_in(parts: dict[str, str]) -> list[tuple[int, int]]:
    words = parts["BYDAY"].split(",") if "BYDAY" in parts else []
    return [(int(word[:-2] or 0), LETTERS.index(word[-2:])) for word in words]


def walls_between(text: str, start: datetime, first: date, last: date) -> list[datetime]:
    """Return the wall times of a rule on the days from `first` to `last`; `start` is a full minute."""
    parts = parts_of(text)
    if parts["FREQ"] in COARSE:
        found = walls_of_days(parts, start, first, last)
    else:
        found = walls_of_minutes(parts, start, first, last)
    until = naive_until(parts)
    inside = [wall for wall in found if first <= wall.date() <= last and wall >= start]
    return sorted(wall for wall in inside if until is None or wall <= until)


def naive_until(parts: dict[str, str]) -> datetime | None:
    text = parts.get("UNTIL", "Z")
    if text.endswith("Z"):
        return None
    return datetime.strptime(text if "T" in text else f"{text}T235959", "%Y%m%dT%H%M%S")


def walls_of_days(parts: dict[str, str], start: datetime, first: date, last: date) -> list[datetime]:
    interval, found = int(parts.get("INTERVAL", 1)), []
    hours = numbers_in(parts, "BYHOUR") or [start.hour]
    minutes = numbers_in(parts, "BYMINUTE") or [start.minute]
    times = sorted({timedelta(hours=hour, minutes=minute) for hour in hours for minute in minutes})
    # A year more on both sides, that no period is cut.
    days = [first + n * A_DAY for n in range(-366, (last - first).days + 367)]
    for period, group in groupby(days, lambda day: period_of(parts, day)):
        if (period - period_of(parts, start.date())) % interval == 0:
            matching = [day for day in group if all_hold(parts, day, start)]
            walls = [datetime(day.year, day.month, day.day) + time for day in matching for time in times]
            found += chosen(parts, walls)
    return found


def walls_of_minutes(parts: dict[str, str], start: datetime, first: date, last: date) -> list[datetime]:
    interval, found = int(parts.get("INTERVAL", 1)), []
    hours, minutes = numbers_in(parts, "BYHOUR"), numbers_in(parts, "BYMINUTE")
    unit = A_MINUTE if parts["FREQ"] == "MINUTELY" else timedelta(hours=1)
    if unit > A_MINUTE:
        minutes = minutes or [start.minute]
        start = start.replace(minute=0)
    days = [first + n * A_DAY for n in range((last - first).days + 1)]
    days = [datetime(day.year, day.month, day.day) for day in days if all_hold(parts, day, start)]
    every = (day + n * A_MINUTE for day in days for n in range(1440))
    for step, group in groupby(every, lambda wall: (wall - start) // unit):
        if step % interval == 0:
            walls = [wall for wall in group if not hours or wall.hour in hours]
            found += chosen(parts, [wall for wall in walls if not minutes or wall.minute in minutes])
    return found


def chosen(parts: dict[str, str], walls: list[datetime]) -> list[datetime]:
    positions = numbers_in(parts, "BYSETPOS")
    if not positions:
        return walls
    size = len(walls)
    return [wall for n, wall in enumerate(walls) if n + 1 in positions or n - size in positions]


def period_of(parts: dict[str, str], day: date) -> int:
    if parts["FREQ"] == "YEARLY":
        return day.year
    if parts["FREQ"] == "MONTHLY":
        return day.year * 12 + day.month
    if parts["FREQ"] == "WEEKLY":
        return (day - timedelta((day.weekday() - week_start(parts)) % 7) - date(1, 1, 1)).days // 7
    return day.toordinal()


def all_hold(parts: dict[str, str], day: date, start: datetime) -> bool:
    """Whether each part about days holds for a day; what the rule leaves open is that of the start."""
    frequency, months, weekdays = parts["FREQ"], numbers_in(parts, "BYMONTH"), weekdays_in(parts)
    is_open = not {"BYWEEKNO", "BYYEARDAY", "BYMONTHDAY", "BYDAY"} & parts.keys()
    if is_open and frequency == "YEARLY":
        is_right = day.month in (months or [start.month]) and day.day == start.day
    elif is_open and frequency == "MONTHLY":
        is_right = day.day == start.day
    elif is_open and frequency == "WEEKLY":
        is_right = day.weekday() == start.weekday()
    else:
        is_right = True
    year_end = date(day.year, 12, 31)
    month_end = date(day.year + day.month // 12, day.month % 12 + 1, 1) - A_DAY
    in_year, in_month = day.timetuple().tm_yday, day.day
    of_year = (in_year, in_year - year_end.timetuple().tm_yday - 1)
    of_month = (in_month, in_month - month_end.day - 1)
    counted = of_month if frequency == "MONTHLY" or months else of_year
    places = {0, (counted[0] + 6) // 7, -((-counted[1] + 6) // 7)}
    return (
        is_right
        and (not months or day.month in months)
        and is_among(numbers_in(parts, "BYYEARDAY"), of_year)
        and is_among(numbers_in(parts, "BYMONTHDAY"), of_month)
        and (
            "BYWEEKNO" not in parts
            or is_among(numbers_in(parts, "BYWEEKNO"), week_of(day, week_start(parts)))
        )
        and (not weekdays or any(day.weekday() == one and n in places for n, one in weekdays))
    )


def week_start(parts: dict[str, str]) -> int:
    return LETTERS.index(parts.get("WKST", "MO"))


def is_among(numbers: list[int], either: tuple[int, int]) -> bool:
    return not numbers or either[0] in numbers or either[1] in numbers


def week_of(day: date, begin: int) -> tuple[int, int]:
    """Return the number of a day's week, counted from either end of the year that has most of its days."""
    monday = day - timedelta((day.weekday() - begin) % 7)
    year = (monday + 3 * A_DAY).year
    weeks = [monday + n * 7 * A_DAY for n in range(-54, 55)]
    own = [one for one in weeks if (one + 3 * A_DAY).year == year]
    return own.index(monday) + 1, own.index(monday) - len(own)


def runs_between(text: str, zone: str, anchor: datetime, start: datetime, end: datetime) -> list[datetime]:
    """Apply the rule of a fixed-time job to every minute in [start, end]."""
    wall = minutes_between(zone, anchor, anchor)[0].wall
    begin = wall.replace(second=0, microsecond=0)
    seen = minutes_between(zone, start, end)
    walls = set(walls_between(text, begin, seen[0].wall.date() - 2 * A_DAY, seen[-1].wall.date() + 2 * A_DAY))
    found = []
    for minute in seen:
        was_skipped = len(minute.skipped) <= 180 and any(one in walls for one in minute.skipped)
        if was_skipped or (minute.wall in walls and not minute.is_second_pass):
            found.append(minute.utc)
    until, count = parts_of(text).get("UNTIL", ""), parts_of(text).get("COUNT")
    found = [run for run in found if run >= anchor]
    if until.endswith("Z"):
        found = [run for run in found if run <= datetime.strptime(until, "%Y%m%dT%H%M%S%z")]
    return found[: int(count)] if count else found


# ---- any rules


def lists(low: int, high: int, *, signed: bool = False, most: int = 4) -> st.SearchStrategy[str]:
    numbers = st.integers(low, high)
    if signed:
        numbers = st.one_of(numbers, numbers.map(lambda number: -number))
    return st.lists(numbers, min_size=1, max_size=most).map(lambda made: ",".join(map(str, made)))


def weekday_lists(most: int) -> st.SearchStrategy[str]:
    numbers = st.one_of(st.just(0), st.integers(-most, most)) if most else st.just(0)
    words = st.tuples(numbers, st.sampled_from(LETTERS)).map(lambda made: f"{made[0] or ''}{made[1]}")
    return st.lists(words, min_size=1, max_size=5).map(",".join)


@st.composite
def rules(draw, frequencies=(*COARSE, "HOURLY", "MINUTELY"), longest=7):
    """Draw the text of a rule that RFC 5545 allows."""
    frequency = draw(st.sampled_from(frequencies))
    parts = {"FREQ": frequency}
    maybe = {"INTERVAL": st.integers(2, longest).map(str), "WKST": st.sampled_from(LETTERS)}
    maybe["BYHOUR"] = lists(0, 23)
    maybe["BYMINUTE"] = lists(0, 59)
    maybe["BYMONTH"] = lists(1, 12)
    if frequency != "WEEKLY":
        maybe["BYMONTHDAY"] = lists(1, 31, signed=True)
    if frequency in ("YEARLY", "HOURLY", "MINUTELY"):
        maybe["BYYEARDAY"] = lists(1, 366, signed=True, most=30)
    for name, values in maybe.items():
        if draw(st.integers(0, 3)) == 0:
            parts[name] = draw(values)
    if draw(st.booleans()):
        is_numbered = frequency in ("YEARLY", "MONTHLY") and draw(st.booleans())
        most = 5 if frequency == "MONTHLY" or "BYMONTH" in parts else 53
        parts["BYDAY"] = draw(weekday_lists(most if is_numbered else 0))
        if frequency == "YEARLY" and not is_numbered and draw(st.booleans()):
            parts["BYWEEKNO"] = draw(st.one_of(lists(1, 51), st.just("-1"), st.just("1,-1")))
    if len(parts.keys() - {"FREQ", "INTERVAL", "WKST"}) and draw(st.integers(0, 2)) == 0:
        parts["BYSETPOS"] = draw(lists(1, 4, signed=True, most=3))
    return ";".join(f"{name}={value}" for name, value in parts.items())


def parse(text: str, zone: str = "UTC", anchor: datetime | None = None) -> Recurrence:
    """Parse a rule; leave out what is too long, or never comes."""
    assume(len(text) < 240)
    try:
        return Recurrence.parse(f"rrule({text})", zone, anchor=anchor)
    except InvalidSchedule as refusal:
        assert "No date ever matches" in str(refusal) or "does not come within" in str(refusal)
        assume(False)
        raise


changes = st.sampled_from(CLOCK_CHANGES)
anchors = st.datetimes(datetime(2019, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))
full_minutes = anchors.map(lambda moment: moment.replace(second=0, microsecond=0))


@steady
@given(rules(COARSE), st.one_of(anchors, full_minutes), st.timedeltas(timedelta(-400), timedelta(2000)))
def test_a_rule_of_days_has_the_times_for_which_all_of_its_parts_hold(text, anchor, later):
    recurrence, after = parse(text, anchor=anchor), anchor + later
    begin = anchor.replace(tzinfo=None, second=0, microsecond=0)
    end = after + 500 * A_DAY
    walls = walls_between(text, begin, after.date(), end.date())
    expected = [wall.replace(tzinfo=UTC) for wall in walls]
    expected = [run for run in expected if after < run <= end and run >= anchor]

    newest = recurrence.newest_between(after, end, 7)

    assert (
        list(takewhile(lambda run: run <= end, islice(recurrence.occurrences_after(after), 300)))
        == (expected[:300])
    )
    assert newest == (expected[-7:], len(expected))


@steady
@given(rules(("HOURLY", "MINUTELY"), longest=3000), full_minutes, st.integers(-3, 700), st.integers(0, 1440))
def test_a_rule_of_hours_or_minutes_keeps_step_with_its_anchor(text, anchor, days, minutes):
    recurrence, after = parse(text, anchor=anchor), anchor + timedelta(days, minutes=minutes)
    end = after + 12 * A_DAY
    walls = walls_between(text, anchor.replace(tzinfo=None), after.date(), end.date())
    expected = [wall.replace(tzinfo=UTC) for wall in walls if after < wall.replace(tzinfo=UTC) <= end]

    newest = recurrence.newest_between(after, end, 5)

    assert (
        list(takewhile(lambda run: run <= end, islice(recurrence.occurrences_after(after), 300)))
        == (expected[:300])
    )
    assert newest == (expected[-5:], len(expected))


@st.composite
def rules_at_night(draw):
    """Draw a rule whose hours are those in which clocks change, often with an end."""
    text = draw(rules().filter(lambda text: "BYHOUR" not in text))
    if draw(st.booleans()):
        text += f";BYHOUR={draw(st.sampled_from(['2', '1,2,3', '0', '0,23', '3', '2,3', '0,1,2,3,4,22,23']))}"
    return text


@settings(steady, max_examples=300)
@given(
    rules_at_night(), changes, st.integers(-2880, 2880), st.integers(0, 59), st.integers(0, 4000), st.data()
)
def test_around_clock_changes_a_rule_runs_in_the_minutes_of_a_fixed_time_job(
    text, change, minutes, seconds, days, data
):
    _, zone, day = change
    start, end = window_around(day)
    anchor = start + timedelta(minutes=2880 + minutes, seconds=seconds) - days * A_DAY
    last = data.draw(st.sampled_from(["", "COUNT", "UNTIL", "Z"])) if days == 0 else ""
    middle = start + timedelta(minutes=data.draw(st.integers(0, 5760)))
    if last == "COUNT":
        text += f";COUNT={data.draw(st.integers(1, 12))}"
    elif last:
        wall = minutes_between(zone, middle, middle)[0].wall
        text += f";UNTIL={middle:%Y%m%dT%H%M%SZ}" if last == "Z" else f";UNTIL={wall:%Y%m%dT%H%M%S}"
    recurrence = parse(text, zone, anchor)
    runs = [run for run in runs_between(text, zone, anchor, start, end) if run > start]

    newest = recurrence.newest_between(start, end, 5)

    assert list(takewhile(lambda run: run <= end, recurrence.occurrences_after(start))) == runs
    assert newest == (runs[-5:], len(runs))


@steady
@given(rules(), full_minutes)
def test_what_is_refused_as_never_coming_does_not_come_in_ten_years(text, anchor):
    assume(len(text) < 240 and parts_of(text)["FREQ"] in COARSE)
    try:
        Recurrence.parse(f"rrule({text})", anchor=anchor)
    except InvalidSchedule:
        begin = anchor.replace(tzinfo=None)
        assert walls_between(text, begin, begin.date(), begin.date() + 3653 * A_DAY) == []


@steady
@given(
    rules(),
    changes,
    st.timedeltas(timedelta(-400), timedelta(400)),
    st.timedeltas(timedelta(0), timedelta(90)),
)
def test_it_makes_no_difference_in_how_many_pieces_a_range_is_counted(text, change, later, length):
    _, zone, day = change
    anchor = window_around(day)[0]
    recurrence, start = parse(text, zone, anchor), anchor + later
    middle, end = start + length / 3, start + length

    whole = recurrence.newest_between(start, end, 0).total

    pieces = recurrence.newest_between(start, middle, 0), recurrence.newest_between(middle, end, 0)
    assert whole == sum(piece.total for piece in pieces)


@steady
@given(st.text(alphabet="FREQBYDAYHOURMINUTEINTERVALSETPOSWKSTCOUNTUNTIL=;,-+0123456789MOTUWE ", max_size=60))
def test_text_of_the_right_letters_is_read_or_refused_in_a_sentence(text):
    for candidate in (text, f"FREQ=YEARLY;{text}"):
        try:
            Recurrence.parse(f"rrule({candidate})").describe()
        except InvalidSchedule as refusal:
            assert str(refusal).endswith((".", "?"))


# ---- controls: without what it tests, the comparison must find a difference


def test_without_the_rule_for_the_repeated_hour_the_oracle_finds_out(monkeypatch):
    text, zone = "FREQ=DAILY;BYHOUR=2;BYMINUTE=30", "Europe/Berlin"
    start, end = window_around("2026-10-25")
    monkeypatch.setattr(
        wallclock.WallClock, "_walls", lambda self, span: (span.start + span.offset, span.end + span.offset)
    )

    total = Recurrence.parse(f"rrule({text})", zone, anchor=start).newest_between(start, end, 0).total

    assert total == len(runs_between(text, zone, start, start, end)) + 1


@pytest.mark.parametrize(
    "text", ["FREQ=WEEKLY;INTERVAL=2", "FREQ=MONTHLY;INTERVAL=3", "FREQ=DAILY;INTERVAL=3"]
)
def test_a_walk_that_is_not_moved_by_whole_intervals_would_be_found_out(monkeypatch, text):
    monkeypatch.setattr(walk.Walk, "_aligned", lambda self, since: since)
    anchor = datetime(2026, 1, 7, 9, tzinfo=UTC)
    starts = [anchor + n * A_DAY for n in range(20, 30)]

    found = [next(Recurrence.parse(f"rrule({text})", anchor=anchor).occurrences_after(at)) for at in starts]

    expected = [
        walls_between(text, anchor.replace(tzinfo=None), at.date(), at.date() + 200 * A_DAY) for at in starts
    ]
    assert [run.replace(tzinfo=None) for run in found] != [walls[0] for walls in expected]


def test_the_weeks_that_are_refused_are_those_that_dateutil_has_wrong():
    def by_dateutil(week: int) -> set[date]:
        found = dateutil.rrule(
            dateutil.YEARLY,
            dtstart=datetime(2009, 1, 1),
            until=datetime(2012, 12, 31),
            byweekno=week,
            byweekday=range(7),
        )
        return {wall.date() for wall in found}

    days = [date(2009, 1, 1) + n * A_DAY for n in range(4 * 365 + 1)]
    weeks = {day: week_of(day, 0) for day in days}
    every = [*range(1, 54), *range(-53, 0)]
    wrong = [week for week in every if by_dateutil(week) != {day for day in days if week in weeks[day]}]

    assert set(wrong) <= {52, 53, *range(-53, -1)}
    assert wrong != []


def test_the_calendar_of_the_oracle_is_that_of_the_standard_library():
    days = [date(2024, 12, 20) + n * A_DAY for n in range(800)]

    assert [week_of(day, 0)[0] for day in days] == [day.isocalendar().week for day in days]


def test_the_oracle_knows_the_examples_of_the_rfc():
    """RFC 5545, 3.8.5.3, where each example stands with its dates."""
    examples = {
        "FREQ=WEEKLY;INTERVAL=2;WKST=SU": ["0902", "0916", "0930"],
        "FREQ=MONTHLY;BYMONTHDAY=-3": ["0928", "1029", "1128"],
        "FREQ=MONTHLY;INTERVAL=2;BYDAY=1SU,-1SU": ["0907", "0928", "1102"],
        "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2": ["0929", "1030", "1127"],
        "FREQ=MONTHLY;BYDAY=TU,WE,TH;BYSETPOS=3": ["0904", "1007", "1106"],
        "FREQ=DAILY;INTERVAL=10": ["0902", "0912", "0922"],
        "FREQ=YEARLY;BYMONTH=9,10;BYDAY=SA,3TU;BYMONTHDAY=7,8,9,10,11,12,13,16": ["0913", "0916", "1011"],
    }
    start = datetime(1997, 9, 2, 9)

    found = {text: walls_between(text, start, date(1997, 9, 1), date(1998, 2, 1)) for text in examples}

    assert {text: [f"{wall:%m%d}" for wall in walls[:3]] for text, walls in found.items()} == examples
