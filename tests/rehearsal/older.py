"""An older release of the stack, made from a build of a newer one: an update begins with it.

As long as the last release has today's template, an update from it would change almost nothing. So this module takes
away what a release adds, and changes the code of each function and of the shared layer, so that an update replaces all.
"""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from tests.rehearsal.deploy import Build

if TYPE_CHECKING:
    from pathlib import Path

    from tests.rehearsal.deploy import Template

# What the older release lacks. An update gives each parameter its default.
PARAMETERS = ("AnnounceConcurrency", "DailyPictures", "MaxActiveJobsPerOwner")
ROUTE = ("ApiFunction", "Describe")  # without it, another route takes the request and asks for a token
PATH = "/api/v1/openapi.json"
TIMEOUTS = {"GenerateFunction": 1, "WatchdogFunction": 1}  # seconds less than the newer release has
MARK = b"\n# An older release.\n"


def older(built: Build, folder: Path) -> Build:
    """Return an older release of a build, in a new folder."""
    shutil.copytree(built.folder, folder, copy_function=os.link)
    template = built.template()
    _take_away(template)
    _write(folder / "template.yaml", json.dumps(template).encode())
    resources = template["Resources"]
    codes = [
        one["Properties"]["CodeUri"]
        for one in resources.values()
        if one["Type"] == "AWS::Serverless::Function"
    ]
    layer = resources["TriptychLayer"]["Properties"]["ContentUri"]
    files = [min((folder / code).glob("*.py")) for code in codes]
    for file in (*files, folder / layer / "python/triptych/__init__.py"):
        _write(file, file.read_bytes() + MARK)
    return Build(folder)


def _take_away(template: Template) -> None:
    """Change the template in place.

    Raises:
        KeyError: The newer release does not have this name. Correct it above.
    """
    resources = template["Resources"]
    for name in PARAMETERS:
        del template["Parameters"][name]
        _drop(template, {"Ref": name})
    function, route = ROUTE
    del resources[function]["Properties"]["Events"][route]
    for name, seconds in TIMEOUTS.items():
        resources[name]["Properties"]["Timeout"] -= seconds


def _drop(node: Any, value: Any) -> None:
    """Delete each property with this value."""
    if isinstance(node, dict):
        for key in [key for key, one in node.items() if one == value]:
            del node[key]
        node = list(node.values())
    if isinstance(node, list):
        for one in node:
            _drop(one, value)


def _write(file: Path, content: bytes) -> None:
    file.unlink()  # the newer build has a link to it
    file.write_bytes(content)
