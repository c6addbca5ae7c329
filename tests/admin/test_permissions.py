"""Who may do what in the admin: each action has its own permission, is a POST, and is logged."""

from __future__ import annotations

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_letsgo_worker import enqueue, schedules
from django_letsgo_worker.messages import find
from django_letsgo_worker.models import (
    DeadLetter,
    Failure,
    Message,
    PausedType,
    Process,
    Queue,
    ScheduledJob,
)
from tests.browser.rows import change_url, dead_letter, do_url, list_url, process

pytestmark = pytest.mark.django_db

SEES_EVERYTHING = [
    f"view_{name}"
    for name in ("message", "archivedmessage", "deadletter", "scheduledjob", "process", "queue", "failure")
]


@pytest.fixture
def client_with():
    """Return a function that logs somebody in who has just these permissions."""

    def log_in(*permissions):
        user = User.objects.create_user("viewer", is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="django_letsgo_worker", codename__in=permissions
        )
        assert {permission.codename for permission in found} == set(permissions)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return log_in


def make(model):
    """Make one row for each action to act on."""
    if model == "message":
        return enqueue("mail.send", {"n": 1}, queue="mail").pk
    if model == "deadletter":
        return dead_letter().pk
    if model == "scheduledjob":
        return schedules.add("Nightly", "@daily", "mail.send").pk
    if model == "process":
        return process().pk
    if model == "failure":
        moment = "2026-01-01T00:00:00Z"
        return Failure.objects.create(type="mail.send", fingerprint="f", first_at=moment, last_at=moment).pk
    enqueue("mail.send", queue="mail")
    return "mail"


def traces():
    """All that any of the actions would change."""
    return [
        list(Message.objects.order_by("pk").values_list("pk", "receipt")),
        list(DeadLetter.objects.values_list("pk")),
        list(ScheduledJob.objects.values_list("enabled", "switched_at", "last_run_at")),
        list(Process.objects.values_list("stop_requested")),
        list(Queue.objects.values_list("name", "paused_at")),
        list(PausedType.objects.values_list("name")),
        LogEntry.objects.count(),
    ]


ACTIONS = [
    ("message", "cancel", "cancel_message"),
    ("message", "retry", "retry_message"),
    ("deadletter", "redrive", "redrive_message"),
    ("deadletter", "discard", "discard_deadletter"),
    ("scheduledjob", "enable", "switch_scheduledjob"),
    ("scheduledjob", "disable", "switch_scheduledjob"),
    ("scheduledjob", "run_now", "run_scheduledjob"),
    ("process", "stop", "stop_process"),
    ("failure", "pause_type", "pause_type"),
    ("failure", "resume_type", "pause_type"),
    ("queue", "pause", "pause_queue"),
    ("queue", "resume", "pause_queue"),
]


def prepare(model, action, pk):
    """Bring a row into the state where an action changes something."""
    if action == "enable":
        schedules.disable("Nightly")
    if action == "resume_type":
        PausedType.objects.create(name="mail.send", paused_at="2026-01-01T00:00:00Z")
    if action == "retry":
        Message.objects.update(visible_at="2100-01-01T00:00:00Z")
    if action == "resume":
        Queue.objects.create(name=pk, paused_at="2026-01-01T00:00:00Z")


@pytest.mark.parametrize(("model", "action", "permission"), ACTIONS)
def test_an_action_is_offered_and_runs_with_its_permission_and_is_logged(
    client_with, model, action, permission
):
    client = client_with(*SEES_EVERYTHING, permission)
    pk = make(model)
    prepare(model, action, pk)
    before = traces()

    assert f'value="{action}"' in client.get(list_url(model)).content.decode()
    data = {"action": action, "_selected_action": [str(pk)], "index": "0"}
    if action == "discard":
        data = {"action": action, "_selected_action": [str(pk)], "post": "yes"}
    response = client.post(list_url(model), data)

    assert response.status_code == 302
    after = traces()
    assert after[:-1] != before[:-1]
    entry = LogEntry.objects.get()
    assert entry.object_id == str(pk)
    assert entry.user.username == "viewer"


@pytest.mark.parametrize(("model", "action", "permission"), ACTIONS)
def test_an_action_without_its_permission_is_neither_offered_nor_run(client_with, model, action, permission):
    others = {p for _, _, p in ACTIONS} - {permission}
    client = client_with(*SEES_EVERYTHING, "view_payload", *others)
    pk = make(model)
    prepare(model, action, pk)
    before = traces()

    assert f'value="{action}"' not in client.get(list_url(model)).content.decode()
    assert f"/do/{action}/" not in client.get(list_url(model)).content.decode()
    assert f"/do/{action}/" not in client.get(change_url(model, pk)).content.decode()
    client.post(list_url(model), {"action": action, "_selected_action": [str(pk)], "index": "0"})
    client.post(list_url(model), {"action": action, "_selected_action": [str(pk)], "post": "yes"})
    forged = client.post(do_url(model, pk, action), {"post": "yes"})

    assert forged.status_code == 403
    assert traces() == before


