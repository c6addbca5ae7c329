"""schedules.ensure(): a schedule is as the fields say, however often; and no verb while the apps load."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

from django_letsgo_worker import schedules
from django_letsgo_worker.errors import InvalidMessage, InvalidSchedule
from django_letsgo_worker.models import ScheduledJob
from tests.conformance.schedule_support import DAY, HOUR, MINUTE, T0, add, fire, raw, row, snapshot
from tests.support import ROOT


@pytest.mark.django_db
class TestEnsure:
    def test_adds_what_is_not_there(self):
        job = schedules.ensure(
            "report", schedule="rate(5 minutes)", type="report:new", payload={"a": 1}, deadline=90, now=T0
        )
        assert (job.pk, job.next_run_at) == (row().pk, T0 + 5 * MINUTE)
        assert (row().payload, row().deadline.total_seconds(), row().state) == ({"a": 1}, 90, "on")

    def test_takes_expression_and_type_in_add_s_order(self):
        schedules.ensure("report", "@daily", "report:new")
        assert (row().schedule, row().type) == ("@daily", "report:new")

    def test_changes_what_differs_and_leaves_the_rest(self):
        add(payload={"a": 1}, spread=3)
        job = schedules.ensure("report", schedule="rate(7 minutes)", priority=5, now=T0 + HOUR)
        assert (job.schedule, job.next_run_at) == ("rate(7 minutes)", T0 + HOUR + 7 * MINUTE)
        assert (row().payload, row().spread, row().priority) == ({"a": 1}, 3, 5)

    def test_writes_nothing_when_nothing_differs(self, django_assert_num_queries):
        fields = {
            "schedule": "rate(5 minutes)", "type": "report:new", "payload": {"a": [1]}, "deadline": 90,
            "misfire_grace": None, "queue": "low", "enabled": True,
        }  # fmt: skip
        schedules.ensure("report", **fields, now=T0)
        before = snapshot()
        with django_assert_num_queries(1):
            schedules.ensure("report", **fields)
        assert snapshot() == before

    def test_does_not_move_a_plan_however_often_it_is_said(self):
        for n in range(5):
            schedules.ensure("report", "rate(5 minutes)", "report:new", now=T0 + n * MINUTE)
        assert fire(T0 + 5 * MINUTE) == [T0 + 5 * MINUTE]

    def test_leaves_the_switch_to_people(self):
        schedules.ensure("report", "@daily", "report:new", enabled=True, now=T0)
        schedules.disable("report", by="ada", reason="stocktaking", resume_at=T0 + DAY, now=T0)
        schedules.ensure("report", "@hourly", "report:new", enabled=True, now=T0 + HOUR)
        now = row()
        assert (now.schedule, now.state, now.next_run_at) == ("@hourly", "off", None)
        assert (now.switched_by, now.switch_reason, now.resume_at) == ("ada", "stocktaking", T0 + DAY)

    def test_can_add_one_that_is_switched_off(self):
        schedules.ensure("report", "@daily", "report:new", enabled=False)
        assert row().state == "off"

    def test_of_a_moment_that_is_over_says_nothing(self):
        schedules.ensure("once", "at(2027-03-01T09:01:00)", "report:new", now=T0)
        fire(T0 + HOUR)
        schedules.ensure("once", "at(2027-03-01T09:01:00)", "report:new", now=T0 + DAY)
        assert row("once").state == "completed"

    @pytest.mark.parametrize(
        ("payload", "other"), [({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), (None, {}), ({"a": 1}, None)]
    )
    def test_notices_a_payload_that_only_python_takes_for_the_same(self, payload, other):
        schedules.ensure("report", "@daily", "report:new", payload=payload)
        schedules.ensure("report", payload=other)
        assert repr(row().payload) == repr(other)

    @pytest.mark.parametrize(
        ("fields", "error", "sentence"),
        [
            ({"schedule": "never"}, InvalidSchedule, "never"),
            ({"shedule": "@daily"}, InvalidSchedule, "did you mean 'schedule'"),
            ({"next_run_at": T0}, InvalidSchedule, "no field"),
            ({"payload": {1}}, InvalidMessage, "payload"),
            ({"spread": -1}, InvalidSchedule, "spread"),
        ],
    )
    @pytest.mark.parametrize("is_there", [True, False], ids=["there", "not there"])
    def test_bad_input_is_one_sentence_and_nothing_changes(self, is_there, fields, error, sentence):
        if is_there:
            add()
        before = snapshot()
        with pytest.raises(error, match=sentence):
            schedules.ensure("report", **{"schedule": "@daily", "type": "report:new", **fields})
        assert snapshot() == before

    @pytest.mark.parametrize("name", ["", " x", "nul\0", None])
    def test_a_name_that_none_can_have_is_refused(self, name):
        with pytest.raises(InvalidSchedule):
            schedules.ensure(name, "@daily", "report:new")

    def test_says_what_is_missing_to_add_it(self):
        with pytest.raises(InvalidSchedule, match="no schedule named 'report': to add it, give its type"):
            schedules.ensure("report", "@daily")

    def test_refuses_to_change_what_the_code_declares(self):
        add()
        raw(declared_in_code=True)
        schedules.ensure("report", "rate(5 minutes)", "report:new")
        with pytest.raises(InvalidSchedule, match="declared in code, which would change it back"):
            schedules.ensure("report", "@daily", "report:new")


@pytest.mark.django_db(transaction=True)
def test_several_processes_that_ensure_at_once_make_one_schedule(race):
    rivals = race(*[lambda: schedules.ensure("report", "@daily", "report:new")] * 4)
    assert {rival.result().pk for rival in rivals} == {ScheduledJob.objects.get().pk}


# -- while Django loads the apps -----------------------------------------------------------------------------

VERBS = {
    "add": "schedules.add('report', '@daily', 'report:new')",
    "ensure": "schedules.ensure('report', '@daily', 'report:new')",
    "update": "schedules.update('report', payload=1)",
    "remove": "schedules.remove('report')",
    "enable": "schedules.enable('report')",
    "disable": "schedules.disable('report')",
    "run_now": "schedules.run_now('report')",
    "find": "schedules.find('report')",
}


@pytest.fixture
def project(tmp_path):
    """A project whose handlers.py ends in a line: project(line) runs a command of it; returns its stderr."""
    (tmp_path / "stall").mkdir()
    (tmp_path / "stall" / "__init__.py").touch()
    (tmp_path / "manage.py").write_text(
        textwrap.dedent("""
            import sys
            from django.conf import settings
            from django.core.management import execute_from_command_line
            settings.configure(
                INSTALLED_APPS=["stall", "django_letsgo_worker"],
                DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "db.sqlite3"}},
                USE_TZ=True, SECRET_KEY="x", DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
            )
            execute_from_command_line(sys.argv)
            """)
    )

    def run(line: str, *command: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "stall" / "handlers.py").write_text(
            "from django_letsgo_worker import handler, schedule, schedules\n\n\n"
            f"@handler('report:new')\ndef report(delivery): ...\n\n\n{line}\n"
        )
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"}
        for name in ("DJANGO_SETTINGS_MODULE", "DATABASE_URL"):
            environment.pop(name, None)
        return subprocess.run(
            [sys.executable, "manage.py", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_at_the_end_of_handlers_py_is_refused_from_the_first_command_on(project, verb):
    refused = project(VERBS[verb], "migrate")
    assert refused.returncode == 1
    said = refused.stderr.strip().splitlines()[-1]
    assert f"schedules.{verb}() is called while Django loads the apps" in said
    assert "Write @schedule(...) above the @handler instead" in said
    assert "schedules.ensure()" in said


def test_what_the_sentence_advises_works_however_many_commands_follow(project):
    line = (
        "from django.db.models.signals import post_migrate\n"
        "from django.dispatch import receiver\n\n\n"
        "@receiver(post_migrate)\n"
        "def plan(sender, **kwargs):\n"
        "    if sender.label == 'django_letsgo_worker':\n"
        "        schedules.ensure('nightly', '0 2 * * *', 'report:new')\n\n\n"
        "schedule('@daily')(report)"
    )
    for command in ("migrate", "check", "migrate"):
        done = project(line, command)
        assert done.returncode == 0, done.stderr
    listed = project(line, "letsgo", "schedule", "list", "--names")
    assert listed.stdout.split() == ["nightly"]
