"""The text of a schedule, read into its form: plain ASCII, at most 256 characters, nothing guessed.

Two things beyond ASCII's letters are allowed: a tab for a space, as in crontabs, and the µ of Go's durations.

How a form moves through time is decided elsewhere. Every refusal is one sentence that says what to write.
"""

import re
from collections.abc import Callable
from datetime import datetime
from functools import lru_cache

from django_letsgo_worker.errors import InvalidSchedule
from django_letsgo_worker.hints import nearest
from django_letsgo_worker.validation import counted

from . import fields
from .intervals import Interval, read_every, read_rate
from .once import read_at
from .pattern import Pattern
from .rrule.grammar import EXAMPLE, read_rrule
from .rrule.rule import Rule

# A datetime is the wall time of an at().
Reading = Interval | Pattern | Rule | datetime

LONGEST = 256

MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
CALL = re.compile(r"(RATE|CRON|AT|RRULE)\((.*)\)")
FIVE = "minute hour day-of-month month day-of-week"


@lru_cache(maxsize=4096)
def read(expression: str) -> Reading:
    """Read an expression.

    Cached, so that a scheduler which reads ten thousand rows again pays for each text once.
    """
    text = _plain(expression)
    _check_characters(text)
    text = text.strip(" ")
    if not text:
        raise InvalidSchedule("The schedule is empty; write one such as rate(5 minutes) or 0 9 * * MON-FRI.")
    if text.startswith("@"):
        return _read_macro(text)
    if call := CALL.fullmatch(text.upper()):
        return READERS[call[1]](call[2])
    return _read_bare(text)


def _plain(expression: str) -> str:
    # Go writes both the sign for micro and the Greek letter, and only in durations.
    is_long = len(expression) > LONGEST
    if not is_long and expression[:6].lower() == "@every":
        expression = re.sub("[\u00b5\u03bc]s", "us", expression)
    return expression if is_long else expression.replace("\t", " ")


def _check_characters(expression: str) -> None:
    # Before any parsing: lists of a million entries cost seconds, and Unicode has digits, spaces and letters
    # that other parsers take for ASCII's.
    if len(expression) > LONGEST:
        sentence = (
            f"A schedule has at most {LONGEST} characters, not {len(expression)}; split it into several."
        )
        raise InvalidSchedule(sentence)
    strange = next((character for character in expression if not " " <= character <= "~"), None)
    if strange is not None:
        raise InvalidSchedule(
            f"A schedule is plain ASCII on one line, without U+{ord(strange):04X}; "
            "write it with ordinary letters, digits and spaces."
        )


def _read_macro(text: str) -> Interval | Pattern:
    word, _, rest = text.partition(" ")
    if word.lower() == "@every":
        return read_every(rest)
    macro = MACROS.get(text.lower())
    if macro is not None:
        return _pattern(macro.split(), aws=False)
    if text.lower() == "@reboot":
        raise InvalidSchedule(
            "@reboot names no time; write one such as @hourly, or enqueue a message where the process starts."
        )
    close = nearest(text.lower(), [*MACROS, "@every 1h"])
    raise InvalidSchedule(f"{text!r} is not known; write {close or '@daily, or @every 1h30m'}.")


def _read_bare(text: str) -> Pattern:
    words = text.upper().split()
    if re.match("RRULE:|DTSTART|FREQ=", words[0]):
        raise InvalidSchedule(f"A rule of RFC 5545 stands in rrule(...); write for example {EXAMPLE}.")
    if "=" in words[0]:
        raise InvalidSchedule(f"{words[0]!r} doesn't belong here; write the time zone in its own field.")
    if len(words) in (6, 7):
        raise InvalidSchedule(
            f"{text!r} has {len(words)} fields, but seconds are not supported; write five ({FIVE}), "
            "@every 30s for less than a minute, or AWS's six fields inside cron(...)."
        )
    if len(words) == 5:
        return _pattern(words, aws=False)
    if f"@{text.lower()}" in MACROS:
        raise InvalidSchedule(f"{text!r} lacks its @; write @{text.lower()}.")
    raise InvalidSchedule(
        f"{text!r} is not a schedule; write five fields ({FIVE}), rate(5 minutes), @every 90s, @daily, "
        "cron(...), rrule(...) or at(2027-01-01T09:00:00)."
    )


def _read_cron(text: str) -> Pattern:
    words = text.split()
    if len(words) == 5:
        return _pattern(words, aws=False)
    if len(words) == 6:
        return _read_aws(words)
    raise InvalidSchedule(
        f"'cron({text})' has {counted(len(words), 'field')}; write five ({FIVE}), or AWS's six, "
        "which end with the year."
    )


def _read_aws(words: list[str]) -> Pattern:
    minute, hour, month_days, month, week_days, year = words
    if [month_days, week_days].count("?") == 1:
        return _pattern(words[:5], aws=True, year=year)
    if month_days == "?":
        month_days = "*"
    elif month_days == "*" and week_days != "*":
        month_days = "?"
    else:
        week_days = "?"
    spelled = " ".join((minute, hour, month_days, month, week_days, year))
    raise InvalidSchedule(
        "AWS's six fields take ? in exactly one of day-of-month and day-of-week; "
        f"write for example cron({spelled}), or five fields."
    )


def _pattern(words: list[str], *, aws: bool, year: str = "*") -> Pattern:
    minute, hour, month_days, month, week_days = words
    pattern = Pattern(
        minutes=fields.read(fields.MINUTE, minute),
        hours=fields.read(fields.HOUR, hour),
        months=fields.read(fields.MONTH, month),
        days=fields.read_days(month_days, week_days, aws=aws),
        is_interval=minute.startswith("*") or hour.startswith("*"),
        years=None if year == "*" else fields.read(fields.AWS_YEAR, year),
    )
    if not pattern.ever_matches:
        raise InvalidSchedule(f"No date ever matches {' '.join(words)!r}; write a day that its months have.")
    return pattern


READERS: dict[str, Callable[[str], Reading]] = {
    "RATE": read_rate,
    "CRON": _read_cron,
    "AT": read_at,
    "RRULE": read_rrule,
}
