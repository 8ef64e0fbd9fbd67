"""axe-core in a page of a browser test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
COLOR_RULES = ["color-contrast", "link-in-text-block"]
# For the color rules axe goes through all elements of the page, three quarters of them in tabs that
# are not shown, and asks for their styles, which Chromium has not computed. Here it passes them by:
# its findings are the same.
VIOLATIONS_JS = """async ([within, rules]) => {
  const {createTreeWalker} = Document.prototype;
  const rendered = (node) => getComputedStyle(node).display === 'none'
    ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT;
  document.createTreeWalker = (root, shown) => createTreeWalker.call(
    document, root, shown, shown === NodeFilter.SHOW_ELEMENT ? rendered : null);
  try {
    const options = {resultTypes: ['violations'], preload: false, ...rules};
    return (await axe.run(within ?? document, options)).violations
      .flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 160)}`));
  } finally {
    delete document.createTreeWalker;
  }
}"""


def violations(page: Any, within: str | None = None, *, dark: bool = False) -> list[str]:
    """Violations of axe's rules in the page, or in what the selector ``within`` finds there.

    The whole page costs one to two seconds of CPU time, a dialog on it a fifth of that. What a
    dialog covers has been checked before it opened.

    Args:
        dark: Only the rules about colors: a dark page has the elements of a light one.

    Raises:
        playwright.sync_api.Error: nothing on the page matches ``within``.
    """
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    rules = {"runOnly": {"type": "rule", "values": COLOR_RULES}} if dark else {}
    found: list[str] = page.evaluate(VIOLATIONS_JS, [within, rules])
    return found
