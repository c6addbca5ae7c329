"""Numbers in sentences: a count and its noun agree, so "1 messages are" is written nowhere."""

from __future__ import annotations

import ast
import re

import pytest

from .source import modules, place

NOUNS = "messages|letters|attempts|seats|queues|schedules|workers|schedulers|processes|handlers|fields"
NOUNS += "|connections"
PLURAL = rf"(?: [a-z-]+)? (?:{NOUNS})\b"
IN_TEXT = re.compile(r"(?:%d|\{\}|%\(\w+\)d)" + PLURAL)
BEHIND_A_VALUE = re.compile(PLURAL)
# These choose between one and many by themselves, or say what is more than one.
MAY_SAY_MANY = ("ngettext", "ngettext_lazy", "counted")
MORE_THAN_ONE = (
    "options['processes']",  # said where there are several
    "len(words)",  # six or seven
)


def plurals(source: str) -> list[str]:
    """Return the numbers that are followed by a noun of ours in the plural, whatever they are."""
    tree = ast.parse(source)
    excused = {
        id(part)
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and getattr(call.func, "attr", getattr(call.func, "id", "")) in MAY_SAY_MANY
        for part in ast.walk(call)
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in excused:
            found += IN_TEXT.findall(node.value)
        if isinstance(node, ast.JoinedStr):
            found += [
                ast.unparse(value.value) + text.value
                for value, text in zip(node.values, node.values[1:], strict=False)
                if isinstance(value, ast.FormattedValue)
                and value.conversion == -1
                and isinstance(text, ast.Constant)
                and BEHIND_A_VALUE.match(text.value)
                and not _is_many(value.value)
            ]
    return found


def _is_many(value: ast.expr) -> bool:
    said = ast.unparse(value)
    return said.isupper() or said in MORE_THAN_ONE


@pytest.mark.parametrize("path", modules(), ids=place)
def test_a_number_and_its_noun_agree(path):
    assert plurals(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        'log("%d messages are given back", n)',
        'f"{len(found)} messages are late"',
        'f"a worker handles {seats} more messages at a time"',
        '"{} dead letters".format(n)',
    ],
)
def test_a_number_that_may_be_one_is_found(source):
    assert plurals(source)


@pytest.mark.parametrize(
    "source",
    [
        'counted(n, "message is", "messages are")',
        'ngettext("%(count)d message", "%(count)d messages", n)',
        'f"more than {MOST} messages"',
    ],
)
def test_what_agrees_is_none(source):
    assert plurals(source) == []
