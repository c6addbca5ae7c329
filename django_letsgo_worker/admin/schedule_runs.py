"""Runs of a schedule as HTML: the last ones as a strip or a table, the next ones on the clocks that matter.

Which runs there are is asked in inspection.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..inspection import Run, clock_change
from ..models import ArchivedMessage
from ..recurrence import Recurrence
from . import formatting

RESULTS = {
    "succeeded": ("good", _("succeeded")),
    "dead": ("bad", _("dead")),
    "cancelled": ("off", _("cancelled")),
    "expired": ("warn", _("expired")),
    "skipped": ("off", _("skipped")),
    "excluded": ("off", _("excluded")),
    "edited": ("off", _("edited away")),
    "pruned": ("calm", _("no longer kept")),
    "ready": ("wait", _("ready")),
    "running": ("busy", _("running")),
    "retrying": ("warn", _("retrying")),
    "scheduled": ("calm", _("scheduled")),
}
# What some reasons to skip a run begin with, and its result then.
SKIPPED = {"excluded": "excluded", "edit": "edited"}
# What a clock change does to a run, in words.
CHANGES = {
    "": "",
    "moved": _("moved by a clock change: this time of day is left out"),
    "first": _("the clock shows this time twice: the first of them"),
    "second": _("the clock shows this time twice: the second of them"),
}
# A run in the strip is so wide, and so far from the next one; the strip is so high.
WIDTH, STEP, HEIGHT = 4, 6, 18
# The top of the bar of each result; a dead one has a foot and a head apart, so that it is told by its shape.
TOPS = {"succeeded": 0, "running": 4, "retrying": 4, "ready": 4, "scheduled": 4, "cancelled": 10}
TOPS |= {"expired": 10, "skipped": 14, "pruned": 14, "excluded": 16, "edited": 14}


# -- the last runs -----------------------------------------------------------------------------------------


def strip(runs: Sequence[Run], now: datetime, room: int) -> SafeString:
    """Draw the last runs, newest first, as bars from left to right; the words for them are the title."""
    first = room - len(runs)
    bars = (_bar(run, (first + place) * STEP, now) for place, run in enumerate(reversed(runs)))
    return format_html(
        '<svg class="lg-strip" role="img" width="{0}" height="{1}" viewBox="0 0 {0} {1}">'
        "<title>{2}</title>{3}</svg>",
        room * STEP,
        HEIGHT,
        in_words(runs, now),
        format_html_join("", "{}", ((bar,) for bar in bars)),
    )


def in_words(runs: Sequence[Run], now: datetime) -> str:
    """Return how many runs have each result: "17 succeeded, 2 dead, 1 skipped; 4 of them backfilled"."""
    counts = Counter(_result(run, now) for run in runs)
    said = ", ".join(
        f"{counts[result]} {label}" for result, (_kind, label) in RESULTS.items() if counts[result]
    )
    backfilled = sum(run.occurrence.is_backfill for run in runs)
    if not backfilled:
        return said
    return gettext("%(results)s; %(count)d of them backfilled") % {"results": said, "count": backfilled}


def _result(run: Run, now: datetime) -> str:
    """Return what became of a run; of one that was skipped, whether a day or an edit is why."""
    result = run.result(now)
    return SKIPPED.get(_kind_of_skip(run), result) if result == "skipped" else result


def _kind_of_skip(run: Run) -> str:
    return run.occurrence.skipped_because.partition(":")[0]


def _why_skipped(run: Run) -> str:
    """Return why a run was skipped, without what its mark says."""
    reason = run.occurrence.skipped_because
    return reason.partition(":")[2].strip() if _kind_of_skip(run) in SKIPPED else reason


def _bar(run: Run, x: int, now: datetime) -> SafeString:
    result = _result(run, now)
    kind, _label = RESULTS[result]
    if run.occurrence.is_backfill:
        kind = f"{kind} lg-backfill"
    if result == "dead":
        path = f"M{x} 0h{WIDTH}v10h-{WIDTH}zM{x} 13h{WIDTH}v5h-{WIDTH}z"
        return format_html('<path class="lg-{}" d="{}"/>', kind, path)
    top = TOPS[result]
    return format_html(
        '<rect class="lg-{}" x="{}" y="{}" width="{}" height="{}"/>', kind, x, top, WIDTH, HEIGHT - top
    )


def last_result(site: str, runs: Sequence[Run], now: datetime) -> SafeString:
    """Show what became of the newest run and when that was; of the last success, if it was not one."""
    newest, result = runs[0], runs[0].result(now)
    ago = formatting.when(newest.occurrence.planned_at, now)
    shown = format_html("{} {}", _mark(site, newest, now), ago)
    if result == "succeeded":
        return shown
    why = _why_skipped(newest) or getattr(newest.message, "error_class", "")
    because = formatting.error_class(why) if result == "dead" and why else formatting.cut(why)
    succeeded = next((run for run in runs if run.result(now) == "succeeded"), None)
    if succeeded is None:
        success: Any = gettext("no success among these")
    else:
        success = format_html(
            gettext("last success {when}"), when=formatting.when(succeeded.occurrence.planned_at, now)
        )
    return formatting.two_lines(formatting.two_lines(shown, because), success)


def last_table(site: str, runs: Sequence[Run], now: datetime) -> SafeString:
    """List runs that have come: when each was planned, how late it was fired, and what became of it."""
    lines = [
        (
            formatting.when(run.occurrence.planned_at, now),
            formatting.span((run.occurrence.fired_at - run.occurrence.planned_at).total_seconds()),
            result_of(site, run, now),
        )
        for run in runs
    ]
    headings = (_("planned"), _("fired after"), _("result"))
    return formatting.table(headings, lines, in_words(runs, now))


def result_of(site: str, run: Run, now: datetime) -> SafeString:
    """Show what became of a run, with how long it took and its error, or the reason that it was skipped."""
    error, seconds = (getattr(run.message, name, None) for name in ("error_class", "seconds"))
    count = run.occurrence.skipped_count
    facts = [
        gettext("backfilled") if run.occurrence.is_backfill else "",
        formatting.cut(_why_skipped(run)),
        gettext("%(count)d times") % {"count": count} if count > 1 else "",
        "" if seconds is None else formatting.span(seconds),
        formatting.error_class(error) if error else "",
    ]
    said = format_html_join(", ", "{}", ((fact,) for fact in facts if fact))
    return format_html('{} <span class="lg-why">{}</span>', _mark(site, run, now), said)


def _mark(site: str, run: Run, now: datetime) -> SafeString | str:
    """Return the mark of a run's result, which leads to its message if that still exists."""
    mark = formatting.badge(*RESULTS[_result(run, now)])
    if run.message is None:
        return mark
    model = "archivedmessage" if isinstance(run.message, ArchivedMessage) else "message"
    return formatting.link_to(site, model, run.message.pk, mark)


