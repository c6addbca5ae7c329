"""Columns and fields of a schedule, in the list and on its page: its state, its next and last runs.

The page itself, its form and its actions are in schedules.py.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from ..errors import InvalidSchedule
from ..inspection import Run, Snapshot, is_late, last_runs, next_runs
from ..models import ScheduledJob
from ..recurrence import Recurrence
from . import formatting
from .base import LONGEST_SENTENCE, DoorAdmin, affected_on, snapshot_of

NEXT_RUNS = 5
LAST_RUNS = 20
RESULTS = {
    "succeeded": ("good", _("succeeded")),
    "dead": ("bad", _("dead")),
    "cancelled": ("off", _("cancelled")),
    "expired": ("warn", _("expired")),
    "skipped": ("off", _("skipped")),
    "pruned": ("calm", _("no longer kept")),
    "ready": ("wait", _("ready")),
    "running": ("busy", _("running")),
    "retrying": ("warn", _("retrying")),
    "scheduled": ("calm", _("scheduled")),
}


class ScheduleColumns(DoorAdmin):
    """Columns and fields of schedules."""

    @admin.display(description=_("name and type"))
    def name_shown(self, row: Any) -> SafeString:
        code = formatting.badge("calm", _("code")) if row.declared_in_code else ""
        name = format_html("{} {}", formatting.cut(row.name), code)
        return formatting.two_lines(name, formatting.cut(row.type))

    @admin.display(description=_("schedule"))
    def schedule_shown(self, row: Any) -> SafeString:
        text = format_html("<code>{}</code>", formatting.cut(row.schedule))
        return formatting.two_lines(text, self.english(row))

    @admin.display(description=_("in English"))
    def english(self, row: Any) -> str:
        try:
            return Recurrence.parse(row.schedule, row.timezone).describe()
        except InvalidSchedule as error:
            return str(error)

    @admin.display(description=_("state"))
    def state_shown(self, row: ScheduledJob) -> SafeString:
        page, state = snapshot_of(row), row.state
        if state == "off":
            return formatting.badge("off", _("off"), _switched(row, page))
        if state == "broken":
            return formatting.badge("bad", _("problem"), formatting.cut(row.problem, 300))
        if state == "completed":
            return formatting.badge("calm", _("over"), _("no further runs"))
        if is_late(row, page.now):
            why = _("due, but no scheduler has fired it")
            return formatting.badge(
                "warn", _("late"), why if page.has_scheduler else _("no scheduler is running")
            )
        if not page.knows(row.type):
            return formatting.badge("warn", _("on"), _("no handler for this type is known here"))
        if row.name in {one.name for one in page.failing_schedules}:
            return formatting.badge("bad", _("failing"), _("its last three messages are dead"))
        if not page.has_scheduler:
            return formatting.badge("calm", _("on"), _("no scheduler is running"))
        problem = affected_on(row.request).types.get(row.type)  # type: ignore[attr-defined]
        if problem is not None:
            return formatting.badge("warn", _("on"), formatting.cut(problem.sentence, LONGEST_SENTENCE))
        return formatting.badge("good", _("on"))

    @admin.display(description=_("next run"))
    def next_run(self, row: Any) -> SafeString | str:
        if not row.enabled or row.next_run_at is None:
            return formatting.NOTHING
        now = snapshot_of(row).now
        moment = formatting.in_zone(row.next_run_at, formatting.zone_of(row.timezone), now)
        away = formatting.relative(row.next_run_at, now)
        return formatting.two_lines(moment, away if row.timezone == "UTC" else f"{away} · {row.timezone}")

    @admin.display(description=_("last run"))
    def last_run(self, row: Any) -> SafeString | str:
        run: Run | None = row.newest_run
        now = snapshot_of(row).now
        if run is None:
            return formatting.when(row.last_run_at, now)
        shown = formatting.two_lines(self._result(run, now), formatting.when(run.occurrence.planned_at, now))
        if row.last_run_at is not None and row.last_run_at > run.occurrence.fired_at:
            by_hand = _t("by hand %(when)s") % {"when": formatting.relative(row.last_run_at, now)}
            return formatting.two_lines(shown, by_hand)
        return shown

    @admin.display(description=_("next runs"))
    def next_runs(self, row: ScheduledJob) -> SafeString | str:
        try:
            recurrence = row.recurrence
            moments = next_runs(row, NEXT_RUNS, snapshot_of(row).now)
        except InvalidSchedule as error:
            return str(error)
        if not moments:
            return _t("none")
        zones = [row.timezone] if row.timezone == "UTC" else [row.timezone, "UTC"]
        now = snapshot_of(row).now
        lines = [
            (
                *(formatting.in_zone(moment, formatting.zone_of(zone), now) for zone in zones),
                formatting.relative(moment, now),
                _t("moved by a clock change") if recurrence.is_moved(moment) else "",
            )
            for moment in moments
        ]
        caption = (
            _("When it would run if it were on") if not row.enabled else _("The next five planned times")
        )
        return formatting.table((*zones, _("from now"), ""), lines, caption)

    @admin.display(description=_("last runs"))
    def last_runs(self, row: ScheduledJob) -> SafeString | str:
        page = snapshot_of(row)
        runs = last_runs(row.pk, LAST_RUNS, using=page.using)
        if not runs:
            return _t("none yet")
        lines = [
            (
                formatting.when(run.occurrence.planned_at, page.now),
                formatting.span((run.occurrence.fired_at - run.occurrence.planned_at).total_seconds()),
                self._result(run, page.now),
            )
            for run in runs
        ]
        return formatting.table(
            (_("planned"), _("fired after"), _("result")), lines, _("The last twenty planned times")
        )

    def _result(self, run: Run, now: Any) -> SafeString:
        kind, label = RESULTS[run.result(now)]
        occurrence = run.occurrence
        if occurrence.message_id is None:
            more = (
                _t("%(count)d times") % {"count": occurrence.skipped_count}
                if occurrence.skipped_count > 1
                else ""
            )
            because = formatting.cut(occurrence.skipped_because)
            return formatting.badge(kind, label, ", ".join(part for part in (because, more) if part))
        if run.message is None:
            return formatting.badge(kind, label)
        seconds = getattr(run.message, "seconds", None)
        facts = [
            "" if seconds is None else formatting.span(seconds),
            formatting.cut(getattr(run.message, "error_class", "")),
        ]
        model = "archivedmessage" if hasattr(run.message, "outcome") else "message"
        mark = formatting.badge(kind, label, ", ".join(fact for fact in facts if fact))
        return format_html("{}", formatting.link_to(self.admin_site.name, model, run.message.pk, mark))


def _switched(row: ScheduledJob, page: Snapshot) -> str:
    """Return who switched a schedule off, when, until when and why, as one line."""
    facts = [
        _t("by %(who)s") % {"who": formatting.cut(row.switched_by)} if row.switched_by else "",
        formatting.relative(row.switched_at, page.now) if row.switched_at else "",
        _t("until %(when)s") % {"when": formatting.relative(row.resume_at, page.now)}
        if row.resume_at
        else "",
        formatting.cut(row.switch_reason),
    ]
    return " · ".join(fact for fact in facts if fact)
