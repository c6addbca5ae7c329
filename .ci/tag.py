"""Says whether a tag may be released: python .ci/tag.py v0.2.0

If not, a sentence for each reason, and exit code 1.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


VERSION = re.compile(r'^__version__ = "(.+)"$', re.MULTILINE)


def reasons_against(tag: str, version: str, project: dict, changelog: str) -> list[str]:
    reasons = []
    if tag != f"v{version}":
        reasons.append(f"The tag is {tag}, the version of the package {version}.")
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        reasons.append(f"CHANGELOG.md has no heading `## [{version}] - ` with the day of the release.")
    if "/OWNER/" in project["urls"]["Source"] + "/":
        reasons.append("[project.urls] still has the placeholder OWNER.")
    return reasons


def main() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = VERSION.findall((ROOT / "django_letsgo_worker" / "__init__.py").read_text())[0]
    reasons = reasons_against(sys.argv[1], version, project, (ROOT / "CHANGELOG.md").read_text())
    sys.exit("\n".join(reasons))


if __name__ == "__main__":
    main()
