"""Makes the virtual environment that a script needs, and prints the path of its Python.

    python script/environment.py GROUP [--django SERIES] [--extra NAME ...] [--over REQUIREMENT]

GROUP is a dependency group of pyproject.toml. Each pair of Python and Django has an environment of
its own under .venv/, filled again only when pyproject.toml has changed since. REQUIREMENT is installed
last and by itself, whatever the others ask for, into an environment that is named after it, too. One that
has more extras than are asked for will do.
"""

import argparse
import fcntl
import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
# Most modules of the libraries are never imported: Python compiles those that are.
PIP = ["-m", "pip", "install", "-qq", "--no-compile", "--disable-pip-version-check", "--no-input"]
OLDEST_DJANGO = "5.2"
SIGN_OF_LIFE_SECONDS = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("group")
    # The oldest Django on the oldest Python, the newest elsewhere: two runs see both ends.
    parser.add_argument("--django", default=OLDEST_DJANGO if sys.version_info < (3, 12) else "newest")
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--over")
    options = parser.parse_args()
    if sys.version_info < (3, 11):
        sys.exit(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")
    print(ready(options.group, options.django or OLDEST_DJANGO, sorted(options.extra), options.over))


def ready(group: str, django: str, extras: list[str], over: str | None = None) -> Path:
    """Return the Python of an environment in which the project and its needs are installed."""
    python_series = f"{sys.version_info.major}.{sys.version_info.minor}"
    named_after = re.sub(r"[^\w.-]+", "-", f"-{over}") if over else ""
    home = ROOT / ".venv" / f"{group}-py{python_series}-django{django}{named_after}"
    home.parent.mkdir(exist_ok=True)
    python = home / "bin" / "python"
    stamp, filled_from = home / "installed", hashlib.sha256(PYPROJECT.read_bytes()).hexdigest()
    with Path(f"{home}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed_from, *present = stamp.read_text().split() if stamp.exists() else [""]
        if installed_from != filled_from or not set(extras) <= set(present):
            say(f"Installing into {home.relative_to(ROOT)}: once, for about a minute.")
            if not python.exists():
                run(sys.executable, "-m", "venv", "--clear", home)
                run(python, *PIP, "--upgrade", "pip>=25.1")  # the first that knows --group
            extras = sorted({*extras, *present})
            install(python, group, django, extras)
            if over:
                run(python, *PIP, "--upgrade", "--no-deps", over)
            stamp.write_text(" ".join([filled_from, *extras]))
    return python


def install(python: Path, group: str, django: str, extras: list[str]) -> None:
    project = f".[{','.join(extras)}]" if extras else "."
    wanted_django = "Django" if django == "newest" else f"Django~={django}.0"
    run(python, *PIP, "--upgrade", "--editable", project, wanted_django, "--group", group)


def run(*command: str | Path) -> None:
    """Run it to its end, with a sign of life every few seconds: it may have nothing to say for a minute."""
    began = time.monotonic()
    with subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr) as process:
        while True:
            try:
                code = process.wait(SIGN_OF_LIFE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                say(f"  {what(command)} is at work, {time.monotonic() - began:.0f} s")
    if code:
        sys.exit(f"{what(command)} could not install what is needed; its own words stand above.")


def what(command: Sequence[str | Path]) -> str:
    """Name the module that a command of Python's runs."""
    return str(command[command.index("-m") + 1])


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
