"""letsgo schedule export and import: what people decided comes in again, all of it, here or elsewhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import Message, Occurrence, ScheduledJob
from tests.conformance.schedule_support import DECIDED, SOON, chosen

from .test_output import everything, letsgo, refusal

pytestmark = pytest.mark.django_db


def row(name: str = "chosen") -> ScheduledJob:
    return ScheduledJob.objects.get(name=name)


def export() -> list[dict]:
    return letsgo("schedule", "export").json


@pytest.fixture
def bring_in(tmp_path):
    """Import what is given as JSON."""

    def bring(content, *words):
        file = tmp_path / "schedules.json"
        file.write_text(json.dumps(content))
        return letsgo("schedule", "import", file, *words)

    return bring


@pytest.mark.parametrize("column", DECIDED)
def test_a_column_that_people_decide_comes_in_again(column, bring_in):
    ScheduledJob.objects.create(
        name="chosen", schedule="0 5 * * *", type="job", enabled=column == "next_run_at"
    )
    ScheduledJob.objects.update(**{column: chosen(column)})
    exported = export()
    ScheduledJob.objects.all().delete()

    assert bring_in(exported).out == "added 1, changed 0, unchanged 0\n"

    assert getattr(row(), column) == chosen(column)
    assert export() == exported
    assert bring_in(exported).out == "added 0, changed 0, unchanged 1\n"


def test_all_columns_together_come_in_again(bring_in):
    values = {column: chosen(column) for column in DECIDED}
    ScheduledJob.objects.create(name="chosen", schedule="0 5 * * *", type="job")
    ScheduledJob.objects.update(**values | {"next_run_at": None})
    exported = export()
    ScheduledJob.objects.all().delete()
    bring_in(exported)
    assert {name: getattr(row(), name) for name in DECIDED} == values | {"next_run_at": None}


@pytest.mark.parametrize("column", [column for column in DECIDED if column != "name"])
def test_a_column_that_differs_here_becomes_what_the_file_says(column, bring_in):
    is_on = column in ("next_run_at", "enabled")
    ScheduledJob.objects.create(name="chosen", schedule="0 5 * * *", type="job", enabled=is_on)
    there = export()
    ScheduledJob.objects.update(**{column: chosen(column)})
    chosen_there = export()
    ScheduledJob.objects.all().delete()
    bring_in(there)

    assert bring_in(chosen_there).out == "added 0, changed 1, unchanged 0\n"
    assert getattr(row(), column) == chosen(column)
    assert bring_in(chosen_there).out == "added 0, changed 0, unchanged 1\n"


NEWER = {"except_on", "max_runs", "pause_after_failures", "delete_when_over"}


def test_a_file_of_an_older_version_comes_in_and_leaves_newer_columns_as_they_are(bring_in):
    values = {column: chosen(column) for column in NEWER}
    schedules.add("chosen", "0 5 * * *", "job", **values)
    older = [{key: value for key, value in entry.items() if key not in NEWER} for entry in export()]

    assert bring_in(older).out == "added 0, changed 0, unchanged 1\n"
    assert {column: getattr(row(), column) for column in NEWER} == values

    ScheduledJob.objects.all().delete()
    assert bring_in(older).out == "added 1, changed 0, unchanged 0\n"
    assert [getattr(row(), column) for column in sorted(NEWER)] == [False, "", None, None]


@pytest.mark.parametrize("overlap", ScheduledJob.Overlap.values)
def test_each_rule_for_runs_that_overlap_comes_in_again(overlap, bring_in):
    schedules.add("chosen", "0 5 * * *", "job", overlap=overlap)
    exported = export()
    ScheduledJob.objects.all().delete()
    bring_in(exported)
    assert row().overlap == overlap


def test_the_export_names_all_that_people_decide():
    schedules.add("chosen", "@daily", "job")
    assert set(export()[0]) == {*DECIDED, "declared_in_code"}


def test_what_it_was_switched_off_for_and_by_whom_comes_in_again(bring_in):
    schedules.add("chosen", "@daily", "job")
    schedules.disable("chosen", by="ada", reason="stocktaking", resume_at=SOON)
    off = row()
    exported = export()
    ScheduledJob.objects.all().delete()
    bring_in(exported)

    now = row()
    assert (now.state, now.switched_by, now.switch_reason) == ("off", "ada", "stocktaking")
    assert (now.switched_at, now.resume_at) == (off.switched_at, SOON)
    assert schedules.resume_due(SOON) == 1


def test_a_rate_goes_on_with_its_grid(bring_in):
    job = schedules.add("chosen", "rate(7 minutes)", "job")
    exported = export()
    later = job.next_run_at + timedelta(minutes=30)
    ScheduledJob.objects.all().delete()
    bring_in(exported)
    assert (row().anchor, row().next_run_at) == (job.anchor, job.next_run_at)

    schedules.fire_due(later)
    assert (row().next_run_at - job.anchor) % timedelta(minutes=7) == timedelta(0)


class TestAMomentThatIsPast:
    @pytest.fixture
    def exported(self) -> list[dict]:
        before = datetime(2020, 1, 1, tzinfo=UTC)
        schedules.add("once", "at(2020-02-01T00:00:00)", "job", now=before)
        schedules.add("nightly", "0 2 * * *", "job", now=before)
        schedules.fire_due(datetime(2020, 2, 1, tzinfo=UTC))
        exported = export()
        ScheduledJob.objects.all().delete()
        Message.objects.all().delete()
        Occurrence.objects.all().delete()
        return exported

    def test_comes_in_as_over_and_that_is_said(self, exported, bring_in):
        said = bring_in(exported)
        assert said.out == "added 2, changed 0, unchanged 0\n"
        assert said.err == "Schedule 'once' is over: at(2020-02-01T00:00:00) has no further runs.\n"
        assert (row("once").state, row("once").next_run_at, row("nightly").state) == ("completed", None, "on")

    def test_does_not_run_and_is_not_said_to_be_broken(self, exported, bring_in):
        bring_in(exported)
        assert schedules.fire_due() == []
        assert (row("once").state, row("once").problem) == ("completed", "")

    def test_comes_in_a_second_time_as_unchanged(self, exported, bring_in):
        bring_in(exported)
        assert (bring_in(exported).out, bring_in(exported).err) == ("added 0, changed 0, unchanged 2\n", "")

    def test_of_one_that_is_switched_off_stays_off(self, exported, bring_in):
        for entry in exported:
            entry["enabled"] = False
        bring_in(exported)
        assert row("once").state == "off"
        assert schedules.enable("once").state == "completed"

    def test_in_place_of_another_rule_is_over_too(self, exported, bring_in):
        schedules.add("once", "@daily", "job")
        said = bring_in(exported)
        assert said.out == "added 1, changed 1, unchanged 0\n"
        assert "'once' is over" in said.err
        assert row("once").state == "completed"

    def test_is_refused_by_add_and_update_as_before(self):
        schedules.add("other", "@daily", "job")
        with pytest.raises(ValueError, match="past"):
            schedules.add("once", "at(2020-02-01T00:00:00)", "job")
        with pytest.raises(ValueError, match="past"):
            schedules.update("other", schedule="at(2020-02-01T00:00:00)")


class TestTheNextRun:
    def test_that_the_rule_gives_is_left_to_each_site(self):
        schedules.add("chosen", "@daily", "job")
        assert export()[0]["next_run_at"] is None

    def test_that_somebody_chose_and_that_is_past_by_now_is_passed_over(self, bring_in):
        schedules.add("chosen", "0 5 * * *", "job")
        entry = export()[0] | {"next_run_at": "2020-01-01T00:00:00+00:00"}
        ScheduledJob.objects.all().delete()
        bring_in([entry])
        assert row().next_run_at > engine_for("default").clock()
        assert schedules.fire_due() == []

    def test_that_is_overdue_here_is_not_taken_for_chosen(self):
        schedules.add("chosen", "@daily", "job", now=datetime(2020, 1, 1, tzinfo=UTC))
        assert export()[0]["next_run_at"] is None


class TestWhatTheCodeDeclares:
    @pytest.fixture(autouse=True)
    def declared(self):
        schedules.sync_declared(schedules.declared_in_settings())

    def test_comes_in_with_its_switch_where_the_code_is_known_already(self, bring_in):
        schedules.disable("worker", by="ada", reason="a test")
        exported = export()
        schedules.enable("worker")
        ScheduledJob.objects.update(schedule="rate(2 hours)")
        assert bring_in(exported).out == "added 0, changed 1, unchanged 0\n"

        now = row("worker")
        assert (now.enabled, now.switched_by, now.switch_reason) == (False, "ada", "a test")
        assert (now.schedule, now.declared_in_code) == ("rate(2 hours)", True)

    def test_comes_in_switched_off_where_no_scheduler_has_run_yet(self, bring_in):
        schedules.disable("worker", by="ada", reason="a test")
        exported = export()
        ScheduledJob.objects.all().delete()
        bring_in(exported)
        schedules.sync_declared(schedules.declared_in_settings())
        assert (row("worker").enabled, row("worker").declared_in_code) == (False, True)

    def test_is_left_out_while_nobody_switched_it(self):
        assert export() == []


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"switched_by": 5}, "switched_by"),
        ({"switch_reason": "x" * 256}, "switch_reason"),
        ({"switched_at": "yesterday"}, "switched_at"),
        ({"anchor": "2027-01-01"}, "anchor"),
        ({"resume_at": 5}, "resume_at"),
        ({"version": 5}, "version"),
        ({"runs": 5}, "runs"),
        ({"max_runs": "5"}, "max_runs"),
        ({"pause_after_failures": 0}, "pause_after_failures"),
        ({"delete_when_over": None}, "delete_when_over"),
        ({"except_on": ["12-24"]}, "except_on"),
        ({"declared_in_code": "yes"}, "declared_in_code"),
    ],
)
def test_bad_input_is_one_sentence_and_brings_in_none(fields, word, tmp_path):
    file = tmp_path / "bad.json"
    good = {"name": "good", "schedule": "@daily", "type": "job"}
    file.write_text(json.dumps([good, {"name": "bad", "schedule": "@daily", "type": "job", **fields}]))
    before = everything()
    refused = refusal("schedule", "import", file)
    assert word in refused
    assert "\n" not in refused
    assert everything() == before


def test_a_switch_that_a_file_makes_says_who_brought_it_in(bring_in):
    schedules.add("chosen", "@daily", "job")
    bring_in([{"name": "chosen", "schedule": "@daily", "type": "job", "enabled": False}])
    assert not row().enabled
    assert row().switched_by != ""


def test_a_broken_schedule_is_said_when_it_is_written_out():
    schedules.add("chosen", "@daily", "job")
    ScheduledJob.objects.update(schedule="nonsense")
    schedules.fire_due()
    said = letsgo("schedule", "export")
    assert said.err.startswith("Schedule 'chosen' is broken, so an import will refuse it: ")
