"""What people can do about a problem: a verb, the command, and the page of the admin.

Nothing is done here; where a project has no admin, or not this page, the URL is empty.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypedDict
from urllib.parse import urlencode

from django.urls import NoReverseMatch, reverse
from django.utils.translation import pgettext

from ..conf import further_alias

# The site of the admin whose pages actions lead to; None is the default one.
_site: ContextVar[str | None] = ContextVar("letsgo_site", default=None)


class Action(TypedDict):
    """A verb for a button, the command that does it, and the address of the page; either may be empty."""

    verb: str
    command: str
    url: str


def action(verb: str, command: str = "", place: str = "", **filters: str) -> Action:
    """Return an action; `place` names a list of the admin by its model, `filters` are those of the list."""
    return {"verb": verb, "command": command, "url": _url(place, filters) if place else ""}


def action_on(verb: str, command: str, place: str, pk: object) -> Action:
    """Return an action on one row; `place` names its page in the admin by its model."""
    return {"verb": verb, "command": command, "url": _reversed(f"{place}_change", pk)}


def action_on_many(verb: str, command: str = "", **filters: str) -> Action:
    """Return an action that is a bulk operation: its page is the form that begins one, filled in."""
    url = _reversed("bulkoperation_add")
    query = urlencode({"kind": verb, **filters})
    return {"verb": verb, "command": command, "url": f"{url}?{query}" if url else ""}


@contextmanager
def leading_to(site: str | None) -> Iterator[None]:
    """Let the actions that are made in this block lead to the pages of a site of the admin, by its name."""
    token = _site.set(site)
    try:
        yield
    finally:
        _site.reset(token)


def spoken(verb: str) -> str:
    """Return the verb of an action in the active language; the action itself keeps it for programs."""
    words = {
        "cancel": pgettext("action", "cancel"),
        "disable": pgettext("action", "disable"),
        "discard": pgettext("action", "discard"),
        "edit": pgettext("action", "edit"),
        "end": pgettext("action", "end"),
        "forget": pgettext("action", "forget"),
        "look": pgettext("action", "look"),
        "migrate": pgettext("action", "migrate"),
        "pause": pgettext("action", "pause"),
        "redrive": pgettext("action", "redrive"),
        "resume": pgettext("action", "resume"),
        "retry": pgettext("action", "retry"),
        "run": pgettext("action", "run"),
        "vacuum": pgettext("action", "vacuum"),
    }
    return words.get(verb, verb)


def manage(*words: str) -> str:
    """Return a command of ours, quoted for a shell, on the database that this is said of."""
    if (alias := further_alias()) is not None:
        words = (*words, "--database", alias)
    return f"manage.py {shlex.join(words)}"


def _url(place: str, filters: dict[str, str]) -> str:
    url = _reversed(f"{place}_changelist")
    return f"{url}?{urlencode(filters)}" if url and filters else url


def _reversed(page: str, *args: object) -> str:
    try:
        return reverse(f"admin:django_letsgo_worker_{page}", args=args, current_app=_site.get())
    except NoReverseMatch:
        return ""
