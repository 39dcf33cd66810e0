"""Run axe-core in a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support import npm
from tests.support.browser import Browser

HERE = Path(__file__).parent
FILES = tuple(HERE / name for name in ("package.json", "package-lock.json"))
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
RUN = """
    const [tags, done] = arguments;
    axe.run(document, { runOnly: tags, resultTypes: ["violations"] })
      .then(({ violations }) => done(violations), (error) => done([{ id: String(error), nodes: [] }]));
"""


def source() -> str:
    """Return axe-core as a script.

    Raises:
        npm.UnreachableError: npm reached no registry.
        RuntimeError: There is no npm, or it failed.
    """
    return (npm.install("axe", *FILES) / "node_modules/axe-core/axe.min.js").read_text()


def violations(browser: Browser, axe: str) -> list[str]:
    """Return what axe-core finds in the page as it is now, each with its elements."""
    browser.driver.execute_script(axe)
    found: list[dict[str, Any]] = browser.driver.execute_async_script(RUN, TAGS)
    return [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found]
