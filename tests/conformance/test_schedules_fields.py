"""The fields of a schedule: each column that people decide, by the model's list, is one of every verb."""

from __future__ import annotations

import pytest

from django_letsgo_worker import declarations, handler, planning, registry, schedule, schedules
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.models import ScheduledJob
from tests.conformance.schedule_support import DECIDED, T0, chosen, row

pytestmark = pytest.mark.django_db

# What the verbs are told apart from its name; the plan, and who switched it, they say by themselves.
SAID = [name for name in DECIDED if name not in {"name", "anchor", "next_run_at", *ScheduledJob.SWITCH}]
# The code has no say in the switch; the type is its handler's.
DECLARED = [name for name in SAID if name not in ("enabled", "type")]


def test_the_verbs_take_what_people_decide_and_nothing_else():
    assert sorted(planning.FIELDS) == sorted(SAID)


def test_a_declaration_takes_the_same_but_for_the_switch():
    own = {"schedule", "timezone", "type", "payload"}
    assert {*SAID} - {"enabled"} - own == planning.DECLARED_FIELDS


def said(field: str) -> dict:
    """Return what add() is told to have the field chosen."""
    return {"schedule": "0 5 * * *", "type": "job", field: chosen(field)}


@pytest.mark.parametrize("field", SAID)
def test_a_schedule_is_added_with_a_field(field):
    schedules.add("chosen", **said(field), now=T0)
    assert getattr(row("chosen"), field) == chosen(field)


@pytest.mark.parametrize("field", SAID)
def test_a_field_is_updated(field):
    schedules.add("chosen", "0 5 * * *", "job", now=T0)
    schedules.update("chosen", **{field: chosen(field)}, now=T0)
    assert getattr(row("chosen"), field) == chosen(field)


@pytest.mark.parametrize("field", SAID)
def test_a_field_is_ensured_by_adding(field):
    schedules.ensure("chosen", **said(field), now=T0)
    assert getattr(row("chosen"), field) == chosen(field)


@pytest.mark.parametrize("field", [field for field in SAID if field != "enabled"])
def test_a_field_is_ensured_by_changing(field):
    schedules.add("chosen", "0 5 * * *", "job", now=T0)
    schedules.ensure("chosen", **{field: chosen(field)}, now=T0)
    assert getattr(row("chosen"), field) == chosen(field)


@pytest.mark.parametrize("field", DECLARED)
def test_a_field_is_declared(field):
    said = {"expression": "0 5 * * *", {"schedule": "expression"}.get(field, field): chosen(field)}
    try:
        schedule(said.pop("expression"), name="chosen", **said)(handler("job")(print))
        schedules.sync_declared(schedules.declared_in_code(), now=T0)
    finally:
        registry.remove("job")
        declarations.remove("chosen")
    assert getattr(row("chosen"), field) == chosen(field)


class Speechless:
    def __repr__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize("name", sorted({*planning.FIELDS, "name"} - {"payload"}))
@pytest.mark.parametrize("value", [Speechless(), [b"\0" * 10_000]], ids=["without-repr", "long"])
def test_a_refusal_stays_one_short_sentence_whatever_the_value_is(name, value):
    given = {"name": "report", "schedule": "@daily", "type": "report:make", name: value}
    with pytest.raises((InvalidMessage, InvalidSchedule)) as caught:
        schedules.add(given.pop("name"), given.pop("schedule"), given.pop("type"), **given)

    assert len(str(caught.value)) < 300
