"""Charts: numbers over time as inline SVG made on the server, each with its numbers as a table.

They have no style of their own and no script: admin.css colours them, light and dark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..inspection import at_clock

# The size of a drawing in its own units; the page stretches it to its width.
WIDTH, HEIGHT = 600, 100


@dataclass(frozen=True, slots=True)
class Series:
    """The values of one line or one part of the bars, None where nothing is known; `kind` is its colour."""

    label: Any
    kind: str
    values: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment that stands out, and what happened then."""

    at: datetime
    label: str


@dataclass(frozen=True, slots=True)
class Chart:
    """What is drawn: series over equal steps of time, and how their values are written."""

    title: Any
    moments: Sequence[datetime]
    until: datetime
    series: Sequence[Series]
    write: Callable[[float], str]
    marks: Sequence[Mark] = ()
    is_stacked: bool = False

    @property
    def highest(self) -> float:
        if not self.is_stacked:
            return max((value for one in self.series for value in one.values if value), default=0.0)
        return max((sum(value or 0 for value in step) for step in self._steps()), default=0.0)

    def _steps(self) -> Iterator[tuple[float | None, ...]]:
        return zip(*(one.values for one in self.series), strict=True)

    def html(self) -> SafeString:
        """Return the figure: its title, a legend, the drawing, and the table."""
        highest = self.highest
        words = _("%(title)s, at most %(highest)s") % {"title": self.title, "highest": self.write(highest)}
        return format_html(
            '<figure class="lg-chart"><figcaption><strong>{}</strong> '
            '<span class="lg-why">{}</span>{}</figcaption>'
            '<svg role="img" viewBox="0 0 {} {}" preserveAspectRatio="none"><title>{}</title>{}{}</svg>'
            '<div class="lg-axis" aria-hidden="true"><span>{}</span><span>{}</span></div>{}{}</figure>',
            self.title,
            _("at most %(highest)s") % {"highest": self.write(highest)},
            self._legend() if len(self.series) > 1 else "",
            WIDTH,
            HEIGHT,
            words,
            self._bars(highest) if self.is_stacked else self._lines(highest),
            self._marks(),
            at_clock(self.moments[0], self.until) if self.moments else "",
            at_clock(self.until, self.until),
            self._told_marks(),
            self._table(),
        )

    # -- the drawing -----------------------------------------------------------------------------------------

    def _bars(self, highest: float) -> SafeString:
        width = WIDTH / max(len(self.moments), 1)
        parts = []
        for place, step in enumerate(self._steps()):
            top = float(HEIGHT)
            for one, value in zip(self.series, step, strict=True):
                height = HEIGHT * (value or 0) / (highest or 1)
                top -= height
                if height:
                    parts.append(
                        (
                            one.kind,
                            _number(place * width),
                            _number(top),
                            _number(width * 0.85),
                            _number(height),
                        )
                    )
        return format_html_join("", '<rect class="lg-s-{}" x="{}" y="{}" width="{}" height="{}"/>', parts)

    def _lines(self, highest: float) -> SafeString:
        return format_html_join(
            "",
            '<polyline class="lg-s-{}" points="{}"/>',
            (
                (one.kind, " ".join(points))
                for one in self.series
                for points in _unbroken(one.values, WIDTH / max(len(self.moments), 1), highest)
            ),
        )

    def _marks(self) -> SafeString:
        places = (
            (place, place, HEIGHT, mark.label) for mark in self.marks if (place := self._place(mark.at))
        )
        return format_html_join(
            "", '<line class="lg-mark" x1="{}" x2="{}" y1="0" y2="{}"><title>{}</title></line>', places
        )

    def _place(self, at: datetime) -> str:
        """Return where on the axis a moment stands; empty if it does not."""
        if not self.moments or not self.moments[0] <= at <= self.until:
            return ""
        whole = (self.until - self.moments[0]).total_seconds() or 1
        return _number(WIDTH * (at - self.moments[0]).total_seconds() / whole)

    # -- the words -------------------------------------------------------------------------------------------

    def _legend(self) -> SafeString:
        keys = ((one.kind, one.label) for one in self.series)
        keys_shown = format_html_join("", '<li><i class="lg-key lg-s-{}"></i> {}</li>', keys)
        return format_html('<ul class="lg-legend">{}</ul>', keys_shown)

    def _told_marks(self) -> SafeString | str:
        told = [(at_clock(mark.at, self.until), mark.label) for mark in self.marks if self._place(mark.at)]
        return format_html('<p class="lg-why">{}</p>', format_html_join(", ", "{} {}", told)) if told else ""

    def _table(self) -> SafeString:
        heads = format_html_join("", '<th scope="col">{}</th>', ((one.label,) for one in self.series))
        lines = (
            (
                at_clock(moment, self.until),
                format_html_join("", "<td>{}</td>", (("-" if v is None else self.write(v),) for v in step)),
            )
            for moment, step in zip(self.moments, self._steps(), strict=True)
            if any(step)
        )
        rows = format_html_join("", '<tr><th scope="row">{}</th>{}</tr>', lines)
        if not rows:
            return format_html('<p class="lg-why">{}</p>', _("Nothing in this time."))
        return format_html(
            '<details class="lg-numbers"><summary>{}</summary><div class="lg-scroll" tabindex="0">'
            '<table class="lg-table lg-fit"><caption>{}</caption>'
            '<thead><tr><th scope="col">{}</th>{}</tr></thead>'
            "<tbody>{}</tbody></table></div></details>",
            _("Numbers"),
            self.title,
            _("from"),
            heads,
            rows,
        )


def _unbroken(values: Sequence[float | None], step: float, highest: float) -> Iterator[list[str]]:
    """Yield the points of each stretch of a line without a gap; a single value is a short stroke."""
    points: list[str] = []
    for place, value in enumerate([*values, None]):
        if value is not None:
            y = _number(HEIGHT - (HEIGHT - 2) * value / (highest or 1) - 1)
            points += [f"{_number(place * step)},{y}", f"{_number((place + 1) * step)},{y}"]
        elif points:
            yield points
            points = []


def _number(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")
