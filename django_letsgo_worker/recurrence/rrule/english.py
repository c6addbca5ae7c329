"""Rules in English: short sentences for the common shapes, and the rule itself, respelled, for the rest.

Said from the Rule, nothing from the text as written; what a rule leaves to its beginning is said so.
"""

from ..english import MONTHS, WHICH, counted, listed, runs, times
from ..english import WEEKDAYS as FROM_SUNDAY
from .rule import Rule

UNITS = {
    "YEARLY": "year",
    "MONTHLY": "month",
    "WEEKLY": "week",
    "DAILY": "day",
    "HOURLY": "hour",
    "MINUTELY": "minute",
}
LETTERS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
WORKING_DAYS, EVERY_DAY = frozenset(range(5)), frozenset(range(7))
END_OF_DAY = (23, 59, 59, 999_999)


def describe(rule: Rule) -> str:
    """Say when a rule comes: "every 2 weeks on Monday at 09:00"."""
    if not _is_common(rule):
        return f"by the rule {_spelled(rule)}{_end(rule)}"
    weeks = f", in weeks that begin on {_weekdays(frozenset({rule.week_start}))}" if rule.week_start else ""
    return f"{_plain(rule)}{weeks}{_end(rule)}"


def _is_common(rule: Rule) -> bool:
    """Whether the shape of a rule is one of those that are said in words."""
    if rule.weeks or len([part for part in (rule.year_days, rule.month_days, rule.week_days) if part]) > 1:
        return False
    if not rule.is_coarse:
        return not (rule.year_days or rule.positions)
    return not rule.positions or _has_common_position(rule)


def _has_common_position(rule: Rule) -> bool:
    is_one_a_period = len(rule.positions) == 1 and len(rule.hours) <= 1 and len(rule.minutes) <= 1
    is_plain = bool(rule.week_days) and not any(which for which, _ in rule.week_days)
    return is_one_a_period and is_plain and rule.frequency != "YEARLY" and not rule.months


def _plain(rule: Rule) -> str:
    at = _at(rule)
    if rule.positions:
        return f"{_position(rule)} {at}"
    said, days = f"every {counted(rule.interval, UNITS[rule.frequency])}", _days(rule)
    if rule.months and not _is_one_date(rule):
        said += f" in {runs(rule.months, MONTHS)}"
    is_wordy = bool(rule.months) and not _is_one_date(rule)
    if days:
        said += (
            f", if that is {days}" if not rule.is_coarse else f", on {days}" if is_wordy else f" on {days}"
        )
    is_wordy = is_wordy or (bool(days) and not rule.is_coarse) or not at.startswith("at ")
    return f"{said}{',' if is_wordy else ''} {at}" if at else said


def _is_one_date(rule: Rule) -> bool:
    is_one = len(rule.months) == len(rule.month_days) == 1
    return is_one and rule.frequency == "YEARLY" and min(rule.month_days) > 0


def _position(rule: Rule) -> str:
    """Say "on the last working day (Monday to Friday) of each month"."""
    (position,) = rule.positions
    weekdays = frozenset(weekday for _, weekday in rule.week_days)
    which = _ordinal(position)
    unit = UNITS[rule.frequency]
    of = f"each {unit}" if rule.interval == 1 else f"every {rule.interval} {unit}s"
    if weekdays == WORKING_DAYS:
        return f"on the {which} working day (Monday to Friday) of {of}"
    if weekdays == EVERY_DAY:
        return f"on the {which} day of {of}"
    if len(weekdays) == 1:
        return f"on the {which} {_weekdays(weekdays)} of {of}"
    return f"on the {which} day of {of} that is {_weekdays(weekdays, 'or')}"


def _days(rule: Rule) -> str:
    if _is_one_date(rule):
        return f"{min(rule.month_days)} {MONTHS[min(rule.months)]}"
    if rule.month_days:
        of = "each" if rule.frequency == "YEARLY" and not rule.months else "the"
        return f"{_numbered(rule.month_days)} of {of} month"
    if rule.year_days:
        return f"{_numbered(rule.year_days)} of the year"
    if not rule.week_days:
        return _open_days(rule)
    plain = frozenset(weekday for which, weekday in rule.week_days if not which)
    each = "each " if rule.frequency in ("YEARLY", "MONTHLY") else ""
    said = [f"{each}{_weekdays(plain, 'and' if rule.is_coarse else 'or')}"] if plain else []
    numbered = sorted((which < 0, which, weekday) for which, weekday in rule.week_days if which)
    said += [f"the {_ordinal(which)} {_weekdays(frozenset({weekday}))}" for _, which, weekday in numbered]
    of_year = rule.frequency == "YEARLY" and not rule.months
    of = f" of the {'year' if of_year else 'month'}" if numbered else ""
    return f"{listed(said)}{of}"


