"""The badge on the admin's index: how many problems there are, and each with its sentence.

A site that chose its own template of the index keeps it, and has no badge there.
"""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.admin import AdminSite
from django.db import Error
from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from ..errors import LetsGoError
from ..inspection import Problem, alias_of_queue, problems_in
from .base import snapshot

logger = logging.getLogger("django_letsgo_worker.admin")

INDEX = "admin/django_letsgo_worker/index.html"
# So many problems are written out; more are counted.
MOST_SHOWN = 20


def put_on(site: AdminSite) -> None:
    """Let the index of a site have the badge; the page of our app has it in any case."""
    if site.index_template is None:
        site.index_template = INDEX


def offer(request: HttpRequest) -> None:
    """Let the templates of this request ask for the problems: nothing is read unless one does."""
    if not hasattr(request, "letsgo_problems"):
        request.letsgo_problems = SimpleLazyObject(lambda: _facts(request))  # type: ignore[attr-defined]


def _facts(request: HttpRequest) -> dict[str, Any]:
    found = _found(request)
    return {"count": len(found), "worst": found[0].severity if found else "", "some": found[:MOST_SHOWN]}


def _found(request: HttpRequest) -> list[Problem]:
    try:
        return [] if alias_of_queue() is None else problems_in(snapshot(request))
    except (Error, LetsGoError):
        # The index is for the whole project: it does not fail because our tables cannot be read.
        logger.warning("The problems for the admin's index cannot be read.", exc_info=True)
        return []
