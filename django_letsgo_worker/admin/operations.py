"""Bulk operations: begin one, see how far it is, stop it, take it back.

Workers work them off; no request waits for that.
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

from .. import messages
from ..errors import LetsGoError
from ..models import BulkOperation
from . import formatting
from .base import ReadOnlyAdmin, snapshot_of
from .forms import OperationForm

State = BulkOperation.State
# The permission that each kind needs.
PERMISSIONS = {
    "retry": "retry_message",
    "redrive": "redrive_message",
    "discard": "discard_deadletter",
    "cancel": "cancel_message",
    "move": "move_message",
}
KINDS = {"waiting": "wait", "running": "busy", "stopped": "off", "undone": "off", "done": "good"}


@admin.register(BulkOperation)
class BulkOperationAdmin(ReadOnlyAdmin):
    """Bulk operations, newest first. To begin one, a user needs the permission for what it does."""

    form = OperationForm
    list_display = ("what", "state_shown", "progress", "who_and_why", "created")
    search_fields = ("by", "reason")
    ordering = ("-id",)
    actions = ("stop", "undo")
    buttons = {"stop": _("Stop"), "undo": _("Take back what has not begun")}
    shown = (
        "what", "state_shown", "progress", "given_back", "over", "to_queue", "by", "reason", "created",
        "started", "finished",
    )  # fmt: skip
    asked = (
        "kind", "type", "queue", "fingerprint", "error_class", "state", "older_than", "over", "to_queue",
        "reason",
    )  # fmt: skip

    # -- columns -----------------------------------------------------------------------------------------

    @admin.display(description=_("operation"))
    def what(self, row: BulkOperation) -> SafeString:
        chosen = ", ".join(f"{name} {value}" for name, value in row.filter.items())
        return formatting.two_lines(str(row.get_kind_display()), formatting.cut(chosen or _t("all"), 120))

    @admin.display(description=_("state"))
    def state_shown(self, row: BulkOperation) -> SafeString:
        if row.finished_at is None and not snapshot_of(row).workers:
            return formatting.badge("warn", row.get_state_display(), _("no worker is running"))
        if row.state == State.UNDONE and row.finished_at is None:
            return formatting.badge("busy", row.get_state_display(), _("a worker gives them back"))
        return formatting.badge(KINDS[row.state], row.get_state_display())

    @admin.display(description=_("done"))
    def progress(self, row: BulkOperation) -> SafeString:
        skipped = _t("%(count)d skipped") % {"count": row.skipped} if row.skipped else ""
        return formatting.two_lines(f"{row.done} / {row.total}", skipped)

    @admin.display(description=_("by"))
    def who_and_why(self, row: BulkOperation) -> SafeString:
        return formatting.two_lines(formatting.cut(row.by) or formatting.NOTHING, formatting.cut(row.reason))

    @admin.display(description=_("created"))
    def created(self, row: BulkOperation) -> SafeString | str:
        return formatting.when(row.created_at, snapshot_of(row).now)

    @admin.display(description=_("started"))
    def started(self, row: BulkOperation) -> SafeString | str:
        return formatting.when(row.started_at, snapshot_of(row).now)

    @admin.display(description=_("finished"))
    def finished(self, row: BulkOperation) -> SafeString | str:
        return formatting.when(row.finished_at, snapshot_of(row).now)

    # -- a new one ---------------------------------------------------------------------------------------

    def has_add_permission(self, request: HttpRequest) -> bool:
        return any(self.may(request, permission) for permission in PERMISSIONS.values())

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": self.asked if obj is None else self.shown})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else self.shown

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        if obj is None:
            kind = form.base_fields["kind"]
            kind.choices = [  # type: ignore[attr-defined]
                (value, label)
                for value, label in BulkOperation.Kind.choices
                if self.may(request, PERMISSIONS[value])
            ]
        return form

    def save_model(self, request: HttpRequest, obj: BulkOperation, form: Any, change: bool) -> None:
        self.demand(request, PERMISSIONS[obj.kind])
        facts = {"by": self.who(request), "reason": form.cleaned_data["reason"], "using": self.alias}
        operation = messages.operate(obj.kind, **form.cleaned_data["options"], **facts)
        obj.pk, obj._state.adding = operation.pk, False
        obj.filter, obj.by = operation.filter, operation.by

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        chosen = ", ".join(f"{name} {value}" for name, value in obj.filter.items())
        return super().log_addition(request, obj, f"{obj.kind}: {chosen or 'all'}. {obj.reason}".strip())

    # -- stop and take back --------------------------------------------------------------------------------

    def offered(self, row: BulkOperation) -> tuple[str, ...]:
        goes_on = row.state in (State.WAITING, State.RUNNING)
        can_be_undone = row.kind in ("retry", "redrive", "move") and row.state != State.UNDONE
        return (*(("stop",) if goes_on else ()), *(("undo",) if can_be_undone else ()))

    def has_stop_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "stop_bulkoperation")

    def has_undo_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "undo_bulkoperation")

    @admin.action(description=_("Stop selected operations"), permissions=["stop"])
    def stop(self, request: HttpRequest, queryset: QuerySet[BulkOperation]) -> None:
        self.demand(request, "stop_bulkoperation")
        self._each(request, queryset, messages.stop_operation, _t("Stopped."))

    @admin.action(description=_("Take back what selected operations did"), permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[BulkOperation]) -> None:
        self.demand(request, "undo_bulkoperation")
        self._each(request, queryset, messages.undo_operation, _t("Taken back."))

    def _each(self, request: HttpRequest, queryset: QuerySet[BulkOperation], verb: Any, what: str) -> None:
        for row in queryset:
            try:
                verb(row.pk, using=self.alias)
            except LetsGoError as error:
                self.say(request, str(error), notices.WARNING)
            else:
                self.log(request, [row], what)
                self.say(request, f"{row}: {what}")