def _open_days(rule: Rule) -> str:
    """Say on which days a rule comes that names none."""
    if rule.frequency == "YEARLY" and not rule.months:
        return "the date of its start"
    names = {"YEARLY": "day", "MONTHLY": "day", "WEEKLY": "weekday"}
    return f"the {names[rule.frequency]} of its start" if rule.is_coarse else ""


def _weekdays(weekdays: frozenset[int], conjunction: str = "and") -> str:
    return runs({(weekday + 1) % 7 for weekday in weekdays}, FROM_SUNDAY, conjunction)


def _numbered(days: frozenset[int]) -> str:
    forwards = frozenset(day for day in days if day > 0)
    said = [f"day{'s' if len(forwards) > 1 else ''} {runs(forwards)}"] if forwards else []
    said += [f"the {_ordinal(day)} day" for day in sorted(days, reverse=True) if day < 0]
    return listed(said)


def _ordinal(position: int) -> str:
    """Say "first", "second", "22nd", "last", "second to last"."""
    if position == -1:
        return "last"
    number = abs(position)
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    word = WHICH.get(number, f"{number}{ending}")
    return word if position > 0 else f"{word} to last"


def _at(rule: Rule) -> str:
    """Say the times of day, or within the hours or minutes that the frequency counts."""
    if rule.frequency == "MINUTELY":
        minutes = f"if the minute is {runs(rule.minutes, conjunction='or')}" if rule.minutes else ""
        return ", ".join(filter(None, [minutes, _in_hours(rule)]))
    if rule.frequency == "HOURLY":
        minutes = _named("minute", rule.minutes) if rule.minutes else "the minute of its start"
        return ", ".join(filter(None, [f"at {minutes}", _in_hours(rule)]))
    if rule.hours and rule.minutes:
        return times(rule.minutes, rule.hours)
    if rule.hours:
        return f"{_in_hours(rule)}, at the minute of its start"
    if rule.minutes:
        return f"at {_named('minute', rule.minutes)} of the hour of its start"
    return "at the time of day of its start"


def _in_hours(rule: Rule) -> str:
    return f"in {_named('hour', rule.hours)}" if rule.hours else ""


def _named(name: str, numbers: frozenset[int]) -> str:
    return f"{name}{'s' if len(numbers) > 1 else ''} {runs(numbers)}"


def _end(rule: Rule) -> str:
    if rule.count is not None:
        return ", once" if rule.count == 1 else f", {rule.count} times"
    if rule.until is None:
        return ""
    until = rule.until
    if (until.hour, until.minute, until.second, until.microsecond) == END_OF_DAY:
        return f", until {until.date().isoformat()}"
    zone = " UTC" if until.tzinfo is not None else ""
    time = f"{until:%H:%M:%S}" if until.second else f"{until:%H:%M}"
    return f", until {until.date().isoformat()} {time}{zone}"


def _spelled(rule: Rule) -> str:
    """Spell what a rule says but for its end, in one order."""
    week_days = [f"{which or ''}{LETTERS[weekday]}" for which, weekday in sorted(rule.week_days)]
    lists: dict[str, list[str] | frozenset[int]] = {
        "BYMONTH": rule.months,
        "BYWEEKNO": rule.weeks,
        "BYYEARDAY": rule.year_days,
        "BYMONTHDAY": rule.month_days,
        "BYDAY": week_days,
        "BYHOUR": rule.hours,
        "BYMINUTE": rule.minutes,
        "BYSETPOS": rule.positions,
    }
    parts = [f"FREQ={rule.frequency}"]
    parts += [f"INTERVAL={rule.interval}"] if rule.interval > 1 else []
    parts += [f"WKST={LETTERS[rule.week_start]}"] if rule.week_start else []
    for name, values in lists.items():
        ordered = values if isinstance(values, list) else [str(value) for value in sorted(values)]
        parts += [f"{name}={','.join(ordered)}"] if ordered else []
    return ";".join(parts)
