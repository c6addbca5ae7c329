"""Filters whose choices come from the registry or an index, never from a scan of all rows.

Which messages fit is found in inspection.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Count, Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import engines, registry
from ..inspection import WINDOW, ended_by_outcome, live_by_state, troubled
from ..models import ScheduledJob
from .base import snapshot
from .lists import AtLeast, CappedPaginator

Choices = list[tuple[str, Any]]


class Filter(admin.SimpleListFilter):
    """A filter by the value of one parameter: a choice in the bar, or tabs."""

    title: Any
    parameter_name: str
    is_tabs = False
    # What the choice of all is called.
    all: Any = _("All")

    @property
    def template(self) -> str:  # type: ignore[override]
        return f"admin/django_letsgo_worker/{'tabs' if self.is_tabs else 'filter'}.html"

    def has_output(self) -> bool:
        return self.is_tabs or super().has_output()

    def value(self) -> str | None:
        # The bar sends an empty value for all.
        return super().value() or None

    def counts(self, request: HttpRequest) -> dict[str, int]:
        """Return how many rows are behind each tab, as far as is known; all of them under the empty text."""
        return {}

    def choices(self, changelist: Any) -> Iterator[Any]:
        counts = self.counts(changelist.request) if self.is_tabs else {}
        for value, label in [("", self.all), *self.lookup_choices]:
            yield {
                "value": value,
                "selected": (self.value() or "") == str(value),
                "query_string": self._address(changelist, value),
                "display": label,
                "count": counts.get(value),
            }

    def _address(self, changelist: Any, value: str) -> str:
        name = self.parameter_name
        return str(changelist.get_query_string({name: value} if value else {}, [name]))

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else self.narrowed(request, queryset, str(value))

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter_name: value})

    def with_own(self, names: list[str]) -> Choices:
        """Return names as choices, plus the one in use if it is not among them."""
        own = [] if self.value() in (None, *names) else [str(self.value())]
        return [(name, name) for name in [*names, *own]]


class TypeFilter(Filter):
    """By type; the choices are those with a handler in this process."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return self.with_own(registry.types())


class FingerprintFilter(Filter):
    """By the error's fingerprint, which comes from a link and not from a list of choices."""

    title = _("error")
    parameter_name = "error_fingerprint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [] if self.value() is None else [(str(self.value()), _("the same error"))]


# -- messages: only some columns have an index -----------------------------------------------------------


class FoundFilter(Filter):
    """A filter that the search applies, together with the other ones."""

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset


class QueueFilter(FoundFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return self.with_own(sorted({lane.queue for lane in snapshot(request).lanes}))


class MessageTypeFilter(FoundFilter):
    """By type; the choices are those with a handler in this process, and those that are due without one."""

    title = _("type")
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        due = {one.type for one in snapshot(request).due}
        return self.with_own(sorted({*registry.types(), *due}))


class MessageTabs(FoundFilter):
    """The tabs of all pages of messages: the states of live ones, and the outcomes of those that ended."""

    title = _("state")
    is_tabs = True
    # The tab that a page is without a parameter.
    own_tab = "live"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, label) for name, label, *_place in TABS]

    def choices(self, changelist: Any) -> Iterator[Any]:
        kept = {name: value for name in ("q", "type", "queue") if (value := changelist.request.GET.get(name))}
        counts = counts_of_messages(changelist.request)
        chosen = self.value() or self.own_tab
        for name, label, model, parameter in TABS:
            if not changelist.model_admin.may(changelist.request, f"view_{model}"):
                continue
            page = changelist.model_admin.page_of(model)
            query = urlencode({**({parameter: name} if parameter else {}), **kept})
            yield {
                "selected": name == chosen,
                "query_string": f"{page}?{query}" if query else page,
                "display": label,
                "count": counts.get(name),
            }


class LiveTabs(MessageTabs):
    parameter_name = "state"


class OutcomeTabs(MessageTabs):
    parameter_name = "outcome"
    own_tab = "ended"

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(outcome=value)


class DeadTabs(MessageTabs):
    parameter_name = "tab"
    own_tab = "dead"


