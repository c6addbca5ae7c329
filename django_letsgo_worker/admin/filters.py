"""Filters whose choices come from the registry or an index, never from a scan of all rows.

Which messages fit is found in inspection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import engines, registry
from ..inspection import WINDOW, ended_by_outcome, live_by_state
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


# -- schedules: a small table ------------------------------------------------------------------------------


class ScheduleStateFilter(Filter):
    title = _("state")
    parameter_name = "state"
    states = {
        "on": (_("on"), Q(enabled=True)),
        "off": (_("off"), Q(enabled=False)),
        "broken": (_("with a problem"), Q(enabled=True) & ~Q(problem="")),
        "code": (_("declared in code"), Q(declared_in_code=True)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, label) for name, (label, _rule) in self.states.items()]

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(self.states[value][1]) if value in self.states else queryset.none()


class ScheduleTypeFilter(TypeFilter):
    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return self.with_own(sorted(set(self._types(model_admin.alias))))

    def _types(self, alias: str) -> Iterator[str]:
        yield from ScheduledJob.objects.using(alias).order_by("type").values_list("type", flat=True)[:1000]
