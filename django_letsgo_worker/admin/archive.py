"""Archived messages, with their outcomes, results and errors. Nothing is changed here.

Dead letters have their own page beside this one.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import ArchivedMessage
from . import formatting
from .base import snapshot_of
from .filters import OutcomeFilter, TypeFilter
from .message_base import MessageFactsAdmin, types_beginning

KINDS = {"succeeded": "good", "dead": "bad", "cancelled": "off", "expired": "warn"}


class EndedAdmin(MessageFactsAdmin):
    """The shared base of the archive's and the dead letters' pages."""

    deferred = (*MessageFactsAdmin.deferred, "result")
    secret = ("payload", "result", "headers")
    first_fields: tuple[str, ...] = (
        "outcome_shown", "type_shown", "queue_shown", "tries", "enqueued", "finished", "took", "error",
    )  # fmt: skip
    more_fields = (
        "visible", "deadline_shown", "unique_key_shown", "schedule", "planned", "first_started",
        "leased", "holder", "receipt", "deaths",
    )  # fmt: skip

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        word = search_term.strip()
        if word.isdecimal():
            pk = self.clean_pk(word)
            return (queryset.none() if pk is None else queryset.filter(pk=pk)), False
        if word:
            queryset = queryset.filter(type__in=types_beginning(word))
        return queryset, False

    @admin.display(description=_("outcome"))
    def outcome_shown(self, row: ArchivedMessage) -> SafeString:
        return formatting.badge(KINDS.get(row.outcome, "calm"), row.get_outcome_display())

    @admin.display(description=_("finished"))
    def finished(self, row: ArchivedMessage) -> SafeString | str:
        return formatting.when(row.finished_at, snapshot_of(row).now)

    @admin.display(description=_("took"))
    def took(self, row: ArchivedMessage) -> str:
        return formatting.NOTHING if row.seconds is None else formatting.span(row.seconds)

    @admin.display(description=_("error"))
    def error(self, row: ArchivedMessage) -> str:
        return formatting.cut(row.error_class) or formatting.NOTHING

    @admin.display(description=_("unique key"))
    def unique_key_shown(self, row: ArchivedMessage) -> str:
        return row.unique_key or formatting.NOTHING

    @admin.display(description=_("result"))
    def result_shown(self, row: ArchivedMessage) -> SafeString | str:
        return formatting.NOTHING if row.result is None else formatting.pre(formatting.json_text(row.result))

    @admin.display(description=_("result"))
    def result_hidden(self, row: ArchivedMessage) -> SafeString:
        return formatting.hidden_payload()


@admin.register(ArchivedMessage)
class ArchivedMessageAdmin(EndedAdmin):
    """The archive, always in the order of an index, whichever filter is on."""

    list_display = ("id", "type_shown", "queue_shown", "outcome_shown", "tries", "finished", "took", "error")
    list_filter = (OutcomeFilter, TypeFilter)
    search_help_text = _("An id, or the start of a type.")

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # (outcome, finished_at) and (type, finished_at) have an index, finished_at alone has none.
        narrowed = "outcome" in request.GET or "type" in request.GET
        return ("-finished_at", "-id") if narrowed else ("-id",)
