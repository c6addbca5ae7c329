"""Failures: failed attempts in groups, retried or dead, with their trend, samples and last traceback.

inspection counts the messages of all rows of a page at once; operations.py begins what is done to them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import CharField, Q, QuerySet, Value
from django.db.models.functions import Concat, Lower
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import engines, messages, registry
from ..inspection import (
    MOST_FAILURES,
    FailureGroup,
    Snapshot,
    failure_states,
    groups_of,
    samples_of,
    state_of,
)
from ..models import Failure
from ..validation import storable
from . import formatting, tracebacks
from .base import APP, ReadOnlyAdmin, snapshot, snapshot_of
from .failure_operations import PERMISSIONS
from .filters import Choices, Filter, FoundFilter, TypeFilter
from .forms import ReasonActionForm
from .lists import AtLeast

KINDS = {"retrying": "warn", "dead": "bad", "over": "off"}
STATES = {"retrying": _("retrying"), "dead": _("dead"), "over": _("over")}
OPERATIONS = {"retry": _("Retry…"), "redrive": _("Redrive…"), "discard": _("Discard…")}
# The marks of samples: none is green, each has failed.
SAMPLES = {
    "running": ("busy", _("running")),
    "ready": ("calm", _("ready")),
    "retrying": ("warn", _("retrying")),
    "scheduled": ("calm", _("scheduled")),
    "dead": ("bad", _("dead")),
}
# Of so many failures at once the types are paused.
MOST_TYPES = 1_000
# The height of the trend, and the width of one of its hours, in pixels.
HEIGHT, HOUR = 18, 2


# -- filters -------------------------------------------------------------------------------------------------


class StateFilter(FoundFilter):
    title = _("state")
    parameter_name = "state"
    is_tabs = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return list(STATES.items())

    def counts(self, request: HttpRequest) -> dict[str, int]:
        found: dict[str, int] = getattr(request, "_letsgo_failures", {})
        return found


class QueueFilter(FoundFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        served = {name for worker in snapshot(request).workers for name in worker.named_queues or ()}
        handled = {handler.queue for handler in registry.handlers() if handler.queue}
        return self.with_own(sorted({"default", *served, *handled}))


class FailedTypeFilter(TypeFilter):
    """By type; the choices are those of the failures that were met last."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        rows = Failure.objects.using(model_admin.alias).order_by("-last_at", "-pk")
        return self.with_own(sorted(set(rows.values_list("type", flat=True)[:MOST_FAILURES])))


