"""The documentation as a site: Sphinx reads the pages, which are plain Markdown, and furo shows them.

What the site makes of plain Markdown is in _ext/; the pages themselves say nothing of it.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path.insert(0, str(DOCS / "_ext"))

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

project = PROJECT["name"]
author = PROJECT["authors"][0]["name"]
copyright = author
(release,) = re.findall(
    r'^__version__ = "(.+)"$', (ROOT / "django_letsgo_worker" / "__init__.py").read_text(), re.MULTILINE
)

extensions = ["myst_parser", "sphinx_copybutton", "sphinx.ext.githubpages", "plain_markdown"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_*"]
nitpicky = True

# The anchors that a public host gives to headings, so that a link works there and here.
myst_heading_anchors = 4
myst_fence_as_directive = ["mermaid"]
# Where links into the repository lead that go out of this folder.
repository = PROJECT["urls"]["Source"]

html_theme = "furo"
html_title = "django-letsgo-worker"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_use_index = False
html_show_sphinx = False
# Nothing is fetched from elsewhere, neither while this is built nor while it is read.
html_theme_options = {"top_of_page_buttons": []}
pygments_style = "vs"
pygments_dark_style = "github-dark"
