"""Processes: workers and schedulers, what they run now, and the silent ones; drain them, forget them.

Recovery does not depend on these rows: leases lapse by themselves.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.contrib.admin.utils import quote
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import processes
from ..errors import LetsGoError
from ..inspection import InHand, in_hand, liveness_of, share_done
from ..models import Process
from . import formatting
from .base import ReadOnlyAdmin, snapshot, snapshot_of
from .filters import Filter

# So many messages of a worker stand in its row, and on its page.
MOST_NAMES, MOST_LISTED = 3, 100


class PresenceFilter(Filter):
    """Those that have not said that they ended, or those that have."""

    title = _("state")
    parameter_name = "state"
    is_tabs = True
    all = _("living and silent")

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("stopped", _("stopped"))]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Process]) -> QuerySet[Process]:
        stopped = Process.State.STOPPED
        is_stopped = self.value() == "stopped"
        return queryset.filter(state=stopped) if is_stopped else queryset.exclude(state=stopped)

    def counts(self, request: HttpRequest) -> dict[str, int]:
        all = snapshot(request).processes
        stopped = sum(1 for one in all if one.state == Process.State.STOPPED)
        return {"": len(all) - stopped, "stopped": stopped}


class KindFilter(Filter):
    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Process.Kind.choices)


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    """Workers and schedulers of the last day; their state follows from the age of the last heartbeat."""

    list_display = (
        "state_shown", "name_shown", "queues_shown", "seats_shown", "hand_shown", "version_shown", "started",
        "heartbeat", "switch",
    )  # fmt: skip
    list_display_links = None
    list_filter = (PresenceFilter, KindFilter)
    ordering = ("-heartbeat_at",)
    actions = ("stop", "forget")
    buttons = {"stop": _("Drain"), "forget": _("Forget")}
    facts = (
        "state_shown", "kind_shown", "place", "queues_shown", "seats_shown", "version_shown", "started",
        "heartbeat", "id",
    )  # fmt: skip
    fieldsets = (
        (None, {"fields": facts}),
        (_("In hand"), {"fields": ("hand_table",), "classes": ("lg-whole", "lg-one")}),
        (_("Types"), {"fields": ("types_shown",), "classes": ("lg-whole", "lg-one", "collapse")}),
    )
    readonly_fields = (*facts, "hand_table", "types_shown")

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        page = snapshot(request)
        workers = [row for row in rows if row.kind == Process.Kind.WORKER]
        found: dict[Any, list[InHand]] = {}
        for liveness in ("living", "silent"):
            holders = [row for row in workers if liveness_of(row, page.now) == liveness]
            if holders:
                found |= in_hand(page.engine, page.lanes, holders)
        for row in rows:
            row.hand = found.get(row.pk, [])

    # -- columns ---------------------------------------------------------------------------------------

    @admin.display(description=_("state"))
    def state_shown(self, row: Any) -> SafeString:
        if row.state == Process.State.STOPPED:
            return formatting.badge("off", row.get_state_display())
        if self._is_silent(row):
            return formatting.badge("bad", _("silent"), _("killed, frozen or cut off"))
        if row.state == Process.State.DRAINING:
            return formatting.badge("wait", row.get_state_display())
        if row.stop_requested:
            return formatting.badge("wait", _("stopping"), _("asked to drain"))
        return formatting.badge("good", _("living"))

    @admin.display(description=_("name"))
    def name_shown(self, row: Any) -> SafeString:
        name = formatting.cut(row.name) or str(row.pk)
        link = formatting.link(self.url("change", quote(row.pk)), name)
        return format_html(
            '{}<div class="lg-why">{}</div><div class="lg-why">{}</div>',
            link,
            row.get_kind_display(),
            self.place(row),
        )

    @admin.display(description=_("kind"))
    def kind_shown(self, row: Any) -> str:
        return str(row.get_kind_display())

    @admin.display(description=_("host and pid"))
    def place(self, row: Any) -> str:
        return f"{formatting.cut(row.host)}:{row.pid}"

    @admin.display(description=_("queues"))
    def queues_shown(self, row: Any) -> Any:
        if row.kind == Process.Kind.SCHEDULER:
            return formatting.NOTHING
        if row.named_queues is not None:
            return formatting.cut(", ".join(row.named_queues))
        if not row.excluded_queues:
            return _("all")
        return gettext("all but %(queues)s") % {"queues": formatting.cut(", ".join(row.excluded_queues))}

    @admin.display(description=_("types"))
    def types_shown(self, row: Any) -> str:
        return ", ".join(map(str, row.types or ())) or formatting.NOTHING

    @admin.display(description=_("busy / seats"))
    def seats_shown(self, row: Any) -> str:
        return formatting.NOTHING if row.kind == Process.Kind.SCHEDULER else f"{row.busy} / {row.seats}"

    @admin.display(description=_("version"))
    def version_shown(self, row: Any) -> SafeString | str:
        others = {one.version for one in snapshot_of(row).living if one.version != row.version}
        said = (
            gettext("while others run %(versions)s") % {"versions": ", ".join(sorted(others))}
            if others
            else ""
        )
        return formatting.two_lines(row.version or formatting.NOTHING, said)

    @admin.display(description=_("started"))
    def started(self, row: Any) -> SafeString | str:
        return formatting.when(row.started_at, snapshot_of(row).now)

    @admin.display(description=_("last sign of life"))
    def heartbeat(self, row: Any) -> SafeString | str:
        return formatting.when(row.heartbeat_at, snapshot_of(row).now)

    @admin.display(description="")
    def switch(self, row: Any) -> SafeString | str:
        offered = [name for name in self.offered(row) if name in self.get_actions(row.request)]
        buttons = ((self.button(row, name, self.buttons[name]),) for name in offered)
        return format_html_join(" ", "{}", buttons)

    def offered(self, row: Any) -> tuple[str, ...]:
        if row.state == Process.State.STOPPED:
            return ()
        if self._is_silent(row):
            return ("forget",)
        return () if row.stop_requested else ("stop",)

    def _is_silent(self, row: Any) -> bool:
        return liveness_of(row, snapshot_of(row).now) == "silent"

    # -- what it has in hand ---------------------------------------------------------------------------

    @admin.display(description=_("in hand"))
    def hand_shown(self, row: Any) -> SafeString | str:
        if self._is_silent(row):
            return self._held(row)
        if not row.hand:
            return formatting.NOTHING
        now = snapshot_of(row).now
        lines = [
            (
                self._message(one, formatting.cut(one.type)),
                formatting.when(one.since, now),
                f" · {share_done(one.progress)}" if one.progress is not None else "",
            )
            for one in row.hand[:MOST_NAMES]
        ]
        more = len(row.hand) - MOST_NAMES
        listed = format_html_join("", '<div>{} <span class="lg-why">{}{}</span></div>', lines)
        return format_html("{}{}", listed, f"+{more}") if more > 0 else listed

    def _held(self, row: Any) -> str:
        """Say what a silent worker ran when it was last heard of, and what of it still waits for another."""
        waits = Counter(one.queue for one in row.hand)
        held = max(row.busy, len(row.hand))
        if not held:
            return formatting.NOTHING
        said = ngettext("held %(count)d message", "held %(count)d messages", held) % {"count": held}
        rest = [
            ngettext("%(count)d of %(queue)s waits", "%(count)d of %(queue)s wait", count)
            % {"count": count, "queue": formatting.cut(queue)}
            for queue, count in sorted(waits.items())
        ]
        if gone := held - len(row.hand):
            rest.insert(0, ngettext("%(count)d taken up", "%(count)d taken up", gone) % {"count": gone})
        return f"{said}: {', '.join(rest)}"

    def _message(self, one: InHand, text: str) -> SafeString | str:
        return formatting.link_to(self.admin_site.name, "message", one.id, text)

    @admin.display(description=_("messages"))
    def hand_table(self, row: Any) -> SafeString | str:
        if not row.hand:
            return self._held(row) if self._is_silent(row) else formatting.NOTHING
        now = snapshot_of(row).now
        lines = (
            (
                self._message(one, str(one.id)),
                formatting.cut(one.type),
                formatting.cut(one.queue),
                one.attempt,
                formatting.when(one.since, now),
                share_done(one.progress) if one.progress is not None else formatting.NOTHING,
            )
            for one in row.hand[:MOST_LISTED]
        )
        headings = (_("message"), _("type"), _("queue"), _("attempt"), _("since"), _("progress"))
        caption = (
            self._held(row) if self._is_silent(row) else gettext("Those that it took first stand first.")
        )
        return formatting.table(headings, lines, caption)

    # -- drain -----------------------------------------------------------------------------------------

    def has_stop_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "stop_process")

    @admin.action(description=_("Drain selected processes"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Process]) -> None:
        self.demand(request, "stop_process")
        asked = [row for row in queryset if processes.request_stop(row.pk, using=self.alias)]
        self.log(request, asked, gettext("Asked to drain."))
        if not asked:
            self.say(request, gettext("None of them is running."), notices.WARNING)
            return
        said = ngettext(
            "%(count)d process was asked to drain: it finishes what it has in hand.",
            "%(count)d processes were asked to drain: they finish what they have in hand.",
            len(asked),
        )
        self.say(request, said % {"count": len(asked)})

    # -- forget ----------------------------------------------------------------------------------------

    def has_forget_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "forget_process")

    @admin.action(description=_("Forget selected silent processes"), permissions=["forget"])
    def forget(self, request: HttpRequest, queryset: QuerySet[Process]) -> None:
        self.demand(request, "forget_process")
        done = []
        for name, row in {row.name: row for row in queryset}.items():
            try:
                processes.forget(name, using=self.alias)
            except LetsGoError as error:
                self.say(request, str(error), notices.ERROR)
            else:
                done.append(row)
        self.log(request, done, gettext("Forgotten."))
        if done:
            said = gettext("Forgotten: %(names)s.")
            self.say(request, said % {"names": ", ".join(formatting.cut(row.name) for row in done)})
