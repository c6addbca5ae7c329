"""All pages over the incident: they fit on desks and phones, and axe-core finds no barrier, light or dark.

Each test looks at everything before it fails, so that one run names all faults.
"""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import Group

from django_letsgo_worker import enqueue, messages, schedules
from tests.browser.chromium import make_wide, prefer
from tests.browser.looks import barriers, borderless, faint, too_wide
from tests.browser.pages import Page, pages
from tests.browser.rows import list_url, process
from tests.incident import Incident, begin_to_mend

# Processes are started and killed, then some forty pages are looked at six times.
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

# What Django draws on our pages is drawn on these, too: crumbs, a list without filters, a form with moments.
OF_DJANGO = [
    Page("crumbs", "/admin/auth/"),
    Page("list", "/admin/auth/group/"),
    Page("form", "/admin/auth/user/1/change/"),
]


@pytest.fixture
def of_django(admin_user):
    Group.objects.create(name="operators")
    return [Page(page.name, page.path.replace("/1/", f"/{admin_user.pk}/")) for page in OF_DJANGO]


@pytest.fixture
def all_pages(own_registries, manage, admin_client):
    """One page of each kind, of the site in trouble, and of an operation that has begun to mend it."""
    Incident(manage).begin()
    begin_to_mend()
    return pages(admin_client)


def seen(driver, site, pages, look, *, widths, schemes=("light",)):
    """Yield where, and which fault is seen there."""
    for scheme in schemes:
        prefer(driver, scheme)
        for page in pages:
            # Before it is loaded: colours that change fade, and would be measured half-way.
            driver.get(f"{site}{page.path}")
            for width in widths:
                make_wide(driver, width)
                yield from ((f"{page.name}, {width} px, {scheme}", fault) for fault in look(driver))


def ours(found, of_django):
    """Return what is found, without that which is found on Django's own pages, too."""
    there = {shape(fault) for _where, fault in of_django}
    return [f"{where}: {fault}" for where, fault in found if shape(fault) not in there]


def shape(fault):
    """Return a fault without what is of one page alone: attributes, places, the name of a field."""
    return re.sub(r"\[[^]]*\]|:nth-child\(\d+\)|(?<=#id_)\w+(?=_[01]$)", "", fault)


def test_no_page_is_wider_than_its_container(all_pages, of_django, logged_in, live_server):
    driver = logged_in()

    def look_at(pages):
        return list(seen(driver, live_server.url, pages, too_wide, widths=(1280, 768, 390)))

    faults = ours(look_at(all_pages), look_at(of_django))
    assert not faults, "\n".join(faults)


def test_no_page_has_a_serious_barrier(all_pages, of_django, logged_in, live_server):
    driver = logged_in()

    def look_at(pages):
        sizes = {"widths": (1280, 390), "schemes": ("light", "dark")}
        return list(seen(driver, live_server.url, pages, barriers, **sizes))

    faults = ours(look_at(all_pages), look_at(of_django))
    assert not faults, "\n".join(faults)


# -- controls ----------------------------------------------------------------------------------------------


def test_links_lead_to_every_kind_of_page(admin_client):
    enqueue("mail.send", queue="mail")
    schedules.add("Nightly", "@daily", "mail.send")
    messages.operate("retry", by="ada")
    process()

    names = {page.name for page in pages(admin_client)}

    rows = {"message", "schedule", "process", "queue", "bulk-operation"}
    assert {"index", "overview", "queues", "queue-pause", "queue-purge", "schedule-add"} | rows <= names


@pytest.fixture
def page(logged_in, live_server):
    enqueue("mail.send", queue="mail")
    driver = logged_in()
    driver.get(f"{live_server.url}{list_url('queue')}")
    return driver


def put_into(page, html):
    page.execute_script(
        "document.getElementById('content-main').insertAdjacentHTML('beforeend', arguments[0])", html
    )


WIDE = '<p class="long" style="width: 3000px">x</p>'


@pytest.mark.parametrize(
    ("html", "fault"),
    [
        (f'<div id="bar">{WIDE}</div>', "p.long stands out by"),
        (f'<div class="results" style="overflow: auto">{WIDE}</div>', "div.results hides"),
    ],
    ids=["it stands out", "it scrolls"],
)
def test_what_is_too_wide_is_named(page, html, fault):
    make_wide(page, 768)
    assert too_wide(page) == []
    put_into(page, html)
    (found,) = too_wide(page)
    assert found.startswith(fault)


def test_a_button_without_a_name_is_found(page):
    assert ours(enumerate(barriers(page)), []) == []
    put_into(page, '<button type="button" id="mute"></button>')
    assert barriers(page) == ["button-name: #mute"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_that_is_too_faint_is_found_in_the_scheme_that_has_it(page, scheme):
    prefer(page, scheme)
    page.refresh()
    put_into(page, f'<p style="color: {"#eee" if scheme == "light" else "#333"}" id="faint">mind the gap</p>')
    assert barriers(page) == ["color-contrast: #faint"]


def test_a_field_without_a_line_is_found(page):
    assert borderless(page) == []
    put_into(page, '<input name="mute" style="border-color: transparent">')
    assert borderless(page) == ["mute has no border"]


def test_a_text_that_is_too_faint_is_found_where_it_is_looked_for(page):
    put_into(page, '<p style="color: #eee; background: #fff" id="faint">mind the gap</p>')
    (found,) = faint(page, "#content-main", "#not-on-this-page")
    assert found.startswith("#faint is faint")
    assert faint(page, "#not-on-this-page") == []


def test_only_what_django_draws_as_well_is_forgiven():
    found = [
        ("queues", 'link-in-text-block: .breadcrumbs > a[href$="ours/"]'),
        ("queues", "label: #id_reason"),
    ]
    of_django = [
        ("crumbs", 'link-in-text-block: .breadcrumbs > a[href$="auth/"]'),
        ("form", "label: #id_at_0"),
    ]
    assert ours(found, of_django) == ["queues: label: #id_reason"]
