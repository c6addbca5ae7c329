"""Schedules in English: short sentences for the common shapes, longer and plainer ones for the rest.

Everything is said from the parsed form, nothing from the text as written, so that no description can disagree
with the runs. The zone is not named here.
"""

from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from itertools import groupby, pairwise

from .days import DayRule, MonthDays, WeekDays
from .pattern import EVERY_HOUR, EVERY_MONTH, Pattern

# Written out, because the names in `calendar` follow the locale of the process. Monday comes first, so that
# Saturday and Sunday stand together.
WEEKDAYS = {
    1: "Monday",
    2: "Tuesday",
    3: "Wednesday",
    4: "Thursday",
    5: "Friday",
    6: "Saturday",
    0: "Sunday",
}
MONTHS = {
    1: "January",
    2: "February",
    3: "March",
    4: "April",
    5: "May",
    6: "June",
    7: "July",
    8: "August",
    9: "September",
    10: "October",
    11: "November",
    12: "December",
}
WHICH = {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}
MOST_CLOCK_TIMES = 4


def interval(length: timedelta, unit: str | None) -> str:
    """Say "every 5 minutes" in the given unit, or else in hours, minutes and seconds."""
    if unit is not None:
        return f"every {counted(length // timedelta(**{f'{unit}s': 1}), unit)}"
    minutes, seconds = divmod(int(length.total_seconds()), 60)
    hours, minutes = divmod(minutes, 60)
    parts = [(hours, "hour"), (minutes, "minute"), (seconds, "second")]
    if [count for count, _ in parts if count] == [1]:
        return f"every {next(name for count, name in parts if count)}"
    return "every " + listed(f"{count} {name}{'s' if count > 1 else ''}" for count, name in parts if count)


def once(wall: datetime) -> str:
    time = f"{wall:%H:%M:%S}" if wall.second else f"{wall:%H:%M}"
    return f"once, on {wall.date().isoformat()} at {time}"


def cron(pattern: Pattern) -> str:
    """Say at what times of the day, on which days, in which months and years a pattern matches."""
    clock_times = times(pattern.minutes, pattern.hours)
    days, months = _days(pattern.days), ""
    if pattern.months != EVERY_MONTH:
        date = _single_date(pattern)
        days, months = (date, "") if date else (days, f", in {runs(pattern.months, MONTHS)}")
    if not days and pattern.hours != EVERY_HOUR and not clock_times.startswith("every"):
        days = " every day"
    years = "" if pattern.years is None else f", in {runs(pattern.years)}"
    return f"{clock_times}{days}{months}{years}"


def times(minutes: frozenset[int], hours: frozenset[int]) -> str:
    """Say minutes of hours: "at 09:00 and 17:00", "every 5 minutes", "at minute 7 of every hour"."""
    step = _even_step(minutes, 60)
    every = f"every {counted(step, 'minute')}" if step else f"at {_named('minute', minutes)}"
    if hours == EVERY_HOUR:
        return "every hour" if minutes == {0} else every if step else f"{every} of every hour"
    if len(minutes) * len(hours) <= MOST_CLOCK_TIMES:
        clock_times = sorted(f"{hour:02}:{minute:02}" for hour in hours for minute in minutes)
        return f"at {listed(clock_times)}"
    if minutes == {0} and (hour_step := _even_step(hours, 24)):
        return f"every {counted(hour_step, 'hour')}"
    if len(hours) == max(hours) - min(hours) + 1 and (step or minutes == {0}):
        pace = every if step else "every hour"
        return f"{pace} from {min(hours):02}:00 to {max(hours):02}:{max(minutes):02}"
    return f"{every} {'in' if step else 'of'} {_named('hour', hours)}"


def _even_step(numbers: frozenset[int], size: int) -> int | None:
    """Return n if the numbers are 0, n, 2n, ... and continue evenly into the next round."""
    step = size // len(numbers)
    return step if step < size and numbers == set(range(0, size, step)) and size % step == 0 else None


def _days(rule: DayRule) -> str:
    if rule.is_every_day:
        return ""
    of_month, of_week = rule.month_days, rule.week_days
    if not rule.both_must_match:
        return f" on {_of_month(of_month)} and also on {_of_week(of_week)}"
    if of_month.is_whole:
        return f"{',' if _is_long_run(of_week) else ' on'} {_of_week(of_week)}"
    if of_week.is_whole:
        return f" on {_of_month(of_month)}"
    return f" on {_of_month(of_month)}, if that day is also {_of_week(of_week, 'or')}"


def _single_date(pattern: Pattern) -> str:
    """Say " on 1 January" where a pattern means one date of the year, else nothing."""
    of_month, rule = pattern.days.month_days, pattern.days
    is_one = of_month.is_plain and len(of_month.numbers) == len(pattern.months) == 1
    if not (is_one and rule.both_must_match and rule.week_days.is_whole):
        return ""
    return f" on {min(of_month.numbers)} {MONTHS[min(pattern.months)]}"


def _of_month(days: MonthDays) -> str:
    said = [_named("day", days.numbers)] if days.numbers else []
    said += [f"the weekday nearest to day {day}" for day in sorted(days.nearest)]
    said += ["the last weekday"] if days.includes_last_weekday else []
    said += ["the last day"] if days.includes_last else []
    return f"{listed(said)} of the month"


def _of_week(days: WeekDays, conjunction: str = "and") -> str:
    said = [runs(days.numbers, WEEKDAYS, conjunction)] if days.numbers else []
    said += [f"the {WHICH[which]} {WEEKDAYS[day]} of the month" for day, which in sorted(days.nth)]
    said += [f"the last {WEEKDAYS[day]} of the month" for day in sorted(days.last)]
    return listed(said, conjunction)


def _is_long_run(days: WeekDays) -> bool:
    return days.is_plain and " to " in runs(days.numbers, WEEKDAYS)


def _named(name: str, numbers: Collection[int]) -> str:
    return f"{name}{'s' if len(numbers) > 1 else ''} {runs(numbers)}"


def runs(numbers: Collection[int], names: Mapping[int, str] | None = None, conjunction: str = "and") -> str:
    """Say numbers, or their names, three neighbours or more as a run: "1 to 5 and 9", "Monday to Friday"."""
    places = sorted(list(names).index(number) for number in numbers) if names else sorted(numbers)
    said = [list(names.values())[place] if names else str(place) for place in places]
    steps = {later - earlier for earlier, later in pairwise(places)}
    if not names and len(places) > 3 and len(steps) == 1 and steps != {1}:
        return f"{said[0]} to {said[-1]} in steps of {steps.pop()}"
    # Numbers at one distance from their ranks form a run: 3, 4, 5 have the ranks 0, 1, 2.
    ranked = groupby(enumerate(places), key=lambda pair: pair[1] - pair[0])
    words: list[str] = []
    for _, run in ranked:
        first, *more = [said[rank] for rank, _ in run]
        words += [f"{first} to {more[-1]}"] if len(more) > 1 else [first, *more]
    return listed(words, conjunction)


def counted(count: int, unit: str) -> str:
    """Say "2 weeks", or "week" alone for one of them."""
    return unit if count == 1 else f"{count} {unit}s"


def listed(words: Iterable[str], conjunction: str = "and") -> str:
    """Say "one, two and three"."""
    *most, last = words
    return f"{', '.join(most)} {conjunction} {last}" if most else last