# -- the next runs -----------------------------------------------------------------------------------------


def next_table(
    recurrence: Recurrence,
    moments: Sequence[datetime],
    now: datetime,
    caption: Any,
    excluded: Mapping[datetime, str],
) -> SafeString:
    """List planned times on the clock of the schedule's zone and, where it differs, on the viewer's.

    `excluded` says of each why nothing runs then, or nothing: those with a reason are struck through.
    """
    zone = formatting.zone_of(recurrence.timezone)
    columns: list[tuple[Any, list[Any]]] = [
        (
            recurrence.timezone,
            [_struck(formatting.in_zone(moment, zone, now), excluded[moment]) for moment in moments],
        ),
        (_("on your clock"), [on_own_clock(moment, recurrence.timezone, now) for moment in moments]),
        (_("from now"), [formatting.relative(moment, now) for moment in moments]),
        (
            _("note"),
            [excluded[moment] or CHANGES[clock_change(recurrence, moment)] for moment in moments],
        ),
    ]
    shown = [(heading, cells) for heading, cells in columns if any(cells)]
    headings, cells = [heading for heading, _cells in shown], [cells for _heading, cells in shown]
    return formatting.table(headings, zip(*cells, strict=True), caption)


def _struck(shown: SafeString, reason: str) -> SafeString:
    """Strike a time through if there is a reason why nothing runs then; the reason is its title."""
    return format_html('<del class="lg-excluded" title="{}">{}</del>', reason, shown) if reason else shown


def on_own_clock(moment: datetime, zone: str, now: datetime) -> SafeString | str:
    """Show a time on the viewer's clock, or nothing where the clock of the zone shows the same."""
    own = timezone.get_current_timezone()
    if moment.astimezone(own).utcoffset() == moment.astimezone(formatting.zone_of(zone)).utcoffset():
        return ""
    return formatting.in_zone(moment, own, now)


def own_time(moment: datetime, zone: str) -> str:
    """Return the time of day on the viewer's clock, with its weekday if that is another one there."""
    own, there = timezone.localtime(moment), moment.astimezone(formatting.zone_of(zone))
    if own.utcoffset() == there.utcoffset():
        return ""
    day = "" if own.date() == there.date() else f"{date_format(own, 'D', use_l10n=False)} "
    return gettext("%(time)s your time") % {"time": f"{day}{own:%H:%M}"}
