"""Processes: workers and schedulers, whether living or silent; stop the living, forget the silent.

Recovery does not depend on these rows: leases lapse by themselves.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .. import processes
from ..errors import LetsGoError
from ..inspection import liveness_of
from ..models import Process
from . import formatting
from .base import ReadOnlyAdmin, snapshot_of
from .filters import Filter


class KindFilter(Filter):
    title = _("kind")
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return list(Process.Kind.choices)


@admin.register(Process)
class ProcessAdmin(ReadOnlyAdmin):
    """Workers and schedulers of the last day; their state follows from the age of the last heartbeat."""

    list_display = (
        "name_shown", "kind_shown", "state_shown", "place", "queues_shown", "types_count", "seats_shown",
        "version", "started", "heartbeat",
    )  # fmt: skip
    list_filter = (KindFilter,)
    ordering = ("-heartbeat_at",)
    actions = ("stop", "forget")
    buttons = {"stop": _("Stop"), "forget": _("Forget")}
    fields = (
        "kind_shown", "state_shown", "id", "place", "queues_shown", "types_shown", "seats_shown", "version",
        "started", "heartbeat",
    )  # fmt: skip
    readonly_fields = fields

    @admin.display(description=_("name"))
    def name_shown(self, row: Process) -> str:
        return formatting.cut(row.name) or str(row.pk)

    @admin.display(description=_("kind"))
    def kind_shown(self, row: Process) -> str:
        return str(row.get_kind_display())

    @admin.display(description=_("state"))
    def state_shown(self, row: Process) -> SafeString:
        if row.state == Process.State.STOPPED:
            return formatting.badge("off", row.get_state_display())
        if liveness_of(row, snapshot_of(row).now) == "silent":
            is_worker = row.kind == Process.Kind.WORKER
            takes_over = _("no recent heartbeat; others take over its messages")
            return formatting.badge("bad", _("silent"), takes_over if is_worker else _("no recent heartbeat"))
        if row.state == Process.State.DRAINING:
            return formatting.badge("wait", row.get_state_display())
        if row.stop_requested:
            return formatting.badge("wait", _("stopping"), _("asked to stop"))
        return formatting.badge("good", _("living"))

    @admin.display(description=_("host and pid"))
    def place(self, row: Process) -> str:
        return f"{formatting.cut(row.host)}:{row.pid}"

    @admin.display(description=_("queues"))
    def queues_shown(self, row: Process) -> Any:
        if row.kind == Process.Kind.SCHEDULER:
            return formatting.NOTHING
        return _("all") if row.queues is None else formatting.cut(", ".join(map(str, row.queues)))

    @admin.display(description=_("types"))
    def types_count(self, row: Process) -> Any:
        return formatting.NOTHING if row.kind == Process.Kind.SCHEDULER else len(row.types or ())

    @admin.display(description=_("types"))
    def types_shown(self, row: Process) -> str:
        return ", ".join(map(str, row.types or ())) or formatting.NOTHING

    @admin.display(description=_("busy / seats"))
    def seats_shown(self, row: Process) -> str:
        return formatting.NOTHING if row.kind == Process.Kind.SCHEDULER else f"{row.busy} / {row.seats}"

    @admin.display(description=_("started"))
    def started(self, row: Process) -> SafeString | str:
        return formatting.when(row.started_at, snapshot_of(row).now)

    @admin.display(description=_("heartbeat"))
    def heartbeat(self, row: Process) -> SafeString | str:
        return formatting.when(row.heartbeat_at, snapshot_of(row).now)

    def offered(self, row: Process) -> tuple[str, ...]:
        if row.state == Process.State.STOPPED:
            return ()
        if liveness_of(row, snapshot_of(row).now) == "silent":
            return ("forget",)
        return () if row.stop_requested else ("stop",)

    # -- stop ------------------------------------------------------------------------------------------

    def has_stop_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "stop_process")

    @admin.action(description=_("Stop selected processes"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[Process]) -> None:
        self.demand(request, "stop_process")
        asked = [row for row in queryset if processes.request_stop(row.pk, using=self.alias)]
        self.log(request, asked, _t("Asked to stop."))
        if not asked:
            self.say(request, _t("None of them is running."), notices.WARNING)
            return
        said = ngettext(
            "%(count)d process was asked to stop: it finishes what it has in hand.",
            "%(count)d processes were asked to stop: they finish what they have in hand.",
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
        self.log(request, done, _t("Forgotten."))
        if done:
            said = _t("Forgotten: %(names)s.")
            self.say(request, said % {"names": ", ".join(formatting.cut(row.name) for row in done)})
