"""Archived messages, with their outcomes, results and errors. Nothing is changed here.

Dead letters have their own page beside this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..inspection import Wanted, find_ended
from ..models import ArchivedMessage
from . import formatting
from .base import snapshot_of
from .filters import OutcomeTabs, QueueFilter, TypeFilter
from .lists import DoorChangeList
from .message_base import MessageFactsAdmin, search_word

KINDS = {"succeeded": "good", "dead": "bad", "cancelled": "off", "expired": "warn"}


class EndedAdmin(MessageFactsAdmin):
    """The shared base of the archive's and the dead letters' pages."""

    deferred = (*MessageFactsAdmin.deferred, "result")
    secret = ("payload", "result", "headers")
    first_fields: tuple[str, ...] = (
        "outcome_shown", "type_alone", "queue_shown", "tries", "enqueued", "finished", "took", "error",
    )  # fmt: skip
    more_fields = ("deadline_shown", "unique_key_shown", "schedule", "planned", "holder")

    find_all = staticmethod(find_ended)

    def has_module_permission(self, request: HttpRequest) -> bool:
        # The page of live messages leads here by its tabs.
        return super().has_module_permission(request) and not self.may(request, "view_message")

    def chosen_outcome(self, request: HttpRequest) -> str | None:
        return request.GET.get("outcome") or None

    def wanted(self, request: HttpRequest) -> Wanted | None:
        word = search_word(request)
        words = "" if word.isdecimal() else word
        queue = request.GET.get("queue") or None
        if not (words or queue):
            return None
        return Wanted(queue, self.chosen_outcome(request), request.GET.get("type") or None, words)

    def notes_on(self, changelist: DoorChangeList) -> list[str]:
        if self.wanted(changelist.request) is None:
            return []
        return [gettext("Beside what has an index, a search looks only at the newest 10,000.")]

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        errors = self.newest_errors([row for row in rows if row.error_class])
        for row in rows:
            row.newest_error = row.error_class, errors.get(row.pk, ("", ""))[1]

    def fold_key(self, row: Any) -> Any:
        return row.type, row.queue, row.outcome, row.attempts, row.error_fingerprint

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
    def error(self, row: ArchivedMessage) -> SafeString | str:
        return formatting.error_class(row.error_class)

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

    list_display = ("outcome_shown", "type_shown", "error_shown", "queue_shown", "tries", "took", "finished")
    list_filter = (OutcomeTabs, QueueFilter, TypeFilter)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        # (outcome, finished_at) and (type, finished_at) have an index, finished_at alone has none.
        given = request.GET
        narrowed = given.get("outcome") or given.get("type") or self.wanted(request) is not None
        return ("-finished_at", "-id") if narrowed else ("-id",)
