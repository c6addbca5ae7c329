"""Keeps the catalogues of translations in step with the code: gettext's tools make them.

    python script/catalogue.py           says what differs
    python script/catalogue.py --write   brings the .po files in step, and compiles them

New messages are added untranslated, which a test refuses until somebody translates them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "django_letsgo_worker"
LANGUAGES = ("de",)
# Places and dates would change with every commit, and nobody translates by them.
OPTIONS = ["--no-location", "--no-wrap", "--no-obsolete"]
DATE = '"POT-Creation-Date:'


def main() -> None:
    if shutil.which("xgettext") is None:
        said = "gettext's tools are missing (apt-get install gettext): the catalogues were not looked at."
        sys.exit(said if os.environ.get("CI") else print(said, file=sys.stderr))
    if "--write" in sys.argv:
        make(PACKAGE)
        django_admin(PACKAGE, "compilemessages")
        return
    with tempfile.TemporaryDirectory() as place:
        copy = Path(shutil.copytree(PACKAGE, Path(place) / PACKAGE.name))
        make(copy)
        stale = [one for one in LANGUAGES if lines(catalogue(copy, one)) != lines(catalogue(PACKAGE, one))]
    if stale:
        sys.exit(f"Behind the code: {', '.join(stale)}. python script/catalogue.py --write mends it.")


def make(package: Path) -> None:
    (package / "locale").mkdir(exist_ok=True)
    django_admin(package, "makemessages", *OPTIONS, *(f"--locale={one}" for one in LANGUAGES))


def django_admin(package: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "django", *arguments, "--verbosity=0"], cwd=package, check=True)


def catalogue(package: Path, language: str) -> Path:
    return package / "locale" / language / "LC_MESSAGES" / "django.po"


def lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if not line.startswith(DATE)]


if __name__ == "__main__":
    main()
