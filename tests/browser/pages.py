"""All pages of the admin of background work: what its site has registered, and where its links lead."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from urllib.parse import urlencode, urljoin, urlsplit

from django.contrib.admin import site
from django.contrib.admin.options import ModelAdmin
from django.http import HttpResponse, QueryDict
from django.test import Client
from django.urls import NoReverseMatch, ResolverMatch, resolve, reverse
from django.utils.text import slugify

APP = "django_letsgo_worker"
# Where a page that needs more than GET, or is for code and not for people, may stand in the registry.
NO_PAGE = (400, 403, 405)


@dataclass(frozen=True)
class Page:
    """A page: its name, as a picture of it is called, its address, and which tab of a list it is."""

    name: str
    path: str
    tab: str = ""


def pages(client: Client, current_app: str | None = None) -> list[Page]:
    """Return one page of each kind: each list and tab, one row of it, each form and question.

    `client` is logged in, `current_app` the name of the admin's site, if it is not the default one. A link
    that leads nowhere, or into an error, raises AssertionError.
    """
    beginnings = list(_beginnings(current_app))
    waiting = deque((path, "", "") for path in beginnings)
    found: dict[str, Page] = {}
    while waiting:
        path, tab, linked_from = waiting.popleft()
        page = _page(path, tab)
        if page.name in found:
            continue
        response = client.get(page.path, follow=True)
        if response.status_code in NO_PAGE and page.path in beginnings:
            continue
        assert response.status_code == 200, f"{page.path}: {response.status_code}"
        # Django's answer to the address of a row that is gone.
        if reverse("admin:index", current_app=current_app) in dict(response.redirect_chain):
            # Processes may be at work: it may have gone since the link was read, but then the link has, too.
            again = _text(client.get(linked_from, follow=True)) if linked_from else ""
            now = _links(again, linked_from, current_app) if linked_from else [path]
            assert path not in now, f"{page.path} leads to the index"
            continue
        # A part of a page, or data, is none.
        if "</html>" in (text := _text(response)):
            found[page.name] = page
            waiting.extend((link, page.tab, page.path) for link in _links(text, page.path, current_app))
    return list(found.values())


def _text(response: HttpResponse) -> str:
    return response.content.decode(errors="replace")


def _beginnings(current_app: str | None) -> Iterator[str]:
    """Return the addresses that need no row: the two indexes, and all that each model's admin adds."""
    yield reverse("admin:index", current_app=current_app)
    yield reverse("admin:app_list", args=[APP], current_app=current_app)
    for one in _admins().values():
        for pattern in one.get_urls():
            try:
                yield reverse(f"admin:{pattern.name}", current_app=current_app)
            except NoReverseMatch:
                continue


def _admins() -> dict[str, ModelAdmin]:
    """Return the admins of all our models, by the beginning of the names of their pages."""
    ours = [one for one in site._registry.values() if one.__module__.startswith(APP)]
    return {f"{one.opts.app_label}_{one.opts.model_name}_": one for one in ours}


def _page(path: str, tab: str) -> Page:
    """Name the page at an address; the page of a row is another one for each tab that led to it."""
    address, query = urlsplit(path).path, QueryDict(urlsplit(path).query)
    match = resolve(address)
    if match.url_name in ("index", "app_list"):
        return Page("overview" if match.url_name == "app_list" else "index", address)
    one, what = _admin_and_page(match)
    if one is None:
        return Page(slugify(address), path)
    if what == "changelist":
        # Of all filters, only those that are tabs make another page.
        tabs = {
            name: query[name] for name in map(_parameter_of_tabs, one.list_filter) if name and name in query
        }
        name = "-".join([str(one.opts.verbose_name_plural), *tabs.values()])
        query_of_tabs = f"?{urlencode(tabs)}" if tabs else ""
        return Page(slugify(name), f"{address}{query_of_tabs}", " ".join(tabs.values()))
    name = one.opts.verbose_name if what == "change" else f"{one.opts.verbose_name} {what.replace('_', '-')}"
    return Page(slugify(f"{name} {tab if what == 'change' else ''}"), path)


def _admin_and_page(match: ResolverMatch) -> tuple[ModelAdmin | None, str]:
    """Return whose page it is, and which of its pages; None if it is of no model of ours."""
    for prefix, one in _admins().items():
        if (match.url_name or "").startswith(prefix):
            return one, str(match.url_name).removeprefix(prefix)
    return None, ""


def _parameter_of_tabs(spec: object) -> str | None:
    return getattr(spec, "parameter_name", None) if getattr(spec, "is_tabs", False) else None


def _links(text: str, path: str, current_app: str | None) -> Iterator[str]:
    """Return where a page leads among our own."""
    ours = reverse("admin:app_list", args=[APP], current_app=current_app)
    for link in re.findall(r'<a\b[^>]*?\bhref="([^"]*)"', text):
        address = urljoin(path, unescape(link).partition("#")[0])
        if address.startswith(ours):
            yield address
