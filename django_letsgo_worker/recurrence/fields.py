"""The fields of a cron expression: the text of each read into the numbers, or the rule about days, it allows.

`days` decides which days such a rule then matches.
"""

import re
from dataclasses import dataclass, field
from itertools import chain
from typing import NoReturn

from croniter import croniter

from django_letsgo_worker.errors import InvalidSchedule

from .days import EVERY_MONTH_DAY, EVERY_WEEKDAY, DayRule, MonthDays, WeekDays

ANY_DAY = "?"

# The bounds and the names are croniter's, by the place of the field in the text. The text itself is read
# here: croniter takes 5-5 for every minute, and several times as long.
MINUTES, HOURS, MONTH_DAYS, MONTHS = ((low, high, high) for low, high in croniter.RANGES[:4])
MONTH_NAMES, WEEKDAY_NAMES = (
    {name.upper(): number for name, number in names.items()} for names in croniter.ALPHACONV[3:5]
)

# Compiled, for these are tried on each term of every schedule.
NEAREST_WEEKDAY = re.compile(r"([0-9]+)W")
LAST_WEEKDAY = re.compile(r"([0-9A-Z]+)L")
NTH_WEEKDAY = re.compile(r"([0-9A-Z]+)#([0-9]+)")
LETTER_OF_DAYS = re.compile(r"[LW#]")
TERM = re.compile(r"(?P<first>\*|[0-9A-Z]+)(?:-(?P<last>[0-9A-Z]+))?(?:/(?P<step>[0-9]+))?")


@dataclass(frozen=True, slots=True)
class Field:
    """The bounds of a field: numbers `low` to `high`; a star and an open step end at `top`.

    `rate_unit` is the unit in which rate() can say a step that is longer than the field.
    """

    name: str
    low: int
    high: int
    top: int
    names: dict[str, int] = field(default_factory=dict)
    rate_unit: str = ""


MINUTE = Field("minute", *MINUTES, rate_unit="minutes")
HOUR = Field("hour", *HOURS, rate_unit="hours")
DAY_OF_MONTH = Field("day-of-month", *MONTH_DAYS, rate_unit="days")
MONTH = Field("month", *MONTHS, names=MONTH_NAMES)
# Both 0 and 7 are Sunday, yet 1/2 ends at Saturday, as in Vixie's cron and its descendants.
DAY_OF_WEEK = Field("day-of-week", 0, 7, 6, names=WEEKDAY_NAMES, rate_unit="days")
AWS_WEEKDAY_NAMES = {name: number + 1 for name, number in WEEKDAY_NAMES.items()}
AWS_DAY_OF_WEEK = Field("day-of-week", 1, 7, 7, names=AWS_WEEKDAY_NAMES, rate_unit="days")
AWS_YEAR = Field("year", 1970, 2199, 2199)


def read(kind: Field, text: str) -> frozenset[int]:
    """Return the numbers that a field's upper-case text allows, or raise InvalidSchedule."""
    return frozenset(chain.from_iterable(read_term(kind, term) for term in terms(kind, text)))


def terms(kind: Field, text: str) -> list[str]:
    found = text.split(",")
    if "" in found:
        refuse(kind, text, "has an empty entry; write a list without stray commas, such as 1,3,5")
    return found


def read_term(kind: Field, term: str, *, any_step: bool = False) -> range:
    """Read one entry of a list: a star, a number, a range, each with or without a step.

    A step that is longer than the field leaves its first number alone: refused, unless `any_step`.
    """
    match = TERM.fullmatch(term)
    if match is None or (match["first"] == "*" and match["last"]):
        refuse_unreadable(kind, term)
    step = _step(kind, term, match["step"], any_step)
    if match["first"] == "*":
        return range(kind.low, kind.top + 1, step)
    first = number(kind, term, match["first"])
    if match["last"] is None:
        last = first if match["step"] is None else max(first, kind.top)
    else:
        last = number(kind, term, match["last"])
    if last < first:
        refuse(kind, term, f"runs backwards; write {_forwards(kind, term, match['last'], step)} instead")
    return range(first, last + 1, step)


