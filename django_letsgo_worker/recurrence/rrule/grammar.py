"""The text of an rrule(), read into a Rule: the parts of RFC 5545 that a schedule can have, and no others.

Every refusal is one sentence that says what to write.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.hints import nearest

from .rule import Rule
from .walk import ever_comes

EXAMPLE = "rrule(FREQ=WEEKLY;INTERVAL=2;BYDAY=MO;BYHOUR=9;BYMINUTE=0)"
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
MOST_RUNS, LONGEST_INTERVAL = 1000, 9999

NUMBER = re.compile(r"[+-]?[0-9]{1,5}")
WEEKDAY = re.compile(rf"([+-]?[0-9]{{1,2}})?({'|'.join(WEEKDAYS)})")
UNTIL = re.compile(r"[0-9]{8}(?:T[0-9]{6}Z?)?")

# Parts that other places or other forms have.
ELSEWHERE = {
    "DTSTART": "DTSTART is the start of the schedule; leave it out here and set starts_at",
    "TZID": "TZID is the zone of the schedule; leave it out here and set its timezone",
    "EXDATE": "EXDATE is no part of a rule; leave it out here",
    "RDATE": "RDATE is no part of a rule; leave it out here, and add a schedule with at(...)",
    "BYSECOND": "BYSECOND is refused, since schedules start on full minutes; leave it out",
    "BYEASTER": "BYEASTER is not in RFC 5545; write the dates as schedules with at(...)",
    "BYWEEKDAY": "BYWEEKDAY is BYDAY here; write for example BYDAY=MO",
    "RSCALE": "RSCALE is not supported; leave it out, the calendar is the Gregorian one",
    "SKIP": "SKIP is not supported; write BYMONTHDAY=-1 for the last day of a month",
}


def read_rrule(text: str) -> Rule:
    """Read the text inside rrule(...), in upper case."""
    text = text.strip(" ")
    if not text:
        raise InvalidSchedule(f"rrule() is empty; write a rule such as {EXAMPLE}.")
    if text.startswith("RRULE:"):
        raise InvalidSchedule(f"Inside rrule(...) the word RRULE: is left out; write for example {EXAMPLE}.")
    rule = Rule(**_read_parts(_split(text)))
    _check_together(rule)
    if rule.week_start and not _has_weeks(rule):
        rule = Rule(**{name: getattr(rule, name) for name in rule.__slots__} | {"week_start": 0})
    if not ever_comes(rule):
        raise InvalidSchedule(f"No date ever matches {text!r}; write a day that its months have.")
    return rule


def _has_weeks(rule: Rule) -> bool:
    """Whether it makes a difference with which day weeks begin."""
    in_weeks = rule.frequency == "WEEKLY" and (rule.interval > 1 or rule.positions)
    return bool(in_weeks or rule.weeks)


def _split(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.split(";"):
        name, equals, value = part.partition("=")
        _check_name(name.partition(":")[0], part)
        if not equals or not value:
            raise InvalidSchedule(f"{part!r} has no value; write it as in {name}={EXAMPLES.get(name, '1')}.")
        if name in parts:
            raise InvalidSchedule(f"{name} stands twice in the rule; write it once, with a list such as 1,2.")
        parts[name] = value
    if "FREQ" not in parts:
        raise InvalidSchedule(f"An rrule() needs FREQ, such as FREQ=WEEKLY; write for example {EXAMPLE}.")
    return parts


def _check_name(name: str, part: str) -> None:
    if name in READERS:
        return
    if name in ELSEWHERE:
        raise InvalidSchedule(f"{ELSEWHERE[name]}.")
    if not part.strip(" "):
        raise InvalidSchedule("The rule has an empty part; write its parts with one ; between them.")
    if " " in part:
        raise InvalidSchedule(f"{part!r} has a space in it; write the parts of a rule without spaces.")
    close = nearest(name, READERS)
    instead = f"did you mean {close}?" if close else f"write one of {', '.join(READERS)}."
    raise InvalidSchedule(f"{name!r} is no part of a rule; {instead}")


def _read_parts(parts: dict[str, str]) -> dict[str, Any]:
    return dict(READERS[name](name, value) for name, value in parts.items())


# -- single parts -------------------------------------------------------------------------------------------


def _read_frequency(name: str, text: str) -> tuple[str, Any]:
    if text == "SECONDLY":
        _refuse(name, text, "is refused; write @every and a duration instead, such as @every 30s")
    if text not in FREQUENCIES:
        close = nearest(text, FREQUENCIES)
        _refuse(name, text, f"is unknown; write {close}" if close else f"is not {_or(FREQUENCIES)}")
    return "frequency", text


def _read_count_of(field: str, most: int) -> Callable[[str, str], tuple[str, Any]]:
    def read(name: str, text: str) -> tuple[str, Any]:
        if not text.isdigit() or len(text) > 5 or not 1 <= int(text) <= most:
            _refuse(name, text, f"is not a whole number from 1 to {most}")
        return field, int(text)

    return read


def _numbers(
    field: str, low: int, high: int, *, signed: bool = False
) -> Callable[[str, str], tuple[str, Any]]:
    def read(name: str, text: str) -> tuple[str, Any]:
        return field, frozenset(_number(name, word) for word in text.split(","))

    def _number(name: str, word: str) -> int:
        number = int(word) if NUMBER.fullmatch(word) else None
        if number is not None and (low <= number <= high or (signed and low <= -number <= high)):
            return number
        counted_back = f", or from -{high} to -{low}" if signed else ""
        _refuse(name, word, f"is not a number from {low} to {high}{counted_back}")

    return read


def _read_weekdays(name: str, text: str) -> tuple[str, Any]:
    return "week_days", frozenset(_weekday(name, word) for word in text.split(","))


def _weekday(name: str, word: str) -> tuple[int, int]:
    match = WEEKDAY.fullmatch(word)
    if match is None:
        short = re.fullmatch(rf"([+-]?[0-9]{{0,2}})({'|'.join(WEEKDAYS)})[A-Z]+", word)
        like = f"write {short[1]}{short[2]}" if short else f"write {_or(WEEKDAYS)}, or as in 1MO or -1FR"
        _refuse(name, word, f"is not a day of the week; {like}")
    which = int(match[1] or 0)
    if match[1] is not None and not 1 <= abs(which) <= 53:
        _refuse(name, word, "counts from 1 to 53, or from -1 to -53; write for example 1MO or -1MO")
    return which, WEEKDAYS.index(match[2])


def _read_week_start(name: str, text: str) -> tuple[str, Any]:
    if text not in WEEKDAYS:
        _refuse(name, text, f"is not {_or(WEEKDAYS)}")
    return "week_start", WEEKDAYS.index(text)


def _read_weeks(name: str, text: str) -> tuple[str, Any]:
    field, weeks = _numbers("weeks", 1, 53, signed=True)(name, text)
    for week in weeks:
        # dateutil has the first days of January in the wrong ones of these.
        if week > 51 or week < -1:
            _refuse(name, str(week), "is refused; write a week from 1 to 51, or -1 for the last of the year")
    return field, weeks


def _read_until(name: str, text: str) -> tuple[str, Any]:
    if not UNTIL.fullmatch(text):
        _refuse(name, text, "cannot be read; write it as in 20271231, 20271231T170000 or 20271231T170000Z")
    day, _, time = text.partition("T")
    try:
        wall = datetime.strptime(day + (time.removesuffix("Z") or "235959"), "%Y%m%d%H%M%S")
    except ValueError:
        _refuse(name, text, "is in no calendar; write a date and a time that exist")
    if time.endswith("Z"):
        return "until", wall.replace(tzinfo=UTC)
    return "until", wall if time else wall + timedelta(microseconds=999_999)


READERS: dict[str, Callable[[str, str], tuple[str, Any]]] = {
    "FREQ": _read_frequency,
    "INTERVAL": _read_count_of("interval", LONGEST_INTERVAL),
    "COUNT": _read_count_of("count", MOST_RUNS),
    "UNTIL": _read_until,
    "WKST": _read_week_start,
    "BYMONTH": _numbers("months", 1, 12),
    "BYWEEKNO": _read_weeks,
    "BYYEARDAY": _numbers("year_days", 1, 366, signed=True),
    "BYMONTHDAY": _numbers("month_days", 1, 31, signed=True),
    "BYDAY": _read_weekdays,
    "BYHOUR": _numbers("hours", 0, 23),
    "BYMINUTE": _numbers("minutes", 0, 59),
    "BYSETPOS": _numbers("positions", 1, 366, signed=True),
}
EXAMPLES = {
    "FREQ": "WEEKLY",
    "UNTIL": "20271231",
    "WKST": "MO",
    "BYDAY": "MO",
    "BYHOUR": "9",
    "BYMINUTE": "0",
}


def _or(words: tuple[str, ...]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"


def _refuse(name: str, text: str, reason: str) -> NoReturn:
    raise InvalidSchedule(f"In {name}, {text!r} {reason}.")


# -- parts that do not go together --------------------------------------------------------------------------


def _check_together(rule: Rule) -> None:
    """Refuse what RFC 5545 forbids, and what it leaves open."""
    for is_wrong, sentence in _conflicts(rule):
        if is_wrong:
            raise InvalidSchedule(sentence)


def _conflicts(rule: Rule) -> list[tuple[bool, str]]:
    numbered = [which for which, _ in rule.week_days if which]
    in_months = rule.frequency == "MONTHLY" or bool(rule.months)
    by_parts = (rule.has_day_filter, rule.hours, rule.minutes)
    return [
        (
            rule.count is not None and rule.until is not None,
            "COUNT and UNTIL both end the rule; write one of them.",
        ),
        (
            bool(rule.weeks) and rule.frequency != "YEARLY",
            "BYWEEKNO counts the weeks of a year; write FREQ=YEARLY with it.",
        ),
        (
            bool(rule.weeks) and not rule.week_days,
            "BYWEEKNO alone names no day; write BYDAY too, such as BYDAY=MO.",
        ),
        (
            bool(rule.year_days) and rule.frequency in ("MONTHLY", "WEEKLY", "DAILY"),
            "BYYEARDAY counts the days of a year; write FREQ=YEARLY with it.",
        ),
        (
            bool(rule.month_days) and rule.frequency == "WEEKLY",
            "BYMONTHDAY counts the days of a month; write FREQ=MONTHLY or FREQ=DAILY with it.",
        ),
        (
            bool(numbered) and (rule.frequency not in ("YEARLY", "MONTHLY") or bool(rule.weeks)),
            "A number in BYDAY counts within months or years; write FREQ=MONTHLY or FREQ=YEARLY with it, and "
            "no BYWEEKNO.",
        ),
        (
            in_months and any(abs(which) > 5 for which in numbered),
            "No month has a weekday more than five times; write a number in BYDAY from 1 to 5, or -1 to -5.",
        ),
        (
            bool(rule.positions) and not any(by_parts),
            "BYSETPOS chooses among other parts, and there are none; write it with one such as BYDAY=MO,TU.",
        ),
    ]
