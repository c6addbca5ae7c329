"""The incident, from its beginning to "All is well": what people are told, and what mends it."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_letsgo_worker import enqueue_many, inspection, messages, queues, schedules
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.models import ArchivedMessage, Failure, Message, Statistic
from tests.browser.rows import list_url
from tests.incident import CHARGES, DEAD, WEB_1, Incident
from tests.support import wait_until

# A dozen processes are started, and four of them killed: a busy machine needs its time.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

# Code and name, severity, count, and the commands and forms that mend it.
TROUBLES = {
    **{
        ("type_failing", type): ("error", count, [f"type pause {type}", f"message retry --type {type}"])
        # At least: web-1 had not written its last counts when it was killed.
        for type, count in {"billing:charge": CHARGES, **dict.fromkeys(DEAD, 10)}.items()
    },
    ("schedule_broken", "Tax report"): ("error", 1, ["schedule show"]),
    ("schedule_of_unknown_type", "Audit"): ("error", 1, ["schedule disable Audit"]),
    ("schedule_of_unknown_type", "Legacy import"): ("error", 1, ["schedule disable"]),
    ("no_scheduler", ""): ("error", 21, ["runscheduler"]),
    ("queue_unserved", "search"): ("error", 700, ["runworker --queues search"]),
    ("queue_unserved", "videos"): ("error", 3, ["runworker --queues videos"]),
    ("type_unknown", "legacy:import"): (
        "error",
        100,
        ["bulkoperation/add/?kind=cancel&type=legacy%3Aimport"],
    ),
    ("process_silent", "web-1"): ("warning", 3, ["worker forget web-1"]),
    ("dead_letters", ""): ("warning", sum(DEAD.values()), ["dead redrive"]),
    ("queue_paused", "mail"): ("notice", 2200, ["queue resume mail"]),
}
WORDS = {
    "billing:charge": "ProviderDown",
    "Audit": "Did you mean 'audit:write'?",
    "mail": "by anna: SMTP provider moves, ticket 4711",
    "web-1": "it held 3 messages of videos",
    "Tax report": "'Asia/Nowhere' is not an IANA time zone",
    "search": "no living worker serves it",
}
# A pill of the admin that says that all is good.
GREEN = re.compile(r'<span class="lg-badge lg-good">')


@pytest.fixture
def incident(own_registries, manage):
    incident = Incident(manage)
    incident.begin()
    wait_until(lambda: charges_failed() >= CHARGES, what="the statistics of the charges are written")
    return incident


def charges_failed():
    rows = Statistic.objects.filter(type="billing:charge", span=60)
    return sum(rows.values_list("failed", flat=True))


def lately(moment):
    return moment is not None and timedelta(0) <= engine_for("default").clock() - moment < timedelta(
        minutes=5
    )


def test_the_incident_is_told_and_mended(incident, admin_client):
    found = {(problem.code, problem.about): problem for problem in inspection.problems()}
    assert set(found) == set(TROUBLES)
    for key, (severity, count, mends) in TROUBLES.items():
        problem = found[key]
        assert (problem.severity, problem.capped) == (severity, False), problem
        assert problem.count >= count if key[0] == "type_failing" else problem.count == count, problem
        assert key[0] == "schedule_broken" or lately(problem.since), problem
        assert WORDS.get(problem.about, "") in problem.sentence
        offered = " ".join(f"{action['command']} {action['url']}" for action in problem.actions)
        assert [mend for mend in mends if mend not in offered] == [], problem.actions
    says_the_same_everywhere(admin_client)
    shows_nothing_green_beside_a_problem(admin_client)
    groups_the_failures()
    explains_each_message()

    workers = mend(incident)
    wait_until(lambda: not left(), what="nothing is left to do", timeout=60)
    # A worker that ends has written its statistics: it need not be waited for.
    for worker in workers:
        worker.stop()
    incident.start("runworker", "--name", "web-1")
    wait_until(lambda: doctor_is_content(incident), what="all is well", timeout=60)


def says_the_same_everywhere(admin_client):
    """The command line, the numbers and the admin's index print the sentences of the list."""
    wait_until(lambda: all_sentences_are_printed(admin_client), what="one list at all doors")
    with pytest.raises(CommandError):
        said("letsgo", "doctor")


