"""The pages that pause and resume all schedules at once.

What lists and pages say while they are paused is in schedule_columns.py.
"""

from __future__ import annotations

from typing import Any

from django.contrib import messages as notices
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.template.response import TemplateResponse
from django.urls.resolvers import URLPattern
from django.utils.translation import gettext

from .. import schedules
from ..errors import LetsGoError
from ..models import SchedulesPause
from .base import snapshot
from .schedule_form import PauseAllForm
from .schedule_pages import FOLDER, SchedulePages


class SchedulePauses(SchedulePages):
    """One switch for all schedules; the switch of each stays as it is."""

    def get_urls(self) -> list[URLPattern]:
        views = (
            ("pause-all/", self.pause_all_view, "pause_all"),
            ("resume-all/", self.resume_all_view, "resume_all"),
        )
        return [*self.own_urls(views), *super().get_urls()]

    def pause_all_view(self, request: HttpRequest) -> HttpResponse:
        """Ask why all schedules are paused, and until when, then pause them, or change the present pause."""
        self._demand_switch(request)
        page = snapshot(request)
        pause = page.schedules_pause
        form = PauseAllForm(request.POST or None, now=page.now, initial=_facts_of(pause))
        if request.method == "POST" and form.is_valid():
            self._pause_all(request, **form.cleaned_data)
            return self.back(request)
        lead = gettext(
            "No schedule runs while all are paused, and nothing is made up for later. Each schedule "
            "keeps its own switch and can still be run by hand; messages that are already waiting run."
        )
        verb = gettext("Pause all") if pause is None else gettext("Keep all paused")
        context = self._context(
            request, form=form, title=gettext("Pause all schedules"), lead=lead, verb=verb
        )
        return TemplateResponse(request, f"{FOLDER}/verb_form.html", context)

    def _demand_switch(self, request: HttpRequest) -> None:
        if not (self.has_switch_permission(request) and self.has_view_permission(request)):
            raise PermissionDenied

    def _pause_all(self, request: HttpRequest, **facts: Any) -> None:
        because = {"reason": facts["reason"], "until": facts["resume_at"]}
        try:
            pause = schedules.pause_all(by=self.who(request), using=self.alias, **because)
        except LetsGoError as error:
            self.say(request, str(error), notices.ERROR)
            return
        self.log(request, [pause], gettext("Paused."))
        self.say(request, gettext("All schedules are paused."))

    def resume_all_view(self, request: HttpRequest) -> HttpResponse:
        """Let the schedules run again."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        self._demand_switch(request)
        pause = snapshot(request).schedules_pause
        if schedules.resume_all(by=self.who(request), using=self.alias):
            self.log(request, [pause], gettext("Resumed."))
            self.say(request, gettext("The schedules run again."))
        else:
            self.say(request, gettext("The schedules were not paused."), notices.WARNING)
        return self.back(request)


def _facts_of(pause: SchedulesPause | None) -> dict[str, Any]:
    """Return what the form begins with: a pause keeps its reason and its end unless they are changed."""
    return {} if pause is None else {"reason": pause.pause_reason, "resume_at": pause.resume_at}
