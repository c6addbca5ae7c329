"""What a page looks like to those who use it: whether it fits, and what axe-core finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# What stands out of the content to the right, and what must be pushed sideways to be seen whole; of elements
# within each other, the innermost. What is cut on purpose and what a drawing consists of may be of any width.
TOO_WIDE = """
const content = document.getElementById('content'), page = document.documentElement, found = [];
const inside = getComputedStyle(content), right = content.getBoundingClientRect().right;
const edge = Math.min(right - parseFloat(inside.paddingRight), page.clientWidth);
const name = e => [e.tagName.toLowerCase() + (e.id && `#${e.id}`), ...e.classList].join('.');
const look = e => {
  const overflow = getComputedStyle(e).overflowX, box = e.getBoundingClientRect(), before = found.length;
  // Django's own column of recent actions stands beside the content.
  if (!box.width || e.id === 'content-related') return;
  const scrolls = ['auto', 'scroll'].includes(overflow) && !['TEXTAREA', 'SELECT'].includes(e.tagName);
  if (scrolls && e.scrollWidth > e.clientWidth + 1)
    found.push(`${name(e)} hides ${e.scrollWidth - e.clientWidth} px of its width`);
  else if (overflow === 'visible' && e.tagName !== 'svg')
    for (const child of e.children) look(child);
  if (found.length === before && box.right > edge + 1)
    found.push(`${name(e)} stands out by ${Math.ceil(box.right - edge)} px`);
};
for (const child of content.children) look(child);
if (!found.length && page.scrollWidth > page.clientWidth)
  found.push(`the page hides ${page.scrollWidth - page.clientWidth} px of its width`);
return found;
"""
RUN_AXE = """
const done = arguments[arguments.length - 1];
const isGrave = rule => ['serious', 'critical'].includes(rule.impact);
axe.run(document, {resultTypes: ['violations']}).then(
  found => done(found.violations.filter(isGrave).flatMap(
    rule => rule.nodes.map(node => `${rule.id}: ${node.target.flat().join(' ')}`)
  )),
  error => done([`axe-core itself: ${error}`]),
);
"""


def too_wide(driver: Any) -> list[str]:
    """Return what does not fit into the page as wide as it is now."""
    return driver.execute_script(TOO_WIDE)


def barriers(driver: Any) -> list[str]:
    """Return what axe-core calls serious or critical: its rule, and the element's selector."""
    if not AXE.exists():
        pytest.skip("an sdist has no axe-core")
    if not driver.execute_script("return 'axe' in window"):
        driver.execute_script(AXE.read_text())
    return driver.execute_async_script(RUN_AXE)
