"""The pages beside the list of schedules and their form: switch off, backfill, the agenda, the preview.

The list, the form and the actions are in schedules.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.contrib import messages as notices
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path
from django.urls.resolvers import URLPattern
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext

from .. import schedules
from ..errors import InvalidSchedule, LetsGoError
from ..inspection import MOST_JOBS, Hour, PlannedRun, Snapshot, agenda_of, jobs_of_next_day, unrecorded
from ..models import ScheduledJob
from . import formatting
from .base import snapshot
from .schedule_columns import ScheduleColumns, next_runs_shown, said_of_pause, unknown
from .schedule_form import PREVIEW, BackfillForm, PreviewForm, SwitchOffForm

FOLDER = "admin/django_letsgo_worker"
# So many runs of one quarter of an hour are named; of further ones so many are folded away, the rest counted.
NAMED, FOLDED = 4, 40
# An hour with so many runs stands out.
PILE_UP = 8


class SchedulePages(ScheduleColumns):
    """Pages of their own about schedules."""

    def get_urls(self) -> list[URLPattern]:
        views = (
            ("agenda/", self.agenda_view, "agenda"),
            ("preview/", self.preview_view, "preview"),
            ("<str:object_id>/off/", self.off_view, "off"),
            ("<str:object_id>/backfill/", self.backfill_view, "backfill"),
        )
        return [*self.own_urls(views), *super().get_urls()]

    def own_urls(self, views: Iterable[tuple[str, Callable[..., HttpResponse], str]]) -> list[URLPattern]:
        return [
            path(route, self.admin_site.admin_view(view), name=f"django_letsgo_worker_scheduledjob_{name}")
            for route, view, name in views
        ]

    def _context(self, request: HttpRequest, **more: Any) -> dict[str, Any]:
        request.current_app = self.admin_site.name
        return {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "media": self.media,
            **more,
        }

    def _asked_about(self, request: HttpRequest, object_id: str, *, is_allowed: bool) -> ScheduledJob:
        """Return the schedule of a page that asks; PermissionDenied, or Http404 if there is none."""
        if not (is_allowed and self.has_view_permission(request)):
            raise PermissionDenied
        job: ScheduledJob | None = self.find(request, unquote(object_id))
        if job is None:
            raise Http404
        return job

    # -- switch off ------------------------------------------------------------------------------------

    def has_switch_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "switch_scheduledjob")

    def off_url(self, row: Any) -> str:
        return self.url("off", quote(row.pk))

    def off_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask why one schedule is off, and until when, then switch it off."""
        job = self._asked_about(request, object_id, is_allowed=self.has_switch_permission(request))
        now, initial = snapshot(request).now, {"reason": job.switch_reason}
        form = SwitchOffForm(request.POST or None, now=now, initial=initial)
        if request.method == "POST" and form.is_valid():
            self._switch_off(request, job, **form.cleaned_data)
            return self.back(request, object_id)
        title = gettext("Switch %(name)s off") % {"name": formatting.cut(job.name)}
        lead = gettext(
            "It plans no runs while it is off, and makes up for none later. Messages that wait still run."
        )
        verb = gettext("Switch off") if job.enabled else gettext("Keep it off")
        context = self._context(request, form=form, title=title, lead=lead, verb=verb)
        return TemplateResponse(request, f"{FOLDER}/verb_form.html", context)

    def _switch_off(self, request: HttpRequest, job: ScheduledJob, **facts: Any) -> None:
        because = {"reason": facts["reason"], "resume_at": facts["resume_at"]}
        try:
            schedules.disable(job.name, by=self.who(request), using=self.alias, **because)
        except LetsGoError as error:
            self.say(request, str(error), notices.ERROR)
            return
        self.log(request, [job], gettext("Switched off."))
        self.say(request, gettext("The schedule %(name)s is off.") % {"name": job.name})

    # -- backfill --------------------------------------------------------------------------------------

    def has_backfill_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "backfill_scheduledjob")

    def backfill_url(self, row: Any) -> str:
        return self.url("backfill", quote(row.pk))

    def backfill_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Ask from when until when, say how many planned times have no record, make up for them."""
        job = self._asked_about(request, object_id, is_allowed=self.has_backfill_permission(request))
        form, found = BackfillForm(request.POST or None, now=snapshot(request).now), ""
        if request.method == "POST" and form.is_valid():
            try:
                if PREVIEW not in request.POST:
                    self._backfill(request, job, **form.cleaned_data)
                    return self.back(request, object_id)
                found = self._found(job, form)
            except LetsGoError as error:
                form.add_error(None, str(error))
        title = gettext("Backfill %(name)s") % {"name": formatting.cut(job.name)}
        lead = gettext(
            "Each planned time between these that has no record gets its message now, the oldest first. "
            "What ran or was skipped then stays as it is."
        )
        asked = {"form": form, "title": title, "lead": lead, "verb": gettext("Backfill")}
        context = self._context(request, **asked, counts=True, found=found)
        return TemplateResponse(request, f"{FOLDER}/verb_form.html", context)

    def _found(self, job: ScheduledJob, form: BackfillForm) -> str:
        """Say how many planned times are to be made up for."""
        given = form.cleaned_data
        count = unrecorded(job, given["start"], given["end"], using=self.alias)
        said = ngettext(
            "%(count)d planned time has no record.", "%(count)d planned times have no record.", count
        )
        return said % {"count": count}

    def _backfill(
        self, request: HttpRequest, job: ScheduledJob, start: datetime, end: datetime, over: timedelta | None
    ) -> None:
        by = self.who(request)
        made = schedules.backfill(job.name, start, end, over, by=by, using=self.alias)
        facts = {"count": made, "start": timezone.localtime(start), "end": timezone.localtime(end)}
        said = gettext("Backfilled from %(start)s to %(end)s: %(count)d.")
        self.log(request, [job], said % facts)
        said = ngettext("%(count)d message was made.", "%(count)d messages were made.", made)
        self.say(request, said % facts)

    # -- the preview of a rule -------------------------------------------------------------------------

    def preview_view(self, request: HttpRequest) -> HttpResponse:
        """Return the next runs of a rule that is being typed, as a part of the form's page."""
        if not (self.has_add_permission(request) or self.has_change_permission(request)):
            raise PermissionDenied
        # The grid of a rate that is saved stays where it is.
        saved = self.chosen(request, request.GET.get("of", "")).first()
        context = {"preview": self.preview(request, request.GET, saved)}
        return TemplateResponse(request, f"{FOLDER}/schedule_runs.html", context)

    def preview(self, request: HttpRequest, typed: Any, saved: ScheduledJob | None) -> dict[str, Any]:
        """Return what can be said of a rule before it is saved: its next runs, or what is wrong with it."""
        job = PreviewForm(typed).typed_into(saved or ScheduledJob())
        page = snapshot(request)
        is_unknown = job.type and not page.knows(job.type)
        said: dict[str, Any] = {"warning": unknown(job.type, page) if is_unknown else ""}
        if not job.schedule:
            return said
        try:
            said["english"] = job.describe()
            said["runs"] = next_runs_shown(job, page)
        except InvalidSchedule as error:
            said["error"] = str(error)
        return said

    # -- the agenda ------------------------------------------------------------------------------------

    def agenda_view(self, request: HttpRequest) -> HttpResponse:
        """Show what runs in the next 24 hours, hour by hour on the viewer's clock."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        page = Snapshot(self.alias)
        jobs = jobs_of_next_day(page.now, using=self.alias)
        zone = timezone.get_current_timezone()
        found = agenda_of(jobs[:MOST_JOBS], page.now, zone, page.schedules_pause)
        fullest = found.fullest
        context = self._context(
            request,
            title=gettext("The next 24 hours"),
            schedules_pause=said_of_pause(page),
            zone=timezone.get_current_timezone_name(),
            is_cut=len(jobs) > MOST_JOBS,
            most_jobs=MOST_JOBS,
            fullest=_span_of(fullest) if len(fullest.runs) > 1 else "",
            hours=[self._hour(hour, len(fullest.runs)) for hour in found.hours],
            frequent=[
                {"job": self._named(one.job), "english": self.english(one.job), "count": one.count}
                for one in found.frequent
            ],
        )
        return TemplateResponse(request, f"{FOLDER}/schedule_agenda.html", context)

    def _hour(self, hour: Hour, most: int) -> dict[str, Any]:
        since, count = timezone.localtime(hour.since), len(hour.runs)
        return {
            "since": since,
            "is_midnight": since.hour == 0,
            "count": count,
            "width": round(100 * count / (most or 1)),
            "pile_up": _span_of(hour) if count >= PILE_UP else "",
            "quarters": [
                {"label": f"{since:%H}:{15 * place:02}", **self._quarter(runs)}
                for place, runs in enumerate(hour.quarters)
            ],
        }

    def _quarter(self, runs: Sequence[PlannedRun]) -> dict[str, Any]:
        # One run more is listed, too: saying that there is one more would take a line as well.
        named = len(runs) if len(runs) <= NAMED + 1 else NAMED
        return {
            "named": [self._run(run) for run in runs[:named]],
            "folded": [self._run(run) for run in runs[named : named + FOLDED]],
            "more": len(runs) - named,
            "uncounted": max(0, len(runs) - named - FOLDED),
        }

    def _run(self, run: PlannedRun) -> SafeString:
        clock = gettext("late") if run.is_late else f"{timezone.localtime(run.at):%H:%M}"
        shown = format_html('<span class="lg-at">{}</span> {}', clock, self._named(run.job))
        paused = gettext("paused")
        return format_html('{} <span class="lg-why">{}</span>', shown, paused) if run.is_paused else shown

    def _named(self, job: ScheduledJob) -> SafeString | str:
        return formatting.link_to(self.admin_site.name, "scheduledjob", job.pk, formatting.cut(job.name, 40))


def _span_of(hour: Hour) -> str:
    """Say how many runs an hour has, and from when to when: "12 runs at 01:00-01:55"."""
    runs = hour.runs
    first, last = (f"{timezone.localtime(run.at):%H:%M}" for run in (runs[0], runs[-1]))
    said = ngettext("%(count)d run at %(span)s", "%(count)d runs at %(span)s", len(runs))
    return said % {"count": len(runs), "span": first if first == last else f"{first}\u2013{last}"}
