"""Lists: in the order of an index, with capped counts, tabs and a bar of filters above.

Filters themselves are in filters.py.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from django.conf import settings as django_settings
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _

from .. import engines
from ..inspection import count_capped

if TYPE_CHECKING:
    AnyPaginator = Paginator[Any]
else:
    AnyPaginator = Paginator


class AtLeast(engines.AtLeast):
    """A capped count, formatted for a page."""

    def __str__(self) -> str:
        # Django then groups the digits of the text itself, and would treat our comma as one of them.
        return int.__repr__(self) if django_settings.USE_THOUSAND_SEPARATOR else super().__str__()


class CappedPaginator(AnyPaginator):
    """Counts at most ten thousand rows, in the order of the list and so through the same index."""

    @cached_property
    def count(self) -> int:
        rows = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        count = count_capped(rows)
        return AtLeast(count) if isinstance(count, engines.AtLeast) else count

    @property
    def is_capped(self) -> bool:
        return isinstance(self.count, AtLeast)


class DoorChangeList(ChangeList):
    """A change list in the order of an index, whose rows get what they need in one go.

    Above it stand tabs, and a bar with the other filters and the search.
    """

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        self.request = request
        super().__init__(request, *args, **kwargs)
        # It stands in our bar; neither Django nor a theme shall draw it once more.
        self.has_search, self.search_fields = bool(self.search_fields), ()

    @property
    def bar_specs(self) -> list[Any]:
        """The filters of the bar."""
        return [spec for spec in self.filter_specs if not _is_tabs(spec)]

    @property
    def kept_parameters(self) -> list[tuple[str, str]]:
        """The parameters that stay when the bar is applied: those of the tabs."""
        specs: list[Any] = self.filter_specs
        names = [spec.parameter_name for spec in specs if _is_tabs(spec)]
        return [(name, value) for name in names if (value := self.request.GET.get(name))]

    @property
    def is_narrowed(self) -> bool:
        """Whether the search or a filter of the bar leaves rows out."""
        return bool(self.query or any(spec.value() for spec in self.bar_specs))

    @property
    def wide_url(self) -> str:
        """The address of the list with nothing but its tab chosen."""
        return f"?{urlencode(self.kept_parameters)}"

    @property
    def notes(self) -> list[str]:
        """What stands below the list: where it does not show all."""
        if not getattr(self.paginator, "is_capped", False):
            return []
        listed = _("10,000+ match; only the first ten thousand are listed.")
        return [f"{listed} {_('Narrow the list by a filter or a search.')}"]

    @property
    def nothing_found(self) -> str:
        """What stands in the place of a list without rows."""
        return _("Nothing matches.") if self.is_narrowed else _("There is nothing here.")

    def get_filters(self, request: HttpRequest) -> Any:
        # They stand above the list; neither Django nor a theme shall draw them once more.
        specs, _has_filters, *rest = super().get_filters(request)
        return specs, False, *rest

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


def _is_tabs(spec: Any) -> bool:
    return bool(getattr(spec, "is_tabs", False))
