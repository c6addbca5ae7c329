"""Keeps docs/contributing/architecture.md in step: its floors, and a line for each module.

    script/house --lines [--write]

A line is the first of the module's docstring. Prints what is missing, stale or differs; --write mends it.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path
from textwrap import fill

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_letsgo_worker"
PAGE = ROOT / "docs" / "contributing" / "architecture.md"
LINE = re.compile(r"^- `([\w/]+(?:\.py|/))`: .+$", re.MULTILINE)
FLOORS = re.compile(r"^```text floors\n([^`]*)^```$", re.MULTILINE)


def main() -> None:
    page = PAGE.read_text()
    there, named = modules_to_name(), names_on(page)
    for name in sorted(set(named) - set(there)):
        print(f"stale    {name}")
        page = re.sub(rf"^- `{re.escape(name)}`: .+\n", "", page, flags=re.MULTILINE)
    for name in there:
        if name not in named:
            print(f"missing  {line_of(name)}")
            page = added(page, name)
        elif line_of(name) not in page:
            print(f"differs  {line_of(name)}")
            page = re.sub(
                rf"^- `{re.escape(name)}`: .+$", lambda _, name=name: line_of(name), page, flags=re.M
            )
    page = FLOORS.sub(lambda _: f"```text floors\n{floors()}```", page, count=1)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page)
        for name in sorted(set(there) - set(names_on(page))):
            print(f"no room  {name}: put the first line of its folder on the page by hand")


def names_on(page: str) -> list[str]:
    """Return the names that have a line on the page, in its order: conf.py, or engines/ for a package."""
    return LINE.findall(page)


def modules_to_name() -> list[str]:
    """Return the modules and packages that belong on the page; migrations, and what is empty, do not."""
    paths = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py") if path.stat().st_size]
    return sorted(
        f"{path.parent.as_posix()}/" if path.name == "__init__.py" else path.as_posix()
        for path in paths
        if "migrations" not in path.parts and path.as_posix() != "__init__.py"
    )


def line_of(name: str) -> str:
    path = PACKAGE / name
    source = (path / "__init__.py" if path.is_dir() else path).read_text()
    return f"- `{name}`: {(ast.get_docstring(ast.parse(source)) or '?').splitlines()[0]}"


def added(page: str, name: str) -> str:
    """Return the page with a line for `name`, in its place among those of its folder, if there are any."""
    folder = name.rstrip("/").rpartition("/")[0]
    for line in reversed(list(LINE.finditer(page))):
        beside = line[1].rstrip("/").rpartition("/")[0] == folder
        if (beside and line[1] < name) or line[1] == f"{folder}/":
            return f"{page[: line.end()]}\n{line_of(name)}{page[line.end() :]}"
    return page


def replaced(page: str, name: str) -> str:
    line = rf"^- `{re.escape(name)}`: .+$"
    return re.sub(line, lambda _: line_of(name), page, flags=re.MULTILINE)


def floors() -> str:
    """Draw the floors of pyproject.toml, the highest first, with the names that its comments give them."""
    source = (ROOT / "pyproject.toml").read_text()
    layers = source.partition("exhaustive = true\nlayers = [\n")[2].partition("\n]")[0]
    drawn, label = "", ""
    for line in layers.splitlines():
        said = line.strip()
        if said.startswith("# "):
            label = said[2:].partition(":")[0]
        else:
            names = "  ".join(re.findall(r"\w+", said))
            drawn += fill(names, 110, initial_indent=f"{label:14}", subsequent_indent=" " * 14) + "\n"
            label = ""
    return drawn


if __name__ == "__main__":
    main()
