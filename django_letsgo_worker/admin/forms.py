"""The forms of the admin that ask before something is done: a pause, a purge, a bulk operation.

The form of a schedule is in schedule_form.py.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.widgets import AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import messages, registry
from ..errors import InvalidMessage
from ..models import BulkOperation

if TYPE_CHECKING:
    BulkOperationModelForm = forms.ModelForm[BulkOperation]
else:
    BulkOperationModelForm = forms.ModelForm

HOW_LONG = [
    ("", _("until it is resumed")),
    ("15", _("15 minutes")),
    ("60", _("1 hour")),
    ("240", _("4 hours")),
    ("1440", _("1 day")),
]


def moment_input() -> forms.DateTimeInput:
    """Return an input for a moment, to the minute, with the browser's calendar."""
    return forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M")


class ReasonActionForm(ActionForm):
    """The choice of an action, with a field for the reason of a pause or a switch."""

    reason = forms.CharField(
        label=_("Reason:"),
        max_length=255,
        required=False,
        widget=AdminTextInputWidget(
            attrs={"size": 24, "class": "vTextField lg-reason", "autocomplete": "off"}
        ),
    )


class PauseForm(forms.Form):
    """The reason of a pause, and when the queue resumes by itself."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=255,
        required=False,
        widget=AdminTextInputWidget(),
    )
    minutes = forms.ChoiceField(label=_("For how long"), choices=HOW_LONG, required=False)
    resume_at = forms.DateTimeField(
        label=_("Or until"),
        required=False,
        widget=moment_input(),
    )

    def __init__(self, *args: Any, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = now
        zone = timezone.get_current_timezone_name()
        self.fields["resume_at"].help_text = _("In the time zone %(zone)s, to the minute.") % {"zone": zone}

    def clean_resume_at(self) -> datetime | None:
        moment: datetime | None = self.cleaned_data["resume_at"]
        if moment is not None and moment <= self.now:
            raise ValidationError(_("This time is in the past."))
        return moment

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if minutes := given.get("minutes"):
            if given.get("resume_at"):
                self.add_error("resume_at", _("Choose one of the two."))
            given["resume_at"] = self.now + timedelta(minutes=int(minutes))
        return given


class PurgeForm(forms.Form):
    """The name of the queue that is purged, typed by hand, and the reason."""

    name = forms.CharField(
        label=_("Name of the queue"),
        # What the queue is not called is said in one sentence, whatever is wrong with it.
        required=False,
        strip=False,
        widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=255,
        required=False,
        widget=AdminTextInputWidget(),
    )

    def __init__(self, *args: Any, queue: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = queue

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.queue:
            raise ValidationError(_("This is not the name of the queue, so nothing was deleted."))
        return name


class ListedInput(AdminTextInputWidget):
    """A text input with suggestions that work without JavaScript."""

    template_name = "admin/django_letsgo_worker/listed_input.html"

    def __init__(self, choices: Any, attrs: dict[str, Any] | None = None) -> None:
        super().__init__(attrs)
        self.choices = choices

    def get_context(self, name: str, value: Any, attrs: Any) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        context["choices"] = self.choices()
        context["widget"]["attrs"]["list"] = f"{context['widget']['attrs'].get('id', name)}_choices"
        return context


class Line(forms.CharField):
    """A line of text, typed into a field of the admin's own."""

    widget = AdminTextInputWidget


class OperationForm(BulkOperationModelForm):
    """A new bulk operation: what is done, to which messages, over how long, and why."""

    type = Line(label=_("Type"), required=False, widget=ListedInput(registry.types))
    queue = Line(label=_("Queue"), required=False)
    fingerprint = Line(label=_("Fingerprint"), required=False, help_text=_("Of a failure."))
    error_class = Line(  # type: ignore[assignment]
        label=_("Error class"), required=False, help_text=_("With or without its module.")
    )
    state = Line(
        label=_("State"),
        required=False,
        help_text=_("Ready, retrying or scheduled, of live messages; running too, to cancel them."),
    )
    older_than = Line(label=_("Older than"), required=False, help_text=_("Such as 90s, 10m, 2d."))
    over = Line(
        label=_("Over"),
        required=False,
        help_text=_("Such as 10m: spreads the starts of what is retried or redriven evenly. Empty: at once."),
    )
    to_queue = Line(label=_("To queue"), required=False, help_text=_("For what is moved."))

    class Meta:
        model = BulkOperation
        fields = ("kind", "reason")

    FILTERS = ("type", "queue", "fingerprint", "error_class", "state", "older_than")

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        names = (*self.FILTERS, "over", "to_queue")
        options = {name: given[name].strip().lower() if name == "state" else given[name].strip()
                   for name in names if (given.get(name) or "").strip()}  # fmt: skip
        if "kind" in given:
            try:
                messages.operation_of(given["kind"], **options)
            except InvalidMessage as error:
                raise ValidationError(str(error)) from None
        given["options"] = options
        return given

    def _get_validation_exclusions(self) -> set[str]:
        # They are checked by the verb, as it takes them: the row has them in other forms.
        return {*super()._get_validation_exclusions(), "over", "state", "to_queue"}  # type: ignore[misc]


class FailureOperationForm(forms.Form):
    """A bulk operation on the messages of one failure: how, and why; which they are is in its address."""

    ONE, ALL, SPREAD = "one", "all", "spread"

    how = forms.ChoiceField(label=_("How"), widget=forms.RadioSelect, initial=ONE)
    over = forms.CharField(label=_("Over"), required=False, initial="10m", help_text=_("Such as 90s or 2h."))
    to_queue = forms.CharField(label=_("To queue"), help_text=_("Where they are moved."))
    reason = forms.CharField(
        label=_("Reason"),
        max_length=255,
        required=False,
        widget=AdminTextInputWidget(),
    )

    def __init__(self, *args: Any, kind: str, filters: dict[str, str], count: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.kind, self.filters = kind, filters
        if kind != "move":
            del self.fields["to_queue"]
        if kind not in ("redrive", "retry"):
            del self.fields["how"], self.fields["over"]
            return
        self.fields["how"].choices = [  # type: ignore[attr-defined]
            (self.ONE, _("One first, to see what becomes of it")),
            (self.ALL, _("All %(count)s now") % {"count": count}),
            (self.SPREAD, _("All %(count)s, spread over") % {"count": count}),
        ]

    @property
    def is_for_one(self) -> bool:
        return self.cleaned_data.get("how") == self.ONE

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        options = dict(self.filters)
        if given.get("how") == self.SPREAD:
            options["over"] = given.get("over", "").strip()
        if given.get("to_queue"):
            options["to_queue"] = given["to_queue"].strip()
        if not self.errors:
            try:
                messages.operation_of(self.kind, **options)
            except InvalidMessage as error:
                self.add_error("over" if "over" in options else None, str(error))
        given["options"] = options
        return given
