"""Values as HTML: times, durations, badges, JSON. All text is escaped, none is trusted.

The pages decide what is shown, and to whom.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from ..inspection import Durations, Rate, in_units, short_class
from ..redaction import redacted
from . import tracebacks

LONGEST_IN_A_LIST = 80
LONGEST_JSON = 100_000
NOTHING = "-"
# Shape as well as colour tells the states apart.
SIGNS = {"good": "✓", "busy": "▶", "calm": "·", "wait": "…", "warn": "!", "bad": "✕", "off": "○"}


def cut(text: Any, longest: int = LONGEST_IN_A_LIST) -> str:
    """Return text in one line that is short enough for a list."""
    line = " ".join(str(text)[: longest * 4].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def badge(kind: str, label: Any, why: Any = "") -> SafeString:
    """Show a state: a sign, a word and, smaller, the reason."""
    mark = format_html(
        '<span class="lg-badge lg-{}"><span aria-hidden="true">{}</span> {}</span>', kind, SIGNS[kind], label
    )
    return format_html('{} <span class="lg-why">{}</span>', mark, why) if why else mark


def span(seconds: float) -> str:
    """Return a duration in its largest unit and the next smaller one."""
    if 0 < abs(seconds) < 0.001:
        return _("< 1 ms")
    if abs(seconds) < 1:
        milliseconds = int(abs(seconds) * 1_000)
        return _("%(number)s ms") % {"number": milliseconds} if milliseconds else _("0 s")
    units = {"d": _("%(number)s d"), "h": _("%(number)s h"), "m": _("%(number)s min"), "s": _("%(number)s s")}
    return " ".join(units[unit] % {"number": number} for number, unit in in_units(seconds))


def percent(share: float) -> str:
    """Return a share between 0 and 1 as a whole number of hundredths."""
    return "< 1 %" if 0 < share < 0.01 else f"{share * 100:.0f} %"


def per_minute(value: float) -> str:
    """Return how many there are in a minute: with a digit behind the point where there are few."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.1f}" if value >= 0.1 else "< 0.1"


def half_and_most(durations: Durations | None) -> str:
    """Return how long half of all, and 95 of 100, take at most."""
    return f"{span(durations.p50)} / {span(durations.p95)}" if durations else NOTHING


# The headings of rate_cells().
RATE_HEADINGS = (
    gettext_lazy("ended a minute"),
    gettext_lazy("failed"),
    gettext_lazy("run p50 / p95"),
    gettext_lazy("wait p95"),
)


def rate_cells(rate: Rate | None) -> tuple[str, str, str, str]:
    """Return what ended a minute, the share that failed, and how long it ran and had waited."""
    if rate is None:
        return "0", NOTHING, NOTHING, NOTHING
    failed = percent(rate.failed_share) if rate.attempts else NOTHING
    wait = span(rate.wait.p95) if rate.wait else NOTHING
    return per_minute(rate.per_minute), failed, half_and_most(rate.run), wait


def relative(moment: datetime, now: datetime) -> str:
    """Return how far a time is from now: "in 2 min 10 s", "3 h ago"."""
    seconds = (moment - now).total_seconds()
    if abs(seconds) < 1:
        return _("now")
    return (
        _("in %(span)s") % {"span": span(seconds)}
        if seconds > 0
        else _("%(span)s ago") % {"span": span(seconds)}
    )


def when(moment: datetime | None, now: datetime) -> SafeString | str:
    """Show how far away a time is; the time itself, on the site's clock, is its title."""
    if moment is None:
        return NOTHING
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{}</time>',
        moment.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S %Z}",
        relative(moment, now),
    )


def error_class(name: str) -> SafeString | str:
    """Show the class of an error without its module, which is in the title."""
    if not name:
        return NOTHING
    return format_html('<span class="lg-error" title="{}">{}</span>', cut(name, 300), cut(short_class(name)))


