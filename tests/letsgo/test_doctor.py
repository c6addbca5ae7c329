"""letsgo doctor: each silent failure is in its list, and its exit code says whether there is any."""

from __future__ import annotations

import io
import json
import re

import pytest
from django.core.management import CommandError, call_command, get_commands
from django.db.migrations.recorder import MigrationRecorder

from django_letsgo_worker import enqueue, handler, queues
from django_letsgo_worker.inspection import CODES, problems
from django_letsgo_worker.models import Process
from tests.inspection.troubles import TROUBLES, all_is_well, process
from tests.support import wait_until

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def one_handler_and_no_schedule(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}


@pytest.fixture
def healthy():
    """A worker and a scheduler that live."""
    all_is_well()


def diagnosis(*words):
    """Call the command; return its list, and whether it ended with an error."""
    out = io.StringIO()
    try:
        call_command("letsgo", "doctor", "--json", *words, stdout=out)
    except CommandError as error:
        assert error.returncode == 1
        assert re.fullmatch(r"\d+ problems? found\.", str(error))
        return json.loads(out.getvalue()), True
    return json.loads(out.getvalue()), False


def found():
    """Return code and subject of all that is wrong."""
    problems, failed = diagnosis()
    assert failed == any(problem["severity"] != "notice" for problem in problems)
    assert all(problem["sentence"].endswith((".", "?")) for problem in problems)
    return [(problem["code"], problem["about"]) for problem in problems]


def test_nothing_is_wrong_where_all_is_well(healthy):
    enqueue("t:x")
    out = io.StringIO()

    call_command("letsgo", "doctor", stdout=out)

    assert found() == []
    assert out.getvalue() == "All is well.\n"


def test_people_are_given_each_sentence_with_since_when_and_an_exit_code(healthy):
    with TROUBLES["queue_unserved"][0](), TROUBLES["queue_paused"][0]():
        process("web-9", queues=["other"])
        queues.resume("mails")
        queues.pause("others", by="bob")
        out = io.StringIO()

        with pytest.raises(CommandError, match=r"^2 problems found\.$") as ended:
            call_command("letsgo", "doctor", stdout=out)

        assert ended.value.returncode == 1
        lines = out.getvalue().splitlines()
        assert [lines[0], lines[2]] == [f"! {problem.sentence}" for problem in problems()]
        assert all(re.match(r"  since 20\S+ [\d:]+\S*( \S+)?, \S+ ago$", line) for line in lines[1::2])


def test_notices_alone_are_listed_and_are_no_error(healthy):
    queues.pause("mails", by="ada", reason="the move")
    out, err = io.StringIO(), io.StringIO()

    call_command("letsgo", "doctor", stdout=out, stderr=err)

    assert out.getvalue().startswith("! Queue 'mails' is paused by ada: the move. ")
    assert err.getvalue() == "1 problem found.\n"


@pytest.mark.parametrize("code", CODES)
def test_every_problem_is_in_the_list_of_doctor_and_of_status(healthy, code):
    make, about = TROUBLES[code]
    with make():
        listed, failed = diagnosis()
        out = io.StringIO()
        if code != "not_migrated":
            call_command("letsgo", "status", "--json", stdout=out)
            assert [one["code"] for one in json.loads(out.getvalue())["problems"]] == [
                one["code"] for one in listed
            ]
    assert (code, about) in [(one["code"], one["about"]) for one in listed]
    assert failed == any(one["severity"] != "notice" for one in listed)
    keys = {"code", "severity", "about", "sentence", "since", "count", "capped", "actions"}
    assert {frozenset(one) for one in listed} == {frozenset(keys)}


def test_what_the_checks_find_is_in_the_list_those_for_deployments_too(healthy, monkeypatch, settings):
    settings.LETSGO_WORKER = {"SCHEDULE": "", "LEASE_SECONDS": 1}
    monkeypatch.setitem(get_commands(), "runworker", "channels")
    assert sorted(found()) == [("letsgo_worker.W005", ""), ("letsgo_worker.W006", "")]

    settings.SILENCED_SYSTEM_CHECKS = ["letsgo_worker.W006"]
    assert found() == [("letsgo_worker.W005", "")]


@pytest.mark.parametrize(
    ("given", "code"), [({"CONCURENCY": 4}, "letsgo_worker.E001"), ({"DATABASE": "no"}, "letsgo_worker.E002")]
)
def test_settings_that_name_no_database_are_all_that_is_said(settings, given, code):
    settings.LETSGO_WORKER = given

    assert [problem for problem, _ in found()] == [code]


def test_migrations_that_are_missing_are_all_that_is_said_of_rows():
    MigrationRecorder.Migration.objects.filter(app="django_letsgo_worker").latest("name").delete()

    assert found() == [("not_migrated", "")]


@pytest.mark.django_db(transaction=True)
class TestAsAProcess:
    def test_errors_of_the_checks_are_listed_and_end_nothing(self, manage):
        process = manage("letsgo", "doctor", "--json", env={"LETSGO_WORKER_CONCURENCY": "4"})

        assert process.wait() == 1
        (problem,) = json.loads("".join(process.stdout))
        assert problem["code"] == "letsgo_worker.E001"
        assert "".join(process.stderr) == "CommandError: 1 problem found.\n"

    def test_a_site_that_works_is_well(self, manage):
        manage("runworker", "--with-scheduler", env={"LETSGO_WORKER_SCHEDULE": ""})
        wait_until(lambda: Process.objects.filter(kind="scheduler").exists(), what="its rows")

        doctor = manage("letsgo", "doctor", env={"LETSGO_WORKER_SCHEDULE": ""})

        assert (doctor.wait(), doctor.stderr) == (0, [])
        assert doctor.stdout == ["All is well.\n"]