def number(kind: Field, term: str, word: str) -> int:
    """Read a number or a name, within the bounds of the field."""
    if word in kind.names:
        return kind.names[word]
    if not word.isdigit():
        refuse_unreadable(kind, term)
    # The length first: int() of an endless row of digits is slow, and then raises another error.
    if len(word.lstrip("0")) > 4 or not kind.low <= int(word) <= kind.high:
        refuse(kind, term, f"is out of range; write a number from {kind.low} to {kind.high}")
    return int(word)


def _step(kind: Field, term: str, text: str | None, any_step: bool) -> int:
    if text is None:
        return 1
    digits = text.lstrip("0")
    if not digits:
        refuse(kind, term, "has a step of 0; write a step of at least 1")
    if len(digits) > 6 or (int(digits) > kind.top - kind.low + 1 and not any_step):
        instead = _instead_of_step(kind, term, digits)
        refuse(kind, term, f"has a step larger than the field, which isn't what it says; {instead}")
    return int(digits)


def _instead_of_step(kind: Field, term: str, digits: str) -> str:
    """Say what helps in place of a step that never gets to its second value."""
    if not kind.rate_unit or len(digits) > 6:
        low = max(kind.low, 2027) if kind is AWS_YEAR else kind.low
        return f"list the values you mean, such as {low},{low + 3}, instead"
    rate = f"use rate({digits} {kind.rate_unit}) instead"
    if not kind.name.startswith("day"):
        return rate
    if term.startswith("*/"):
        # Debian's way to join the two day fields, by the text.
        return f"{rate}, or begin a day field with it where both must match, as in 0 9 {term},1-7 * MON"
    return f"{rate}, or write {re.split('[-/]', term)[0]} for that day alone"


def _forwards(kind: Field, term: str, last_word: str, step: int) -> str:
    """Spell a range that wraps around as a list that does not."""
    first_word = term.partition("-")[0]
    first, last = number(kind, term, first_word), number(kind, term, last_word)
    if step > 1:
        wrapped = [*range(first, kind.top + 1), *range(kind.low, last + 1)][::step]
        return ",".join(str(value) for value in wrapped)
    spelled = {value: name for name, value in kind.names.items()} if last_word in kind.names else {}

    def stretch(low: int, high: int) -> str:
        ends = [str(spelled.get(end, end)) for end in (low, high)]
        return ends[0] if low >= high else "-".join(ends)

    return ",".join([stretch(first, max(first, kind.top)), stretch(kind.low, last)])


def refuse_unreadable(kind: Field, term: str) -> NoReturn:
    """Refuse a term that has no meaning in this field, saying what to write in its place."""
    if re.match(r"[HR](?![A-Z])", term):
        chosen = "hashed" if term[0] == "H" else "random"
        instead = f"write a fixed number, such as {kind.low + 1}, and set a spread"
        refuse(kind, term, f"asks for a {chosen} value; {instead}")
    if "?" in term:
        alone = "stands alone in a day field" if kind.name.startswith("day") else "belongs in a day field"
        refuse(kind, term, f"holds a ?, which {alone}; write * here")
    names = ", or names such as " + ",".join(list(kind.names)[:2]) if kind.names else ""
    refuse(
        kind,
        term,
        f"cannot be read; write numbers from {kind.low} to {kind.high}{names}, "
        f"as a list (1,2), a range (1-2) or a step (*/2)",
    )


def refuse(kind: Field, term: str, reason: str) -> NoReturn:
    raise InvalidSchedule(f"In the {kind.name} field, {term!r} {reason}.")


# -- the two day fields, with their words L, W and # ---------------------------------------------------------


