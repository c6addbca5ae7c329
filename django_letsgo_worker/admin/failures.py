"""Failures: failed attempts in groups, retried or dead, with their trend and last traceback.

inspection counts the messages of all rows of a page at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _

from .. import engines, messages
from ..errors import FailureNotFound
from ..inspection import FailureGroup, failure, groups_of
from ..models import Failure
from ..outcomes import own_frames
from . import formatting
from .base import APP, ReadOnlyAdmin, snapshot, snapshot_of
from .filters import TypeFilter
from .forms import ReasonActionForm
from .lists import AtLeast
from .operations import PERMISSIONS

KINDS = {"retrying": "warn", "dead": "bad", "over": "off"}
STATES = {"retrying": _("retrying"), "dead": _("dead"), "over": _("over")}
OPERATIONS = {"retry": _("Retry…"), "redrive": _("Redrive…"), "discard": _("Discard…")}
# Of so many failures at once the types are paused.
MOST_TYPES = 1_000
# The height of the trend, and the width of one of its hours, in pixels.
HEIGHT, HOUR = 18, 2


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Failures, the one met last first."""

    list_display = (
        "title_shown", "state_shown", "retrying_shown", "dead_shown", "count", "trend_shown", "last",
        "first",
    )  # fmt: skip
    list_filter = (TypeFilter,)
    ordering = ("-last_at", "-pk")
    deferred = ("last_traceback",)
    actions = ("pause_type", "resume_type")
    buttons = {"pause_type": _("Pause the type"), "resume_type": _("Resume the type")}
    action_form = ReasonActionForm
    fields = (
        "error_class", "message_shown", "type", "state_shown", "retrying_shown", "dead_shown", "count",
        "trend_shown", "first", "began", "last", "versions_shown", "samples", "fingerprint", "traceback",
    )  # fmt: skip
    readonly_fields = fields

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        for row, group in zip(rows, groups_of(rows, snapshot(request)), strict=True):
            row.group = group

    def find(self, request: HttpRequest, object_id: str) -> Any:
        row = super().find(request, object_id)
        if row is not None:
            try:
                row.samples_found = failure(row.fingerprint, row.type, using=self.alias).samples
            except FailureNotFound:
                return None
        return row

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("failure"))
    def title_shown(self, row: Any) -> SafeString:
        return formatting.two_lines(formatting.cut(row.group.title), formatting.cut(row.type))

    @admin.display(description=_("state"))
    def state_shown(self, row: Any) -> SafeString:
        return formatting.badge(KINDS[row.group.state], STATES[row.group.state])

    @admin.display(description=_("retrying"))
    def retrying_shown(self, row: Any) -> str:
        return _number(row.group.retrying)

    @admin.display(description=_("dead"))
    def dead_shown(self, row: Any) -> SafeString | str:
        group: FailureGroup = row.group
        if not group.dead or not self.may(row.request, "view_deadletter"):
            return _number(group.dead)
        query = urlencode({"error_fingerprint": group.fingerprint, "type": group.type})
        page = reverse(f"admin:{APP}_deadletter_changelist", current_app=self.admin_site.name)
        return format_html('<a href="{}?{}">{}</a>', page, query, _number(group.dead))

    @admin.display(description=_("48 hours"))
    def trend_shown(self, row: Any) -> SafeString:
        return trend(row.group.trend)

    @admin.display(description=_("first"))
    def first(self, row: Any) -> SafeString | str:
        return formatting.when(row.first_at, snapshot_of(row).now)

    @admin.display(description=_("last"))
    def last(self, row: Any) -> SafeString | str:
        return formatting.when(row.last_at, snapshot_of(row).now)

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        """Return the bulk operations that this user may begin on its messages: forms that are filled in."""
        counts = {"retry": row.group.retrying, "redrive": row.group.dead, "discard": row.group.dead}
        page = reverse(f"admin:{APP}_bulkoperation_add", current_app=self.admin_site.name)
        query = {"type": row.type, "fingerprint": row.fingerprint}
        return super().buttons_of(request, row) + [
            {
                "url": f"{page}?{urlencode({'kind': kind, **query})}",
                "label": OPERATIONS[kind],
                "name": kind,
                "is_link": True,
            }
            for kind, count in counts.items()
            if count and self.may(request, PERMISSIONS[kind])
        ]

    # -- its type ----------------------------------------------------------------------------------------

    def offered(self, row: Any) -> tuple[str, ...]:
        return ("resume_type",) if row.type in snapshot_of(row).paused_types else ("pause_type",)

    def has_pause_type_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "pause_type")

    @admin.action(description=_("Pause the types of selected failures"), permissions=["pause_type"])
    def pause_type(self, request: HttpRequest, queryset: QuerySet[Failure]) -> None:
        self.demand(request, "pause_type")
        by, reason = self.who(request), request.POST.get("reason", "").strip()
        for name in self._types(request, queryset, _t("Paused the type.")):
            messages.pause_type(name, by=by, reason=reason, using=self.alias)
            self.say(request, _t("The type %(name)s was paused.") % {"name": name})

    @admin.action(description=_("Resume the types of selected failures"), permissions=["pause_type"])
    def resume_type(self, request: HttpRequest, queryset: QuerySet[Failure]) -> None:
        self.demand(request, "pause_type")
        for name in self._types(request, queryset, _t("Resumed the type.")):
            messages.resume_type(name, by=self.who(request), using=self.alias)
            self.say(request, _t("The type %(name)s was resumed.") % {"name": name})

    def _types(self, request: HttpRequest, queryset: QuerySet[Failure], what: str) -> list[str]:
        """Return the types of failures, and log what is done to them."""
        rows = {row.type: row for row in queryset[:MOST_TYPES]}
        self.log(request, list(rows.values()), what)
        return sorted(rows)

    # -- the page of one -------------------------------------------------------------------------------

    @admin.display(description=_("message"))
    def message_shown(self, row: Any) -> SafeString:
        return format_html('<p class="lg-message">{}</p>', row.message or formatting.NOTHING)

    @admin.display(description=_("began"))
    def began(self, row: Any) -> str:
        return row.group.began or formatting.NOTHING

    @admin.display(description=_("versions"))
    def versions_shown(self, row: Any) -> str:
        return formatting.cut(", ".join(row.group.versions)) or formatting.NOTHING

    @admin.display(description=_("messages"))
    def samples(self, row: Any) -> SafeString | str:
        if not row.samples_found:
            return formatting.NOTHING
        name = f"admin:{APP}_message_change"
        urls = [(reverse(name, args=[id], current_app=self.admin_site.name), id) for id in row.samples_found]
        return format_html_join(", ", '<a href="{}">{}</a>', urls)

    @admin.display(description=_("traceback"))
    def traceback(self, row: Any) -> SafeString | str:
        text = row.last_traceback
        return formatting.pre(own_frames(text)) if text else formatting.NOTHING


def _number(count: int) -> str:
    return str(AtLeast(count)) if isinstance(count, engines.AtLeast) else str(count)


def trend(counts: Sequence[int]) -> SafeString:
    """Draw numbers by the hour as bars, with the words for those who do not see them."""
    most = max(counts, default=0) or 1
    bars = format_html_join(
        "",
        '<rect x="{}" y="{}" width="{}" height="{}"/>',
        (
            (place * HOUR, HEIGHT - height, HOUR, height)
            for place, count in enumerate(counts)
            if (height := -(-count * HEIGHT // most))
        ),
    )
    words = _t("%(day)s in the last 24 hours, %(before)s in the 24 before") % {
        "day": sum(counts[-24:]),
        "before": sum(counts[:-24]),
    }
    return format_html(
        '<svg class="lg-trend" role="img" width="{}" height="{}" fill="currentColor">'
        "<title>{}</title>{}</svg>",
        len(counts) * HOUR,
        HEIGHT,
        words,
        bars,
    )