class SinceFilter(Filter):
    title = _("met in the last")
    parameter_name = "since"
    spans = {
        "1h": (_("1 hour"), timedelta(hours=1)),
        "24h": (_("24 hours"), timedelta(hours=24)),
        "7d": (_("7 days"), timedelta(days=7)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> Choices:
        return [(name, label) for name, (label, _span) in self.spans.items()]

    def narrowed(self, request: HttpRequest, queryset: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value not in self.spans:
            return queryset.none()
        return queryset.filter(last_at__gte=snapshot(request).now - self.spans[value][1])


# -- the page ------------------------------------------------------------------------------------------------


@admin.register(Failure)
class FailureAdmin(ReadOnlyAdmin):
    """Failures, the one met last first."""

    list_display = ("state_shown", "title_shown", "messages_shown", "met", "trend_shown", "operations_shown")
    list_display_links = ("title_shown",)
    list_filter = (StateFilter, FailedTypeFilter, QueueFilter, SinceFilter)
    search_fields = ("error_class",)
    search_help_text = _("Part of the error's class, of its words, or of the type.")
    ordering = ("-last_at", "-pk")
    deferred = ("last_traceback",)
    actions = ("pause_type", "resume_type")
    buttons = {"pause_type": _("Pause the type"), "resume_type": _("Resume the type")}
    action_form = ReasonActionForm
    facts = (
        "state_shown", "messages_shown", "type", "trend_shown", "first", "last", "versions_shown",
        "fingerprint", "error_class",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": ("sentence", "message_shown"), "classes": ("lg-whole",)}),
        (_("Facts"), {"fields": facts}),
        (_("Traceback"), {"fields": ("traceback",), "classes": ("lg-whole",)}),
        (_("Messages"), {"fields": ("samples",), "classes": ("lg-whole",)}),
    )
    readonly_fields = ("sentence", "message_shown", *facts, "traceback", "samples")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Failure], search_term: str
    ) -> tuple[QuerySet[Failure], bool]:
        found = _with_words(queryset, search_term.strip())
        state, queue = request.GET.get("state"), _queue(request)
        looked_at = list(found.only("pk", "type", "fingerprint").order_by(*self.ordering)[:MOST_FAILURES])
        states = failure_states(looked_at, snapshot(request), queue=queue)
        request._letsgo_failures = _counted(states, queue)  # type: ignore[attr-defined]
        if not state and queue is None:
            return found, False
        pairs = zip(looked_at, states, strict=True)
        chosen = [row.pk for row, some in pairs if (state in some if state else "over" not in some)]
        return found.filter(pk__in=chosen), False

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        for row, group in zip(rows, groups_of(rows, snapshot(request), queue=_queue(request)), strict=True):
            row.group = group

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("state"))
    def state_shown(self, row: Any) -> SafeString:
        return formatting.badge(KINDS[row.group.state], STATES[row.group.state])

    @admin.display(description=_("failure"))
    def title_shown(self, row: Any) -> SafeString:
        return formatting.two_lines(formatting.cut(row.group.title), formatting.cut(row.type))

    @admin.display(description=_("messages"))
    def messages_shown(self, row: Any) -> SafeString | str:
        group: FailureGroup = row.group
        lines = []
        if group.retrying:
            text = gettext("%(number)s retrying") % {"number": _number(group.retrying)}
            lines.append(self._linked(row, "message", text))
        if group.dead:
            text = gettext("%(number)s dead") % {"number": _number(group.dead)}
            lines.append(self._linked(row, "deadletter", text))
        return format_html_join("", "<div>{}</div>", ((line,) for line in lines)) or formatting.NOTHING

    def _linked(self, row: Any, place: str, text: str) -> SafeString | str:
        """Link to its messages in a list, for those who may see them."""
        if not self.may(row.request, f"view_{place}"):
            return text
        query = urlencode({"error_fingerprint": row.fingerprint, "type": row.type})
        page = reverse(f"admin:{APP}_{place}_changelist", current_app=self.admin_site.name)
        return formatting.link(f"{page}?{query}", text)

    @admin.display(description=_("last, first"))
    def met(self, row: Any) -> SafeString:
        return formatting.two_lines(self.last(row), self.first(row))

    @admin.display(description=_("48 hours"))
    def trend_shown(self, row: Any) -> SafeString:
        return formatting.two_lines(
            trend(row.group.trend),
            ngettext("%(count)d failed attempt", "%(count)d failed attempts", row.count)
            % {"count": row.count},
        )

    @admin.display(description=_("first"))
    def first(self, row: Any) -> SafeString | str:
        return formatting.when(row.first_at, snapshot_of(row).now)

    @admin.display(description=_("last"))
    def last(self, row: Any) -> SafeString | str:
        return formatting.when(row.last_at, snapshot_of(row).now)

    # -- what can be done to its messages ----------------------------------------------------------------

    @admin.display(description="", empty_value="")
    def operations_shown(self, row: Any) -> SafeString:
        link = '<a class="button lg-button" href="{}">{}</a>'
        return format_html_join(" ", link, ((one["url"], one["label"]) for one in self._operations(row)))

    def _operations(self, row: Any) -> list[dict[str, Any]]:
        """Return the bulk operations that this user may begin on its messages: forms that are filled in."""
        counts = {"retry": row.group.retrying, "redrive": row.group.dead, "discard": row.group.dead}
        page = reverse(f"admin:{APP}_bulkoperation_add", current_app=self.admin_site.name)
        query = {"type": row.type, "fingerprint": row.fingerprint}
        if (queue := _queue(row.request)) is not None:
            query["queue"] = queue
        return [
            {
                "url": f"{page}?{urlencode({'kind': kind, **query})}",
                "label": OPERATIONS[kind],
                "name": kind,
                "is_link": True,
            }
            for kind, count in counts.items()
            if count and self.may(row.request, PERMISSIONS[kind])
        ]

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        return super().buttons_of(request, row) + self._operations(row)

    # -- its type ----------------------------------------------------------------------------------------

    def offered(self, row: Any) -> tuple[str, ...]:
        return ("resume_type",) if row.type in snapshot_of(row).paused_types else ("pause_type",)

    def has_pause_type_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "pause_type")

    @admin.action(description=_("Pause the types of selected failures"), permissions=["pause_type"])
    def pause_type(self, request: HttpRequest, queryset: QuerySet[Failure]) -> None:
        self.demand(request, "pause_type")
        by, reason = self.who(request), request.POST.get("reason", "").strip()
        for name in self._types(request, queryset, gettext("Paused the type.")):
            messages.pause_type(name, by=by, reason=reason, using=self.alias)
            self.say(request, gettext("The type %(name)s was paused.") % {"name": name})

    @admin.action(description=_("Resume the types of selected failures"), permissions=["pause_type"])
    def resume_type(self, request: HttpRequest, queryset: QuerySet[Failure]) -> None:
        self.demand(request, "pause_type")
        for name in self._types(request, queryset, gettext("Resumed the type.")):
            messages.resume_type(name, by=self.who(request), using=self.alias)
            self.say(request, gettext("The type %(name)s was resumed.") % {"name": name})

    def _types(self, request: HttpRequest, queryset: QuerySet[Failure], what: str) -> list[str]:
        """Return the types of failures, and log what is done to them."""
        rows = {row.type: row for row in queryset[:MOST_TYPES]}
        self.log(request, list(rows.values()), what)
        return sorted(rows)

    # -- the page of one -------------------------------------------------------------------------------

    @admin.display(description=_("in short"))
    def sentence(self, row: Any) -> SafeString:
        return formatting.sentence(" ".join(_sentences(row, snapshot_of(row))))

    @admin.display(description=_("its words"))
    def message_shown(self, row: Any) -> SafeString | str:
        if not row.message or row.message in row.group.title:
            return formatting.NOTHING
        return format_html('<p class="lg-message">{}</p>', row.message)

    @admin.display(description=_("versions"))
    def versions_shown(self, row: Any) -> str:
        return formatting.cut(", ".join(row.group.versions)) or formatting.NOTHING

    @admin.display(description=_("traceback"))
    def traceback(self, row: Any) -> SafeString | str:
        return tracebacks.shown(row.last_traceback) if row.last_traceback else formatting.NOTHING

    @admin.display(description=_("samples"))
    def samples(self, row: Any) -> SafeString | str:
        found = samples_of(row, snapshot_of(row))
        if not found:
            return formatting.NOTHING
        lines = format_html_join("", "<li>{}</li>", ((self._sample(row.request, one),) for one in found))
        hidden = "" if self.has_view_payload(row.request) else formatting.hidden_payload()
        return format_html('<ul class="lg-samples">{}</ul>{}', lines, hidden)

    def _sample(self, request: HttpRequest, message: Any) -> SafeString:
        """Show a message: where it is, its key, and its payload to those who may see it."""
        kind, label = SAMPLES.get(state_of(message, snapshot(request).now), ("off", _("over")))
        name = gettext("Message %(id)s") % {"id": message.pk}
        where = gettext("in %(queue)s") % {"queue": formatting.cut(message.queue)}
        key = (
            gettext("key %(key)s") % {"key": formatting.cut(message.unique_key)} if message.unique_key else ""
        )
        may_see = self.has_view_payload(request)
        return format_html(
            '{} {} <span class="lg-why">{}</span> <span class="lg-why">{}</span>{}',
            formatting.link_to(self.admin_site.name, "message", message.pk, name),
            formatting.badge(kind, label),
            where,
            key,
            formatting.pre(formatting.json_text(message.payload)) if may_see else "",
        )


