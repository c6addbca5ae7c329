"""The shared base of the pages of live and archived messages: columns, fields, and bulk actions.

Their differences, and their actions, are in their own modules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet, TextField
from django.db.models.expressions import Func
from django.db.models.functions import Left
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import messages
from ..errors import MessageNotFound
from ..inspection import Explanation, Snapshot, Wanted, explanation_of, find_live, name_of
from ..models import ArchivedMessage
from . import formatting
from .base import APP, ReadOnlyAdmin, snapshot, snapshot_of
from .filters import FoundPaginator
from .lists import DoorChangeList

# Proxies give up on a request after 30 s or so: stop before that, and say that there is more.
BUDGET_SECONDS = 20.0


SEARCHED = _(
    "An id, or part of a type, an error's class, a worker's name; a whole key, schedule or correlation id. "
    "Or one of them: key:order-5, error:KeyError, schedule:nightly, worker:web-1, correlation:8f3a."
)


class NewestError(Func):
    """A `part` of the last error, extracted by the database, so that no traceback is loaded."""

    arity = 1
    output_field = TextField()
    template = "JSON_EXTRACT(%(expressions)s, '$[#-1].%(part)s')"

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "((%(expressions)s)::json -> -1 ->> '%(part)s')"
        return self.as_sql(compiler, connection, template=template, **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        sql, params = compiler.compile(self.source_expressions[0])
        place = f"CONCAT('$[', JSON_LENGTH({sql}) - 1, '].{self.extra['part']}')"
        return f"JSON_UNQUOTE(JSON_EXTRACT({sql}, {place}))", [*params, *params]


class MessageChangeList(DoorChangeList):
    """A list of messages, which says where else an id may be, and how far it looked."""

    @property
    def notes(self) -> list[str]:
        page: Any = self.model_admin
        return [*super().notes, *page.notes_on(self)]

    @property
    def nothing_found(self) -> str:
        page: Any = self.model_admin
        return page.elsewhere(self.request, self.query) or super().nothing_found


# What only the protocol needs.
DEVELOPERS = ("visible", "first_started", "leased", "receipt", "deaths")


class MessageFactsAdmin(ReadOnlyAdmin):
    """Columns and fields of any message."""

    deferred: tuple[str, ...] = ("payload", "headers", "errors")
    search_fields = ("id",)
    search_help_text = SEARCHED
    list_display_links = ("type_shown",)
    # Columns that the page of one message shows in its own way, or not to everyone.
    secret: tuple[str, ...] = ("payload", "headers")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        shown = "shown" if self.has_view_payload(request) else "hidden"
        return [
            (None, {"fields": ["explained"], "classes": ["lg-whole"]}),
            (None, {"fields": self.first_fields}),
            (_("What happened"), {"fields": ["timeline"], "classes": ["lg-whole"]}),
            (_("Payload"), {"fields": [f"{name}_{shown}" for name in self.secret]}),
            (_("More"), {"fields": self.more_fields}),
            (_("For developers"), {"fields": DEVELOPERS, "classes": ["collapse"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for _title, options in self.get_fieldsets(request, obj) for name in options["fields"]]

    first_fields: tuple[str, ...] = ()
    more_fields: tuple[str, ...] = ()
    # What finds the messages that filters and search ask for.
    find_all: Callable[[Snapshot, Wanted], list[int]] = staticmethod(find_live)

    # -- the list --------------------------------------------------------------------------------------

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": gettext("Messages"), **(extra_context or {})})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DoorChangeList]:
        return MessageChangeList

    def page_of(self, model: str) -> str:
        """Return the address of another list of messages."""
        name = f"admin:{APP}_{model}_changelist"
        return reverse(name, current_app=self.admin_site.name)

    def wanted(self, request: HttpRequest) -> Wanted | None:
        """Return the conditions of filters and search, which are found by ids; None if an index suffices."""
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        word = search_term.strip()
        if word.isdecimal():
            pk = self.clean_pk(word)
            return (queryset.none() if pk is None else queryset.filter(pk=pk)), False
        if (ids := self.ids(request)) is not None:
            queryset = queryset.filter(pk__in=ids)
        return queryset, False

    def get_paginator(self, request: HttpRequest, queryset: Any, per_page: int, *more: Any) -> Any:
        ids = self.ids(request)
        if ids is None or search_word(request).isdecimal() or request.GET.get("error_fingerprint"):
            return super().get_paginator(request, queryset, per_page, *more)
        return FoundPaginator(ids, per_page, self.get_queryset(request))

    def ids(self, request: HttpRequest) -> list[int] | None:
        """Return the ids that filters and search find, searched for once; None if an index suffices."""
        wanted = self.wanted(request)
        if wanted is None:
            return None
        found: list[int] | None = getattr(request, "_letsgo_found", None)
        if found is None:
            found = self.find_all(snapshot(request), wanted)
            request._letsgo_found = found  # type: ignore[attr-defined]
        return found

    def notes_on(self, changelist: DoorChangeList) -> list[str]:
        """Return what the list says about how it was found."""
        return []

    def elsewhere(self, request: HttpRequest, word: str) -> SafeString | str:
        """Return where the message of an id is that is not in this list; empty if it is nowhere."""
        if not word.strip().isdecimal() or (pk := self.clean_pk(word.strip())) is None:
            return ""
        try:
            found = messages.find(pk, using=self.alias)
        except MessageNotFound:
            return ""
        model = "archivedmessage" if isinstance(found, ArchivedMessage) else "message"
        name = gettext("message %(id)s") % {"id": pk}
        return format_html(
            gettext("It is on another tab: {}."), formatting.link_to(self.admin_site.name, model, pk, name)
        )

    def fold_key(self, row: Any) -> Any:
        """Return a key; neighbours with the same one are folded. None keeps a row apart."""
        return None

    def newest_errors(self, rows: Sequence[Any]) -> dict[int, tuple[str, str]]:
        """Return the class and the words of the last error of these rows, by one statement."""
        # The page of one message has read them whole.
        failed = [row.pk for row in rows if row.attempts and "errors" in row.get_deferred_fields()]
        if not failed:
            return {}
        parts = (NewestError("errors", part="class"), Left(NewestError("errors", part="message"), 300))
        found = self.model._base_manager.using(self.alias).filter(pk__in=failed).values_list("pk", *parts)
        return {pk: (name or "", words or "") for pk, name, words in found}

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("type"))
    def type_shown(self, row: Any) -> SafeString:
        return formatting.two_lines(formatting.cut(row.type), f"#{row.pk}")

    @admin.display(description=_("type"))
    def type_alone(self, row: Any) -> str:
        return formatting.cut(row.type)

    @admin.display(description=_("error"))
    def error_shown(self, row: Any) -> SafeString | str:
        name, words = row.newest_error
        return formatting.two_lines(formatting.error_class(name), formatting.cut(words, 120))

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


def search_word(request: HttpRequest) -> str:
    return request.GET.get("q", "").strip()


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
