"""Sites of the admin and the databases that they show: a request to a site is served on the site's own.

What the pages show is in their modules; all of them ask the settings for the alias.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from typing import Any, NamedTuple

from django.contrib import admin
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from ..conf import check_alias, configured_alias, on_database
from ..models import Message

View = Callable[..., Any]


class Site(NamedTuple):
    """A site that has our pages; its alias is None where that is the one that DATABASE names."""

    site: admin.AdminSite
    alias: str | None


# By the names of the sites.
_sites: dict[str, Site] = {}


def add(site: admin.AdminSite, alias: str | None) -> None:
    """Let a site show the work on one database, None being the one that DATABASE names."""
    known = _sites.get(site.name)
    if known is None or known.site is not site:
        if alias is not None:
            _refuse_unrouted(alias)
            _serve_there(site, alias)
        _sites[site.name] = Site(site, alias)
    elif known.alias != alias:
        raise ImproperlyConfigured(
            f"The site {site.name!r} of the admin shows the database {known.alias or configured_alias()!r}: "
            "use a separate site for each database."
        )


def _refuse_unrouted(alias: str) -> None:
    check_alias(alias)
    with on_database(alias):
        found = {router.db_for_read(Message), router.db_for_write(Message)}
    if found != {alias}:
        raise ImproperlyConfigured(
            f"The admin cannot show the database {alias!r}: no router sends Message.objects there. Add "
            "'django_letsgo_worker.routers.LetsGoRouter', or a subclass, to DATABASE_ROUTERS."
        )


def _serve_there(site: admin.AdminSite, alias: str) -> None:
    """Serve all that goes through admin_view(), the site's own pages and those of each model, there."""
    admin_view = site.admin_view

    def admin_view_there(view: Any, cacheable: bool = False) -> Any:
        served = _on(alias, admin_view(view, cacheable))

        @wraps(served)
        def serve(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
            response = served(request, *args, **kwargs)
            if hasattr(response, "render"):
                # Django renders it when the view has returned, and the templates ask for rows.
                response.render = _on(alias, response.render)
            return response

        return serve

    site.admin_view = admin_view_there  # type: ignore[method-assign]


def _on(alias: str, step: View) -> View:
    @wraps(step)
    def there(*args: Any, **kwargs: Any) -> Any:
        with on_database(alias):
            return step(*args, **kwargs)

    return there


def overviews(request: HttpRequest, current: str) -> dict[str, str]:
    """Return the addresses of the overviews that this user may open, by alias; `current` is preferred."""
    found: dict[str, str] = {}
    for name, (site, alias) in _sites.items():
        shown = alias or configured_alias()
        if site.has_permission(request) and (name == current or shown not in found):
            # A site may be in no URLs.
            with suppress(NoReverseMatch):
                found[shown] = reverse(f"{name}:app_list", args=["django_letsgo_worker"])
    return found


def site_of(alias: str) -> str | None:
    """Return the name of a site that shows this database; None if there is none."""
    return next((name for name, one in _sites.items() if (one.alias or configured_alias()) == alias), None)
