"""Schedules: the list with its switches, the form, and the actions enable, disable and run now.

Columns and fields are in schedule_columns.py, further pages in schedule_pages.py and
schedule_pauses.py; planning decides when a schedule runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import admin
from django.contrib import messages as notices
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import planning, schedules
from ..errors import InvalidSchedule, LetsGoError
from ..inspection import failing_types, newest_runs
from ..models import ScheduledJob
from . import formatting
from .base import snapshot
from .filters import ScheduleStateFilter, ScheduleTypeFilter, counts_of_schedules, searched_schedules
from .forms import ListedInput, ReasonActionForm
from .schedule_columns import LAST_RUNS, said_of_pause, unknown
from .schedule_form import ScheduledJobForm
from .schedule_pages import FOLDER
from .schedule_pauses import SchedulePauses

WHAT = ("name", "type", "schedule", "timezone")
STATE = ("state_shown", "rule", "runs_shown", "waiting_shown", "next_runs", "last_runs")
# What most schedules leave as it is.
BOUNDS = ("starts_at", "ends_at", "except_on", "spread", "max_runs", "delete_when_over")
FOLDED = (
    (_("Its messages"), planning.MESSAGE_FIELDS),
    (_("When it runs"), BOUNDS),
    (_("Late, overlapping and failing runs"), [name for name in planning.RUN_FIELDS if name not in BOUNDS]),
)


@admin.register(ScheduledJob)
class ScheduledJobAdmin(SchedulePauses):
    """Schedules; of those declared in code only the switch can be changed."""

    form = ScheduledJobForm
    change_list_template = f"{FOLDER}/schedule_list.html"
    add_form_template = change_form_template = f"{FOLDER}/schedule_form.html"
    list_display = ("switch", "name_shown", "state_shown", "schedule_shown", "next_run", "history")
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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        page = snapshot(request)
        more = {
            "has_scheduler": page.has_scheduler,
            "agenda_url": self.url("agenda"),
            "schedules_pause": said_of_pause(page),
            "may_pause_all": self.has_switch_permission(request),
            "pause_all_url": self.url("pause_all"),
            "resume_all_url": self.url("resume_all"),
        }
        return super().changelist_view(request, {**more, **(extra_context or {})})

    def look_at(self, request: HttpRequest, rows: Sequence[Any]) -> None:
        super().look_at(request, rows)
        page = snapshot(request)
        runs = newest_runs([row.pk for row in rows], LAST_RUNS, using=self.alias)
        # Without a scheduler nothing is well, whatever its type does.
        failing = set(failing_types(page)) if page.has_scheduler else set()
        for row in rows:
            row.newest_runs, row.failing_types = runs[row.pk], failing

    def get_paginator(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        paginator = super().get_paginator(request, *args, **kwargs)
        # The tabs have counted them.
        paginator.count = counts_of_schedules(request).get(request.GET.get("state", ""), 0)
        return paginator

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[ScheduledJob], search_term: str
    ) -> tuple[QuerySet[ScheduledJob], bool]:
        return queryset.filter(searched_schedules(search_term)), False

    @admin.display(description=_("on"))
    def switch(self, row: Any) -> SafeString | str:
        if not self.has_switch_permission(row.request):
            return formatting.two_lines(
                gettext("on") if row.enabled else gettext("off"), self._run_button(row)
            )
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
        # To change a schedule is not to switch it.
        what = [*WHAT, *(["enabled"] if obj is None else []), payload]
        folded = [
            (_titled(title, names, obj), {"fields": names, "classes": ["collapse"]})
            for title, names in FOLDED
        ]
        sections: list[Any] = [(None, {"fields": what, "classes": ["lg-what"]}), *folded]
        # What was typed and not saved says nothing of the state.
        if obj is None or request.method == "POST":
            return sections
        return [(_("State"), {"fields": STATE, "classes": ["lg-state"]}), *sections]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return (*STATE, "payload_shown", "payload_hidden")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        if db_field.name == "type":
            known = snapshot(request).types_known
            kwargs["widget"] = ListedInput(lambda: sorted(known), attrs={"class": "vTextField"})
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> Any:
        saved = kwargs.get("obj")
        page = snapshot(request)
        context |= {"preview_url": self.url("preview"), "has_scheduler": page.has_scheduler}
        context["schedules_pause"] = said_of_pause(page)
        if request.method == "POST":
            context["preview"] = self.preview(request, request.POST, saved)
        return super().render_change_form(request, context, *args, **kwargs)

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
        page = snapshot(request)
        if not page.knows(obj.type):
            self.say(request, f"{obj.type}: {unknown(obj.type, page)}", notices.WARNING)

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
        return ("run_now",) if row.enabled else ("enable", "run_now")

    def buttons_of(self, request: HttpRequest, row: Any) -> list[dict[str, Any]]:
        off = _("Switch off…") if row.enabled else _("Why it is off…")
        asks = [
            (self.has_switch_permission(request), "off", self.off_url(row), off),
            (self.has_backfill_permission(request), "backfill", self.backfill_url(row), _("Backfill…")),
        ]
        links = [
            {"url": f"{url}?from=change", "label": label, "name": name, "is_link": True}
            for is_allowed, name, url, label in asks
            if is_allowed
        ]
        return [*links, *super().buttons_of(request, row)]

    # -- delete ----------------------------------------------------------------------------------------

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        # Django would read every occurrence of years to list it.
        names = [f"{self.opts.verbose_name}: {job.name}" for job in objs]
        lacking = set() if self.has_delete_permission(request) else {str(self.opts.verbose_name)}
        return (
            [*names, gettext("and the records of their runs")],
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
            gettext("Switched on."),
        )
        said = ngettext("%(count)d schedule is on.", "%(count)d schedules are on.", len(done))
        self.say(request, said % {"count": len(done)}) if done else None

    @admin.action(description=_("Switch off"), permissions=["switch"])
    def disable(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self.demand(request, "switch_scheduledjob")
        by, reason = self.who(request), request.POST.get("reason", "").strip()[:255]

        def disable(name: str) -> object:
            return schedules.disable(name, by=by, reason=reason, using=self.alias)

        done = self._each(request, queryset, disable, gettext("Switched off."))
        said = ngettext("%(count)d schedule is off.", "%(count)d schedules are off.", len(done))
        why = ""
        if len(done) == 1 and not reason:
            why = formatting.link(self.off_url(done[0]), gettext("Say why, and until when"))
        self.say(request, format_html("{} {}", said % {"count": len(done)}, why)) if done else None

    @admin.action(description=_("Run now"), permissions=["run"])
    def run_now(self, request: HttpRequest, queryset: QuerySet[ScheduledJob]) -> None:
        self.demand(request, "run_scheduledjob")
        by = self.who(request)

        def run(name: str) -> object:
            message = schedules.run_now(name, by=by, using=self.alias)
            number = formatting.link_to(self.admin_site.name, "message", message.pk, message.pk)
            self.say(
                request,
                format_html(gettext("{name} runs now as message {number}."), name=name, number=number),
            )
            return message

        self._each(request, queryset, run, gettext("Run now."))

    def _each(
        self, request: HttpRequest, queryset: QuerySet[ScheduledJob], verb: Callable[[str], object], what: str
    ) -> list[ScheduledJob]:
        """Call a verb for each schedule; return those for which it succeeded."""
        done = []
        for job in queryset:
            try:
                verb(job.name)
            except LetsGoError as error:
                self.say(request, format_html("{}: {}", job.name, str(error)), notices.ERROR)
            else:
                done.append(job)
        self.log(request, done, what)
        return done


def _titled(title: Any, names: Sequence[str], job: ScheduledJob | None) -> SafeString:
    """Return the heading of fields that are folded away, with their names and the values that are chosen."""
    held = ", ".join(_held(ScheduledJob._meta.get_field(name), job) for name in names)
    return format_html('{} <span class="lg-why">{}</span>', title, held)


def _held(field: Any, job: ScheduledJob | None) -> str:
    value = None if job is None else getattr(job, field.name)
    if value is None or value == field.get_default():
        return str(field.verbose_name)
    shown = dict(field.flatchoices).get(value, value)
    if isinstance(shown, datetime):
        shown = f"{timezone.localtime(shown):%Y-%m-%d %H:%M}"
    if isinstance(shown, bool):
        shown = gettext("yes")
    if isinstance(shown, timedelta):
        shown = formatting.span(shown.total_seconds())
    return f"{field.verbose_name}: {formatting.cut(shown)}"
