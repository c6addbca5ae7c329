"""The badge on the admin's index: how many problems there are, for those who may see messages."""

from __future__ import annotations

import pytest
from django.contrib.admin import AdminSite, site
from django.contrib.auth.models import Permission
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from django_letsgo_worker import handler
from django_letsgo_worker.admin import overview
from django_letsgo_worker.inspection import problems
from django_letsgo_worker.models import Message
from tests.browser.rows import list_url
from tests.inspection.troubles import TROUBLES, all_is_well

pytestmark = pytest.mark.django_db

# The session, the user, and for people who are no superusers their permissions; then the problems.
MOST_STATEMENTS = 24


@pytest.fixture(autouse=True)
def healthy(own_registry, settings):
    handler("t:x")(print)
    settings.LETSGO_WORKER = {"SCHEDULE": ""}
    all_is_well()


def index():
    return reverse("admin:index")


def app_index():
    return reverse("admin:app_list", args=["django_letsgo_worker"])


@pytest.mark.parametrize("page", [index, app_index])
def test_the_index_says_how_many_problems_there_are_and_which(admin_client, page):
    assert "lg-problems" not in admin_client.get(page()).content.decode()

    with TROUBLES["queue_unserved"][0](), TROUBLES["dead_letters"][0]():
        html = admin_client.get(page()).content.decode()
        assert "2 problems</" in html
        assert "lg-bad" in html
        for problem in problems():
            assert problem.sentence.partition("'")[0].partition("`")[0] in html
        assert list_url("deadletter") in html


def test_one_problem_is_one(admin_client):
    with TROUBLES["queue_unserved"][0]():
        assert "1 problem</span>" in admin_client.get(index()).content.decode()


@pytest.mark.parametrize(("codename", "is_there"), [("view_message", True), ("view_queue", False)])
def test_it_is_for_people_who_may_see_messages(client, django_user_model, codename, is_there):
    user = django_user_model.objects.create_user("ada", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename=codename))
    client.force_login(user)
    with TROUBLES["queue_unserved"][0]():
        assert ("lg-problems" in client.get(index()).content.decode()) is is_there


def test_it_costs_few_statements_and_other_pages_none(admin_client):
    with TROUBLES["queue_unserved"][0]():
        with CaptureQueriesContext(connection) as asked:
            admin_client.get(index())
        assert len(asked) <= MOST_STATEMENTS
        with CaptureQueriesContext(connection) as asked:
            admin_client.get(reverse("admin:auth_user_changelist"))
        assert not [one for one in asked if Message._meta.db_table in one["sql"]]


def test_without_our_tables_the_index_says_so(admin_client):
    with TROUBLES["not_migrated"][0]():
        assert "manage.py migrate" in admin_client.get(index()).content.decode()


def test_a_site_with_an_index_of_its_own_keeps_it():
    assert site.index_template == overview.INDEX
    own = AdminSite("own")
    own.index_template = "own/index.html"
    overview.put_badge_on(own)
    assert own.index_template == "own/index.html"
