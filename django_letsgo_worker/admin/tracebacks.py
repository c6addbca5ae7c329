"""Recorded tracebacks as HTML: the frames of the project in sight, those of libraries folded away.

A traceback is text that comes from any exception: lines that are not frames are shown as they are.
"""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterator
from itertools import groupby
from pathlib import PurePath

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import ngettext

from ..outcomes import is_of_project

# A frame begins with its file, behind the bars of an exception group if it is in one.
FRAME = re.compile(r'(?P<margin>[ |+-]*)  File "(?P<file>[^"]+)", line \d+, in ')
# Python's own modules, whichever Python recorded it: workers may have another one than this process.
PYTHON = re.compile(r"[\\/](lib[\\/]python[\d.]+|python\d[\d.]*[\\/]lib)[\\/]|^<frozen ", re.IGNORECASE)
STANDARD_LIBRARY = PurePath(sysconfig.get_path("stdlib"))


def shown(text: str) -> SafeString:
    """Show a recorded traceback; all of it in sight when no frame of it is of the project."""
    kinds = list(_kinds(text))
    is_foldable = any(kind == "own" for kind, _line in kinds)
    parts = (
        ("".join(line for _kind, line in lines), is_folded)
        for is_folded, lines in groupby(kinds, key=lambda pair: is_foldable and pair[0] == "library")
    )
    inside = (((_folded if is_folded else _open)(lines),) for lines, is_folded in parts)
    return format_html(
        '<div class="lg-pre lg-traceback" tabindex="0">{}</div>', format_html_join("", "{}", inside)
    )


def _open(lines: str) -> SafeString:
    return format_html("<pre>{}</pre>", lines.rstrip("\n"))


def _folded(lines: str) -> SafeString:
    count = sum(1 for line in lines.splitlines() if FRAME.match(line))
    said = ngettext("%(count)d frame of libraries", "%(count)d frames of libraries", count) % {"count": count}
    return format_html("<details><summary>{}</summary>{}</details>", said, _open(lines))


def _kinds(text: str) -> Iterator[tuple[str, str]]:
    """Yield each line with its kind: own and library for those of a frame, text for all others."""
    kind, margin = "text", ""
    for line in text.splitlines(keepends=True):
        if (frame := FRAME.match(line)) is not None:
            kind, margin = _kind_of(frame["file"]), frame["margin"]
        elif not line.startswith((f"{margin}    ", f"{margin}  [Previous line repeated ")):
            kind = "text"
        yield kind, line


def _kind_of(file: str) -> str:
    path = PurePath(file)
    is_pythons = PYTHON.search(file) is not None or path.is_relative_to(STANDARD_LIBRARY)
    return "own" if is_of_project(path) and not is_pythons else "library"
