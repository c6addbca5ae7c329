"""The overview, which is the app's index: problems, the work now, charts, types, and what runs next.

The templates ask for it; every part is read when they do, and from one snapshot.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple
from urllib.parse import urlencode

from django.contrib import admin
from django.db import Error
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..errors import LetsGoError
from ..inspection import (
    History,
    Problem,
    Rate,
    Totals,
    alias_of_queue,
    groups_of,
    has_history,
    history,
    leading_to,
    manage,
    new_versions,
    next_jobs,
    problems_in,
    totals,
)
from ..models import Failure, ScheduledJob
from . import formatting, sites
from .base import APP, snapshot
from .charts import Chart, Mark, Series

logger = logging.getLogger("django_letsgo_worker.admin")

INDEX = "admin/django_letsgo_worker/index.html"
# So many problems are written out on the site's index; more are counted.
MOST_SHOWN = 20
# The rows of each table.
MOST_TYPES, MOST_FAILURES, MOST_RUNS = 15, 5, 8


class Span(NamedTuple):
    """How far the charts go back, and how long each of their steps is."""

    label: Any
    length: timedelta
    step: timedelta


SPANS = {
    "1h": Span(_("1 hour"), timedelta(hours=1), timedelta(minutes=1)),
    "24h": Span(_("24 hours"), timedelta(hours=24), timedelta(hours=1)),
    "7d": Span(_("7 days"), timedelta(days=7), timedelta(hours=6)),
}


@dataclass(frozen=True, slots=True)
class Tile:
    """A number with what it counts, its reason in short, and the address of the list behind it."""

    label: Any
    number: str
    more: str = ""
    url: str = ""


def put_badge_on(site: admin.AdminSite) -> None:
    """Let the index of a site say how many problems there are; the overview does in any case."""
    if site.index_template is None:
        site.index_template = INDEX


def found_problems(request: HttpRequest) -> list[Problem]:
    """Return the problems for a page of the whole project, which does not fail if they cannot be read."""
    try:
        with leading_to(getattr(request, "current_app", None)):
            return [] if alias_of_queue() is None else problems_in(snapshot(request))
    except (Error, LetsGoError):
        logger.warning("The problems for the admin's index cannot be read.", exc_info=True)
        return []


class Overview:
    """What the template of the overview shows to one user, for the span, queue and type that it asks for."""

    def __init__(self, request: HttpRequest, site: str) -> None:
        self.request, self.site = request, site
        self.span_name = request.GET.get("span", "")
        if self.span_name not in SPANS:
            self.span_name = "1h"
        self.queue, self.type = request.GET.get("queue", ""), request.GET.get("type", "")

    @cached_property
    def problems(self) -> list[Problem]:
        return found_problems(self.request)

    @cached_property
    def is_readable(self) -> bool:
        """Whether there is anything but problems: the tables are there, and answer."""
        return not any(problem.code == "not_migrated" for problem in self.problems)

    @cached_property
    def page(self) -> Any:
        return snapshot(self.request)

    @property
    def now(self) -> datetime:
        now: datetime = self.page.now
        return now

    @cached_property
    def totals(self) -> Totals:
        return totals(self.page)

    @cached_property
    def is_new(self) -> bool:
        """Whether nothing was ever enqueued."""
        return not self.page.lanes and not has_history(self.page.using)

    @property
    def all_is_well(self) -> str:
        """The sentence that stands in the place of problems."""
        facts = self.totals
        said = gettext("All is well: nothing waits.")
        if facts.oldest_ready:
            age = formatting.span((self.now - facts.oldest_ready).total_seconds())
            said = gettext("All is well: nothing waits for longer than %(age)s.") % {"age": age}
        there = gettext("Queues: %(queues)d, workers: %(workers)d, schedulers: %(schedulers)d.")
        counts = {"queues": facts.queues, "workers": facts.workers, "schedulers": facts.schedulers}
        return f"{said} {there % counts}"

    def databases(self) -> list[dict[str, Any]]:
        """Return the databases that have sites as links to their overviews; none where there is one only."""
        found = sites.overviews(self.request, self.site)
        links = [
            {"url": url, "label": alias, "is_chosen": alias == self.page.using}
            for alias, url in found.items()
        ]
        return links if len(links) > 1 else []

    @property
    def run_command(self) -> str:
        return manage("runworker", "--with-scheduler")

    # -- the work now ----------------------------------------------------------------------------------------

    def tiles(self) -> list[Tile]:
        facts = self.totals
        age = formatting.relative(facts.oldest_ready, self.now) if facts.oldest_ready else ""
        oldest = gettext("oldest %(age)s") % {"age": age} if age else ""
        rate = self._whole
        return [
            Tile(_("ready"), str(facts.ready), oldest, self._list("message", state="ready")),
            Tile(
                _("running"),
                str(facts.running),
                gettext("seats: %(seats)d") % {"seats": facts.seats},
                self._list("message", state="running"),
            ),
            Tile(_("retrying"), str(facts.retrying), "", self._list("message", state="retrying")),
            Tile(_("later"), str(facts.scheduled), "", self._list("message", state="scheduled")),
            Tile(_("dead letters"), str(facts.dead), "", self._list("failure", state="dead")),
            Tile(
                _("ended a minute"),
                formatting.per_minute(rate.per_minute) if rate else "0",
                gettext("%(share)s failed") % {"share": formatting.percent(rate.failed_share)}
                if rate
                else "",
            ),
            Tile(_("workers"), str(facts.workers), "", self._list("process", kind="worker")),
            Tile(_("schedulers"), str(facts.schedulers), "", self._list("process", kind="scheduler")),
        ]

    def _list(self, model: str, **filters: str) -> str:
        try:
            page = reverse(f"admin:{APP}_{model}_changelist", current_app=self.site)
        except NoReverseMatch:
            return ""
        may = self.request.user.has_perm(f"{APP}.view_{model}")
        return f"{page}?{urlencode(filters)}" if may else ""

    # -- charts ----------------------------------------------------------------------------------------------

    @property
    def span(self) -> Span:
        return SPANS[self.span_name]

    def spans(self) -> list[dict[str, Any]]:
        """Return the spans of time as links that keep the queue and the type."""
        kept = {name: value for name, value in (("queue", self.queue), ("type", self.type)) if value}
        return [
            {
                "url": f"?{urlencode({'span': name, **kept})}",
                "label": one.label,
                "is_chosen": name == self.span_name,
            }
            for name, one in SPANS.items()
        ]

    def queues(self) -> list[str]:
        ended = {one.queue for one in self._history.spans}
        return sorted({*(lane.queue for lane in self.page.lanes), *ended})

    def types(self) -> list[str]:
        return sorted({one.type for one in self._history.spans})

    @cached_property
    def _history(self) -> History:
        """What ended in the whole span, whatever was chosen."""
        return history(self.page.using, since=self.span.length, until=self.now)

    @cached_property
    def _whole(self) -> Rate | None:
        found = self._history.rates(**self._chosen)
        return found[0] if found else None

    @property
    def _chosen(self) -> dict[str, Any]:
        return {name: value for name, value in (("queue", self.queue), ("type", self.type)) if value}

    def charts(self) -> list[SafeString]:
        found = self._history.rates(step=self.span.step, **self._chosen)
        moments = _moments(found, self.now - self.span.length, self.now, self.span.step)
        at = {rate.since: rate for rate in found}
        steps = [at.get(moment) for moment in moments]
        return [chart.html() for chart in self._charts(moments, steps)]

    def _charts(self, moments: Sequence[datetime], steps: Sequence[Rate | None]) -> list[Chart]:
        marks = [
            Mark(
                at,
                gettext("workers of version %(version)s started") % {"version": formatting.cut(version, 32)},
            )
            for at, version in new_versions(self.page.processes)
        ]

        def chart(title: Any, series: list[Series], write: Any, *, is_stacked: bool = False) -> Chart:
            return Chart(title, moments, self.now, series, write, marks, is_stacked)

        ended = [
            Series(_("succeeded"), "good", _column(steps, lambda rate: rate.succeeded)),
            Series(
                _("cancelled or expired"), "calm", _column(steps, lambda rate: rate.cancelled + rate.expired)
            ),
            Series(_("dead"), "bad", _column(steps, lambda rate: rate.dead)),
        ]
        depth = _column(steps, lambda rate: rate.depth)
        failed = _column(steps, lambda rate: rate.failed_share if rate.attempts else None)
        return [
            chart(gettext("Ended"), ended, _count, is_stacked=True),
            chart(gettext("Failed attempts"), [Series(_("failed"), "bad", failed)], formatting.percent),
            chart(gettext("Due and not claimed"), [Series(_("due"), "busy", depth)], _count),
            chart(gettext("Run time"), _percentiles([one and one.run for one in steps]), formatting.span),
            chart(gettext("Wait"), _percentiles([one and one.wait for one in steps]), formatting.span),
        ]

    # -- tables ----------------------------------------------------------------------------------------------

    def type_rows(self) -> list[dict[str, Any]]:
        """Return the types of which most ended or failed, with their rates."""
        found = self._history.rates(by=("type",), **self._chosen)
        found.sort(key=lambda rate: -(rate.ended + rate.failed))
        return [
            {
                "name": formatting.cut(rate.type),
                "url": self._list("messagetype", q=str(rate.type)),
                "cells": formatting.rate_cells(rate),
            }
            for rate in found[:MOST_TYPES]
        ]

    def failure_rows(self) -> list[dict[str, Any]]:
        """Return the failures met last, each with the link to its page."""
        if not self.request.user.has_perm(f"{APP}.view_failure"):
            return []
        rows = Failure.objects.using(self.page.using).defer("last_traceback").order_by("-last_at", "-pk")
        some = list(rows[:MOST_FAILURES])
        return [
            {"group": group, "link": formatting.link_to(self.site, "failure", row.pk, group.title)}
            for row, group in zip(some, groups_of(some, self.page), strict=True)
        ]

    def next_runs(self) -> list[dict[str, Any]]:
        """Return the schedules that run next, each with when."""
        if not self.request.user.has_perm(f"{APP}.view_scheduledjob"):
            return []
        jobs = next_jobs(self.page.using, MOST_RUNS)
        return [{"job": self._job(job), "when": self._when(job)} for job in jobs]

    def _when(self, job: ScheduledJob) -> SafeString | str:
        if job.next_run_at is not None and self.page.holds_back(job.next_run_at):
            return gettext("paused")
        return formatting.when(job.next_run_at, self.now)

    def _job(self, job: ScheduledJob) -> SafeString | str:
        return formatting.link_to(self.site, "scheduledjob", job.pk, formatting.cut(job.name))


def _moments(found: Sequence[Rate], begin: datetime, until: datetime, step: timedelta) -> list[datetime]:
    """Return the beginnings of all steps of the axis, on the grid of those that had something."""
    first = found[0].since if found else begin
    first -= step * max(0, (first - begin) // step)
    return [first + step * n for n in range(int((until - first) / step) + 1)]


def _column(steps: Sequence[Rate | None], value: Callable[[Rate], float | None]) -> list[float | None]:
    return [None if rate is None else value(rate) for rate in steps]


def _percentiles(steps: Sequence[Any]) -> list[Series]:
    kinds = {"p50": "calm", "p95": "busy", "p99": "warn"}
    return [Series(name, kind, [one and getattr(one, name) for one in steps]) for name, kind in kinds.items()]


def _count(value: float) -> str:
    return f"{value:,.0f}"
