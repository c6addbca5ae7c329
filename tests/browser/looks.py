"""What a page looks like to those who use it: whether it fits, and what axe-core finds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
# What stands out of the content to the right, and what must be pushed sideways to be seen whole; of elements
# within each other, the innermost. What is cut on purpose and what a drawing consists of may be of any width.
TOO_WIDE = """
const content = document.getElementById('content') ?? document.querySelector('main');
const page = document.documentElement, found = [];
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
FAINT = """
const [selectors, done] = [arguments[0], arguments[arguments.length - 1]];
const include = selectors.filter(selector => document.querySelector(selector)).map(selector => [selector]);
if (!include.length) done([]);
else axe.run({include}, {runOnly: ['color-contrast'], resultTypes: ['violations']}).then(
  found => done(found.violations.flatMap(
    rule => rule.nodes.map(node => `${node.target.flat().join(' ')} is faint: ${node.any[0].message}`)
  )),
  error => done([`axe-core itself: ${error}`]),
);
"""
# Fields to type or choose in that can be seen, but of which no line shows where they are.
BORDERLESS = """
const others = ['checkbox', 'radio', 'submit', 'button', 'hidden'].map(type => `[type=${type}]`).join();
const hasLine = style => style.borderBottomStyle !== 'none' && parseFloat(style.borderBottomWidth) >= 1
  && !/[,/] 0[)]$/.test(style.borderBottomColor);
return [...document.querySelectorAll('input, select, textarea')]
  .filter(e => e.offsetWidth && !e.matches(others) && e.closest('main, #content'))
  .filter(e => !e.closest('[aria-hidden=true]') && !hasLine(getComputedStyle(e)))
  .map(e => `${e.name || e.id} has no border`);
"""


def too_wide(driver: Any) -> list[str]:
    """Return what does not fit into the page as wide as it is now."""
    return driver.execute_script(TOO_WIDE)


def barriers(driver: Any) -> list[str]:
    """Return what axe-core calls serious or critical: its rule, and the element's selector."""
    _load_axe(driver)
    return driver.execute_async_script(RUN_AXE)


def _load_axe(driver: Any) -> None:
    if not AXE.exists():
        pytest.skip("an sdist has no axe-core")
    if not driver.execute_script("return 'axe' in window"):
        driver.execute_script(AXE.read_text())


def borderless(driver: Any) -> list[str]:
    """Return the fields whose place nothing shows."""
    return driver.execute_script(BORDERLESS)


def faint(driver: Any, *selectors: str) -> list[str]:
    """Return the texts in these places that are hard to read on what is behind them."""
    _load_axe(driver)
    return driver.execute_async_script(FAINT, selectors)
