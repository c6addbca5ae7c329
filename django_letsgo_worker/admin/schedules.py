"""Schedules: the list with its switches, the form, and the actions enable, disable and run now.

Columns and fields are in schedule_columns.py; planning decides when a schedule runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _t
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from .. import planning, schedules
from ..errors import InvalidSchedule, LetsGoError
from ..inspection import newest_runs
from ..models import ScheduledJob
from . import formatting
from .filters import ScheduleStateFilter, ScheduleTypeFilter
from .forms import ReasonActionForm, ScheduledJobForm
from .schedule_columns import ScheduleColumns

WHAT = ("name", "type", "schedule", "timezone", "payload")


@admin.register(ScheduledJob)
class ScheduledJobAdmin(ScheduleColumns):
    """Schedules; of those declared in code only the switch can be changed."""

    form = ScheduledJobForm
    list_display = ("switch", "name_shown", "schedule_shown", "state_shown", "next_run", "last_run")
    list_display_links = ("name_shown",)
    list_filter = (ScheduleStateFilter, ScheduleTypeFilter)
    search_fields = ("name", "type")
    search_help_text = _("Part of the name or of the type.")
    ordering = ("name",)
    deferred = ("payload",)
    actions = ("enable", "disable", "run_now")
    buttons = {"enable": _("Switch on"), "disable": _("Switch off"), "run_now": _("Run now")}
    action_form = ReasonActionForm

    # -- the list --------------------------------------------------------------------------------------

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        runs = newest_runs([row.pk for row in rows], using=self.alias)
        for row in rows:
            row.newest_run = runs.get(row.pk)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ScheduledJob], search_term: str
    ) -> tuple[QuerySet[ScheduledJob], bool]:
        word = search_term.strip().replace("\0", "")
        return queryset.filter(Q(name__icontains=word) | Q(type__icontains=word)) if word else queryset, False

    @admin.display(description=_("on"))
    def switch(self, row: Any) -> SafeString | str:
        if not self.has_switch_permission(row.request):
            return formatting.two_lines(_t("on") if row.enabled else _t("off"), self._run_button(row))
        switch = format_html(
            '<button type="submit" class="lg-switch" role="switch" aria-checked="{}" aria-label="{}" '
            'formmethod="post" formaction="{}"><span aria-hidden="true">{}</span></button>',
            "true" if row.enabled else "false",
            formatting.cut(row.name),
            self.do_url(row, "disable" if row.enabled else "enable"),
            _("on") if row.enabled else _("off"),
        )
        return formatting.two_lines(switch, self._run_button(row))

    def _run_button(self, row: Any) -> SafeString | str:
        return self.button(row, "run_now", _("Run now")) if self.has_run_permission(row.request) else ""

    # -- the form --------------------------------------------------------------------------------------

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        if obj is not None and obj.declared_in_code:
            return False
        return super().has_change_permission(request, obj)

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        may_see = self.has_view_payload(request)
        may_edit = obj is None or self.has_change_permission(request, obj)
        payload = "payload" if may_see and may_edit else "payload_shown" if may_see else "payload_hidden"
        what = [payload if name == "payload" else name for name in WHAT]
        sections: list[Any] = [
            (None, {"fields": what if obj else [what[0], "enabled", *what[1:]]}),
            (_("Its messages"), {"fields": planning.MESSAGE_FIELDS}),
            (_("Bounds and rules"), {"fields": planning.RUN_FIELDS}),
        ]
        if obj is None:
            return sections
        state = ("state_shown", "english", "next_runs", "last_runs")
        return [(_("State"), {"fields": state}), *sections]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return ("state_shown", "english", "next_runs", "last_runs", "payload_shown", "payload_hidden")

    @admin.display(description=_("payload"))
    def payload_shown(self, row: ScheduledJob) -> SafeString:
        return formatting.pre(formatting.json_text(row.payload))

    @admin.display(description=_("payload"))
    def payload_hidden(self, row: ScheduledJob) -> SafeString:
        return formatting.hidden_payload()

    def save_model(self, request: HttpRequest, obj: ScheduledJob, form: Any, change: bool) -> None:
        if not change:
            obj.switched_by = self.who(request)
        obj.save(using=self.alias)

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: Any = None,
    ) -> HttpResponse:
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except InvalidSchedule as error:
            # The form was valid a moment ago; the time of an at() has passed since.
            self.say(request, str(error), notices.ERROR)
            return HttpResponseRedirect(request.get_full_path())

    def offered(self, row: ScheduledJob) -> tuple[str, ...]:
        return ("disable" if row.enabled else "enable", "run_now")

    # -- delete ----------------------------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Django would read every occurrence of years to list it.
        names = [f"{self.opts.verbose_name}: {job.name}" for job in objs]
        lacking = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        return (
            [*names, _t("and the records of their runs")],
            {self.opts.verbose_name_plural: len(names)},
            lacking,
            [],
        )

    def delete_model(self, request: HttpRequest, obj: ScheduledJob) -> None:
        schedules.remove(obj.name, using=self.alias)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        for job in queryset:
            schedules.remove(job.name, using=self.alias)

    # -- actions ---------------------------------------------------------------------------------------

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "switch_scheduledjob")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "run_scheduledjob")

    @admin.action(description=_("Switch on"), permissions=["switch"])
    def enable(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self.demand(request, "switch_scheduledjob")
        by = self.who(request)
        done = self._each(
            request,
            queryset,
            lambda name: schedules.enable(name, by=by, using=self.alias),
            _t("Switched on."),
        )
        said = ngettext("%(count)d schedule is on.", "%(count)d schedules are on.", done)
        self.say(request, said % {"count": done}) if done else None

    @admin.action(description=_("Switch off"), permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self.demand(request, "switch_scheduledjob")
        by, reason = self.who(request), request.POST.get("reason", "").strip()[:255]

        def disable(name: str) -> object:
            return schedules.disable(name, by=by, reason=reason, using=self.alias)

        done = self._each(request, queryset, disable, _t("Switched off."))
        said = ngettext("%(count)d schedule is off.", "%(count)d schedules are off.", done)
        self.say(request, said % {"count": done}) if done else None

    @admin.action(description=_("Run now"), permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self.demand(request, "run_scheduledjob")
        by = self.who(request)

        def run(name: str) -> object:
            message = schedules.run_now(name, by=by, using=self.alias)
            number = formatting.link_to(self.admin_site.name, "message", message.pk, message.pk)
            self.say(
                request, format_html(_t("{name} runs now as message {number}."), name=name, number=number)
            )
            return message

        self._each(request, queryset, run, _t("Run now."))

    def _each(
        self, request: HttpRequest, queryset: QuerySet[ScheduledJob], verb: Callable[[str], object], what: str
    ) -> int:
        """Call a verb for each schedule; return for how many it succeeded."""
        done = []
        for job in queryset:
            try:
                verb(job.name)
            except LetsGoError as error:
                self.say(request, format_html("{}: {}", job.name, str(error)), notices.ERROR)
            else:
                done.append(job)
        self.log(request, done, what)
        return len(done)
