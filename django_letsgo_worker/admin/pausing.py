"""The base of queues and types: lists of names, few of which have a row, and their pause and resume.

What a queue or a type is, and the verbs, stand with their pages.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.forms import Form
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.urls.resolvers import URLPattern
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import validation
from ..errors import InvalidMessage, LetsGoError
from ..models import Pause
from . import formatting
from .base import APP, FILTERS, ReadOnlyAdmin, snapshot, snapshot_of
from .forms import PauseForm, ReasonActionForm
from .lists import CappedPaginator, DoorChangeList

# A problem's sentence beside a mark, in characters: in a list, and on the page of one.
LONGEST_IN_A_CELL, LONGEST_SENTENCE = 90, 1_000


class NamesChangeList(DoorChangeList):
    """All names that the page knows, with a row or without."""

    def get_results(self, request: HttpRequest) -> None:
        page: Any = self.model_admin
        names = page.listed(request)
        self.paginator = CappedPaginator(names, self.list_per_page)
        self.result_count, self.full_result_count = len(names), None
        self.show_full_result_count, self.show_admin_actions = False, True
        self.can_show_all = len(names) <= self.list_max_show_all
        self.multi_page = len(names) > self.list_per_page
        is_whole = (self.show_all and self.can_show_all) or not self.multi_page
        shown = names if is_whole else self.paginator.get_page(self.page_num).object_list
        rows = [page.row_named(request, name) for name in shown]
        page.look_at(request, rows)
        self.result_list = rows


class PausingAdmin(ReadOnlyAdmin):
    """A page of names that can be paused; a row tells of the pause."""

    list_display_links = None
    search_fields = ("name",)
    ordering = ("name",)
    actions = ("pause", "resume")
    buttons = {"resume": _("Resume")}
    action_form = ReasonActionForm
    # What names are checked as: queue or type.
    kind = ""
    pause_title: Any
    pause_lead: Any
    was_paused: Any
    # What is said of a number of them; each counts by `count`.
    were_paused: Any
    were_resumed: Any

    # -- what each page defines ------------------------------------------------------------------------

    def names(self, request: HttpRequest) -> Collection[str]:
        """Return all names that are listed."""
        raise NotImplementedError

    def row_named(self, request: HttpRequest, name: str) -> Any:
        """Return the row of a name, or one that is not saved."""
        raise NotImplementedError

    def pause_of(self, row: Any) -> Pause | None:
        """Return the pause of a row, None where it is not paused."""
        raise NotImplementedError

    def mark(self, row: Any, longest: int) -> SafeString:
        """Return the state of a row, with a reason of at most so many characters."""
        raise NotImplementedError

    def pause_one(self, name: str, **facts: Any) -> object:
        raise NotImplementedError

    def resume_one(self, name: str, by: str) -> bool:
        raise NotImplementedError

    # -- reading ---------------------------------------------------------------------------------------

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DoorChangeList]:
        return NamesChangeList

    def get_search_results(self, request: HttpRequest, queryset: Any, search_term: str) -> tuple[Any, bool]:
        return queryset, False

    def listed(self, request: HttpRequest) -> list[str]:
        """Return the names that fit the search, sorted."""
        word = request.GET.get("q", "").strip().lower()
        return sorted(name for name in self.names(request) if word in name.lower())

    def find(self, request: HttpRequest, object_id: str) -> Any:
        try:
            name = validation.check_name(self.kind, object_id)
        except InvalidMessage:
            return None
        return self.row_named(request, name) if name in self.names(request) else None

    def chosen(self, request: HttpRequest, object_id: str) -> list[str]:
        return [object_id]

    def pages_of_messages(self, model: str, **filters: str) -> str:
        """Return the address of a list of messages."""
        page = reverse(f"admin:{APP}_{model}_changelist", current_app=self.admin_site.name)
        return f"{page}?{urlencode(filters)}"

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("state"))
    def state(self, row: Any) -> SafeString:
        return self.mark(row, LONGEST_IN_A_CELL)

    @admin.display(description=_("state"))
    def state_whole(self, row: Any) -> SafeString:
        return self.mark(row, LONGEST_SENTENCE)

    def paused_mark(self, row: Any, pause: Pause) -> SafeString:
        """Return the mark of a pause: who, since when, until when and why."""
        now = snapshot_of(row).now
        until = formatting.relative(pause.resume_at, now) if pause.resume_at else ""
        facts = [
            gettext("by %(who)s") % {"who": formatting.cut(pause.paused_by)} if pause.paused_by else "",
            formatting.relative(pause.paused_at, now) if pause.paused_at else "",
            gettext("until %(when)s") % {"when": until} if until else "",
            formatting.cut(pause.pause_reason),
        ]
        return formatting.badge("off", _("paused"), " · ".join(fact for fact in facts if fact))

    @admin.display(description="")
    def switch(self, row: Any) -> SafeString | str:
        links = [
            format_html('<a class="button lg-button" href="{}">{}</a>', link["url"], link["label"])
            for link in self.links_of(row.request, row)
        ]
        if self.pause_of(row) and self.has_pause_permission(row.request):
            links.insert(0, self.button(row, "resume", _("Resume")))
        return format_html_join(" ", "{}", ((link,) for link in links))

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        may_resume = self.pause_of(row) and self.has_pause_permission(request)
        return [*(super().buttons_of(request, row) if may_resume else ()), *self.links_of(request, row)]

    def links_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the links to pages that ask before they act."""
        if self.pause_of(row) or not self.has_pause_permission(request):
            return []
        return [self.link_to_page(row, "pause", _("Pause…"))]

    def link_to_page(self, row: Any, page: str, label: Any) -> dict[str, Any]:
        filters = urlencode({FILTERS: row.request.GET.urlencode()} if row.request.GET else {})
        url = f"{self.url(page, quote(row.pk))}{'?' if filters else ''}{filters}"
        return {"url": url, "label": label, "name": page, "is_link": True}

    # -- pause and resume ------------------------------------------------------------------------------

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.may(request, f"pause_{self.kind}")

    @admin.action(description=_("Pause what is selected"), permissions=["pause"])
    def pause(self, request: HttpRequest, queryset: Any) -> None:
        reason, by = request.POST.get("reason", "").strip()[:255], self.who(request)
        done = self._each(
            request, queryset, lambda name: self.pause_one(name, by=by, reason=reason), gettext("Paused.")
        )
        self.say(request, self.were_paused % {"count": done})

    @admin.action(description=_("Resume what is selected"), permissions=["pause"])
    def resume(self, request: HttpRequest, queryset: Any) -> None:
        by = self.who(request)
        done = self._each(request, queryset, lambda name: self.resume_one(name, by), gettext("Resumed."))
        self.say(request, self.were_resumed % {"count": done}, notices.SUCCESS if done else notices.WARNING)

    def _each(self, request: HttpRequest, chosen: Any, verb: Callable[[str], object], what: str) -> int:
        """Call a verb for each selected name, with or without a row; return how many it changed."""
        self.demand(request, f"pause_{self.kind}")
        names: Sequence[str] = chosen if isinstance(chosen, list) else self._selected(request)
        done = []
        for name in names:
            try:
                if verb(name):
                    done.append(self.model(name=name))
            except LetsGoError as error:
                self.say(request, str(error), notices.ERROR)
        self.log(request, done, what)
        return len(done)

    def _selected(self, request: HttpRequest) -> list[str]:
        if request.POST.get("select_across") == "1":
            return self.listed(request)
        return request.POST.getlist(ACTION_CHECKBOX_NAME)

    # -- the page that asks ----------------------------------------------------------------------------

    def get_urls(self) -> list[URLPattern]:
        return [*(self.own_url(name, view) for name, view in self.own_views()), *super().get_urls()]

    def own_views(self) -> list[tuple[str, Callable[..., HttpResponse]]]:
        return [("pause", self.pause_view)]

    def own_url(self, name: str, view: Callable[..., HttpResponse]) -> URLPattern:
        return path(
            f"<str:object_id>/{name}/",
            self.admin_site.admin_view(view),
            name=f"{self.opts.app_label}_{self.opts.model_name}_{name}",
        )

    def found(self, request: HttpRequest, object_id: str, *, is_allowed: bool) -> Any:
        if not is_allowed:
            raise PermissionDenied
        row = self.find(request, unquote(object_id))
        if row is None:
            raise Http404
        return row

    def pause_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask for the reason and the time to resume, then pause one name."""
        row = self.found(request, object_id, is_allowed=self.has_pause_permission(request))
        form = PauseForm(request.POST or None, now=snapshot(request).now)
        if request.method == "POST" and form.is_valid():
            facts = form.cleaned_data
            self.pause_one(
                row.name, by=self.who(request), reason=facts["reason"], resume_at=facts["resume_at"]
            )
            self.log(request, [row], gettext("Paused."))
            self.say(request, self.was_paused % {"name": row.name})
            return self.back(request)
        title = self.pause_title % {"name": formatting.cut(row.name)}
        return self.ask(request, form, object=row, title=title, lead=self.pause_lead, verb=_("Pause"))

    def ask(self, request: HttpRequest, form: Form, **shown: Any) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            **shown,
            "opts": self.opts,
            "form": form,
            "media": self.media + form.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_letsgo_worker/verb_form.html", context)
