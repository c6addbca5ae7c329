"""Rules for snippets in other languages than Python: SQL for each engine, JSON, JavaScript, Prometheus.

The rules of all others, and the tests that apply them, stand in test_snippets.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml
from django.db import connection, transaction

from tests.support import ROOT, engine_of


class Undo(Exception):
    """Takes back what a snippet did."""


def check_sql(engine: str, text: str) -> None:
    """Run it, and take back what it did; statements end with a semicolon at the end of a line."""
    if engine_of(connection.settings_dict) != engine:
        pytest.skip(f"This is SQL for {engine}.")
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            for statement in statements_of(text):
                cursor.execute(statement)
            raise Undo
    except Undo:
        pass


def statements_of(text: str) -> list[str]:
    """Cut SQL into its statements; those within $$ belong to one."""
    found, begun = [], ""
    for line in text.splitlines(keepends=True):
        begun += line
        if line.rstrip().endswith(";") and begun.count("$$") % 2 == 0:
            found.append(begun)
            begun = ""
    assert begun.strip() == "", f"The last statement does not end: {begun!r}"
    return found


def check_javascript(text: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("There is no Node.js on this machine.")
    subprocess.run([node, "--check", "-"], input=text, text=True, check=True, capture_output=True)


def check_prometheus(text: str) -> None:
    """Have promtool read it, beside our rules."""
    assert yaml.safe_load(text)
    if (promtool := shutil.which("promtool")) is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / "deploy" / "prometheus" / "letsgo.rules.yml", folder)
        config = Path(folder) / "prometheus.yml"
        config.write_text(text)
        subprocess.run([promtool, "check", "config", config], check=True, capture_output=True)


RULES: dict[str, Callable[[str], object]] = {
    "json": json.loads,
    "javascript": check_javascript,
    "yaml prometheus": check_prometheus,
    "sql postgresql": partial(check_sql, "postgres"),
    "plpgsql": partial(check_sql, "postgres"),
    "sql mariadb": partial(check_sql, "mariadb"),
    "sql sqlite": partial(check_sql, "sqlite"),
}
