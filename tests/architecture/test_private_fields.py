"""What messages carry is in no repr(): error trackers send that with the variables of a traceback."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from django_letsgo_worker.delivery import Delivery
from django_letsgo_worker.engines import Claimed, NewRow, Settlement
from django_letsgo_worker.outcomes import Outcome
from tests.architecture.source import modules, place

# What people's code put into a message, or gave back.
PRIVATE = {"payload", "headers", "result", "errors", "args", "kwargs", "options"}


def shown_fields(source: str) -> Iterator[str]:
    """Yield the private fields of dataclasses that their repr() shows."""
    for found in ast.walk(ast.parse(source)):
        if isinstance(found, ast.ClassDef) and any(
            "dataclass" in ast.unparse(d) for d in found.decorator_list
        ):
            if any("repr=False" in ast.unparse(d) for d in found.decorator_list):
                continue
            for line in found.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    value = ast.unparse(line.value) if line.value is not None else ""
                    if line.target.id in PRIVATE and "repr=False" not in value:
                        yield f"{found.name}.{line.target.id}"


@pytest.mark.parametrize("path", modules(), ids=place)
def test_no_dataclass_shows_what_a_message_carries(path):
    assert list(shown_fields(path.read_text())) == []


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("@dataclass\nclass A:\n    payload: Any", ["A.payload"]),
        ("@dataclass(slots=True)\nclass A:\n    result: Any = None", ["A.result"]),
        ("@dataclass(repr=False)\nclass A:\n    payload: Any", []),
        ("@dataclass\nclass A:\n    payload: Any = field(repr=False)", []),
        ("class A:\n    payload: Any", []),
    ],
)
def test_a_field_that_is_shown_is_found(source, shown):
    assert list(shown_fields(source)) == shown


@pytest.mark.parametrize("cls", [Delivery, Claimed, Settlement, NewRow, Outcome])
def test_a_value_is_shown_without_what_it_carries(cls):
    names = [name for name in cls.__dataclass_fields__ if name in PRIVATE]
    values = dict.fromkeys(cls.__dataclass_fields__, 7) | dict.fromkeys(names, "canary")
    shown = repr(
        cls(**{name: value for name, value in values.items() if cls.__dataclass_fields__[name].init})
    )
    assert names
    assert "canary" not in shown
    assert "7" in shown
