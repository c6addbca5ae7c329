"""Dead letters, with their errors; redrive and discard, for one or for all that match.

The archive lists them too, among all messages that ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import messages
from ..engines import AtLeast
from ..inspection import ended_until
from ..models import DeadLetter
from . import formatting
from .archive import EndedAdmin
from .base import snapshot
from .filters import DeadTabs, FingerprintFilter, QueueFilter, TypeFilter
from .message_base import Tally, in_batches


@admin.register(DeadLetter)
class DeadLetterAdmin(EndedAdmin):
    """Dead letters, newest first; each error links to all dead letters with the same one."""

    list_display = ("outcome_shown", "type_shown", "error_linked", "queue_shown", "tries", "finished")
    list_filter = (DeadTabs, QueueFilter, TypeFilter, FingerprintFilter)
    ordering = ("-finished_at", "-id")
    actions = ("redrive", "discard")
    buttons = {"redrive": _("Redrive"), "discard": _("Discard…")}
    first_fields = (
        "outcome_shown", "type_alone", "queue_shown", "tries", "enqueued", "finished", "took", "error",
        "same_error",
    )  # fmt: skip

    def chosen_outcome(self, request: HttpRequest) -> str | None:
        return "dead"

    @admin.display(description=_("error"))
    def error_linked(self, row: Any) -> SafeString:
        name, words = row.newest_error
        return formatting.two_lines(self._same(row, formatting.error_class(name)), formatting.cut(words, 120))

    @admin.display(description=_("the same error"))
    def same_error(self, row: Any) -> SafeString | str:
        return self._same(row, gettext("all dead letters with this error"))

    def _same(self, row: Any, text: SafeString | str) -> SafeString | str:
        if not row.error_fingerprint:
            return text
        return formatting.link(
            f"{self.url('changelist')}?{urlencode({'error_fingerprint': row.error_fingerprint})}", text
        )

    # -- redrive ---------------------------------------------------------------------------------------

    def has_redrive_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "redrive_message")

    @admin.action(description=_("Redrive selected dead letters"), permissions=["redrive"])
    def redrive(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> None:
        self.demand(request, "redrive_message")

        def redrive_many(ids: list[int]) -> object:
            return messages.redrive_many(ids, by=self.who(request), using=self.alias)

        tally = self._act(request, queryset, redrive_many, gettext("Redriven."))
        said = ngettext(
            "%(count)d dead letter was redriven.", "%(count)d dead letters were redriven.", tally.done
        )
        self._tell(request, said % {"count": tally.done}, tally)

    # -- discard ---------------------------------------------------------------------------------------

    def has_discard_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "discard_deadletter")

    @admin.action(description=_("Discard selected dead letters"), permissions=["discard"])
    def discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse | None:
        self.demand(request, "discard_deadletter")
        if request.POST.get("post") != "yes":
            return self._confirm_discard(request, queryset)

        def discard_many(ids: list[int]) -> object:
            return messages.discard_many(ids, using=self.alias)

        tally = self._act(request, queryset, discard_many, gettext("Discarded."))
        said = ngettext(
            "%(count)d dead letter was discarded.", "%(count)d dead letters were discarded.", tally.done
        )
        self._tell(request, said % {"count": tally.done}, tally)
        return None

    def _confirm_discard(self, request: HttpRequest, queryset: QuerySet[DeadLetter]) -> HttpResponse:
        count = self.get_paginator(request, queryset, self.list_per_page).count
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("Are you sure?"),
            "opts": self.opts,
            "count": str(count),
            "some": list(queryset[:10]),
            "is_more": count > 10 or isinstance(count, AtLeast),
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "checkbox": ACTION_CHECKBOX_NAME,
            "select_across": request.POST.get("select_across", "0"),
            "media": self.media,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_letsgo_worker/discard.html", context)

    # -- both ------------------------------------------------------------------------------------------

    def _act(
        self,
        request: HttpRequest,
        queryset: QuerySet[DeadLetter],
        verb: Callable[[list[int]], object],
        what: str,
    ) -> Tally:
        def act(rows: list[DeadLetter]) -> int:
            ids = [row.pk for row in rows]
            verb(ids)
            left = set(DeadLetter.objects.using(self.alias).filter(pk__in=ids).values_list("pk", flat=True))
            done = [row for row in rows if row.pk not in left]
            self.log(request, done, what)
            return len(done)

        return in_batches(ended_until(queryset, snapshot(request).now), act)

    def _tell(self, request: HttpRequest, said: str, tally: Tally) -> None:
        if tally.done:
            self.say(request, said)
        elif not tally.skipped:
            self.say(
                request,
                gettext("Nothing was changed: none of them is a dead letter any more."),
                notices.WARNING,
            )
        if tally.skipped:
            why = ngettext(
                "%(count)d was skipped: a live message has its unique key, or it is gone.",
                "%(count)d were skipped: live messages have their unique keys, or they are gone.",
                tally.skipped,
            )
            self.say(request, why % {"count": tally.skipped}, notices.WARNING)
        if not tally.is_all:
            self.say(request, gettext("There are more: run the action again to continue."), notices.WARNING)
