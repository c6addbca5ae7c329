"""What the templates of the admin's pages ask for: the overview, problems, cells with labels, facts.

Pages themselves are in admin. Django imports this in every project, even where there is no admin: what is of
the admin is imported where a page asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

from django import template
from django.template import Context
from django.utils import timezone
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..inspection import ERROR, NOTICE, WARNING, Problem, manage, spoken

if TYPE_CHECKING:
    from django.contrib.admin.helpers import Fieldset
    from django.contrib.admin.views.main import ChangeList

    from ..admin.overview import Overview

register = template.Library()

# From so many equal neighbours on they are folded.
LEAST_FOLDED = 4
# What admin.formatting writes where there is nothing.
NOTHING = "-"
SEVERITIES = {ERROR: _("error"), WARNING: _("warning"), NOTICE: _("notice")}


@register.simple_tag(takes_context=True)
def letsgo_overview(context: Context) -> Overview | None:
    """Return the overview for the user of this page, None for one who may not view messages."""
    request = context["request"]
    if not _may_see(context):
        return None
    from ..admin.overview import Overview

    # The title of the page asks first, its content after that.
    if not hasattr(request, "_letsgo_overview"):
        request._letsgo_overview = Overview(request, _site(context))
    found: Overview = request._letsgo_overview
    return found


@register.simple_tag(takes_context=True)
def letsgo_problems(context: Context) -> list[Problem]:
    """Return the problems for the user of this page, none for one who may not view messages."""
    from ..admin.overview import MOST_SHOWN, found_problems

    return found_problems(context["request"])[:MOST_SHOWN] if _may_see(context) else []


@register.simple_tag
def letsgo_command(*words: str) -> str:
    """Return a command of ours, on the database that this page shows."""
    return manage(*words)


def _may_see(context: Context) -> bool:
    return bool(context["request"].user.has_perm("django_letsgo_worker.view_message"))


def _site(context: Context) -> str:
    return str(getattr(context["request"], "current_app", None) or "admin")


@register.filter
def severity(name: str) -> Any:
    """Return how bad a problem is, as a word for people."""
    return SEVERITIES.get(name, name)


@register.filter
def verb(name: str) -> str:
    """Return the verb of an action, as a word for people."""
    return spoken(name)


@register.filter
def clock_time(moment: datetime) -> SafeString:
    """Show a moment on the site's clock: today's without its day, which is in the title."""
    local, today = timezone.localtime(moment), timezone.localtime()
    shown = f"{local:%H:%M:%S}" if local.date() == today.date() else f"{local:%Y-%m-%d %H:%M}"
    title = f"{local:%Y-%m-%d %H:%M:%S %Z}"
    return format_html('<time datetime="{}" title="{}">{}</time>', moment.isoformat(), title, shown)


@register.filter
def labelled(cells: Iterable[SafeString], headers: Iterable[dict[str, Any]]) -> Iterator[SafeString]:
    """Return the cells of a row, each with the heading of its column, which narrow pages show beside it."""
    for cell, header in zip(cells, headers, strict=False):
        tag = "th" if cell.startswith("<th") else "td"
        rest = SafeString(cell[len(tag) + 1 :])
        # A narrow page leaves out what holds nothing.
        opening = "<{} data-empty" if cell.endswith(f">{NOTHING}</{tag}>") else "<{}"
        yield format_html(opening + ' data-label="{}"{}', SafeString(tag), _heading(header), rest)


def _heading(header: dict[str, Any]) -> str:
    # The heading of the check boxes is a check box.
    text = header["text"]
    return "" if "<input" in str(text) else str(text)


@dataclass(frozen=True, slots=True)
class Fold:
    """Rows of a list that stand together: those that are shown, and equal ones that are folded away."""

    shown: list[Any]
    rest: list[Any]


@register.filter
def folded(results: Sequence[Any], changelist: ChangeList) -> Iterator[Fold]:
    """Return the rows of a list in folds: of more than a few equal neighbours only the first is shown."""
    key_of = getattr(changelist.model_admin, "fold_key", None)
    if key_of is None:
        yield Fold(list(results), [])
        return
    keys = (key_of(row) for row in changelist.result_list)
    for key, pairs in groupby(zip(keys, results, strict=True), key=itemgetter(0)):
        rows = [result for _key, result in pairs]
        is_long = key is not None and len(rows) >= LEAST_FOLDED
        yield Fold(rows[:1], rows[1:]) if is_long else Fold(rows, [])


@register.filter
def facts(fieldset: Fieldset) -> list[dict[str, Any]]:
    """Return the fields of a page that nobody edits, without those that hold nothing."""
    found = []
    for line in fieldset:
        for field in line:
            contents = conditional_escape(field.contents())  # type: ignore[union-attr]
            if contents not in ("", NOTHING):
                found.append(
                    {"name": field.field["name"], "label": field.field["label"], "contents": contents}
                )
    return found
