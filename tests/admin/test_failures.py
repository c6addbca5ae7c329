"""Failures in the admin: a list, a page, and the bulk operations that begin there."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

from django_letsgo_worker import enqueue
from django_letsgo_worker.admin.failures import trend
from django_letsgo_worker.engines import engine_for
from django_letsgo_worker.failures import FailedAttempts, hour_of, record
from django_letsgo_worker.models import DeadLetter, Failure, Message
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

    assert len(many) == len(few) <= 12, [sql[:100] for sql in many]
    assert not any('"last_traceback"' in sql for sql in many)


def test_the_tallest_bar_is_the_hour_with_most_and_any_is_seen():
    svg = trend([0] * 46 + [1, 1_000])

    assert svg.count("<rect") == 2 and 'height="18"/>' in svg and 'height="1"/>' in svg


class TestList:
    def rows(self, client, **query):
        page = client.get(list_url("failure"), query).content.decode()
        return re.findall(r'class="field-title_shown[^"]*"><a [^>]*>(.*?)<div', page), page

    def test_state_stands_first_and_the_title_leads_to_the_page(self, admin_client):
        row, *_ = fail()
        _found, page = self.rows(admin_client)

        assert page.index('class="field-state_shown') < page.index('class="field-title_shown')
        assert f'<a href="{change_url("failure", row.pk)}">CardDeclined' in page

    def test_tabs_find_what_is_retried_dead_or_over_and_count_it(self, admin_client):
        fail("both", error_class="a.Both")
        _row, live, _dead = fail("dead", error_class="a.Dead")
        Message.objects.get(pk=live).delete()
        _row, live, dead = fail("over", error_class="a.Over")
        Message.objects.get(pk=live).delete()
        DeadLetter.objects.get(pk=dead).delete()

        def found(**query):
            titles, page = self.rows(admin_client, **query)
            counts = re.findall(r'<span class="lg-count">(.*?)</span>', page)
            return {title.partition(":")[0] for title in titles}, counts

        assert found() == ({"Both", "Dead", "Over"}, ["3", "1", "2", "1"])
        assert found(state="retrying")[0] == {"Both"}
        assert found(state="dead")[0] == {"Both", "Dead"}
        assert found(state="over")[0] == {"Over"}
        assert found(state="no state")[0] == set()

    @pytest.mark.parametrize("words", ["cardDECLINED", "ing.char", "SHOP.errors", "declined: CARD <b>4"])
    def test_the_search_finds_part_of_class_words_or_type_in_any_case(self, admin_client, words):
        fail()
        fail("other", error_class="a.Other", message="no", traceback="")
        Failure.objects.filter(fingerprint="other").update(type="mail.send")

        assert len(self.rows(admin_client, q=words)[0]) == 1
        assert self.rows(admin_client, q="nothing of it")[0] == []

    def test_filters_narrow_by_type_queue_and_time(self, admin_client):
        row, live, _dead = fail()
        Message.objects.filter(pk=live).update(queue="billing")
        Failure.objects.update(last_at=row.last_at - timedelta(hours=2))

        assert len(self.rows(admin_client, type="billing.charge")[0]) == 1
        assert self.rows(admin_client, type="mail.send")[0] == []
        assert len(self.rows(admin_client, queue="billing")[0]) == 1
        assert self.rows(admin_client, queue="mail")[0] == []
        assert len(self.rows(admin_client, since="24h")[0]) == 1
        assert self.rows(admin_client, since="1h")[0] == []
        assert self.rows(admin_client, since="soon")[0] == []

    def test_numbers_lead_to_the_messages_that_are_counted(self, admin_client):
        _row, live, dead = fail()
        other = enqueue("billing.charge").pk
        _found, page = self.rows(admin_client)
        links = re.findall(r'<div><a href="(.*?)">', page)

        assert len(links) == 2
        live_page, dead_page = (admin_client.get(unescape(link)).content.decode() for link in links)
        assert change_url("message", live) in live_page and change_url("message", other) not in live_page
        assert change_url("deadletter", dead) in dead_page
        narrowed = admin_client.get(unescape(links[0]) + "&queue=default").content.decode()
        assert change_url("message", live) in narrowed and change_url("message", other) not in narrowed

    def test_buttons_begin_operations_narrowed_as_the_list_is(self, client_with):
        fail()
        client = client_with("view_failure", "redrive_message")
        _found, page = self.rows(client, queue="billing")

        filled_in = "?kind=redrive&amp;type=billing.charge&amp;fingerprint=f1&amp;queue=billing"
        assert filled_in in page and "kind=discard" not in page


class TestPage:
    def test_it_begins_with_a_sentence_in_plain_words(self, admin_client):
        row, *_ = fail()
        page = unescape(admin_client.get(change_url("failure", row.pk)).content.decode())

        assert "billing.charge fails with CardDeclined: card <b>4242</b> declined." in page
        assert "It failed 3 times, first" in page
        assert "1 message is retried. 1 dead letter is kept." in page

    def test_frames_of_libraries_are_folded(self, admin_client):
        own = '  File "/srv/shop/handlers.py", line 1, in f\n    g()\n'
        library = '  File "/srv/lib/python3.12/site-packages/pay/api.py", line 2, in g\n    h()\n'
        row, *_ = fail(traceback=f"Traceback (most recent call last):\n{own}{library}pay.Declined: no\n")
        page = admin_client.get(change_url("failure", row.pk)).content.decode()

        assert "<summary>1 frame of libraries</summary>" in page

    def test_samples_say_where_they_are_and_show_payloads_masked_to_those_who_may_see_them(
        self, admin_client, client_with
    ):
        row, live, dead = fail()
        Message.objects.filter(pk=live).update(
            payload={"order": 17, "password": "hunter2"}, unique_key="order-17", queue="billing"
        )
        page = unescape(admin_client.get(change_url("failure", row.pk)).content.decode())
        assert '"order": 17' in page and "hunter2" not in page
        assert "in billing" in page and "key order-17" in page

        client = client_with("view_failure", "view_message")
        page = unescape(client.get(change_url("failure", row.pk)).content.decode())
        assert '"order": 17' not in page and "view_payload" in page
        assert change_url("message", live) in page and change_url("message", dead) in page

    def test_it_takes_twelve_statements_at_most(self, admin_client):
        row, *_ = fail()
        fail()

        asked = statements(admin_client, change_url("failure", row.pk))
        assert len(asked) <= 12, [sql[:100] for sql in asked]