def all_sentences_are_printed(admin_client):
    """Numbers that move between two looks are seen in the next ones."""
    sentences = [problem.sentence for problem in inspection.problems()]
    status, index = said("letsgo", "status"), html.unescape(admin_client.get("/admin/").content.decode())
    return all(sentence in status and sentence in index for sentence in sentences)


def shows_nothing_green_beside_a_problem(admin_client):
    """On each page, the rows of what a problem is about have no green mark."""
    for page, names in {
        "queue": ["search", "videos", "mail", "billing", "default"],
        "process": ["web-1", "clock-1", "clock-2"],
        "scheduledjob": ["Tax report", "Audit", "Legacy import", "Stock sync", "Charge retries"],
        "message": ["search:index", "legacy:import", "mail:newsletter", "video:encode", "billing:charge"],
    }.items():
        rows = re.findall(r"<tr.*?</tr>", admin_client.get(list_url(page)).content.decode(), re.DOTALL)
        for name in names:
            beside = [row for row in rows if f" {name} " in words_of(row)]
            assert [words_of(row) for row in beside if GREEN.search(row)] == [], (page, name)
            assert beside or page == "message", (page, name)


def words_of(row):
    return f" {' '.join(html.unescape(re.sub('<[^>]*>', ' ', row)).split())} "


def groups_the_failures():
    groups = {group.type: group for group in inspection.failures()}
    assert set(groups) == {"billing:charge", *DEAD}
    assert {type: groups[type].dead for type in DEAD} == DEAD
    assert groups["billing:charge"].retrying >= CHARGES
    assert Failure.objects.count() == 4


def explains_each_message():
    codes = {
        "billing:charge": "retrying", "mail:newsletter": "queue_paused", "search:index": "queue_unserved",
        "legacy:import": "type_unknown", "parcel:book": "scheduled",
    }  # fmt: skip
    for type, code in codes.items():
        message = Message.objects.filter(type=type, scheduled_job_id=None).latest("pk")
        assert inspection.explain(message.pk).code == code, type


def mend(incident):
    """Do what the actions say: start processes, resume, correct, cancel, redrive, retry."""
    incident.web_2.stop()
    incident.is_over = True
    workers = [incident.start(*WEB_1), incident.start("runworker", "--name", "web-2")]
    schedules.update("Tax report", timezone="Europe/Berlin")
    schedules.update("Audit", type="audit:write")
    schedules.disable("Legacy import", by="ada", reason="it has moved")
    incident.start("runscheduler", "clock-3")
    queues.resume("mail")
    messages.operate("cancel", type="legacy:import", by="ada")
    messages.operate("retry", type="billing:charge", by="ada", reason="the provider is back")
    for type in DEAD:
        messages.operate("redrive", type=type, over=1, by="ada", reason="mended")
    # Business goes on: fewer than half of all attempts of a quarter of an hour have failed then.
    for type in ("billing:charge", *DEAD):
        enqueue_many([(type, {"order": n, "image": n, "email": ""}) for n in range(100)])
    return workers


def left():
    """What is not done yet, but for what waits for hours."""
    rows = Message.objects.exclude(type="parcel:book").filter(scheduled_job_id=None)
    return rows.exists() or ArchivedMessage.objects.filter(outcome="dead").exists()


def doctor_is_content(incident):
    """All is well; a busy machine may be late with a heartbeat, for a moment."""
    # In a process of its own: here, other tests may have left the checks of apps that are not installed.
    doctor = incident.start("letsgo", "doctor")
    code = doctor.wait()
    print(doctor.output)
    return code == 0 and "All is well." in doctor.output


def said(*words):
    out = StringIO()
    call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()
