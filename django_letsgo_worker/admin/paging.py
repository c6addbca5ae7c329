"""Counting and ordering that stay fast on big tables: no page counts further than ten thousand.

Which rows a page shows is decided by its own admin.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest

from .. import engines

MOST_COUNTED = 10_000

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator


class AtLeast(engines.AtLeast):
    """The same on a page."""

    def __str__(self) -> str:
        # Django groups the digits of a number's text itself then, and would group the comma too.
        return int.__repr__(self) if django_settings.USE_THOUSAND_SEPARATOR else super().__str__()


class CappedPaginator(AnyPaginator):
    """Counts at most ten thousand rows, in the order of the list and so through the same index."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        counted = rows.values("pk")[: MOST_COUNTED + 1].count()
        return AtLeast(MOST_COUNTED) if counted > MOST_COUNTED else counted

    @property
    def is_capped(self) -> bool:
        return isinstance(self.count, AtLeast)


class DoorChangeList(ChangeList):
    """A list that keeps to the order of an index, and has its page read what the rows need at once."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> Any:
        # ?o= sorts by any column, whether its heading is a link or not: ten million rows, no index.
        self.params.pop(ORDER_VAR, None)
        return super().get_ordering(request, queryset)

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        # Django reads a list of one page without a LIMIT, trusting its count of a moment ago.
        rows = list(self.result_list[: max(self.list_per_page, self.list_max_show_all)])
        self.model_admin.look_at(request, rows)  # type: ignore[attr-defined]
        self.result_list = rows
