"""The shared base of the pages of live and archived messages: columns, fields, and bulk actions.

Their differences, and their actions, are in their own modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from .. import registry
from ..inspection import Explanation, explanation_of, name_of
from . import formatting
from .base import ReadOnlyAdmin, snapshot_of

# Proxies give up on a request after 30 s or so: stop before that, and say that there is more.
BUDGET_SECONDS = 20.0


class MessageFactsAdmin(ReadOnlyAdmin):
    """Columns and fields of any message."""

    deferred: tuple[str, ...] = ("payload", "headers", "errors")
    search_fields = ("id",)
    # Columns that the page of one message shows in its own way, or not to everyone.
    secret: tuple[str, ...] = ("payload", "headers")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = "shown" if self.has_view_payload(request) else "hidden"
        return [
            (None, {"fields": ("explained", *self.first_fields)}),
            (_("Payload"), {"fields": [f"{name}_{shown}" for name in self.secret]}),
            (_("What happened"), {"fields": ["timeline"]}),
            (_("More"), {"fields": self.more_fields}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    first_fields: tuple[str, ...] = ()
    more_fields: tuple[str, ...] = ()

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("type"))
    def type_shown(self, row: Any) -> str:
        return formatting.cut(row.type)

    @admin.display(description=_("queue"))
    def queue_shown(self, row: Any) -> SafeString:
        priority = _("priority %(number)d") % {"number": row.priority} if row.priority else ""
        return formatting.two_lines(formatting.cut(row.queue), priority)

    @admin.display(description=_("attempts"))
    def tries(self, row: Any) -> str:
        return f"{row.attempts} / {row.max_attempts}"

    @admin.display(description=_("enqueued"))
    def enqueued(self, row: Any) -> SafeString | str:
        return formatting.when(row.enqueued_at, snapshot_of(row).now)

    @admin.display(description=_("visible"))
    def visible(self, row: Any) -> SafeString | str:
        return formatting.when(row.visible_at, snapshot_of(row).now)

    @admin.display(description=_("deadline"))
    def deadline_shown(self, row: Any) -> SafeString | str:
        return formatting.when(row.deadline, snapshot_of(row).now)

    @admin.display(description=_("first started"))
    def first_started(self, row: Any) -> SafeString | str:
        return formatting.when(row.first_started_at, snapshot_of(row).now)

    @admin.display(description=_("leased"))
    def leased(self, row: Any) -> SafeString | str:
        return formatting.when(row.leased_at, snapshot_of(row).now)

    @admin.display(description=_("leased by"))
    def holder(self, row: Any) -> SafeString | str:
        if row.leased_by is None:
            return formatting.NOTHING
        name = name_of(row.leased_by, snapshot_of(row))
        return formatting.link_to(self.admin_site.name, "process", row.leased_by, formatting.cut(name))

    @admin.display(description=_("schedule"))
    def schedule(self, row: Any) -> SafeString | str:
        if row.scheduled_job_id is None:
            return formatting.NOTHING
        name = row.headers.get("schedule") if isinstance(row.headers, dict) else None
        text = formatting.cut(name or row.scheduled_job_id)
        return formatting.link_to(self.admin_site.name, "scheduledjob", row.scheduled_job_id, text)

    @admin.display(description=_("planned"))
    def planned(self, row: Any) -> SafeString | str:
        return formatting.when(row.planned_at, snapshot_of(row).now)

    # -- private fields --------------------------------------------------------------------------------

    @admin.display(description=_("payload"))
    def payload_shown(self, row: Any) -> SafeString:
        return formatting.pre(formatting.json_text(row.payload))

    @admin.display(description=_("payload"))
    def payload_hidden(self, row: Any) -> SafeString:
        return formatting.hidden_payload()

    @admin.display(description=_("headers"))
    def headers_shown(self, row: Any) -> SafeString:
        return formatting.pre(formatting.json_text(row.headers))

    @admin.display(description=_("headers"))
    def headers_hidden(self, row: Any) -> SafeString:
        return formatting.hidden_payload()

    # -- why it does not run, and what happened --------------------------------------------------------

    @admin.display(description=_("why"))
    def explained(self, row: Any) -> SafeString:
        return formatting.sentence(self._explanation(row).sentence)

    @admin.display(description=_("timeline"))
    def timeline(self, row: Any) -> SafeString:
        return formatting.timeline(self._explanation(row).timeline)

    def _explanation(self, row: Any) -> Explanation:
        """Return the explanation of the row on its page, made once."""
        found: Explanation | None = getattr(row, "explanation", None)
        if found is None:
            found = row.explanation = explanation_of(row, snapshot_of(row))
        return found


def types_beginning(word: str) -> list[str]:
    """Return a word and the known types that start with it: the word may be a type known only elsewhere."""
    return [*{word, *(type for type in registry.types() if type.startswith(word))}]


# -- actions on all that match ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Tally:
    """The numbers of changed and of skipped rows, and whether there are more."""

    done: int
    skipped: int
    is_all: bool


def in_batches(batches: Iterator[list[Any]], act: Callable[[list[Any]], int]) -> Tally:
    """Call `act` with one batch after the other, for a limited time; it returns how many rows it changed."""
    give_up_at = time.monotonic() + BUDGET_SECONDS
    done = seen = 0
    for batch in batches:
        done += act(batch)
        seen += len(batch)
        if time.monotonic() > give_up_at:
            return Tally(done, seen - done, next(batches, None) is None)
    return Tally(done, seen - done, True)
