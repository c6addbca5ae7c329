"""Columns and fields of a schedule, in the list and on its page: its state, its next and last runs.

The page itself, its form and its actions are in schedules.py.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import planning
from ..errors import InvalidSchedule
from ..hints import nearest
from ..inspection import Snapshot, is_late, next_runs, pause_in_words, waits_for
from ..models import ScheduledJob
from . import formatting
from .base import DoorAdmin, snapshot_of
from .schedule_runs import last_result, last_table, next_table, own_time, strip

NEXT_RUNS = 10
LAST_RUNS = 20


class ScheduleColumns(DoorAdmin):
    """Columns and fields of schedules."""

    @admin.display(description=_("name and type"))
    def name_shown(self, row: Any) -> SafeString:
        code = formatting.badge("calm", _("code")) if row.declared_in_code else ""
        name = format_html("{} {}", formatting.cut(row.name), code)
        return formatting.two_lines(name, formatting.cut(row.type))

    @admin.display(description=_("runs"))
    def schedule_shown(self, row: Any) -> SafeString:
        rule = formatting.cut(row.schedule)
        said = format_html('<span title="{}">{}</span>', rule, self.english(row))
        return formatting.two_lines(said, format_html("<code>{}</code>", rule))

    @admin.display(description=_("in English"))
    def english(self, row: Any) -> str:
        try:
            return str(row.describe())
        except InvalidSchedule as error:
            return str(error)

    @admin.display(description=_("rule"))
    def rule(self, row: Any) -> SafeString:
        zone = formatting.cut(row.timezone)
        return format_html("{} <code>{}</code> · {}", self.english(row), formatting.cut(row.schedule), zone)

    # -- the state -------------------------------------------------------------------------------------

    @admin.display(description=_("state"))
    def state_shown(self, row: Any) -> SafeString:
        page, state = snapshot_of(row), row.state
        if state == "off":
            return formatting.badge("off", _("off"), _switched(row, page))
        if state == "broken":
            return formatting.badge("bad", _("broken"), formatting.cut(row.problem, 300))
        if state == "completed":
            return formatting.badge("calm", _("over"), _("no further runs"))
        if is_late(row, page):
            return formatting.badge("warn", _("late"), _("due, but no scheduler has fired it"))
        if not page.knows(row.type):
            return formatting.badge("bad", _("no handler"), unknown(row.type, page))
        if row.name in {one.name for one in page.failing_schedules}:
            return formatting.badge("bad", _("failing"), _("its last three messages are dead"))
        return self._on(row, page)

    def _on(self, row: Any, page: Snapshot) -> SafeString:
        """Show that a schedule is on, and well if it does what it should."""
        if page.schedules_pause is not None:
            # By whom and why is said once, above.
            return formatting.badge("off", _("paused"), _("with all schedules"))
        if not page.has_scheduler:
            # Why it has no tick is said once, above.
            return formatting.badge("calm", _("on"))
        if row.type in row.failing_types:
            return formatting.badge("warn", _("on"), _("most attempts of its type fail"))
        if row.type in page.paused_types:
            return formatting.badge("warn", _("on"), _("its type is paused"))
        return formatting.badge("good", _("on"))

    # -- runs ------------------------------------------------------------------------------------------

    @admin.display(description=_("next run"))
    def next_run(self, row: Any) -> SafeString | str:
        if not row.enabled or row.next_run_at is None:
            return formatting.NOTHING
        page = snapshot_of(row)
        now = page.now
        if page.holds_back(row.next_run_at):
            return _paused(page)
        moment = formatting.in_zone(row.next_run_at, formatting.zone_of(row.timezone), now)
        away = formatting.relative(row.next_run_at, now)
        zone = "" if row.timezone == "UTC" else formatting.cut(row.timezone)
        facts = [away, zone, own_time(row.next_run_at, row.timezone)]
        return formatting.two_lines(moment, " · ".join(fact for fact in facts if fact))

    @admin.display(description=_("last 20 runs"))
    def history(self, row: Any) -> SafeString | str:
        now = snapshot_of(row).now
        if not row.newest_runs:
            return formatting.when(row.last_run_at, now)
        shown = format_html(
            '{}<div class="lg-why">{}</div>',
            strip(row.newest_runs, now, LAST_RUNS),
            last_result(self.admin_site.name, row.newest_runs, now),
        )
        if row.last_run_at is not None and row.last_run_at > row.newest_runs[0].occurrence.fired_at:
            by_hand = format_html(gettext("by hand {when}"), when=formatting.when(row.last_run_at, now))
            return formatting.two_lines(shown, by_hand)
        return shown

    @admin.display(description=_("runs so far"))
    def runs_shown(self, row: Any) -> str:
        if row.max_runs is None:
            return str(row.runs or formatting.NOTHING)
        return gettext("%(count)d of %(most)d") % {"count": row.runs, "most": row.max_runs}

    @admin.display(description=_("waits"))
    def waiting_shown(self, row: Any) -> SafeString | str:
        """Show the message that is held back, and which one it waits for."""
        if row.waiting_message_id is None:
            return formatting.NOTHING
        site, earlier = self.admin_site.name, waits_for(row, using=self.alias)
        waiting = formatting.link_to(site, "message", row.waiting_message_id, row.waiting_message_id)
        if earlier is None:
            return format_html(gettext("one run, message {waiting}, waits to start"), waiting=waiting)
        said = gettext("one run, message {waiting}, waits behind message {earlier}")
        return format_html(
            said, waiting=waiting, earlier=formatting.link_to(site, "message", earlier, earlier)
        )

    @admin.display(description=_("next runs"))
    def next_runs(self, row: ScheduledJob) -> SafeString | str:
        try:
            return next_runs_shown(row, snapshot_of(row))
        except InvalidSchedule as error:
            return str(error)

    @admin.display(description=_("last runs"))
    def last_runs(self, row: Any) -> SafeString | str:
        runs, now = row.newest_runs, snapshot_of(row).now
        if not runs:
            return gettext("none yet")
        drawn = strip(runs, now, LAST_RUNS)
        return format_html("{}{}", drawn, last_table(self.admin_site.name, runs, now))


def said_of_pause(page: Snapshot) -> str:
    """Return the sentence of the banner on pages of schedules while all are paused; empty otherwise."""
    pause = page.schedules_pause
    return "" if pause is None else pause_in_words(pause, page.now)


def next_runs_shown(job: ScheduledJob, page: Snapshot) -> SafeString | str:
    """List the next runs of a schedule as it is, saved or not. Raises InvalidSchedule."""
    moments = next_runs(job, NEXT_RUNS, page.now)
    if not moments:
        return gettext("none")
    caption = _("The next planned times") if job.enabled else _("When it would run if it were on")
    if job.enabled and page.schedules_pause is not None:
        caption = _("The next planned times; none runs while all schedules are paused")
    excluded = {moment: planning.exclusion(job, moment) for moment in moments}
    return next_table(job.recurrence, moments, page.now, caption, excluded)


def unknown(type: str, page: Snapshot) -> str:
    """Return the sentence about a type that nobody has a handler for, with the known one that is like it."""
    close = nearest(type, page.types_known)
    if close is None:
        return gettext("no handler for this type is known here")
    said = gettext("no handler for this type is known here: did you mean %(type)s?")
    return said % {"type": formatting.cut(close)}


def _paused(page: Snapshot) -> SafeString:
    """Return what stands in the place of a run that a pause of all schedules holds back."""
    end = page.schedules_pause and page.schedules_pause.resume_at
    until = format_html(gettext("until {when}"), when=formatting.when(end, page.now)) if end else ""
    return formatting.two_lines(gettext("paused"), until)


def _switched(row: ScheduledJob, page: Snapshot) -> SafeString:
    """Return who switched a schedule off, when, until when and why, as one line."""
    until = row.resume_at and formatting.in_zone(row.resume_at, timezone.get_current_timezone(), page.now)
    facts = [
        gettext("by %(who)s") % {"who": formatting.cut(row.switched_by)} if row.switched_by else "",
        formatting.when(row.switched_at, page.now) if row.switched_at else "",
        format_html(gettext("until {when}"), when=until) if until else "",
        formatting.cut(row.switch_reason),
    ]
    return format_html_join(" · ", "{}", ((fact,) for fact in facts if fact))
