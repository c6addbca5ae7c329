"""Queues: their work, pause, resume and purge; queues without a row are listed too.

The counting is done in inspection.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.urls.resolvers import URLPattern
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .. import queues, validation
from ..errors import InvalidMessage, LetsGoError
from ..inspection import Work, count_capped
from ..models import Message, Queue
from . import formatting
from .base import (
    FILTERS,
    LONGEST_SENTENCE,
    ReadOnlyAdmin,
    affected_on,
    snapshot,
    snapshot_of,
)
from .forms import PauseForm, PurgeForm, ReasonActionForm
from .lists import CappedPaginator, DoorChangeList


class QueueChangeList(DoorChangeList):
    """All queues that have messages or a row."""

    def get_results(self, request: HttpRequest) -> None:
        rows = {queue.name: queue for queue in self.queryset}
        names = {*rows, *(lane.queue for lane in snapshot(request).lanes)}
        word = self.query.strip().lower()
        found = [rows.get(name) or Queue(name=name) for name in sorted(names) if word in name.lower()]
        self.paginator = CappedPaginator(found, self.list_per_page)
        self.result_count, self.full_result_count = len(found), None
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = len(found) <= self.list_max_show_all
        self.multi_page = len(found) > self.list_per_page
        is_whole = (self.show_all and self.can_show_all) or not self.multi_page
        shown = found if is_whole else self.paginator.get_page(self.page_num).object_list
        self.model_admin.look_at(request, shown)  # type: ignore[attr-defined]
        self.result_list = shown


@admin.register(Queue)
class QueueAdmin(ReadOnlyAdmin):
    """Queues by name; the number of ready messages is exact up to ten thousand."""

    list_display = ("name_shown", "state", "ready", "oldest", "later", "served", "switch")
    list_display_links = None
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("pause", "resume")
    buttons = {"resume": _("Resume")}
    action_form = ReasonActionForm
    fields = ("name_shown", "state", "ready", "oldest", "later", "served")
    readonly_fields = fields

    # -- reading ---------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DoorChangeList]:
        return QueueChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset, False

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        work = snapshot(request).work([row.name for row in rows], by_state=False)
        for row in rows:
            row.work = work[row.name]

    def find(self, request: HttpRequest, object_id: str) -> Queue | None:
        try:
            name = validation.check_name("queue", object_id)
        except InvalidMessage:
            return None
        found: Queue | None = self.get_queryset(request).filter(pk=name).first()
        if found is None and name in {lane.queue for lane in snapshot(request).lanes}:
            return Queue(name=name)
        return found

    def chosen(self, request: HttpRequest, object_id: str) -> list[str]:
        return [object_id]

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("queue"))
    def name_shown(self, row: Any) -> SafeString:
        return formatting.link(self.url("change", quote(row.pk)), formatting.cut(row.name))

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        if not row.is_paused:
            problem = affected_on(row.request).queues.get(row.name)
            if problem is not None:
                return formatting.badge("warn", _("open"), formatting.cut(problem.sentence, LONGEST_SENTENCE))
            return formatting.badge("good", _("open"))
        now = snapshot_of(row).now
        until = (
            _t("until %(when)s") % {"when": formatting.relative(row.resume_at, now)} if row.resume_at else ""
        )
        by = _t("by %(who)s") % {"who": formatting.cut(row.paused_by)} if row.paused_by else ""
        facts = [by, formatting.relative(row.paused_at, now), until, formatting.cut(row.pause_reason)]
        return formatting.badge("off", _("paused"), " · ".join(fact for fact in facts if fact))

    @admin.display(description=_("ready"))
    def ready(self, row: Any) -> SafeString | str:
        work: Work = row.work
        return self._messages(row, work.ready, "ready")

    @admin.display(description=_("running or later"))
    def later(self, row: Any) -> SafeString | str:
        work: Work = row.work
        return self._messages(row, work.later, "")

    def _messages(self, row: Any, count: int, state: str) -> SafeString | str:
        if not count:
            return "0"
        query = urlencode({"queue": row.name, **({"state": state} if state else {})})
        url = reverse("admin:django_letsgo_worker_message_changelist", current_app=self.admin_site.name)
        return formatting.link(f"{url}?{query}", str(count))

    @admin.display(description=_("oldest ready"))
    def oldest(self, row: Any) -> SafeString | str:
        work: Work = row.work
        return formatting.when(work.oldest_ready, snapshot_of(row).now)

    @admin.display(description=_("workers"))
    def served(self, row: Any) -> SafeString | str:
        count = snapshot_of(row).workers_of(row.name)
        return str(count) if count else formatting.badge("warn", "0", _("no worker serves it"))

    @admin.display(description="")
    def switch(self, row: Any) -> SafeString | str:
        links = [
            format_html('<a class="button lg-button" href="{}">{}</a>', link["url"], link["label"])
            for link in self._links_of(row.request, row)
        ]
        if row.is_paused and self.has_pause_permission(row.request):
            links.insert(0, self.button(row, "resume", _("Resume")))
        return format_html_join(" ", "{}", ((link,) for link in links))

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        may_resume = row.is_paused and self.has_pause_permission(request)
        return [*(super().buttons_of(request, row) if may_resume else ()), *self._links_of(request, row)]

    def _links_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the links to pages that ask before they act."""
        offered = []
        if not row.is_paused and self.has_pause_permission(request):
            offered.append(("pause", _("Pause…")))
        if (row.work.ready or row.work.later) and self.has_purge_permission(request):
            offered.append(("purge", _("Purge…")))
        return [
            {"url": self._page_url(row, name), "label": label, "name": name, "is_link": True}
            for name, label in offered
        ]

    # -- pause and resume ------------------------------------------------------------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "pause_queue")

    def has_purge_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "purge_queue")

    @admin.action(description=_("Pause selected queues"), permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: Any) -> None:
        reason = request.POST.get("reason", "").strip()[:255]
        by = self.who(request)

        def pause(name: str) -> object:
            return queues.pause(name, by=by, reason=reason, using=self.alias)

        done = self._each(request, queryset, pause, _t("Paused."))
        said = ngettext("%(count)d queue was paused.", "%(count)d queues were paused.", done)
        self.say(request, said % {"count": done})

    @admin.action(description=_("Resume selected queues"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        done = self._each(
            request, queryset, lambda name: queues.resume(name, using=self.alias), _t("Resumed.")
        )
        said = ngettext("%(count)d queue was resumed.", "%(count)d queues were resumed.", done)
        self.say(request, said % {"count": done}, notices.SUCCESS if done else notices.WARNING)

    def _each(self, request: HttpRequest, chosen: Any, verb: Callable[[str], object], what: str) -> int:
        """Call a verb for each selected queue, with or without a row; return how many it changed."""
        self.demand(request, "pause_queue")
        names = chosen if isinstance(chosen, list) else self._names(request)
        done = []
        for name in names:
            try:
                if verb(name):
                    done.append(Queue(name=name))
            except LetsGoError as error:
                self.say(request, str(error), notices.ERROR)
        self.log(request, done, what)
        return len(done)

    def _names(self, request: HttpRequest) -> list[str]:
        if request.POST.get("select_across") == "1":
            return queues.names(using=self.alias)
        return request.POST.getlist(ACTION_CHECKBOX_NAME)

    # -- the pages of pause and purge ------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                f"<str:object_id>/{name}/",
                self.admin_site.admin_view(view),
                name=f"django_letsgo_worker_queue_{name}",
            )
            for name, view in (("pause", self.pause_view), ("purge", self.purge_view))
        ]
        return [*own, *super().get_urls()]

    def _page_url(self, row: Any, page: str) -> str:
        filters = urlencode({FILTERS: row.request.GET.urlencode()} if row.request.GET else {})
        return f"{self.url(page, quote(row.pk))}{'?' if filters else ''}{filters}"

    def _found(self, request: HttpRequest, object_id: str, *, is_allowed: bool) -> Queue:
        if not is_allowed:
            raise PermissionDenied
        queue = self.find(request, unquote(object_id))
        if queue is None:
            raise Http404
        return queue

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the reason and the time to resume, then pause one queue."""
        queue = self._found(request, object_id, is_allowed=self.has_pause_permission(request))
        form = PauseForm(request.POST or None, now=snapshot(request).now)
        if request.method == "POST" and form.is_valid():
            by, facts = self.who(request), form.cleaned_data
            queues.pause(
                queue.name, by=by, reason=facts["reason"], resume_at=facts["resume_at"], using=self.alias
            )
            self.log(request, [queue], _t("Paused."))
            self.say(request, _t("The queue %(name)s was paused.") % {"name": queue.name})
            return self.back(request)
        title = _t("Pause the queue %(name)s") % {"name": formatting.cut(queue.name)}
        lead = _t("Workers claim nothing more from a paused queue; running handlers finish.")
        return self._ask(request, form, title=title, lead=lead, verb=_t("Pause"))

    def purge_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the queue's name, then delete its live messages."""
        queue = self._found(request, object_id, is_allowed=self.has_purge_permission(request))
        form = PurgeForm(request.POST or None, queue=queue.name)
        if request.method == "POST" and form.is_valid():
            deleted = queues.purge(queue.name, using=self.alias)
            said = ngettext("%(count)d message was deleted", "%(count)d messages were deleted", deleted)
            said %= {"count": deleted}
            reason = form.cleaned_data["reason"]
            self.log(
                request, [queue], _t("Purged: %(said)s.") % {"said": f"{said}: {reason}" if reason else said}
            )
            self.say(request, _t("%(said)s from the queue %(name)s.") % {"said": said, "name": queue.name})
            return self.back(request)
        count = count_capped(Message.objects.using(self.alias).filter(queue=queue.name))
        title = _t("Purge the queue %(name)s") % {"name": formatting.cut(queue.name)}
        lead = _what_goes(count, queue.name)
        return self._ask(request, form, title=title, lead=lead, verb=_t("Delete the messages"))

    def _ask(self, request: HttpRequest, form: PauseForm | PurgeForm, **texts: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            **texts,
            "opts": self.opts,
            "form": form,
            "media": self.media + form.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_letsgo_worker/queue_form.html", context)


def _what_goes(count: int, name: str) -> str:
    """Return what a purge does to so many messages, and how to confirm it."""
    said = ngettext(
        "This deletes %(count)s message, even if it runs. Nothing is archived or can be undone.",
        "This deletes %(count)s messages, even those that run. Nothing is archived or can be undone.",
        int(count),
    )
    asked = _t("To go on, type the name of the queue: %(name)s.")
    return f"{said} {asked}" % {"count": count, "name": name}
