"""The base of all pages: our database, permissions, buttons that post, the log.

Nothing here knows a model; each page's module says what it shows and which verbs it calls.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import quote, unquote
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import QuerySet
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, QueryDict
from django.urls import path, reverse
from django.urls.resolvers import URLPattern
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext as _

from ..conf import further_alias, settings
from ..inspection import Affected, Snapshot, affected
from .lists import CappedPaginator, DoorChangeList
from .sites import site_of

logger = logging.getLogger("django_letsgo_worker.admin")

APP = "django_letsgo_worker"
FILTERS = "_changelist_filters"
# Up to this many rows an action logs one entry per row; beyond that, one entry that names them all.
LOGGED_ONE_BY_ONE = 50
# A problem's sentence beside a mark, in characters.
LONGEST_SENTENCE = 160

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]
else:
    Base = admin.ModelAdmin


# -- what a page reads -----------------------------------------------------------------------------------


def snapshot(request: HttpRequest) -> Snapshot:
    """Return the state of the queue as one page shows it, read once for all of its columns and filters."""
    found: Snapshot | None = getattr(request, "_letsgo_snapshot", None)
    if found is None:
        found = Snapshot()
        request._letsgo_snapshot = found  # type: ignore[attr-defined]
    return found


def affected_on(request: HttpRequest) -> Affected:
    """Return the queues and types that problems are about, searched for once a row would look well."""
    found: Affected | None = getattr(request, "_letsgo_affected", None)
    if found is None:
        found = affected(snapshot(request))
        request._letsgo_affected = found  # type: ignore[attr-defined]
    return found


def snapshot_of(row: Any) -> Snapshot:
    """Return the snapshot of the page that a row stands on."""
    found: Snapshot = row.snapshot
    return found


def logged_id(pk: Any) -> str:
    """Return the id of a row in Django's log, which all databases share: 5@reports where ids would repeat."""
    alias = further_alias()
    return str(pk) if alias is None else f"{pk}@{alias}"


# -- pages -----------------------------------------------------------------------------------------------