@pytest.mark.parametrize(("model", "action", "permission"), ACTIONS)
def test_a_get_changes_nothing(admin_client, model, action, permission):
    pk = make(model)
    prepare(model, action, pk)
    before = traces()

    assert admin_client.get(do_url(model, pk, action)).status_code == 405
    admin_client.get(
        list_url(model), {"action": action, "_selected_action": [str(pk)], "index": "0", "post": "yes"}
    )

    assert traces() == before


def test_the_page_that_pauses_needs_the_permission_and_a_post(client_with, admin_client):
    enqueue("mail.send", queue="mail")
    url = f"{list_url('queue')}mail/pause/"

    assert client_with(*SEES_EVERYTHING).get(url).status_code == 403
    assert client_with_post_is_refused(url)
    assert admin_client.get(url).status_code == 200
    assert not Queue.objects.exists()


def client_with_post_is_refused(url):
    client = Client()
    client.force_login(User.objects.get(username="viewer"))
    return client.post(url, {"reason": "forged"}).status_code == 403


@pytest.mark.parametrize(("model", "action", "permission"), ACTIONS)
def test_a_post_without_the_csrf_token_is_refused(admin_user, model, action, permission):
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(admin_user)
    pk = make(model)
    prepare(model, action, pk)
    before = traces()

    data = {"action": action, "_selected_action": [str(pk)], "index": "0", "post": "yes"}
    assert strict.post(list_url(model), data).status_code == 403
    assert strict.post(do_url(model, pk, action), {"post": "yes"}).status_code == 403
    assert traces() == before


@pytest.mark.parametrize("model", ["message", "archivedmessage", "deadletter", "process", "queue"])
def test_nobody_adds_edits_or_deletes_by_hand(admin_client, model):
    pk = dead_letter().pk if model == "archivedmessage" else make(model)
    before = traces()

    assert admin_client.get(f"{list_url(model)}add/").status_code == 403
    assert admin_client.post(change_url(model, pk), {"queue": "other", "name": "other"}).status_code == 403
    assert admin_client.post(f"{list_url(model)}{pk}/delete/", {"post": "yes"}).status_code in (302, 403)
    assert traces() == before


def test_a_payload_needs_its_own_permission_and_secret_keys_are_masked_all_the_same(
    client_with, admin_client
):
    letter = dead_letter(
        payload={"city": "Aarhus", "password": "hunter2", "deep": [{"api-key": "k3y-of-ada"}]},
        result="r3sult",
    )
    live = enqueue(
        "mail.send", {"city": "Aarhus", "token": {"a": "t0ken"}}, headers={"trace": "abc", "cookie": "c00kie"}
    )
    client = client_with(*SEES_EVERYTHING)

    for model, pk in (("message", live.pk), ("archivedmessage", letter.pk), ("deadletter", letter.pk)):
        hidden = client.get(change_url(model, pk)).content.decode()
        assert "hidden: you lack the permission view_payload" in hidden
        shown = admin_client.get(change_url(model, pk)).content.decode()
        assert "Aarhus" in shown
        for secret in ("hunter2", "k3y-of-ada", "t0ken", "c00kie"):
            assert secret not in hidden + shown
        for private in ("Aarhus", "r3sult"):
            assert private not in hidden


def test_a_payload_cannot_be_guessed_through_the_address(admin_client):
    enqueue("mail.send", {"city": "Aarhus"})
    for lookup in (
        "payload__contains=Aarhus",
        "errors__icontains=a",
        "id__gt=0",
        "unique_key=x",
        "headers__a=1",
    ):
        assert admin_client.get(f"{list_url('message')}?{lookup}").status_code == 400


def test_a_log_entry_names_ids_and_never_payloads(admin_client):
    letters = [dead_letter(payload={"city": "Aarhus"}) for _ in range(60)]
    ids = [str(letter.pk) for letter in letters]

    admin_client.post(list_url("deadletter"), {"action": "redrive", "_selected_action": ids, "index": "0"})

    entry = LogEntry.objects.get()
    assert all(id in entry.change_message for id in ids)
    assert "Aarhus" not in entry.change_message + entry.object_repr


def test_a_forged_id_is_refused_in_one_answer(admin_client):
    for chosen in ("abc", "9" * 30, "1; DROP TABLE", "\0"):
        data = {"action": "cancel", "_selected_action": [chosen], "index": "0"}
        assert admin_client.post(list_url("message"), data).status_code == 400
        assert admin_client.post(do_url("message", "9" * 30, "cancel")).status_code == 302
    assert admin_client.get(change_url("message", "9" * 30)).status_code == 302
    assert admin_client.get(f"{list_url('message')}?q={'9' * 30}").status_code == 200


def test_a_redirect_stays_on_the_site_and_keeps_the_filters(admin_client):
    job = schedules.add("Nightly", "@daily", "mail.send")
    url = do_url("scheduledjob", job.pk, "disable")

    kept = admin_client.post(f"{url}?_changelist_filters=state%3Don%26q%3Dnight")
    assert kept.headers["Location"] == f"{list_url('scheduledjob')}?state=on&q=night"
    for hostile in ("https://evil.example/", "//evil.example", "%0d%0aSet-Cookie:a=b"):
        answer = admin_client.post(f"{url}?_changelist_filters={hostile}&next={hostile}&from={hostile}")
        assert answer.headers["Location"].startswith(f"{list_url('scheduledjob')}?")
    assert find(schedules.run_now("Nightly").pk)
