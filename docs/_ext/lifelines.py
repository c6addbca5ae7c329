"""A diagram of states as SVG: a line for each state, an arrow for each way from one to another.

It reads Mermaid's stateDiagram-v2, as little of it as our pages use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

ARROW = re.compile(r"\s*(\S+) --> (\S+): (.+)")
# Of a column, of a row, of the heads.
WIDTH, ROW, HEAD = 90, 34, 46


def drawn(lines: list[str]) -> str:
    """Return the diagram as HTML: it may be wider than a phone, and is then scrolled by itself."""
    arrows = [found.groups() for line in lines if (found := ARROW.fullmatch(line))]
    names = list(dict.fromkeys(name for one, other, _label in arrows for name in (one, other)))
    # What begins and ends has a line on the left: messages come from there and go there.
    names.sort(key=lambda name: name != "[*]")
    height = HEAD + ROW * len(arrows) + 12
    parts = [*heads(names, height), *ways(arrows, names)]
    width = WIDTH * len(names)
    return (
        f'<div class="states"><svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="States and the ways between them">{"".join(parts)}</svg></div>'
    )


def middle(names: list[str], name: str) -> int:
    return WIDTH * names.index(name) + WIDTH // 2


def heads(names: list[str], height: int) -> Iterator[str]:
    for name in names:
        x = middle(names, name)
        yield f'<line class="life" x1="{x}" y1="{HEAD - 14}" x2="{x}" y2="{height}"/>'
        if name == "[*]":
            yield f'<circle class="outside" cx="{x}" cy="{HEAD - 26}" r="7"/>'
            continue
        yield f'<rect class="state" x="{x - 40}" y="6" width="80" height="27" rx="13"/>'
        yield f'<text x="{x}" y="24">{escape(name)}</text>'


def ways(arrows: list[tuple[str, ...]], names: list[str]) -> Iterator[str]:
    for number, (one, other, label) in enumerate(arrows):
        y = HEAD + ROW * number + 24
        start, end = middle(names, one), middle(names, other)
        towards = 1 if end > start else -1
        yield f'<path class="way" d="M{start} {y}H{end - towards * 7}"/>'
        yield f'<path class="tip" d="M{end} {y}l{-towards * 9} -5v10z"/>'
        yield f'<text class="label" x="{(start + end) // 2}" y="{y - 7}">{escape(label)}</text>'
