"""Bulk operations: begin one, see how far it is, stop it, take it back.

Workers work them off; no request waits for that. Those on one failure's messages begin in
failure_operations.py.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import messages
from ..errors import LetsGoError
from ..models import BulkOperation, Failure
from . import formatting
from .base import snapshot_of
from .failure_operations import PERMISSIONS, FailureOperationAdmin
from .forms import OperationForm

State = BulkOperation.State
KINDS = {"waiting": "wait", "running": "busy", "stopped": "off", "undone": "off", "done": "good"}


@admin.register(BulkOperation)
class BulkOperationAdmin(FailureOperationAdmin):
    """Bulk operations, newest first. To begin one, a user needs the permission for what it does."""

    form = OperationForm
    change_form_template = "admin/django_letsgo_worker/operation.html"
    list_display = ("state_shown", "what", "how_far", "who_and_why", "created")
    list_display_links = ("what",)
    search_fields = ("by", "reason")
    ordering = ("-id",)
    actions = ("stop", "undo")
    buttons = {"stop": _("Stop"), "undo": _("Take back what has not begun")}
    first_shown = ("what", "progress")
    shown = (
        "state_shown", "failure", "remaining", "skipped_shown", "given_back_shown", "over_shown",
        "to_queue", "by", "reason", "created", "started", "finished",
    )  # fmt: skip
    asked = (
        "kind", "type", "queue", "fingerprint", "error_class", "state", "older_than", "over", "to_queue",
        "reason",
    )  # fmt: skip

    # -- columns -----------------------------------------------------------------------------------------

    @admin.display(description=_("operation"))
    def what(self, row: BulkOperation) -> SafeString:
        chosen = ", ".join(f"{name} {value}" for name, value in row.filter.items())
        return formatting.two_lines(
            str(row.get_kind_display()), formatting.cut(chosen or gettext("all"), 120)
        )

    @admin.display(description=_("state"))
    def state_shown(self, row: BulkOperation) -> SafeString:
        if row.finished_at is None and not snapshot_of(row).workers:
            return formatting.badge("warn", row.get_state_display(), _("no worker is running"))
        if row.state == State.UNDONE and row.finished_at is None:
            return formatting.badge("busy", row.get_state_display(), _("a worker gives them back"))
        return formatting.badge(KINDS[row.state], row.get_state_display())

    @admin.display(description=_("done"))
    def how_far(self, row: BulkOperation) -> SafeString:
        skipped = gettext("%(count)d skipped") % {"count": row.skipped} if row.skipped else ""
        return formatting.two_lines(f"{row.done} / {row.total}", skipped)

    @admin.display(description=_("done"))
    def progress(self, row: BulkOperation) -> SafeString:
        """Show how far it is as a bar, which counts those that were left as they are, and in words."""
        most, seen = max(1, row.total), row.done + row.skipped
        share = gettext("%(percent)d %%") % {"percent": 100 * min(seen, most) // most}
        return format_html(
            '<progress class="lg-progress" max="{}" value="{}" aria-label="{}"></progress> {} ({})',
            most,
            min(seen, most),
            gettext("done"),
            f"{row.done} / {row.total}",
            share,
        )

    @admin.display(description=_("the last one starts"))
    def remaining(self, row: BulkOperation) -> SafeString | str:
        """Say when the last one starts, while that is to come."""
        if row.over is None or row.state in (State.STOPPED, State.UNDONE):
            return formatting.NOTHING
        now = snapshot_of(row).now
        ends = (row.started_at or now) + row.over
        return formatting.when(ends, now) if ends > now else formatting.NOTHING

    @admin.display(description=_("over"))
    def over_shown(self, row: BulkOperation) -> str:
        return formatting.NOTHING if row.over is None else formatting.span(row.over.total_seconds())

    @admin.display(description=_("failure"))
    def failure(self, row: BulkOperation) -> SafeString | str:
        """Link to the failure that its messages are of, if they are of one."""
        same = {name: row.filter.get(name) for name in ("type", "fingerprint")}
        if not all(isinstance(value, str) for value in same.values()):
            return formatting.NOTHING
        found = Failure.objects.using(self.alias).filter(**same).defer("last_traceback").first()
        if found is None:
            return formatting.NOTHING
        return formatting.link_to(self.admin_site.name, "failure", found.pk, formatting.cut(found))

    @admin.display(description=_("skipped"))
    def skipped_shown(self, row: BulkOperation) -> str:
        return str(row.skipped or formatting.NOTHING)

    @admin.display(description=_("given back"))
    def given_back_shown(self, row: BulkOperation) -> str:
        return str(row.given_back or formatting.NOTHING)

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
        if obj is None:
            return [(None, {"fields": self.asked})]
        return [
            (None, {"fields": self.first_shown, "classes": ["lg-whole"]}),
            (None, {"fields": self.shown}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return () if obj is None else (*self.first_shown, *self.shown)

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

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> HttpResponse:
        """Lead to the page of what began."""
        if not self.has_view_permission(request):
            self.say(request, gettext("It has begun: workers do it."))
            return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))
        self.say(request, gettext("It has begun: here you see how far it is."))
        return HttpResponseRedirect(self.url("change", str(obj.pk)))

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        row = kwargs.get("obj")
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        context["goes_on"] = row is not None and (row.finished_at is None)
        return super().render_change_form(request, context, *args, **kwargs)

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
        self._each(request, queryset, messages.stop_operation, gettext("Stopped."))

    @admin.action(description=_("Take back what selected operations did"), permissions=["undo"])
    def undo(self, request: HttpRequest, queryset: QuerySet[BulkOperation]) -> None:
        self.demand(request, "undo_bulkoperation")
        self._each(request, queryset, messages.undo_operation, gettext("Taken back."))

    def _each(self, request: HttpRequest, queryset: QuerySet[BulkOperation], verb: Any, what: str) -> None:
        for row in queryset:
            try:
                verb(row.pk, using=self.alias)
            except LetsGoError as error:
                self.say(request, str(error), notices.WARNING)
            else:
                self.log(request, [row], what)
                self.say(request, f"{row}: {what}")