# Each tab: its name, its label, the model of its page, and the parameter that chooses it there.
TABS: tuple[tuple[str, Any, str, str], ...] = (
    ("live", _("live"), "message", ""),
    ("ready", _("ready"), "message", "state"),
    ("running", _("running"), "message", "state"),
    ("retrying", _("retrying"), "message", "state"),
    ("scheduled", _("scheduled"), "message", "state"),
    ("ended", _("ended"), "archivedmessage", ""),
    ("succeeded", _("succeeded"), "archivedmessage", "outcome"),
    ("dead", _("dead"), "deadletter", ""),
    ("cancelled", _("cancelled"), "archivedmessage", "outcome"),
    ("expired", _("expired"), "archivedmessage", "outcome"),
)


def counts_of_messages(request: HttpRequest) -> dict[str, int]:
    """Return how many messages are behind each tab, counted up to the cap, by two statements."""
    page = snapshot(request)
    counts = {**live_by_state(page), **ended_by_outcome(page.engine)}
    return {
        name: AtLeast(count) if isinstance(count, engines.AtLeast) else count
        for name, count in counts.items()
    }


class FoundPaginator(CappedPaginator):
    """Pages of a list whose ids are known: each reads only its own fifty rows."""

    def __init__(self, ids: list[int], per_page: int, rows: QuerySet[Any]) -> None:
        found = AtLeast(len(ids)) if len(ids) >= WINDOW else len(ids)
        super().__init__(ids, per_page)
        self.count = found
        self.rows = rows

    def page(self, number: Any) -> Any:
        page = super().page(number)
        page.object_list = self.rows.filter(pk__in=list(page.object_list))
        return page


# -- schedules: a small table, counted whole, by type and tab in one statement ------------------------------


def searched_schedules(words: str) -> Q:
    """Return the condition of the schedules that a search finds."""
    word = words.strip().replace("\0", "")
    return Q(name__icontains=word) | Q(type__icontains=word) if word else Q()


def counted_schedules(request: HttpRequest) -> dict[str, dict[str, int]]:
    """Return how many schedules that the search finds are behind each tab, by type; read once for a page."""
    found: dict[str, dict[str, int]] | None = getattr(request, "_letsgo_schedules", None)
    if found is None:
        found_by = searched_schedules(request.GET.get("q", ""))
        rows = ScheduledJob.objects.using(snapshot(request).using).filter(found_by)
        rules = {tab: Count("pk", filter=rule(request)) for tab, (_label, rule) in SCHEDULE_TABS.items()}
        by_type = rows.order_by("type").values("type").annotate(whole=Count("pk"), **rules)
        counts = by_type.values_list("type", "whole", *rules)
        found = {type: dict(zip(("", *rules), numbers, strict=True)) for type, *numbers in counts}
        request._letsgo_schedules = found  # type: ignore[attr-defined]
    return found


def counts_of_schedules(request: HttpRequest) -> dict[str, int]:
    """Return how many schedules of the list, with its search and type, are behind each tab."""
    wanted = request.GET.get("type")
    found = [counts for type, counts in counted_schedules(request).items() if wanted in (None, "", type)]
    return {tab: sum(counts[tab] for counts in found) for tab in ("", *SCHEDULE_TABS)}


SCHEDULE_TABS: dict[str, tuple[Any, Callable[[HttpRequest], Q]]] = {
    "on": (_("on"), lambda request: Q(enabled=True)),
    "off": (_("off"), lambda request: Q(enabled=False)),
    "problem": (_("with a problem"), lambda request: troubled(snapshot(request))),
    "code": (_("declared in code"), lambda request: Q(declared_in_code=True)),
}


class ScheduleStateFilter(Filter):
    """Tabs: all, on, off, those that a problem is about, and those that the code declares."""

    title = _("state")
    parameter_name = "state"
    is_tabs = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(tab, label) for tab, (label, _rule) in SCHEDULE_TABS.items()]

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value not in SCHEDULE_TABS:
            return queryset.none()
        return queryset.filter(SCHEDULE_TABS[value][1](request))

    def counts(self, request: HttpRequest) -> dict[str, int]:
        return counts_of_schedules(request)


class ScheduleTypeFilter(TypeFilter):
    """By type; the choices are those of the schedules that the search finds."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return self.with_own(list(counted_schedules(request)))
