"""Likeness of errors: the words of one without all that differs from message to message.

Text in, text out: which errors are one failure, by class and place too, is decided in outcomes.
"""

from __future__ import annotations

import re
from collections.abc import Callable

# So much of a text is looked at, and so much of what is left of it makes a difference, in characters.
LOOKED_AT, KEPT = 4_000, 400

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*\.?"
_DAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*,? )?"
# A quotation mark within a word is an apostrophe, at either end of what is quoted.
_QUOTED = (
    r"(?<!\w)[brufBRUF]{0,2}'(?:[^'\\]|\\.|'(?=\w))*'(?!\w)|"
    r'(?<!\w)[brufBRUF]{0,2}"(?:[^"\\]|\\.)*"|`[^`]*`|“[^”]*”|\u2018[^\u2019]*\u2019|«[^»]*»'
)

# What a database's driver says as a pair of code and text: the code tells errors apart.
_PAIR = re.compile(r"\((\d+), (['\"])(.*)\2\)", re.DOTALL)
# What Django's ValidationError says as a list or a dict: its sentences, and the fields that they are about.
_COLLECTED = re.compile(r"['\"]([A-Z][^'\"]*\s[^'\"]*[.!?])['\"]|['\"](\w+)['\"](?=: \[)")
# The answer of a server, with the words that tell one from another: '404 Not Found'.
_STATUS = re.compile(r"['\"][1-5]\d\d ([A-Z][A-Za-z' -]+)['\"]")

_Part = str | Callable[[re.Match[str]], str]
# In this order: each rule finds what those before it have left.
_RULES: tuple[tuple[re.Pattern[str], _Part], ...] = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        # Colours of a terminal.
        (r"\x1b\[[0-9;]*[A-Za-z]", ""),
        (_QUOTED, "*"),
        # Addresses: of pages, people, and memory.
        (r"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s<>\"'()]+", "*"),
        (r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*", "*"),
        (r"\b0[xX][0-9a-fA-F]+\b", "*"),
        (r"(?i)\b[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\b", "*"),
        # Moments.
        (
            r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?)?"
            r"(?![\dA-Za-z])",
            "*",
        ),
        (rf"\b{_DAY}(?:\d{{1,2}} {_MONTH}|{_MONTH} \d{{1,2}}\b)(?:,? \d{{4}}\b)?", "*"),
        # Hosts, with and without a port, and addresses of the sixth version.
        (r"(?<![\w.:])\[?(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F.]*(?:%\w+)?\]?(?![\w:])", "*"),
        (r"(?<![\w.-])(?:[A-Za-z0-9-]+\.)*[A-Za-z0-9-]+:\d{2,5}\b", "*"),
        (
            r"(?<![\w.])(?:[A-Za-z0-9-]+\.)+(?:com|net|org|internal|local|lan|invalid|example)\b(?!\.?\w)",
            "*",
        ),
        (r"\blocalhost\b", "*"),
        # Paths, and files by their endings.
        (r"(?<!\w)[A-Za-z]:\\[^\s:\"'<>|*]+", "*"),
        (r"(?<![\w*/])(?:~|\.{1,2})?(?:/[\w.@%+~=&?#,*-]+)+/?", "*"),
        (r"(?<![\w/])[\w.-]+(?:/[\w.-]+)+\.[A-Za-z0-9]{1,5}\b", "*"),
        (r"(?<![\w.])[\w-]+\.(?:pdf|png|jpe?g|gif|csv|xlsx?|docx?|zip|gz|mp[34]|tmp)\b", "*"),
        # Hashes and made-up ids: long, with a digit; or a digit with a letter behind it.
        (r"(?i)(?<![a-z0-9])(?=[a-f]*[0-9])[0-9a-f]{8,}(?![a-z0-9])", "*"),
        (
            r"(?<![A-Za-z0-9])(?=[A-Za-z]*\d)(?=[A-Z0-9]*[a-z])(?=[a-z0-9]*[A-Z])[A-Za-z0-9]{10,}"
            r"(?![A-Za-z0-9])",
            "*",
        ),
        (r"(?<![A-Za-z0-9])[A-Za-z]*\d+[A-Za-z][A-Za-z0-9]*", "*"),
        (r"\d+", "*"),
        (r"(?<!\w)[-+](?=\*)", ""),
        # Lists of such, however long: a card's number in groups, a version, the arguments of a moment.
        (r"\*(?:[\s,.:;/_+-]*\*)+", "*"),
        # One time, two times.
        (r"(?<=\* )((?:[a-z]+ )?[a-z]+?)s\b", r"\1"),
        (r"\s+", " "),
    )
)


def words_of(text: str) -> str:
    """Return what is left of an error's text where another message fails in the same way.

    Left out are numbers, ids, hashes, moments, paths, hosts and other addresses, and whatever is quoted.
    """
    words = _first_line(text[:LOOKED_AT])
    pair = _PAIR.fullmatch(words)
    if pair:
        return f"{pair[1]} {_without(pair[3])}"[:KEPT]
    if words[:1] in "[{":
        words = _COLLECTED.sub(lambda found: found[1] or found[2], words)
    return _without(_STATUS.sub(r"\1", words))[:KEPT]


def _first_line(text: str) -> str:
    """Return the first line that says something, and the next one if it only announces that."""
    lines = [line for each in text.splitlines() if (line := each.strip())]
    if not lines:
        return ""
    return " ".join(lines[:2]) if lines[0].endswith(":") else lines[0]


def _without(words: str) -> str:
    for pattern, part in _RULES:
        words = pattern.sub(part, words)
    return words.strip()
