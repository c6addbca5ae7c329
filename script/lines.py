"""Compares docs/contributing/architecture.md, a line for each module, with the modules that there are.

    script/house --lines [--write]

Prints the missing lines, begun from the docstrings, and the stale ones; --write mends the page.
"""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_letsgo_worker"
PAGE = ROOT / "docs" / "contributing" / "architecture.md"
LINE = re.compile(r"^- `([\w/]+(?:\.py|/))`: .+$", re.MULTILINE)


def main() -> None:
    page = PAGE.read_text()
    named, there = names_on(page), modules_to_name()
    for name in sorted(set(there) - set(named)):
        print(f"missing  {first_line(name)}")
        page = added(page, name)
    for name in sorted(set(named) - set(there)):
        print(f"stale    {name}")
        page = re.sub(rf"^- `{re.escape(name)}`: .+\n", "", page, flags=re.MULTILINE)
    if "--write" in sys.argv[1:]:
        PAGE.write_text(page)
        for name in sorted(set(there) - set(names_on(page))):
            print(
                f"no room  {name}: no line of its package is on the page, so put its first one there by hand"
            )


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


def first_line(name: str) -> str:
    path = PACKAGE / name
    source = (path / "__init__.py" if path.is_dir() else path).read_text()
    said = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
    return f"- `{name}`: {said[:1].lower()}{said[1:].rstrip('.')}."


def added(page: str, name: str) -> str:
    """Return the page with a line for `name`, in its place among those of its folder, if there are any."""
    folder = name.rstrip("/").rpartition("/")[0]
    for line in reversed(list(LINE.finditer(page))):
        other = line[1].rstrip("/").rpartition("/")[0]
        if (other == folder and line[1] < name) or line[1] == f"{folder}/":
            return f"{page[: line.end()]}\n{first_line(name)}{page[line.end() :]}"
    return page


if __name__ == "__main__":
    main()
