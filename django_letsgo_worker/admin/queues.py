"""Queues: their work, pause and resume; queues without a row are listed too.

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
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .. import queues, validation
from ..errors import InvalidMessage, LetsGoError
from ..inspection import Work
from ..models import Queue
from . import formatting
from .base import (
    FILTERS,
    LONGEST_SENTENCE,
    CappedPaginator,
    DoorChangeList,
    ReadOnlyAdmin,
    affected_on,
    snapshot,
    snapshot_of,
)
from .forms import PauseForm, ReasonActionForm


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
        if not self.has_pause_permission(row.request):
            return ""
        if row.is_paused:
            return self.button(row, "resume", _("Resume"))
        return format_html('<a class="button lg-button" href="{}">{}</a>', self._pause_url(row), _("Pause…"))

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        if not self.has_pause_permission(request):
            return []
        if row.is_paused:
            return super().buttons_of(request, row)
        return [{"url": self._pause_url(row), "label": _("Pause…"), "name": "pause", "is_link": True}]

    # -- pause and resume ------------------------------------------------------------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "pause_queue")

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

    # -- the pause page --------------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.pause_view)
        name = "django_letsgo_worker_queue_pause"
        return [path("<str:object_id>/pause/", view, name=name), *super().get_urls()]

    def _pause_url(self, row: Any) -> str:
        filters = urlencode({FILTERS: row.request.GET.urlencode()} if row.request.GET else {})
        return f"{self.url('pause', quote(row.pk))}{'?' if filters else ''}{filters}"

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the reason and the time to resume, then pause one queue."""
        if not self.has_pause_permission(request):
            raise PermissionDenied
        queue = self.find(request, unquote(object_id))
        if queue is None:
            raise Http404
        form = PauseForm(request.POST or None, now=snapshot(request).now)
        if request.method == "POST" and form.is_valid():
            by, facts = self.who(request), form.cleaned_data
            queues.pause(
                queue.name, by=by, reason=facts["reason"], resume_at=facts["resume_at"], using=self.alias
            )
            self.log(request, [queue], _t("Paused."))
            self.say(request, _t("The queue %(name)s was paused.") % {"name": queue.name})
            return self.back(request)
        context = {
            **self.admin_site.each_context(request),
            "title": _t("Pause the queue %(name)s") % {"name": formatting.cut(queue.name)},
            "opts": self.opts,
            "form": form,
            "media": self.media + form.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_letsgo_worker/pause.html", context)
