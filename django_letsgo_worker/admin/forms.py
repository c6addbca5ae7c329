"""The forms of the admin: a pause, a purge, a bulk operation, and a schedule with its payload.

The model decides what a valid schedule is; the form only shows its errors at their fields.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.admin.helpers import ActionForm
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import messages, planning, redaction, registry, validation
from ..conf import settings
from ..errors import InvalidMessage
from ..models import BulkOperation, ScheduledJob

if TYPE_CHECKING:
    ScheduledJobModelForm = forms.ModelForm[ScheduledJob]
    BulkOperationModelForm = forms.ModelForm[BulkOperation]
else:
    ScheduledJobModelForm = BulkOperationModelForm = forms.ModelForm

HOW_LONG = [
    ("", _("until it is resumed")),
    ("15", _("15 minutes")),
    ("60", _("1 hour")),
    ("240", _("4 hours")),
    ("1440", _("1 day")),
]


class ReasonActionForm(ActionForm):
    """The choice of an action, with a field for the reason of a pause or a switch."""

    reason = forms.CharField(
        label=_("Reason:"),
        max_length=255,
        required=False,
        widget=forms.TextInput(attrs={"size": 24, "class": "lg-reason", "autocomplete": "off"}),
    )


class PauseForm(forms.Form):
    """The reason of a pause, and when the queue resumes by itself."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=255,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )
    minutes = forms.ChoiceField(label=_("For how long"), choices=HOW_LONG, required=False)
    resume_at = forms.DateTimeField(
        label=_("Or until"),
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}, format="%Y-%m-%dT%H:%M"),
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
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    reason = forms.CharField(
        label=_("Reason"),
        max_length=255,
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField"}),
    )

    def __init__(self, *args: Any, queue: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.queue = queue

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if name != self.queue:
            raise ValidationError(_("This is not the name of the queue, so nothing was deleted."))
        return name


class ListedInput(forms.TextInput):
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


class PayloadField(forms.JSONField):
    """A payload as JSON text; secret values are masked, and stay as they are where the mask is left."""

    def prepare_value(self, value: Any) -> Any:
        if value is None:
            return ""
        if isinstance(value, forms.fields.InvalidJSONInput):
            return value
        return json.dumps(redaction.redacted(value), indent=2, ensure_ascii=False)

    def bound_data(self, data: Any, initial: Any) -> Any:
        # As it was typed: Django would parse it again, and raise what to_python() has already reported.
        return initial if self.disabled else None if data is None else forms.fields.InvalidJSONInput(data)

    def to_python(self, value: Any) -> Any:
        try:
            read = super().to_python(value)
            validation.encode("payload", read, settings().max_payload_bytes)
        except InvalidMessage as error:
            raise ValidationError(str(error)) from None
        except (RecursionError, ValueError):
            # Beyond the limits of Python's parser: nested too deep, or a number with too many digits.
            raise ValidationError(
                self.error_messages["invalid"], code="invalid", params={"value": "…"}
            ) from None
        return read

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.to_python(data) != redaction.redacted(initial))
        except ValidationError:
            return True


class MaskMoved(ValueError):
    """A mask in a place where no value was masked."""


def restored(edited: Any, original: Any) -> Any:
    """Return an edited value with each mask replaced by the value it stood for. Raises MaskMoved."""
    if isinstance(edited, dict):
        before = original if isinstance(original, dict) else {}
        return {key: _restored_item(key, item, before) for key, item in edited.items()}
    if isinstance(edited, list):
        olds = original if isinstance(original, list) else []
        return [
            restored(item, olds[place] if place < len(olds) else None) for place, item in enumerate(edited)
        ]
    return edited


def _restored_item(key: str, item: Any, before: dict[str, Any]) -> Any:
    if item != redaction.MASK or not redaction.is_secret(key):
        return restored(item, before.get(key))
    if key not in before:
        raise MaskMoved(key)
    return before[key]


class OperationForm(BulkOperationModelForm):
    """A new bulk operation: what is done, to which messages, over how long, and why."""

    type = forms.CharField(
        label=_("Type"), required=False, widget=ListedInput(registry.types, attrs={"class": "vTextField"})
    )
    queue = forms.CharField(label=_("Queue"), required=False)
    fingerprint = forms.CharField(label=_("Fingerprint"), required=False, help_text=_("Of a failure."))
    error_class = forms.CharField(  # type: ignore[assignment]
        label=_("Error class"), required=False, help_text=_("With or without its module.")
    )
    state = forms.CharField(
        label=_("State"),
        required=False,
        help_text=_("Ready, retrying or scheduled, of live messages; running too, to cancel them."),
    )
    older_than = forms.CharField(label=_("Older than"), required=False, help_text=_("Such as 90s, 10m, 2d."))
    over = forms.CharField(
        label=_("Over"),
        required=False,
        help_text=_("Such as 10m: spreads the starts of what is retried or redriven evenly. Empty: at once."),
    )
    to_queue = forms.CharField(label=_("To queue"), required=False, help_text=_("For what is moved."))

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


class ScheduledJobForm(ScheduledJobModelForm):
    """A schedule; the model's checks report each error at its field."""

    class Meta:
        model = ScheduledJob
        fields = (
            "name", "enabled", "type", "schedule", "timezone", "payload",
            *planning.MESSAGE_FIELDS, *planning.RUN_FIELDS,
        )  # fmt: skip
        field_classes = {"payload": PayloadField}
        widgets = {
            "type": ListedInput(registry.types, attrs={"class": "vTextField"}),
            "timezone": ListedInput(lambda: sorted(available_timezones())),
            "payload": forms.Textarea(
                attrs={"rows": 8, "cols": 80, "class": "lg-payload", "spellcheck": "false"}
            ),
        }
        help_texts = {
            "schedule": _("Such as rate(5 minutes), @daily, 30 2 * * MON-FRI, at(2027-01-01T09:00:00)."),
            "timezone": _("The time zone of cron expressions and of at()."),
            "payload": _("JSON, or empty."),
            "queue": _("Empty: the handler's."),
            "priority": _("-100 to 100, larger is sooner. Empty: the handler's."),
            "max_attempts": _("Empty: the handler's."),
            "deadline": _("Counted from the planned time, such as 00:10:00; no attempt starts after that."),
            "misfire_grace": _("How late a run may be and still be on time, such as 00:01:00."),
            "spread": _("Minutes over which runs are spread."),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A new row is checked where it will be saved.
        self.instance._state.db = self.instance._state.db or settings().database

    def clean_name(self) -> str:
        # Django would look for the name where the router reads, not in our database.
        name: str = self.cleaned_data["name"]
        rows = ScheduledJob.objects.using(settings().database).filter(name=name).exclude(pk=self.instance.pk)
        if name.isprintable() and rows.exists():
            raise ValidationError(_("A schedule with this name exists already."), code="unique")
        return name

    def validate_unique(self) -> None:
        """Check nothing more: clean_name() has looked for the name."""

    def clean_payload(self) -> Any:
        try:
            return restored(self.cleaned_data["payload"], self.instance.payload)
        except MaskMoved as error:
            text = _("%(mask)s at %(key)s does not stand for a value: enter the value itself.")
            raise ValidationError(text, params={"mask": redaction.MASK, "key": str(error)}) from None
