"""The two day fields: their text, special words included, read into a rule about days.

What the rule then matches is decided in `days`.
"""

import re

from . import fields
from .days import EVERY_MONTH_DAY, EVERY_WEEKDAY, DayRule, MonthDays, WeekDays

ANY_DAY = "?"


def read_days(month_text: str, week_text: str, *, aws: bool) -> DayRule:
    """Read day-of-month and day-of-week.

    Both must match when either begins with a star or is ?, else either may: the rule of Vixie's cron, by the
    text, so `*/2` beside `1` is *and* although it is not every day. Hence `*/100,1-7` beside `MON`, the first
    Monday: there, a step that is longer than the field is no slip.
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
    for term in fields.terms(fields.DAY_OF_MONTH, text):
        if term in ("L", "LW"):
            words.add(term)
        elif match := re.fullmatch(r"([0-9]+)W", term):
            nearest.add(fields.number(fields.DAY_OF_MONTH, term, match[1]))
        else:
            _refuse_near_misses_of_month_days(term)
            numbers.update(fields.read_term(fields.DAY_OF_MONTH, term, any_step=any_step))
    return MonthDays(frozenset(numbers), frozenset(nearest), "L" in words, "LW" in words)


def read_week_days(text: str, *, aws: bool, any_step: bool = False) -> WeekDays:
    """Read day-of-week; AWS counts 1 = Sunday to 7 = Saturday, everybody else 0 or 7 = Sunday."""
    if text == ANY_DAY:
        return WeekDays(EVERY_WEEKDAY)
    kind = fields.AWS_DAY_OF_WEEK if aws else fields.DAY_OF_WEEK
    numbers: set[int] = set()
    nth: set[tuple[int, int]] = set()
    last: set[int] = set()

    def sunday_is_0(number: int) -> int:
        return (number - 1 if aws else number) % 7

    for term in fields.terms(kind, text):
        if aws and term == "L":
            numbers.add(kind.names["SAT"])  # AWS: the last day of the week
        elif match := re.fullmatch(r"([0-9A-Z]+)L", term):
            last.add(sunday_is_0(fields.number(kind, term, match[1])))
        elif match := re.fullmatch(r"([0-9A-Z]+)#([0-9]+)", term):
            nth.add((sunday_is_0(fields.number(kind, term, match[1])), _which(kind, term, match[2])))
        else:
            _refuse_near_misses_of_week_days(kind, term)
            numbers.update(fields.read_term(kind, term, any_step=any_step))
    return WeekDays(frozenset(map(sunday_is_0, numbers)), frozenset(nth), frozenset(last))


def _which(kind: fields.Field, term: str, digits: str) -> int:
    if digits not in ("1", "2", "3", "4", "5"):
        fields.refuse(kind, term, "counts weeks that no month has; write a number from 1 to 5 behind the #")
    return int(digits)


def _refuse_near_misses_of_month_days(term: str) -> None:
    kind = fields.DAY_OF_MONTH
    if match := re.fullmatch(r"W([0-9]+)", term):
        fields.refuse(kind, term, f"is the wrong way round; write {match[1]}W for the nearest weekday")
    if re.match(r"L[-/0-9]", term):
        fields.refuse(kind, term, "cannot be read; write L for the last day, or a number such as 28")
    if "#" in term or re.fullmatch(r"[0-9]+L", term):
        fields.refuse(kind, term, "belongs in the day-of-week field; write ? here and move it there")


def _refuse_near_misses_of_week_days(kind: fields.Field, term: str) -> None:
    friday = kind.names["FRI"]
    if term == "L":
        fields.refuse(kind, term, f"names no weekday; write {friday}L for the last Friday of the month")
    if match := re.fullmatch(r"L([0-9])", term):
        fields.refuse(kind, term, f"is the wrong way round; write {match[1]}L for the last one of the month")
    if re.fullmatch(r"[0-9]*L?W|W[0-9]+", term):
        fields.refuse(kind, term, "belongs in the day-of-month field; write ? here and move it there")