class DoorAdmin(Base):
    """A page on rows that only verbs change: fast lists, and actions with their own permissions."""

    list_per_page = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = CappedPaginator
    sortable_by = ()
    deferred: tuple[str, ...] = ()
    # django-unfold has no link to the form of a new row without it.
    show_add_link = True
    # The actions with a button in each row or on the page of one row, and the button's label.
    buttons: dict[str, Any] = {}

    class Media:
        css = {"all": ["django_letsgo_worker/admin.css"]}
        js = [Script("django_letsgo_worker/admin.js", defer=True)]

    # -- reading ---------------------------------------------------------------------------------------

    @property
    def alias(self) -> str:
        return settings().database

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).using(self.alias).defer(*self.deferred)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        title = capfirst(self.opts.verbose_name_plural)
        return super().changelist_view(request, {"title": title, **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DoorChangeList]:
        return DoorChangeList

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        """Attach to each row of a page what its columns need."""
        for row in rows:
            row.snapshot, row.request = snapshot(request), request

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        # The history asks by the id that the log has.
        found = self.find(request, object_id.removesuffix(f"@{self.alias}"))
        if found is not None:
            self.look_at(request, [found])
        return found

    def find(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row with this id, all its columns loaded, or None."""
        if (pk := self.clean_pk(object_id)) is None:
            return None
        return self.get_queryset(request).defer(None).filter(pk=pk).first()

    def clean_pk(self, value: str) -> Any:
        """Return a value as a primary key, or None if it cannot be one."""
        try:
            return self.opts.pk.clean(value, None)
        except (ValidationError, ValueError):
            return None

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        # Django would let ?payload__contains= guess a payload, letter by letter, at the price of a full scan.
        return lookup in {getattr(one, "parameter_name", None) for one in self.list_filter}

    # -- permissions -----------------------------------------------------------------------------------

    def may(self, request: HttpRequest, permission: str) -> bool:
        return bool(request.user.has_perm(f"{APP}.{permission}"))

    def demand(self, request: HttpRequest, permission: str) -> None:
        """Refuse a request that is not a POST, or whose user lacks the permission."""
        if request.method != "POST" or not self.may(request, permission):
            raise PermissionDenied

    def has_view_payload(self, request: HttpRequest) -> bool:
        return self.may(request, "view_payload")

    # -- actions ---------------------------------------------------------------------------------------

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[Any], *args: Any, **kwargs: Any
    ) -> Any:
        chosen = request.POST.getlist(ACTION_CHECKBOX_NAME)
        if any(self.clean_pk(value) is None for value in chosen):
            raise BadRequest("A selected id is not valid.")
        return super().response_action(request, queryset, *args, **kwargs)

    def get_urls(self) -> list[URLPattern]:
        name = f"{self.opts.app_label}_{self.opts.model_name}_do"
        view = self.admin_site.admin_view(self.do_view)
        return [path("<str:object_id>/do/<slug:action>/", view, name=name), *super().get_urls()]

    def do_view(self, request: HttpRequest, object_id: str, action: str) -> HttpResponse:
        """Run one action on one row, and go back to where its button stood."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if action not in self.buttons or action not in self.get_actions(request):
            raise PermissionDenied
        chosen = self.chosen(request, unquote(object_id))
        answer = getattr(self, action)(request, chosen)
        return answer if isinstance(answer, HttpResponse) else self.back(request, object_id)

    def chosen(self, request: HttpRequest, object_id: str) -> Any:
        """Return the row of a button as a queryset, which is what actions take."""
        pk = self.clean_pk(object_id)
        return self.get_queryset(request).none() if pk is None else self.get_queryset(request).filter(pk=pk)

    def back(self, request: HttpRequest, object_id: str | None = None) -> HttpResponseRedirect:
        """Return to the row's page if its button stood there, else to the list with its filters."""
        if (
            object_id
            and request.GET.get("from") == "change"
            and self.find(request, unquote(object_id)) is not None
        ):
            return HttpResponseRedirect(self.url("change", object_id))
        filters = QueryDict(request.GET.get(FILTERS, "")).urlencode()
        return HttpResponseRedirect(f"{self.url('changelist')}{'?' if filters else ''}{filters}")

    def url(self, page: str, *args: str) -> str:
        name = f"admin:{self.opts.app_label}_{self.opts.model_name}_{page}"
        return reverse(name, args=args, current_app=self.admin_site.name)

    def do_url(self, row: Any, action: str, place: str = "list") -> str:
        """Return the URL that a row's button posts to, with the list's filters in it."""
        query = {"from": "change"} if place == "change" else {FILTERS: row.request.GET.urlencode()}
        return f"{self.url('do', quote(row.pk), action)}?{urlencode({k: v for k, v in query.items() if v})}"

    def button(self, row: Any, action: str, label: Any) -> SafeString:
        """Return a button that posts the list's form, CSRF token included, to another URL."""
        return format_html(
            '<button type="submit" class="button lg-button" formmethod="post" formaction="{}">{}</button>',
            self.do_url(row, action),
            label,
        )

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        if (row := kwargs.get("obj")) is not None and hasattr(row, "snapshot"):
            context["letsgo_buttons"] = self.buttons_of(request, row)
        return super().render_change_form(request, context, *args, **kwargs)

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the buttons of a row's page: one for each action that this user may run."""
        offered = [name for name in self.offered(row) if name in self.get_actions(request)]
        return [
            {
                "url": self.do_url(row, name, "change"),
                "label": self.buttons[name],
                "name": name,
            }
            for name in offered
        ]

    def offered(self, row: Any) -> tuple[str, ...]:
        """Return the actions that make sense for a row as it is."""
        return tuple(self.buttons)

    # -- saying what was done --------------------------------------------------------------------------

    def say(self, request: HttpRequest, sentence: Any, level: int = messages.SUCCESS) -> None:
        self.message_user(request, sentence, level)

    def logged(self, row: Any) -> Any:
        """Return a row as the log knows it, by an id that no row of another database has."""
        row = copy(row)
        row.pk = logged_id(row.pk)
        return row

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_addition(request, self.logged(obj), message)

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        return super().log_change(request, self.logged(obj), message)

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> Any:
        rows: Any = [self.logged(row) for row in queryset]
        return super().log_deletions(request, rows)

    def history_view(self, request: HttpRequest, object_id: str, extra_context: Any = None) -> HttpResponse:
        return super().history_view(request, quote(logged_id(unquote(object_id))), extra_context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        # Django's recent actions lead to the default site, whatever database their rows are on.
        pk, _at, alias = unquote(object_id).rpartition("@")
        if pk and alias != self.alias and (site := site_of(alias)):
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(name, args=[quote(pk)], current_app=site))
        return super().change_view(request, object_id, form_url, extra_context)

    def log(self, request: HttpRequest, rows: Sequence[Any], what: str) -> None:
        """Log who did what to which rows, never their contents."""
        if not rows:
            return
        if len(rows) <= LOGGED_ONE_BY_ONE:
            for row in rows:
                self.log_change(request, row, what)
            return
        kind = ContentType.objects.get_for_model(self.model, for_concrete_model=False)
        LogEntry.objects.create(
            user_id=int(request.user.pk or 0),
            content_type=kind,
            object_repr=f"{len(rows)} {self.opts.verbose_name_plural}"[:200],
            action_flag=CHANGE,
            change_message=f"{what} {_('Ids:')} {', '.join(logged_id(row.pk) for row in rows)}",
        )

    def who(self, request: HttpRequest) -> str:
        return str(request.user.get_username())[:150]


class ReadOnlyAdmin(DoorAdmin):
    """A page where nothing is added, edited or deleted by hand."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
