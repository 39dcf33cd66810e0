"""Every action is pinned to a reviewed commit, and Dependabot updates it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.environment import ROOT

WORKFLOWS = sorted(
    file for room in ("workflows", "actions") for file in (ROOT / ".github" / room).rglob("*.y*ml")
)
# `uses: owner/name[/path]@<commit> # v1.2.3`: Dependabot updates this form.
PINNED = re.compile(r"^[ -]*uses: (\S+/\S+@[0-9a-f]{40}) # v\d+\.\d+\.\d+$", re.MULTILINE)


def used(node: Any) -> Iterator[str]:
    """Yield every value of a key `uses`, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from [str(value)] if key == "uses" else used(value)
    elif isinstance(node, list):
        for item in node:
            yield from used(item)


def test_there_are_workflows() -> None:
    assert {file.name for file in WORKFLOWS} >= {"ci.yml", "update.yml"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_and_name_their_version(workflow: Path) -> None:
    text = workflow.read_text()
    assert sorted(used(yaml.safe_load(text))) == sorted(PINNED.findall(text))


def test_dependabot_updates_the_actions() -> None:
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    assert [each["directory"] for each in updates if each["package-ecosystem"] == "github-actions"] == ["/"]
