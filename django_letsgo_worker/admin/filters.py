"""Filters whose choices come from the registry or an index, never from reading all rows for them.

What a filter could only find without an index is looked for in window.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from .. import registry
from ..models import ArchivedMessage, ScheduledJob
from .snapshot import reading

Choices = list[tuple[str, Any]]


class Filter(admin.SimpleListFilter):
    """A filter by the value of one parameter."""

    title: Any
    parameter_name: str

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        value = self.value()
        return queryset if value is None else self.narrowed(request, queryset, str(value))

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset.filter(**{self.parameter_name: value})

    def with_own(self, names: list[str]) -> Choices:
        """Return names as choices, the one in use too if nobody lists it."""
        own = [] if self.value() in (None, *names) else [str(self.value())]
        return [(name, name) for name in [*names, *own]]


class TypeFilter(Filter):
    """By type, among those that this process has handlers of."""

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
    """By the error's fingerprint; links lead here, nobody chooses from a list."""

    title = _("error")
    parameter_name = "error_fingerprint"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [] if self.value() is None else [(str(self.value()), _("the same error"))]


# -- live messages: only (queue, priority, visible_at) has an index ----------------------------------------

LIVE = ("queue", "state", "type")


class LiveFilter(Filter):
    """A filter whose rows are looked for together with the others', in window.py."""

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        return queryset


class QueueFilter(LiveFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return self.with_own(sorted({lane.queue for lane in reading(request).lanes}))


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
    """By type; a column that has no index of its own while messages live."""


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
