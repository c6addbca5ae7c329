"""What the site makes of plain Markdown: its table of contents, links out of docs/, dark pictures, diagrams.

So the pages read well where nothing but Markdown is understood. How a diagram is drawn is in lifelines.py.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from docutils import nodes
from lifelines import drawn
from pygments.lexers.shell import BashLexer
from pygments.lexers.special import TextLexer
from sphinx.transforms import SphinxTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

logger = logging.getLogger(__name__)

# A heading of the index with the entries below it.
SECTION = re.compile(r"^## (.+)\n\n((?:- .+\n)+)", re.MULTILINE)
ENTRY = re.compile(r"^- \[(.+?)\]\((.+?)\)", re.MULTILINE)
LINK = re.compile(r"(\]\()(\.\./[^)#\s]+)")
PICTURE = re.compile(r"<picture>.*?<img[^>]*>.*?</picture>", re.DOTALL)
HOSTNAME = re.compile(r"([\w-]+\.)+[a-z]{2,}")
# What the reader runs.
HERE = ("http://localhost:", "http://127.0.0.1:")
LIGHT, DARK = "-light.webp", "-dark.webp"
# Languages of fences that are ours: our tests know more of them than Pygments does.
LEXERS = {"schedules": TextLexer, "procfile": BashLexer, "crontab": BashLexer}


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_config_value("repository", "", "env")
    for language, lexer in LEXERS.items():
        app.add_lexer(language, lexer)
    app.connect("source-read", read)
    app.add_directive("mermaid", Diagram)
    app.add_transform(Pictures)
    app.add_post_transform(Addresses)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def read(app: Sphinx, page: str, source: list[str]) -> None:
    text = PICTURE.sub(picture, source[0])
    text = LINK.sub(lambda link: link[1] + leading_out(app, page, link[2]), text)
    if page == app.config.root_doc:
        text += "".join(toctree(*section) for section in SECTION.findall(text))
    source[0] = text


def toctree(caption: str, entries: str) -> str:
    """Return what Sphinx wants to know of a list of links: the sidebar is the index, word by word."""
    links = "\n".join(f"{title} <{link}>" for title, link in ENTRY.findall(entries))
    return f"\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{links}\n```\n"


def leading_out(app: Sphinx, page: str, link: str) -> str:
    """Return a link as it is, or if it leaves docs/ the address of the file in the repository."""
    docs = Path(app.srcdir).resolve()
    target = (docs / page).parent.joinpath(link).resolve()
    if target.is_relative_to(docs):
        return link
    if not target.exists():
        logger.warning("the link %s leads nowhere", link, location=page)
    kind = "tree" if target.is_dir() else "blob"
    return f"{app.config.repository}/{kind}/main/{target.relative_to(docs.parent)}"


def picture(element: re.Match[str]) -> str:
    """Return a picture for light and dark as one of Markdown; its name tells that there is a dark one."""
    (image,) = re.findall(r"<img[^>]*>", element[0])
    facts = dict(re.findall(r'(\w+)="([^"]*)"', image))
    return f"![{facts['alt']}]({facts['src']})"


class Pictures(SphinxTransform):
    """Put the dark picture beside each light one that has it; the theme shows one of them."""

    default_priority = 400

    def apply(self, **kwargs: Any) -> None:
        for image in list(self.document.findall(nodes.image)):
            dark = image["uri"].removesuffix(LIGHT) + DARK
            folder = Path(self.env.doc2path(self.env.docname)).parent
            if image["uri"].endswith(LIGHT) and (folder / dark).exists():
                image["classes"].append("only-light")
                image.parent.insert(
                    image.parent.index(image) + 1,
                    nodes.image(uri=dark, alt=image.get("alt", ""), classes=["only-dark"]),
                )


class Addresses(SphinxTransform):
    """Refuse addresses of other sites that nobody could follow. Nothing is fetched."""

    default_priority = 900

    def apply(self, **kwargs: Any) -> None:
        for link in self.document.findall(nodes.reference):
            if "://" in (address := link.get("refuri", "")) and not is_well_formed(address):
                logger.warning("%s is no address of a site", address, location=link)


def is_well_formed(address: str) -> bool:
    if address.startswith(HERE):
        return True
    try:
        parts = urlsplit(address)
        return parts.scheme == "https" and not parts.port and bool(HOSTNAME.fullmatch(parts.netloc))
    except ValueError:
        return False


class Diagram(SphinxDirective):
    """A diagram of states, which a public host draws with Mermaid."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        return [nodes.raw("", drawn(list(self.content)), format="html")]
