"""The forms of schedules: one with its payload, what its preview follows from, a switch off, a backfill.

The model decides what a valid schedule is; the form only shows its errors at their fields.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.admin.widgets import AdminSplitDateTime, AdminTextInputWidget
from django.core.exceptions import ValidationError
from django.forms.utils import ErrorDict
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from .. import planning, redaction, registry, validation
from ..conf import settings
from ..errors import InvalidMessage
from ..models import ScheduledJob
from .forms import HOW_LONG, ListedInput, PauseForm, moment_input

if TYPE_CHECKING:
    ScheduledJobModelForm = forms.ModelForm[ScheduledJob]
else:
    ScheduledJobModelForm = forms.ModelForm

# Of any time zone's calendar; before it, arithmetic on moments has an end.
EARLIEST_YEAR = 1900
# The button that shows the next runs of what is typed, and saves nothing.
PREVIEW = "_preview"
PRESETS = [
    ("@hourly", _("hourly")),
    ("@daily", _("daily")),
    ("0 9 * * MON-FRI", _("weekdays at nine")),
    ("@weekly", _("weekly")),
    ("@monthly", _("monthly")),
]


class SwitchOffForm(PauseForm):
    """Why a schedule is switched off, and when it is switched on again by itself."""

    minutes = forms.ChoiceField(
        label=_("For how long"), choices=[("", _("until it is switched on")), *HOW_LONG[1:]], required=False
    )


class PauseAllForm(PauseForm):
    """Why all schedules are paused, and when they run again by themselves."""

    minutes = forms.ChoiceField(
        label=_("For how long"), choices=[("", _("until they are resumed")), *HOW_LONG[1:]], required=False
    )


class BackfillForm(forms.Form):
    """From when until when planned times are made up for, and over how long their starts are spread."""

    start = forms.DateTimeField(label=_("From"), widget=moment_input())
    end = forms.DateTimeField(label=_("Until"), widget=moment_input())
    over = forms.CharField(
        label=_("Over"),
        required=False,
        help_text=_("Such as 90s or 2h: spreads the starts of the messages evenly. Empty: at once."),
        widget=AdminTextInputWidget(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, now: datetime, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.now = now
        zone = timezone.get_current_timezone_name()
        self.fields["end"].help_text = _("In the time zone %(zone)s, to the minute.") % {"zone": zone}

    def clean_start(self) -> datetime:
        moment: datetime = self.cleaned_data["start"]
        if moment.year < EARLIEST_YEAR:
            raise ValidationError(_("This time is too long ago."))
        return moment

    def clean_end(self) -> datetime:
        moment: datetime = self.cleaned_data["end"]
        if moment > self.now:
            raise ValidationError(_("This time is in the future."))
        return moment

    def clean_over(self) -> timedelta | None:
        text: str = self.cleaned_data["over"]
        try:
            length = validation.duration(text)
        except OverflowError:
            length = None
        if text and length is None:
            raise ValidationError(_("Write a length of time such as 90s, 10m, 1h30m or 2d."))
        return length

    def clean(self) -> dict[str, Any]:
        given = super().clean() or self.cleaned_data
        if not self.errors and given["end"] < given["start"]:
            self.add_error("end", _("This is before the first of the two times."))
        return given


class PreviewForm(forms.Form):
    """What the next runs of a schedule follow from, as far as it is typed."""

    type = forms.CharField(required=False)
    schedule = forms.CharField(required=False, strip=False)
    timezone = forms.CharField(required=False)
    starts_at = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)
    ends_at = forms.SplitDateTimeField(required=False, widget=AdminSplitDateTime)
    except_on = forms.CharField(required=False)
    max_runs = forms.IntegerField(required=False, min_value=1)

    def typed_into(self, job: ScheduledJob) -> ScheduledJob:
        """Return a schedule with all of these that can be read."""
        self.is_valid()
        for name, value in self.cleaned_data.items():
            setattr(job, name, value)
        return job


class PresetInput(ListedInput):
    """A text input with rules that are often wanted: suggestions, and buttons where JavaScript runs."""

    template_name = "admin/django_letsgo_worker/preset_input.html"


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
            "schedule": PresetInput(lambda: PRESETS, attrs={"class": "vTextField"}),
            "timezone": ListedInput(lambda: sorted(available_timezones())),
            "payload": forms.Textarea(
                attrs={"rows": 8, "cols": 80, "class": "lg-payload", "spellcheck": "false"}
            ),
            "except_on": forms.Textarea(
                attrs={"rows": 2, "cols": 80, "class": "vLargeTextField", "spellcheck": "false"}
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
            "overlap": _("What a run does while an earlier one of this schedule is unfinished."),
            "spread": _("Minutes over which runs are spread."),
            "except_on": _(
                "Days on which nothing runs, separated by commas: 2026-12-25, 12-24..01-02 of each year, or "
                "the name of a calendar."
            ),
            "max_runs": _("With so many runs it is over. Empty: it goes on."),
            "pause_after_failures": _("So many dead runs in a row switch it off. Empty: none do."),
            "delete_when_over": _(
                "When no further run comes, it is deleted with the records of its runs; its messages stay."
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # A new row is checked where it will be saved.
        self.instance._state.db = self.instance._state.db or settings().database

    @property
    def errors(self) -> ErrorDict:
        # Who looks at the next runs has not finished: what is missing is said when it is saved.
        return ErrorDict() if PREVIEW in self.data else super().errors

    def is_valid(self) -> bool:
        return PREVIEW not in self.data and super().is_valid()

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
