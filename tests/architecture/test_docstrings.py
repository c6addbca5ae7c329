"""What help() shows of the public names: a promise for each, with each of its parameters named in it.

The names are those of docs/reference/api.md. A parameter is named where it stands in backticks: `delay`,
`atomic=True`.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pydoc
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from django.db.models import Model
from django.dispatch import Signal
from django.utils.module_loading import import_string

from django_letsgo_worker import signals
from tests.architecture.source import modules
from tests.support import names, table

REFERENCE = [
    name
    for columns in (
        ("what it is",),
        ("what it does",),
        ("what a row is",),
        ("sent", "arguments"),
        ("the fact",),
    )
    for name in names("reference/api.md", "name", *columns)
    if not name.endswith("__version__")
]
SIGNALS = {name: value for name, value in vars(signals).items() if isinstance(value, Signal)}


def parameters_of(function: Any) -> list[str]:
    """Return the names that a call may use: of **options, those that their type lists."""
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if (
            parameter.kind is parameter.VAR_KEYWORD
            and typing.get_origin(_hint(function, name)) is typing.Unpack
        ):
            found += typing.get_args(_hint(function, name))[0].__annotations__
        elif name not in ("self", "cls"):
            found.append(name)
    return found


def _hint(function: Any, name: str) -> Any:
    try:
        return typing.get_type_hints(inspect.unwrap(function)).get(name)
    except (NameError, TypeError):  # one of its types is known to type checkers only
        return None


def documented(name: str) -> Iterator[tuple[str, str | None, list[str]]]:
    """Yield the parts of a public name, their docstrings, and what these are to name."""
    thing = import_string(name)
    if isinstance(thing, Signal):
        yield name, thing.__doc__, ["sender", *arguments_of(name)]
    elif not inspect.isclass(thing):
        yield name, thing.__doc__, parameters_of(thing)
    else:
        yield name, vars(thing).get("__doc__"), list(facts_of(thing))
        if not issubclass(thing, Model):
            for part, method in vars(thing).items():
                method = getattr(method, "__func__", getattr(method, "fget", method))
                if inspect.isfunction(method) and not part.startswith("_"):
                    yield f"{name}.{part}", method.__doc__, parameters_of(method)


def arguments_of(signal: str) -> list[str]:
    """Return what the page says that a signal is sent with."""
    (arguments,) = [
        row[2] for row in table("reference/api.md", "name", "sent", "arguments") if signal in row[0]
    ]
    return re.findall(r"`(\w+)`", arguments)


def facts_of(cls: type) -> Iterator[str]:
    """Yield what an object is made of, where people make one or read it: errors they only catch."""
    if dataclasses.is_dataclass(cls):
        inherited = {
            one.name for base in cls.__mro__[1:] for one in getattr(base, "__dataclass_fields__", {}).values()
        }
        fields = [one.name for one in dataclasses.fields(cls) if one.name not in inherited]
        yield from (one for one in fields if not one.startswith("_"))
    elif "__init__" in vars(cls) and not issubclass(cls, Model) and not cls.__module__.endswith(".errors"):
        yield from parameters_of(cls.__init__)


def unnamed(doc: str | None, wanted: list[str]) -> list[str]:
    return [name for name in wanted if not re.search(rf"`{name}\b[^`]*`", doc or "")]


@pytest.mark.parametrize("name", REFERENCE)
def test_help_names_each_parameter(name):
    found = {
        part: "no docstring" if not doc else unnamed(doc, wanted) for part, doc, wanted in documented(name)
    }
    assert {part: missing for part, missing in found.items() if missing} == {}


@pytest.mark.parametrize("name", SIGNALS)
def test_help_shows_what_a_signal_is_sent_with(name):
    shown = pydoc.plain(pydoc.render_doc(SIGNALS[name]))
    assert SIGNALS[name].__doc__.splitlines()[0] in shown
    assert unnamed(shown, ["sender", *arguments_of(f"signals.{name}")]) == []


def sent() -> Iterator[tuple[str, set[str]]]:
    """Yield each signal that the source sends, with the names of its arguments."""
    for path in modules():
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                # send_robust(...), or partial(send_robust, ...) and the like.
                for function in (call.func, *call.args[:1]):
                    if isinstance(function, ast.Attribute) and function.attr == "send_robust":
                        name = getattr(function.value, "id", "")
                        if name in SIGNALS:
                            yield name, {word.arg for word in call.keywords if word.arg} - {"sender"}


def test_signals_are_sent_with_what_is_documented():
    found = list(sent())
    assert {name for name, _ in found} == set(SIGNALS)
    for name, arguments in found:
        assert arguments == set(arguments_of(f"signals.{name}")), name


@pytest.mark.parametrize(
    ("doc", "missing"),
    [
        ("Add it to a `queue`; `atomic=True` runs it alone.", []),
        ("Add it to a queue; `atomically` alone.", ["queue", "atomic"]),
        (None, ["queue", "atomic"]),
    ],
)
def test_a_parameter_that_is_not_named_is_found(doc, missing):
    assert unnamed(doc, ["queue", "atomic"]) == missing
