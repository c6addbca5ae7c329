"""The page that begins a bulk operation on one failure: how many it is about, what became of the last, how.

One message can be tried by itself first: that is done at once. All others are done by workers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import engines, messages
from ..errors import InvalidMessage, LetsGoError, MessageNotFound
from ..inspection import count_capped, last_tried, state_of
from ..models import Failure
from ..validation import storable
from . import formatting
from .base import APP, ReadOnlyAdmin, snapshot
from .forms import FailureOperationForm, OperationForm
from .lists import AtLeast

# The permission that each kind needs.
PERMISSIONS = {
    "retry": "retry_message",
    "redrive": "redrive_message",
    "discard": "discard_deadletter",
    "cancel": "cancel_message",
    "move": "move_message",
}
TITLES = {
    "retry": _("Retry the messages of a failure now"),
    "redrive": _("Redrive the dead letters of a failure"),
    "discard": _("Discard the dead letters of a failure"),
    "cancel": _("Cancel the messages of a failure"),
    "move": _("Move the messages of a failure"),
}
VERBS = {
    "retry": _("Retry"),
    "redrive": _("Redrive"),
    "discard": _("Discard"),
    "cancel": _("Cancel"),
    "move": _("Move"),
}
# What one that was tried by itself is called in the log.
DONE = {"retry": _("Retried."), "redrive": _("Redriven.")}
BECAME = {
    "succeeded": _("It succeeded."),
    "dead": _("It is a dead letter again."),
    "retrying": _("It failed again, and waits for its next attempt."),
    "running": _("It still runs."),
    "ready": _("It has not begun: is a worker there that serves its queue?"),
    "scheduled": _("It waits for its time."),
    "cancelled": _("It was cancelled."),
    "expired": _("It was too late for it: its deadline has passed."),
}


@dataclass(frozen=True)
class Asked:
    """A kind of operation on the messages of one failure, narrowed by the filters of an address."""

    kind: str
    failure: Failure
    filters: dict[str, str]
    rows: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        found = count_capped(self.rows)
        return AtLeast(found) if isinstance(found, engines.AtLeast) else found


class FailureOperationAdmin(ReadOnlyAdmin):
    """The part of the page of bulk operations that asks about the messages of one failure."""

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Ask plainly where the address names a failure, and by the form of all filters elsewhere."""
        kind = request.GET.get("kind", "")
        if kind in PERMISSIONS and not self.may(request, PERMISSIONS[kind]):
            raise PermissionDenied
        asked = None if "all" in request.GET else self._asked(request, kind)
        if asked is None:
            return super().add_view(request, form_url, extra_context)
        return self._failure_view(request, asked)

    def _asked(self, request: HttpRequest, kind: str) -> Asked | None:
        """Return what an address asks for, None if that is no kind of operation on one known failure."""
        given = {name: storable(request.GET.get(name, "")) for name in OperationForm.FILTERS}
        filters = {name: value for name, value in given.items() if value}
        if kind not in PERMISSIONS or not {"type", "fingerprint"} <= filters.keys():
            return None
        if not self.may(request, "view_failure"):
            return None
        try:
            # Where they are moved is asked for on the page.
            operation = messages.operation_of(kind, to_queue="default" if kind == "move" else None, **filters)
        except InvalidMessage:
            return None
        rows = Failure.objects.using(self.alias).defer("last_traceback")
        same = {name: filters[name] for name in ("type", "fingerprint")}
        if (failure := rows.filter(**same).first()) is None:
            return None
        found = messages.found_by(operation, snapshot(request).now, using=self.alias)
        return Asked(kind, failure, filters, found)

    def _failure_view(self, request: HttpRequest, asked: Asked) -> HttpResponse:
        given = {"over": request.GET.get("over") or "10m", "to_queue": request.GET.get("to_queue", "")}
        given["how"] = FailureOperationForm.SPREAD if "over" in request.GET else FailureOperationForm.ONE
        form = FailureOperationForm(
            request.POST if request.method == "POST" else None,
            kind=asked.kind,
            filters=asked.filters,
            count=str(asked.count),
            initial=given,
        )
        if request.method == "POST" and form.is_valid():
            answer = self._begin(request, asked, form)
            if answer is not None:
                return answer
        return self._ask(request, asked, form)

    def _begin(self, request: HttpRequest, asked: Asked, form: FailureOperationForm) -> HttpResponse | None:
        """Do what a form asks for; None, with the reason on the form, if that cannot be."""
        self.demand(request, PERMISSIONS[asked.kind])
        facts = {"by": self.who(request), "reason": form.cleaned_data["reason"], "using": self.alias}
        if form.is_for_one:
            return self._try_one(request, asked, form, facts)
        operation = messages.operate(asked.kind, **form.cleaned_data["options"], **facts)
        self.log_addition(request, operation, "")
        return self.response_add(request, operation)

    def _try_one(
        self, request: HttpRequest, asked: Asked, form: FailureOperationForm, facts: dict[str, Any]
    ) -> HttpResponse | None:
        # The one that waits longest.
        row = asked.rows.order_by("finished_at" if asked.kind == "redrive" else "pk").first()
        if row is None:
            form.add_error(None, gettext("There is none any more."))
            return None
        verb = messages.redrive if asked.kind == "redrive" else messages.retry
        try:
            verb(row.pk, **facts)
        except LetsGoError as error:
            form.add_error(None, str(error))
            return None
        self.log(request, [row], f"{DONE[asked.kind]} {facts['reason']}".strip())
        return self._lead_to(request, asked, row.pk)

    def _lead_to(self, request: HttpRequest, asked: Asked, tried: int) -> HttpResponse:
        """Lead to the message that was tried, and say how to go on with the rest."""
        rest = f"{self.url('add')}?{urlencode({'kind': asked.kind, **asked.filters, 'tried': tried})}"
        if not self.may(request, "view_message"):
            return HttpResponseRedirect(rest)
        said = gettext("See here what becomes of this one, which was done first. If it is well:")
        self.say(request, format_html('{} <a href="{}">{}</a>', said, rest, gettext("go on with the rest")))
        page = reverse(f"admin:{APP}_message_change", args=[tried], current_app=self.admin_site.name)
        return HttpResponseRedirect(page)

    def _ask(self, request: HttpRequest, asked: Asked, form: FailureOperationForm) -> HttpResponse:
        page = snapshot(request)
        narrowed = {k: v for k, v in asked.filters.items() if k not in ("type", "fingerprint")}
        context = {
            **self.admin_site.each_context(request),
            "title": TITLES[asked.kind],
            "opts": self.opts,
            "media": self.media,
            "form": form,
            "kind": asked.kind,
            "failure": asked.failure,
            "words": formatting.cut(asked.failure.message, 200),
            "count": str(asked.count),
            "is_none": not asked.count,
            "narrowed": ", ".join(f"{name} {value}" for name, value in narrowed.items()),
            "tried": self._tried(request, asked),
            "verb": VERBS[asked.kind],
            "whole_form": f"{self.url('add')}?{urlencode({'kind': asked.kind, **asked.filters, 'all': 1})}",
            "has_worker": bool(page.workers),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "admin/django_letsgo_worker/operation_form.html", context)

    def _tried(self, request: HttpRequest, asked: Asked) -> SafeString | str:
        """Say what became of the message that was redriven or retried last."""
        page, chosen = snapshot(request), self.clean_pk(request.GET.get("tried", ""))
        try:
            message = messages.find(chosen, using=self.alias) if chosen else last_tried(asked.failure, page)
        except MessageNotFound:
            return ""
        if message is None or message.type != asked.failure.type:
            return ""
        name = gettext("message %(id)s") % {"id": message.pk}
        state = state_of(message, page.now)
        return format_html(
            "{} {}. {}",
            gettext("The last one that was done is"),
            formatting.link_to(self.admin_site.name, "message", message.pk, name),
            BECAME[state],
        )