def read_days(month_text: str, week_text: str, *, aws: bool) -> DayRule:
    """Read day-of-month and day-of-week.

    Both must match when either begins with a star or is ?, else either may: the rule of Vixie's cron, by the
    text, so `*/2` beside `1` is *and* although it is not every day. Hence `*/100,1-7` beside `MON`, the first
    Monday: there, a step that is longer than the field is not a slip.
    """
    by_text = month_text[0] in "*?" or week_text[0] in "*?"
    month_days = read_month_days(month_text, any_step=_joins(month_text, week_text))
    week_days = read_week_days(week_text, aws=aws, any_step=_joins(week_text, month_text))
    return DayRule(month_days, week_days, both_must_match=by_text)


def _joins(text: str, other: str) -> bool:
    """Whether a field that begins with a star can mean to join the two: alone beside a star it cannot."""
    return text.startswith("*") and ("," in text or other[0] not in "*?")


def read_month_days(text: str, *, any_step: bool = False) -> MonthDays:
    if text == ANY_DAY:
        return MonthDays(EVERY_MONTH_DAY)
    numbers: set[int] = set()
    nearest: set[int] = set()
    words: set[str] = set()
    for term in terms(DAY_OF_MONTH, text):
        if term in ("L", "LW"):
            words.add(term)
        elif match := NEAREST_WEEKDAY.fullmatch(term):
            nearest.add(number(DAY_OF_MONTH, term, match[1]))
        else:
            if LETTER_OF_DAYS.search(term):
                _refuse_near_misses_of_month_days(term)
            numbers.update(read_term(DAY_OF_MONTH, term, any_step=any_step))
    return MonthDays(frozenset(numbers), frozenset(nearest), "L" in words, "LW" in words)


def read_week_days(text: str, *, aws: bool, any_step: bool = False) -> WeekDays:
    """Read day-of-week; AWS counts 1 = Sunday to 7 = Saturday, everybody else 0 or 7 = Sunday."""
    if text == ANY_DAY:
        return WeekDays(EVERY_WEEKDAY)
    kind = AWS_DAY_OF_WEEK if aws else DAY_OF_WEEK
    numbers: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()

    def sunday_is_0(number: int) -> int:
        return (number - 1 if aws else number) % 7

    for term in terms(kind, text):
        if aws and term == "L":
            numbers.add(kind.names["SAT"])  # AWS: the last day of the week
        elif match := LAST_WEEKDAY.fullmatch(term):
            last.add(sunday_is_0(number(kind, term, match[1])))
        elif match := NTH_WEEKDAY.fullmatch(term):
            nth.add((sunday_is_0(number(kind, term, match[1])), _which(kind, term, match[2])))
        else:
            if LETTER_OF_DAYS.search(term):
                _refuse_near_misses_of_week_days(kind, term)
            numbers.update(read_term(kind, term, any_step=any_step))
    return WeekDays(frozenset(map(sunday_is_0, numbers)), frozenset(nth), frozenset(last))


def _which(kind: Field, term: str, digits: str) -> int:
    if digits not in ("1", "2", "3", "4", "5"):
        refuse(kind, term, "counts weeks that no month has; write a number from 1 to 5 behind the #")
    return int(digits)


def _refuse_near_misses_of_month_days(term: str) -> None:
    kind = DAY_OF_MONTH
    if match := re.fullmatch(r"W([0-9]+)", term):
        refuse(kind, term, f"is the wrong way round; write {match[1]}W for the nearest weekday")
    if re.match(r"L[-/0-9]", term):
        refuse(kind, term, "cannot be read; write L for the last day, or a number such as 28")
    if "#" in term or re.fullmatch(r"[0-9]+L", term):
        refuse(kind, term, "belongs in the day-of-week field; write ? here and move it there")


def _refuse_near_misses_of_week_days(kind: Field, term: str) -> None:
    friday = kind.names["FRI"]
    if term == "L":
        refuse(kind, term, f"names no weekday; write {friday}L for the last Friday of the month")
    if match := re.fullmatch(r"L([0-9])", term):
        refuse(kind, term, f"is the wrong way round; write {match[1]}L for the last one of the month")
    if re.fullmatch(r"[0-9]*L?W|W[0-9]+", term):
        refuse(kind, term, "belongs in the day-of-month field; write ? here and move it there")
