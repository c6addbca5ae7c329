"""Failures in the admin: a list, a page, and the bulk operations that begin there."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_letsgo_worker import enqueue
from django_letsgo_worker.admin.failures import trend
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.failures import FailedAttempts, hour_of, record
from django_letsgo_worker.models import Failure, Message
from tests.browser.rows import change_url, dead_letter, list_url

from .test_permissions import client_with
from .test_speed import statements

__all__ = ["client_with"]

pytestmark = pytest.mark.django_db


def fail(fingerprint="f1", **facts):
    now = engine_for("default").clock()
    defaults = {
        "error_class": "shop.errors.CardDeclined",
        "message": "card <b>4242</b> declined",
        "traceback": 'Traceback:\n  File "/srv/shop/handlers.py", line 1, in f\n    g()\n',
        "message_id": 1,
    }
    record(
        [
            FailedAttempts(
                type="billing.charge",
                fingerprint=fingerprint,
                first_at=now,
                last_at=now,
                hours={hour_of(now): 3},
                **{**defaults, **facts},
            )
        ]
    )
    live = enqueue("billing.charge").pk
    Message.objects.filter(pk=live).update(error_fingerprint=fingerprint)
    return Failure.objects.get(fingerprint=fingerprint), live, dead_letter(error_fingerprint=fingerprint).pk


def test_the_list_says_what_fails_since_when_and_how_many(admin_client):
    fail()
    page = admin_client.get(list_url("failure")).content.decode()

    assert "CardDeclined: card &lt;b&gt;4242&lt;/b&gt; declined" in page and "shop.errors" not in page
    assert "retrying</span>" in page
    assert "error_fingerprint=f1&amp;type=billing.charge" in page
    assert "3 in the last 24 hours, 0 in the 24 before" in page


def test_its_page_has_the_traceback_and_links_to_messages(admin_client):
    row, live, dead = fail()
    page = admin_client.get(change_url("failure", row.pk)).content.decode()

    assert "/srv/shop/handlers.py" in page
    assert change_url("message", live) in page and change_url("message", dead) in page


def test_its_page_leads_to_the_operations_on_its_messages_that_one_may_begin(admin_client, client_with):
    row, _live, _dead = fail()
    kinds = ["retry", "redrive", "discard"]
    filled_in = "/bulkoperation/add/?kind={}&amp;type=billing.charge&amp;fingerprint=f1"
    page = admin_client.get(change_url("failure", row.pk)).content.decode()
    assert [kind for kind in kinds if filled_in.format(kind) in page] == kinds

    client = client_with("view_failure", "redrive_message")
    page = client.get(change_url("failure", row.pk)).content.decode()
    assert [kind for kind in kinds if filled_in.format(kind) in page] == ["redrive"]


def test_nothing_can_be_added_changed_or_deleted(admin_client):
    row, *_ = fail()

    assert admin_client.get(f"{list_url('failure')}add/").status_code == 403
    assert admin_client.post(change_url("failure", row.pk), {"type": "x"}).status_code == 403
    assert admin_client.post(f"{change_url('failure', row.pk)}../delete/", {"post": "yes"}).status_code == 403
    assert Failure.objects.get().type == "billing.charge"


@pytest.mark.parametrize(("permission", "status"), [("view_failure", 200), ("view_message", 403)])
def test_to_see_it_one_needs_its_permission(permission, status):
    row, *_ = fail()
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename=permission))
    client = Client()
    client.force_login(user)

    answers = [client.get(url) for url in (list_url("failure"), change_url("failure", row.pk))]
    assert [answer.status_code for answer in answers] == [status, status]


def test_the_list_takes_as_many_statements_for_many_rows_as_for_few(admin_client):
    fail("f0")
    fail("f00")
    few = statements(admin_client, list_url("failure"))
    for n in range(1, 20):
        fail(f"f{n}")
    many = statements(admin_client, list_url("failure"))

    assert len(many) == len(few) <= 10, "\n".join(many)
    assert not any('"last_traceback"' in sql for sql in many)


def test_the_tallest_bar_is_the_hour_with_most_and_any_is_seen():
    svg = trend([0] * 46 + [1, 1_000])

    assert svg.count("<rect") == 2 and 'height="18"/>' in svg and 'height="1"/>' in svg
