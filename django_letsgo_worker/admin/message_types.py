"""Types: what waits of each, how it went lately, who knows it; pause and resume.

What is true of a type is found in inspection.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from .. import messages
from ..inspection import TypeFacts, facts_of_types, history_lately, short_class, type_names
from ..models import Failure, MessageType, Pause, ScheduledJob
from . import formatting
from .base import APP, affected_on, snapshot, snapshot_of
from .pausing import PausingAdmin

# The marks of the problems that a type itself has.
MARKS = {
    "type_failing": ("bad", _("fails")),
    "type_unknown": ("warn", _("unknown")),
    "backlog_growing": ("warn", _("late")),
}
# So many failures and schedules stand on the page of a type, and so many names in a cell.
MOST_LISTED, MOST_NAMES = 20, 3


@admin.register(MessageType)
class MessageTypeAdmin(PausingAdmin):
    """Types that are registered here or in a living worker, wait, are paused, or ended in the last week."""

    list_display = (
        "state", "name_shown", "waiting", "ended", "failed", "run", "wait", "last_success", "known_by",
        "switch",
    )  # fmt: skip
    facts = (
        "state_whole",
        "queues_shown",
        "waiting",
        "ended",
        "failed",
        "run",
        "wait",
        "last_success",
        "known_by",
    )
    fieldsets = (
        (None, {"fields": facts}),
        (_("Failures"), {"fields": ("failures_shown",), "classes": ("lg-whole", "lg-one")}),
        (_("Schedules"), {"fields": ("schedules_shown",), "classes": ("lg-whole", "lg-one")}),
        (_("Queues, in the last hour"), {"fields": ("rates_shown",), "classes": ("lg-whole", "lg-one")}),
    )
    readonly_fields = (*facts, "failures_shown", "schedules_shown", "rates_shown")
    kind = "type"
    pause_title = _("Pause the type %(name)s")
    pause_lead = _("Workers stop claiming messages of a paused type; handlers that are running finish.")
    was_paused = _("The type %(name)s was paused.")
    were_paused = ngettext_lazy("%(count)d type was paused.", "%(count)d types were paused.", "count")
    were_resumed = ngettext_lazy("%(count)d type was resumed.", "%(count)d types were resumed.", "count")

    # -- reading ---------------------------------------------------------------------------------------

    def names(self, request: HttpRequest) -> Collection[str]:
        return type_names(snapshot(request))

    def row_named(self, request: HttpRequest, name: str) -> MessageType:
        return MessageType(name=name)

    def pause_of(self, row: Any) -> Pause | None:
        facts: TypeFacts = row.facts
        return facts.pause

    def pause_one(self, name: str, **facts: Any) -> object:
        return messages.pause_type(name, **facts, using=self.alias)

    def resume_one(self, name: str, by: str) -> bool:
        return messages.resume_type(name, by=by, using=self.alias)

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        found = {one.name: one for one in facts_of_types(snapshot(request), [row.name for row in rows])}
        for row in rows:
            row.facts = found[row.name]

    # -- columns ---------------------------------------------------------------------------------------

    def mark(self, row: Any, longest: int) -> SafeString:
        facts: TypeFacts = row.facts
        if facts.pause is not None:
            return self.paused_mark(row, facts.pause)
        problem = affected_on(row.request).types.get(row.name)
        if problem is not None:
            kind, label = MARKS[problem.code]
            return formatting.badge(kind, label, formatting.cut(problem.sentence, longest))
        return formatting.badge(*self._standing(row))

    def _standing(self, row: Any) -> tuple[str, Any, Any]:
        """Return the mark of a type that no problem is about, and why where it is not good."""
        facts: TypeFacts = row.facts
        page = snapshot_of(row)
        queues = sorted(queue for queue, type in page.waiting if type == row.name)
        unserved = [queue for queue in queues if not page.workers_of(queue)]
        paused = [queue for queue in queues if queue in page.paused]
        if queues and not page.workers:
            return "warn", _("waits"), _("no worker is running")
        if unserved:
            return "warn", _("waits"), gettext("no worker serves %(queues)s") % {"queues": _some(unserved)}
        if paused:
            return "off", _("waits"), gettext("paused: %(queues)s") % {"queues": _some(paused)}
        if not facts.is_known:
            return "calm", _("unknown"), _("no running code knows it")
        if not facts.workers:
            return "calm", _("open"), _("no running worker knows it")
        return "good", _("open"), ""

    @admin.display(description=_("name"))
    def name_shown(self, row: Any) -> SafeString:
        link = formatting.link(self.url("change", quote(row.pk)), formatting.cut(row.name))
        return formatting.two_lines(link, _some(row.facts.queues))

    @admin.display(description=_("queues"))
    def queues_shown(self, row: Any) -> SafeString | str:
        site = self.admin_site.name
        links = ((formatting.link_to(site, "queue", quote(name), name),) for name in row.facts.queues)
        return format_html_join(", ", "{}", links) or formatting.NOTHING

    @admin.display(description=_("waiting"))
    def waiting(self, row: Any) -> SafeString | str:
        facts: TypeFacts = row.facts
        if not facts.waiting:
            return "0"
        return formatting.link(self.pages_of_messages("message", type=row.name), str(facts.waiting))

    @admin.display(description=_("ended a minute"))
    def ended(self, row: Any) -> str:
        return formatting.rate_cells(row.facts.rate)[0]

    @admin.display(description=_("failed"))
    def failed(self, row: Any) -> str:
        return formatting.rate_cells(row.facts.rate)[1]

    @admin.display(description=_("run p50 / p95"))
    def run(self, row: Any) -> str:
        return formatting.rate_cells(row.facts.rate)[2]

    @admin.display(description=_("wait p95"))
    def wait(self, row: Any) -> str:
        return formatting.rate_cells(row.facts.rate)[3]

    @admin.display(description=_("last success"))
    def last_success(self, row: Any) -> SafeString | str:
        facts: TypeFacts = row.facts
        page = snapshot_of(row)
        if facts.last_success is None and any(one.type == row.name for one in page.met):
            return gettext("none in 7 days")
        return formatting.when(facts.last_success, page.now)

    @admin.display(description=_("workers"))
    def known_by(self, row: Any) -> SafeString | str:
        facts: TypeFacts = row.facts
        return formatting.two_lines(len(facts.workers), _some(facts.workers))

    # -- the page of one -------------------------------------------------------------------------------

    @admin.display(description=_("failures"))
    def failures_shown(self, row: Any) -> SafeString | str:
        if not row.request.user.has_perm(f"{APP}.view_failure"):
            return formatting.NOTHING
        rows = Failure.objects.using(self.alias).filter(type=row.name).defer("last_traceback")
        now = snapshot_of(row).now
        return self._list(
            (
                formatting.link_to(self.admin_site.name, "failure", one.pk, short_class(one.error_class)),
                formatting.cut(one.message),
                formatting.when(one.last_at, now),
            )
            for one in rows.order_by("-last_at", "-pk")[:MOST_LISTED]
        )

    @admin.display(description=_("schedules"))
    def schedules_shown(self, row: Any) -> SafeString | str:
        if not row.request.user.has_perm(f"{APP}.view_scheduledjob"):
            return formatting.NOTHING
        rows = ScheduledJob.objects.using(self.alias).filter(type=row.name).defer("payload")
        now = snapshot_of(row).now
        return self._list(
            (
                formatting.link_to(self.admin_site.name, "scheduledjob", one.pk, formatting.cut(one.name)),
                formatting.cut(one.schedule),
                formatting.when(one.next_run_at, now) if one.enabled else gettext("off"),
            )
            for one in rows.order_by("name")[:MOST_LISTED]
        )

    def _list(self, lines: Any) -> SafeString | str:
        found = format_html_join("", '<li>{} <span class="lg-why">{} · {}</span></li>', lines)
        return format_html('<ul class="lg-plain">{}</ul>', found) if found else formatting.NOTHING

    @admin.display(description=_("queues"))
    def rates_shown(self, row: Any) -> SafeString | str:
        page, facts = snapshot_of(row), row.facts
        if len(facts.queues) < 2:
            # The facts say it all.
            return formatting.NOTHING
        lately = history_lately(page, types=[row.name]).rates(by=["queue"])
        rates = {rate.queue or "": rate for rate in lately}
        waiting = {queue: count for (queue, type), count in page.waiting.items() if type == row.name}
        lines = [
            (
                formatting.link_to(self.admin_site.name, "queue", quote(name), formatting.cut(name)),
                waiting.get(name, 0),
                *formatting.rate_cells(rates.get(name)),
            )
            for name in sorted({*rates, *waiting})
        ]
        headings = (_("queue"), _("waiting"), *formatting.RATE_HEADINGS)
        caption = _("What waits now, and the rates of the last hour.")
        return formatting.table(headings, lines, caption) if lines else formatting.NOTHING


def _some(names: Collection[str]) -> str:
    """Return the first few names, and how many more there are."""
    shown = ", ".join(formatting.cut(name) for name in list(names)[:MOST_NAMES])
    return shown if len(names) <= MOST_NAMES else f"{shown} +{len(names) - MOST_NAMES}"
