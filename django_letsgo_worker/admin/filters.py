"""Filters whose choices come from the registry or an index, never from a scan of all rows.

What no index answers about live messages is searched for only among the first ones in their lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import registry
from ..engines import Lane
from ..inspection import LIVE_STATES, Snapshot
from ..models import ArchivedMessage, Message, ScheduledJob
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


class OutcomeFilter(Filter):
    title = _("outcome")
    parameter_name = "outcome"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(ArchivedMessage._meta.get_field("outcome").choices or [])


class FingerprintFilter(Filter):
    """By the error's fingerprint, which comes from a link and not from a list of choices."""

    title = _("error")
    parameter_name = "error_fingerprint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [] if self.value() is None else [(str(self.value()), _("the same error"))]


# -- live messages: only (queue, priority, visible_at) has an index ----------------------------------------

LIVE = ("queue", "state", "type")
# How many messages are examined, over all lanes together.
WINDOW = 10_000


class LiveFilter(Filter):
    """A filter that find_ids() applies, together with the other ones."""

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset


class QueueFilter(LiveFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return self.with_own(sorted({lane.queue for lane in snapshot(request).lanes}))


class StateFilter(LiveFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [
            ("ready", _("ready")),
            ("running", _("running")),
            ("retrying", _("retrying")),
            ("scheduled", _("scheduled")),
        ]


class LiveTypeFilter(LiveFilter, TypeFilter):
    """By type; for live messages that column alone has no index."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The conditions on a list of live messages; None means all."""

    queue: str | None = None
    state: str | None = None
    types: Sequence[str] | None = None


def find_ids(page: Snapshot, wanted: Wanted) -> list[int]:
    """Return the ids that match, higher priorities and earlier messages first, by one statement."""
    lanes = [lane for lane in page.lanes if wanted.queue in (None, lane.queue)]
    if not lanes or (wanted.state is not None and wanted.state not in LIVE_STATES):
        return []
    sql, params = _sql(lanes, wanted)
    return [row[0] for row in page.engine.execute(sql, {**params, "now": page.engine.moment(page.now)})]


def _sql(lanes: Sequence[Lane], wanted: Wanted) -> tuple[str, dict[str, Any]]:
    state = LIVE_STATES[wanted.state] if wanted.state else None
    side = f"AND visible_at {state.sign} %(now)s" if state else ""
    each = -(-WINDOW // len(lanes))
    parts: list[str] = []
    params: dict[str, Any] = {}
    for n, lane in enumerate(lanes):
        params |= {f"queue{n}": lane.queue, f"priority{n}": lane.priority}
        # In the order of the index, so that it ends after the first ones.
        parts.append(
            f"SELECT * FROM (SELECT id, type, priority, visible_at, leased_by, attempts "
            f"FROM {Message._meta.db_table} WHERE queue = %(queue{n})s AND priority = %(priority{n})s "
            f"{side} ORDER BY visible_at LIMIT {each}) lane{n}"
        )
    rules = [state.sql] if state and state.sql else []
    if wanted.types is not None:
        marks = {f"type{n}": name for n, name in enumerate(wanted.types)}
        rules.append(f"type IN ({', '.join(f'%({mark})s' for mark in marks)})")
        params |= marks
    where = f"WHERE {' AND '.join(rules)}" if rules else ""
    return (
        f"SELECT id FROM ({' UNION ALL '.join(parts)}) lanes {where} ORDER BY priority DESC, visible_at, id",
        params,
    )


class WindowPaginator(CappedPaginator):
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
