"""What the templates of the admin's pages ask for: cells with their labels, facts that are not empty.

Pages themselves are in admin.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django import template
from django.contrib.admin.helpers import Fieldset
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from ..admin.formatting import NOTHING

register = template.Library()


@register.filter
def labelled(cells: Iterable[SafeString], headers: Iterable[dict[str, Any]]) -> Iterator[SafeString]:
    """Return the cells of a row, each with the heading of its column, which narrow pages show beside it."""
    for cell, header in zip(cells, headers, strict=False):
        tag = "th" if cell.startswith("<th") else "td"
        rest = SafeString(cell[len(tag) + 1 :])
        yield format_html('<{} data-label="{}"{}', SafeString(tag), _heading(header), rest)


def _heading(header: dict[str, Any]) -> str:
    # The heading of the check boxes is a check box.
    text = header["text"]
    return "" if "<input" in str(text) else str(text)


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