def _queue(request: HttpRequest) -> str | None:
    """Return the queue that the list is narrowed to."""
    return storable(request.GET.get("queue", ""), 64) or None


def _with_words(rows: QuerySet[Failure], words: str) -> QuerySet[Failure]:
    """Return the failures with some words in their type, class or message, in any case of their letters."""
    if not words:
        return rows
    text = Concat("type", Value(" "), "error_class", Value(": "), "message", output_field=CharField())
    # As it is, too: SQLite lowers English letters only.
    found = Q(letsgo_words__contains=words) | Q(letsgo_lowered__contains=words.lower())
    return rows.alias(letsgo_words=text, letsgo_lowered=Lower(text)).filter(found)


def _counted(states: Sequence[frozenset[str]], queue: str | None) -> dict[str, int]:
    """Return the numbers of failures by what their messages do, all of them under the empty text."""
    counts = Counter(state for some in states for state in some)
    counts[""] = len(states) if queue is None else len(states) - counts["over"]
    named = {state: counts[state] for state in ("", *STATES)}
    return {name: AtLeast(n) for name, n in named.items()} if len(states) == MOST_FAILURES else named


def _sentences(row: Failure, page: Snapshot) -> list[str]:
    """Return what fails, how often and since when, and what its messages do, in plain words."""
    group: FailureGroup = row.group  # type: ignore[attr-defined]
    first, last = (formatting.relative(moment, page.now) for moment in (row.first_at, row.last_at))
    fails = gettext("%(type)s fails with %(title)s.") % {"type": row.type, "title": group.title.rstrip(".")}
    often = ngettext(
        "It failed once, %(last)s.",
        "It failed %(count)d times, first %(first)s and last %(last)s.",
        row.count,
    )
    said = [fails, often % {"count": row.count, "first": first, "last": last}]
    if group.retrying:
        text = ngettext("%(number)s message is retried.", "%(number)s messages are retried.", group.retrying)
        said.append(text % {"number": _number(group.retrying)})
    if group.dead:
        text = ngettext("%(number)s dead letter is kept.", "%(number)s dead letters are kept.", group.dead)
        said.append(text % {"number": _number(group.dead)})
    if group.state == "over":
        said.append(gettext("None of its messages is left."))
    if group.began:
        said.append(capfirst(gettext("it %(began)s.") % {"began": group.began}))
    return said


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
    words = gettext("%(day)s in the last 24 hours, %(before)s in the 24 before") % {
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
