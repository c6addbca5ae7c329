"""Queues: their work, pause, resume and purge; queues without a row are listed too.

The counting is done in inspection.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext, ngettext_lazy
from django.utils.translation import gettext_lazy as _

from .. import queues
from ..inspection import QueueFacts, Work, count_capped, facts_of_queues, history_lately, queue_names
from ..models import Message, Pause, Queue
from . import formatting
from .base import affected_on, snapshot, snapshot_of
from .forms import PurgeForm
from .pausing import PausingAdmin

# So many types stand on the page of a queue: those of which most ended.
MOST_TYPES = 50


@admin.register(Queue)
class QueueAdmin(PausingAdmin):
    """Queues by name; counts are exact up to ten thousand."""

    list_display = (
        "state", "name_shown", "ready", "running", "retrying", "later", "dead", "ended", "served", "switch",
    )  # fmt: skip
    facts = ("state_whole", "ready", "running", "retrying", "later", "dead", "ended", "served")
    fieldsets = (
        (None, {"fields": facts}),
        (_("Types, in the last hour"), {"fields": ("types_shown",), "classes": ("lg-whole", "lg-one")}),
    )
    readonly_fields = (*facts, "types_shown")
    kind = "queue"
    pause_title = _("Pause the queue %(name)s")
    pause_lead = _("Workers claim nothing more from a paused queue; running handlers finish.")
    was_paused = _("The queue %(name)s was paused.")
    were_paused = ngettext_lazy("%(count)d queue was paused.", "%(count)d queues were paused.", "count")
    were_resumed = ngettext_lazy("%(count)d queue was resumed.", "%(count)d queues were resumed.", "count")

    # -- reading ---------------------------------------------------------------------------------------

    def names(self, request: HttpRequest) -> Collection[str]:
        return queue_names(snapshot(request))

    def row_named(self, request: HttpRequest, name: str) -> Queue:
        return snapshot(request).queue_rows.get(name) or Queue(name=name)

    def pause_of(self, row: Any) -> Pause | None:
        return row if row.is_paused else None

    def pause_one(self, name: str, **facts: Any) -> object:
        return queues.pause(name, **facts, using=self.alias)

    def resume_one(self, name: str, by: str) -> bool:
        return queues.resume(name, using=self.alias)

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        found = {one.row.name: one for one in facts_of_queues(snapshot(request), [row.name for row in rows])}
        for row in rows:
            row.facts = found[row.name]

    # -- columns ---------------------------------------------------------------------------------------

    def mark(self, row: Any, longest: int) -> SafeString:
        if row.is_paused:
            return self.paused_mark(row, row)
        problem = affected_on(row.request).queues.get(row.name)
        if problem is not None:
            return formatting.badge("warn", _("open"), formatting.cut(problem.sentence, longest))
        return formatting.badge("good", _("open"))

    @admin.display(description=_("name"))
    def name_shown(self, row: Any) -> SafeString:
        return formatting.link(self.url("change", quote(row.pk)), formatting.cut(row.name))

    @admin.display(description=_("ready, oldest"))
    def ready(self, row: Any) -> SafeString | str:
        work: Work = row.facts.work
        oldest = work.oldest_ready
        age = formatting.when(oldest, snapshot_of(row).now) if oldest else ""
        return formatting.two_lines(self._messages(row, work.ready, "ready"), age)

    @admin.display(description=_("running"))
    def running(self, row: Any) -> SafeString | str:
        return self._messages(row, row.facts.work.running, "running")

    @admin.display(description=_("retrying"))
    def retrying(self, row: Any) -> SafeString | str:
        facts: QueueFacts = row.facts
        share = facts.failed_share
        said = gettext("%(share)s failed") % {"share": formatting.percent(share)} if share else ""
        return formatting.two_lines(self._messages(row, facts.work.retrying, "retrying"), said)

    @admin.display(description=_("later"))
    def later(self, row: Any) -> SafeString | str:
        return self._messages(row, row.facts.work.scheduled, "scheduled")

    @admin.display(description=_("dead"))
    def dead(self, row: Any) -> SafeString | str:
        facts: QueueFacts = row.facts
        if not facts.dead:
            return "0"
        return formatting.link(self.pages_of_messages("deadletter", queue=row.name), str(facts.dead))

    def _messages(self, row: Any, count: int, state: str) -> SafeString | str:
        if not count:
            return "0"
        return formatting.link(self.pages_of_messages("message", queue=row.name, state=state), str(count))

    @admin.display(description=_("ended a minute"))
    def ended(self, row: Any) -> str:
        facts: QueueFacts = row.facts
        return formatting.per_minute(facts.per_minute)

    @admin.display(description=_("workers"))
    def served(self, row: Any) -> SafeString | str:
        facts: QueueFacts = row.facts
        if facts.workers:
            return str(facts.workers)
        return formatting.badge("warn", "0", _("no worker serves it"))

    @admin.display(description=_("types"))
    def types_shown(self, row: Any) -> SafeString | str:
        page = snapshot_of(row)
        lately = history_lately(page, queue=row.name).rates(by=["type"])
        rates = {rate.type or "": rate for rate in lately}
        due = {one.type: one.count for one in page.due if one.queue == row.name}
        names = sorted({*rates, *due}, key=lambda name: -rates[name].ended if name in rates else 0)
        if not names:
            return formatting.NOTHING
        lines = []
        for name in names[:MOST_TYPES]:
            link = formatting.link_to(self.admin_site.name, "messagetype", quote(name), formatting.cut(name))
            lines.append((link, due.get(name, 0), *formatting.rate_cells(rates.get(name))))
        headings = (_("type"), _("due"), *formatting.RATE_HEADINGS)
        return formatting.table(headings, lines, _("What is due now, and the rates of the last hour."))

    # -- purge -----------------------------------------------------------------------------------------

    def links_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        offered = super().links_of(request, row)
        work = row.facts.work
        if (work.ready or work.later) and self.has_purge_permission(request):
            offered.append(self.link_to_page(row, "purge", _("Purge…")))
        return offered

    def has_purge_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "purge_queue")

    def own_views(self) -> list[tuple[str, Callable[..., HttpResponse]]]:
        return [*super().own_views(), ("purge", self.purge_view)]

    def purge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the queue's name, then delete its live messages."""
        queue = self.found(request, object_id, is_allowed=self.has_purge_permission(request))
        form = PurgeForm(request.POST or None, queue=queue.name)
        if request.method == "POST" and form.is_valid():
            deleted = queues.purge(queue.name, using=self.alias)
            said = ngettext("%(count)d message was deleted", "%(count)d messages were deleted", deleted)
            said %= {"count": deleted}
            reason = form.cleaned_data["reason"]
            self.log(
                request,
                [queue],
                gettext("Purged: %(said)s.") % {"said": f"{said}: {reason}" if reason else said},
            )
            self.say(
                request, gettext("%(said)s from the queue %(name)s.") % {"said": said, "name": queue.name}
            )
            return self.back(request)
        count = count_capped(Message.objects.using(self.alias).filter(queue=queue.name))
        title = gettext("Purge the queue %(name)s") % {"name": formatting.cut(queue.name)}
        lead = _what_goes(count, queue.name)
        return self.ask(request, form, object=queue, title=title, lead=lead, verb=_("Delete the messages"))


def _what_goes(count: int, name: str) -> str:
    """Return what a purge does to so many messages, and how to confirm it."""
    said = ngettext(
        "This deletes %(count)s message, even if it runs. Nothing is archived or can be undone.",
        "This deletes %(count)s messages, even those that run. Nothing is archived or can be undone.",
        int(count),
    )
    asked = gettext("To go on, type the name of the queue: %(name)s.")
    return f"{said} {asked}" % {"count": count, "name": name}
