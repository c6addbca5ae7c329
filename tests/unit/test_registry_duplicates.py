"""One name twice: two functions, classes or schedules are an error, the same one once more is not."""

from __future__ import annotations

import doctest
import importlib
import sys
import textwrap
from types import ModuleType

import pytest

from django_letsgo_worker import declarations, registry, typed
from django_letsgo_worker.errors import DuplicateHandler, DuplicateMessageType, InvalidSchedule

IMPORTS = """
import functools
from dataclasses import dataclass
from django_letsgo_worker import handler, message_type, schedule

def plainly(function):
    def wrapper(delivery):
        return function(delivery)
    return wrapper
"""

# What registers something, by kind; the name is that of the copy.
ONE = {
    "a handler": """
        @handler("t:again", queue="{name}")
        def work(delivery):
            return "{name}"
        """,
    "a handler behind a decorator": """
        @handler("t:again", queue="{name}")
        @plainly
        def work(delivery):
            return "{name}"
        """,
    "a handler of some payloads": """
        @handler("t:again", where={{"a": 1}}, queue="{name}")
        def work(delivery):
            return "{name}"
        """,
    "a partial": """
        def work(name, delivery):
            return "{name}"
        handler("t:again", queue="{name}")(functools.partial(work, "{name}"))
        """,
    "an object": """
        class Work:
            def __call__(self, delivery):
                return "{name}"
        handler("t:again", queue="{name}")(Work())
        """,
    "a lambda": """
        handler("t:again", queue="{name}")(lambda delivery: "{name}")
        """,
    "a class of messages": """
        @message_type("t:again")
        @dataclass
        class Again:
            {name}: int
        """,
    "a schedule": """
        @schedule("@daily", name="t:again", payload="{name}")
        @handler("t:{name}")
        def work_{name}(delivery):
            pass
        """,
    "a second schedule of one handler": """
        @schedule("@daily", name="t:again", payload="{name}")
        @schedule("@daily", name="t:again:{name}")
        @handler("t:{name}")
        def work(delivery):
            pass
        """,
}
HANDLERS = [name for name in ONE if name not in ("a class of messages",) and "schedule" not in name]


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    monkeypatch.setattr(registry, "_handlers", {})
    monkeypatch.setattr(typed, "_by_type", {})
    monkeypatch.setattr(typed, "_by_class", {})
    monkeypatch.setattr(declarations, "_declared", {})


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the project's, written and imported: module(text) is that, again a reload."""
    monkeypatch.syspath_prepend(str(tmp_path))
    path = tmp_path / "again_handlers.py"

    def write(*parts: str) -> None:
        path.write_text(IMPORTS + "".join(textwrap.dedent(part) for part in parts))
        importlib.invalidate_caches()

    yield write
    sys.modules.pop("again_handlers", None)


def source_of(kind, name="first"):
    return textwrap.dedent(ONE[kind]).format(name=name)


def names_registered():
    """Which copy is registered now, whatever it is."""
    queues = [one.queue for one in registry.handlers() if one.queue]
    fields = [next(iter(one.cls.__annotations__)) for one in typed._by_type.values()]
    payloads = [one.payload for one in declarations.declared() if one.payload]
    return queues + fields + payloads


@pytest.mark.parametrize("kind", ONE)
def test_two_of_one_name_in_a_module_are_an_error(module, kind):
    module(source_of(kind, "first"), source_of(kind, "second"))

    with pytest.raises((DuplicateHandler, DuplicateMessageType, InvalidSchedule)) as caught:
        importlib.import_module("again_handlers")

    assert "t:again" in str(caught.value)
    assert str(caught.value).startswith("Two ")
    assert names_registered() == ["first"]


@pytest.mark.parametrize("kind", HANDLERS)
def test_the_error_says_two_different_places(module, kind):
    module(source_of(kind, "first"), source_of(kind, "second"))

    with pytest.raises(DuplicateHandler) as caught:
        importlib.import_module("again_handlers")

    assert caught.value.first != caught.value.second


@pytest.mark.parametrize("moved", ["", "\n\n\n"], ids=["in place", "moved"])
@pytest.mark.parametrize("kind", ONE)
def test_a_module_that_is_reloaded_replaces_its_own(module, kind, moved, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module(source_of(kind, "first"))
    loaded = importlib.import_module("again_handlers")

    module(moved, source_of(kind, "second") if "schedule" not in kind else source_of(kind, "first"))
    importlib.reload(loaded)

    assert names_registered() == (["second"] if "schedule" not in kind else ["first"])


def test_a_reload_that_renames_a_handler_replaces_it(module, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module(source_of("a handler"))
    loaded = importlib.import_module("again_handlers")

    module(source_of("a handler", "second").replace("def work", "def labour"))
    importlib.reload(loaded)

    assert names_registered() == ["second"]


def test_a_reload_that_makes_two_of_one_is_an_error(module, monkeypatch):
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module(source_of("a handler"))
    loaded = importlib.import_module("again_handlers")

    module(source_of("a handler", "first"), source_of("a handler", "second"))
    with pytest.raises(DuplicateHandler):
        importlib.reload(loaded)


@pytest.mark.parametrize("kind", ONE)
def test_a_module_that_is_forgotten_and_imported_again_replaces_its_own(module, kind):
    module(source_of(kind))
    importlib.import_module("again_handlers")
    del sys.modules["again_handlers"]
    importlib.import_module("again_handlers")

    assert names_registered() == ["first"]


@pytest.mark.parametrize("kind", ONE)
def test_a_cell_of_a_notebook_runs_as_often_as_one_likes(kind, monkeypatch):
    # A notebook's main module has no file, and each run of a cell is a file of its own.
    notebook = ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    exec(IMPORTS, notebook.__dict__)
    text = source_of(kind)
    for run in range(3):
        exec(compile("\n" * run + text, f"/tmp/kernel/{run}.py", "exec"), notebook.__dict__)

    assert names_registered() == ["first"]


def test_a_script_of_two_is_an_error(monkeypatch):
    script = ModuleType("__main__")
    script.__file__ = "/srv/script.py"
    monkeypatch.setitem(sys.modules, "__main__", script)
    text = IMPORTS + source_of("a handler", "first") + source_of("a handler", "second")

    with pytest.raises(DuplicateHandler):
        exec(compile(text, script.__file__, "exec"), script.__dict__)


def test_an_example_in_a_docstring_may_stand_twice():
    example = """
    >>> from django_letsgo_worker import handler
    >>> @handler("t:again", queue="first")
    ... def work(delivery):
    ...     return 1
    >>> @handler("t:again", queue="second")
    ... def work(delivery):
    ...     return 2
    """
    test = doctest.DocTestParser().get_doctest(example, {"__name__": "shop"}, "example", None, 0)
    runner = doctest.DocTestRunner()
    runner.run(test)

    assert runner.summarize(verbose=False).failed == 0
    assert names_registered() == ["second"]


def test_one_function_may_stand_under_two_types_and_in_a_loop():
    def work(delivery):
        pass

    for _ in range(2):
        for type in ("t:a", "t:b"):
            registry.handler(type)(work)

    assert registry.types() == ["t:a", "t:b"]
