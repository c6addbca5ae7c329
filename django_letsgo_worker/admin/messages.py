"""Live messages, with their states and the reason why a ready one does not run; retry, cancel.

Messages that ended are in the archive.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import messages
from ..errors import LetsGoError, MessageNotFound
from ..inspection import WINDOW, Wanted, first_ones, is_held_back, state_of
from ..models import ArchivedMessage, Message
from . import formatting
from .base import (
    LONGEST_SENTENCE,
    affected_on,
    snapshot,
    snapshot_of,
)
from .filters import FingerprintFilter, LiveTabs, MessageTypeFilter, QueueFilter
from .lists import DoorChangeList
from .message_base import MessageFactsAdmin, Tally, in_batches, search_word

LABELS = {
    "running": ("busy", _("running")),
    "ready": ("good", _("ready")),
    "retrying": ("warn", _("retrying")),
    "scheduled": ("calm", _("scheduled")),
}


@admin.register(Message)
class MessageAdmin(MessageFactsAdmin):
    """Live messages; their state is derived from the database's clock, read once for each page."""

    list_display = ("state", "type_shown", "error_shown", "queue_shown", "tries", "due")
    list_filter = (LiveTabs, QueueFilter, MessageTypeFilter, FingerprintFilter)
    actions = ("retry", "cancel")
    buttons = {"retry": _("Retry now"), "cancel": _("Cancel this message")}
    first_fields = ("state_alone", "type_alone", "queue_shown", "tries", "enqueued", "due")
    more_fields = ("deadline_shown", "unique_key_shown", "schedule", "planned", "holder")

    # -- the list --------------------------------------------------------------------------------------

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        return ("-id",) if self.wanted(request) is None else ("-priority", "visible_at", "id")

    def wanted(self, request: HttpRequest) -> Wanted | None:
        queue, state, type = (request.GET.get(name) or None for name in ("queue", "state", "type"))
        word = search_word(request)
        words = "" if word.isdecimal() else word
        return Wanted(queue, state, type, words) if queue or state or type or words else None

    def notes_on(self, changelist: DoorChangeList) -> list[str]:
        if self.wanted(changelist.request) is None:
            return []
        return [gettext("Filters on live messages look only at the first 10,000 in their lanes.")]

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        errors = self.newest_errors(rows)
        for row in rows:
            row.newest_error = errors.get(row.pk, ("", ""))

    def fold_key(self, row: Any) -> Any:
        state = state_of(row, snapshot_of(row).now)
        if state == "running":
            return None
        return row.type, row.queue, row.priority, state, row.attempts, row.newest_error[0]

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("state"))
    def state(self, row: Message) -> SafeString:
        return formatting.badge(*self._mark(row))

    @admin.display(description=_("state"))
    def state_alone(self, row: Message) -> SafeString:
        # The sentence above it says why.
        kind, label, _why = self._mark(row)
        return formatting.badge(kind, label)

    def _mark(self, row: Message) -> tuple[str, Any, Any]:
        """Return the kind and the words of a state's mark, and the reason where it is not good."""
        page = snapshot_of(row)
        state = state_of(row, page.now)
        kind, label = LABELS[state]
        if state == "running" and row.leased_by in {worker.pk for worker in page.silent_workers}:
            return "warn", label, _("its worker is silent")
        if state != "ready":
            return kind, label, ""
        if row.queue in page.paused:
            return "off", _("paused"), _("its queue is paused")
        if row.type in page.paused_types:
            return "off", _("paused"), _("its type is paused")
        if not page.workers:
            return "warn", label, _("no worker is running")
        if not page.is_taken(row.queue, row.type):
            return "warn", label, _("no worker takes this type from this queue")
        found = affected_on(row.request)  # type: ignore[attr-defined]
        problem = found.types.get(row.type) or found.queues.get(row.queue)
        if problem is not None:
            return "warn", label, formatting.cut(problem.sentence, LONGEST_SENTENCE)
        return kind, label, ""

    @admin.display(description=_("when"))
    def due(self, row: Message) -> SafeString | str:
        """Show since when it runs or is ready, or when it will be."""
        now = snapshot_of(row).now
        if is_held_back(row):
            return gettext("after an earlier run")
        return formatting.when(row.leased_at if state_of(row, now) == "running" else row.visible_at, now)

    @admin.display(description=_("unique key"))
    def unique_key_shown(self, row: Message) -> str:
        return row.unique_key or formatting.NOTHING

    # -- one message -----------------------------------------------------------------------------------

    def find(self, request: HttpRequest, object_id: str) -> Message | None:
        found = self._find_anywhere(object_id)
        return found if isinstance(found, Message) else None

    def _find_anywhere(self, object_id: str) -> Message | ArchivedMessage | None:
        try:
            return messages.find(self.clean_pk(object_id), using=self.alias)
        except MessageNotFound:
            return None

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a message; redirect to the archive if it has ended meanwhile."""
        response = super().change_view(request, object_id, form_url, extra_context)
        if response.status_code == 302 and self.has_view_permission(request):
            found = self._find_anywhere(object_id)
            if isinstance(found, ArchivedMessage):
                list(notices.get_messages(request))  # "it doesn't exist" is wrong here
                return HttpResponseRedirect(self._archived_url(found.pk))
        return response

    def _archived_url(self, pk: int) -> str:
        return reverse(
            "admin:django_letsgo_worker_archivedmessage_change", args=[pk], current_app=self.admin_site.name
        )

    def offered(self, row: Message) -> tuple[str, ...]:
        waits = state_of(row, snapshot_of(row).now) in ("retrying", "scheduled")
        return ("retry", "cancel") if waits else ("cancel",)

    # -- retry -----------------------------------------------------------------------------------------

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "retry_message")

    @admin.action(description=_("Retry selected messages now"), permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        self.demand(request, "retry_message")

        def retry(row: Message) -> object:
            return messages.retry(row.pk, by=self.who(request), using=self.alias)

        waiting = queryset.filter(visible_at__gt=snapshot(request).now)
        tally, failed = self._each(request, waiting, retry, gettext("Retried."))
        said = ngettext("%(count)d message is due now.", "%(count)d messages are due now.", tally.done)
        self._tell(request, tally, failed, said)

    # -- cancel ----------------------------------------------------------------------------------------

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "cancel_message")

    @admin.action(description=_("Cancel selected messages"), permissions=["cancel"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Message]) -> None:
        self.demand(request, "cancel_message")

        def cancel(row: Message) -> object:
            return messages.cancel(row.pk, using=self.alias)

        tally, failed = self._each(request, queryset, cancel, gettext("Cancelled."))
        said = ngettext("%(count)d message was cancelled.", "%(count)d messages were cancelled.", tally.done)
        self._tell(request, tally, failed, said)

    # -- both ------------------------------------------------------------------------------------------

    def _each(
        self, request: HttpRequest, queryset: QuerySet[Message], verb: Callable[[Message], object], what: str
    ) -> tuple[Tally, dict[int, str]]:
        """Call a verb for each message; return how many it changed, and why it refused the others."""
        failed: dict[int, str] = {}
        seen: set[int] = set()

        def act(rows: list[Message]) -> int:
            done = []
            for row in rows:
                seen.add(row.pk)
                try:
                    verb(row)
                except LetsGoError as error:
                    failed[row.pk] = str(error)
                else:
                    done.append(row)
            self.log(request, done, what)
            return len(done)

        tally = in_batches(first_ones(queryset, seen), act)
        # A filter finds at most this many at a time.
        return (replace(tally, is_all=False) if tally.done >= WINDOW else tally), failed

    def _tell(self, request: HttpRequest, tally: Tally, failed: dict[int, str], said: str) -> None:
        if tally.done:
            self.say(request, said % {"count": tally.done})
        elif not failed:
            self.say(request, gettext("Nothing was changed: none of them is live any more."), notices.WARNING)
        for sentence in list(failed.values())[:5]:
            self.say(request, sentence, notices.WARNING)
        if not tally.is_all:
            self.say(request, gettext("There are more: run the action again to continue."), notices.WARNING)
