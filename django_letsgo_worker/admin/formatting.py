"""Values as HTML: times, durations, badges, JSON. All text is escaped, none is trusted.

The pages decide what is shown, and to whom.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from ..inspection import in_units
from ..redaction import redacted

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
    """Show a time in the site's time zone, and how far away it is."""
    if moment is None:
        return NOTHING
    local = timezone.localtime(moment)
    return format_html(
        '<time datetime="{}" title="{}">{} <span class="lg-why">{}</span></time>',
        moment.isoformat(),
        f"{local:%Y-%m-%d %H:%M:%S.%f %Z}",
        f"{local:%Y-%m-%d %H:%M:%S}",
        relative(moment, now),
    )


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
        '<div class="lg-scroll"><table class="lg-table"><caption>{}</caption>'
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


def attempts(errors: Any) -> SafeString | str:
    """Show the record of failed attempts and redrives, newest first, attempts with their tracebacks."""
    entries = [entry if isinstance(entry, dict) else {"message": entry} for entry in errors or [] if entry]
    if not entries:
        return NOTHING
    return format_html_join(
        "", "{}", ((_attempt(entry, place == 0),) for place, entry in enumerate(reversed(entries)))
    )


def _attempt(entry: dict[str, Any], is_newest: bool) -> SafeString:
    if entry.get("redrive"):
        return _redrive(entry)
    shown = (
        '<summary>{}</summary><p class="lg-message">{}</p><p class="lg-why">{}</p>'
        '<pre class="lg-pre" tabindex="0">{}</pre></details>'
    )
    opening = '<details class="lg-attempt" open>' if is_newest else '<details class="lg-attempt">'
    message = cut(entry.get("message", ""), 2_000)
    return format_html(opening + shown, _headline(entry), message, _ran(entry), entry.get("traceback", ""))


def _redrive(entry: dict[str, Any]) -> SafeString:
    by = _("Redriven by %(name)s") % {"name": entry["by"]} if entry.get("by") else _("Redriven")
    facts = " · ".join(cut(fact) for fact in (entry.get("at"), entry.get("reason")) if fact)
    return format_html('<p class="lg-attempt"><strong>{}</strong> {}</p>', cut(by), facts)


def _headline(entry: dict[str, Any]) -> SafeString:
    number = _("Attempt %(number)s") % {"number": entry.get("attempt", "?")}
    return format_html("<strong>{}</strong> {}", number, cut(entry.get("class", "")))


def _ran(entry: dict[str, Any]) -> str:
    facts = [_recorded(entry.get("at", "")), entry.get("process", "")]
    if isinstance(entry.get("seconds"), (int, float)):
        facts.insert(1, span(entry["seconds"]))
    return " · ".join(cut(fact) for fact in facts if fact)


def _recorded(at: Any) -> Any:
    """Return a recorded ISO time as pages show times; other text unchanged."""
    try:
        return f"{timezone.localtime(datetime.fromisoformat(at)):%Y-%m-%d %H:%M:%S}"
    except (TypeError, ValueError, OverflowError):
        return at


def two_lines(first: Any, second: Any) -> SafeString:
    """Show a value with a quieter one below it."""
    if not second:
        return format_html("{}", first)
    return format_html('{}<div class="lg-why">{}</div>', first, second)