def zone_of(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def in_zone(moment: datetime, zone: tzinfo, now: datetime) -> SafeString:
    """Show a time on the clock of a zone: with the weekday, and with the year if it is not this one."""
    local = moment.astimezone(zone)
    clock = f"{local:%H:%M:%S}" if local.second else f"{local:%H:%M}"
    day = "D j M" if local.year == now.astimezone(zone).year else "D j M Y"
    text = f"{date_format(local, day, use_l10n=False)} {clock} {local:%Z}"
    return format_html('<time datetime="{}">{}</time>', moment.isoformat(), text)


def json_text(value: Any) -> str:
    """Return JSON for people: indented, with the values of secret keys masked, cut off if it is huge."""
    text = json.dumps(redacted(value), indent=2, ensure_ascii=False)
    return text if len(text) <= LONGEST_JSON else text[:LONGEST_JSON] + "\n… " + _("[cut]")


def pre(text: Any) -> SafeString:
    return format_html('<pre class="lg-pre" tabindex="0">{}</pre>', text)


def hidden_payload() -> SafeString:
    return format_html('<em class="lg-why">{}</em>', _("hidden: you lack the permission view_payload"))


def table(headings: Iterable[Any], rows: Iterable[Iterable[Any]], caption: Any) -> SafeString:
    """Show a small table inside a page of facts."""
    head = format_html_join("", '<th scope="col">{}</th>', ((heading,) for heading in headings))
    lines = ((format_html_join("", "<td>{}</td>", ((cell,) for cell in row)),) for row in rows)
    body = format_html_join("", "<tr>{}</tr>", lines)
    return format_html(
        '<div class="lg-scroll"><table class="lg-table lg-fit"><caption>{}</caption>'
        "<thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
        caption,
        head,
        body,
    )


def link(url: str, text: Any) -> SafeString:
    return format_html('<a href="{}">{}</a>', url, text)


def link_to(site: str, model: str, pk: Any, text: Any) -> SafeString | str:
    """Link to the page of one row, or show the text alone where the site has no such page."""
    try:
        return link(reverse(f"admin:django_letsgo_worker_{model}_change", args=[pk], current_app=site), text)
    except NoReverseMatch:
        return str(text)


def sentence(text: Any) -> SafeString:
    """Show the sentence that a page begins with."""
    return format_html('<strong class="lg-sentence">{}</strong>', cut(text, 1_000))


def timeline(events: Iterable[Mapping[str, Any]]) -> SafeString:
    """Show what happened, the oldest first, tracebacks folded away but for the newest."""
    shown = list(events)
    newest = next((place for place in reversed(range(len(shown))) if shown[place].get("traceback")), None)
    lines = (
        (
            event["event"],
            _moment(event["at"]),
            cut(event["sentence"], 1_000),
            _details(event, place == newest),
        )
        for place, event in enumerate(shown)
    )
    return format_html(
        '<ol class="lg-timeline">{}</ol>',
        format_html_join("", '<li class="lg-{}">{} {}{}</li>', lines),
    )


def _moment(at: datetime) -> SafeString:
    local = timezone.localtime(at)
    return format_html(
        '<time class="lg-why" datetime="{}">{}</time>', at.isoformat(), f"{local:%Y-%m-%d %H:%M:%S}"
    )


def _details(event: Mapping[str, Any], is_open: bool) -> SafeString | str:
    """Return the traceback of a failed attempt, and its words where the sentence cuts them."""
    if not event.get("traceback"):
        return ""
    opening = '<details class="lg-attempt" open>' if is_open else '<details class="lg-attempt">'
    inside = '<summary>{}</summary><p class="lg-message">{}</p>{}</details>'
    words = cut(event.get("message", ""), 2_000)
    return format_html(opening + inside, cut(event["class"]), words, tracebacks.shown(event["traceback"]))


def two_lines(first: Any, second: Any) -> SafeString:
    """Show a value with a quieter one below it."""
    if not second:
        return format_html("{}", first)
    return format_html('{}<div class="lg-why">{}</div>', first, second)
