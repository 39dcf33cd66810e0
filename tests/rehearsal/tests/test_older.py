"""Tests of the older release."""

from __future__ import annotations

import json
from pathlib import Path

from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]  # no py.typed

from tests.rehearsal import older, steps
from tests.rehearsal.deploy import Build

LAYER = "layers/triptych/python/triptych"


def built(folder: Path) -> Build:
    """Return what `sam build` makes of the last release, with empty code."""
    (folder / LAYER).mkdir(parents=True)
    (folder / LAYER / "__init__.py").touch()
    template = yaml_parse(steps.last_release().read_text())
    template["Resources"]["TriptychLayer"]["Properties"]["ContentUri"] = "layers/triptych"
    for one in template["Resources"].values():
        if one["Type"] == "AWS::Serverless::Function":
            code = folder / one["Properties"]["CodeUri"]
            code.mkdir(parents=True)
            (code / "handler.py").write_text("HANDLER = 1\n")
    (folder / "template.yaml").write_text(json.dumps(template))
    return Build(folder)


def test_older_release_lacks_what_it_says_and_nothing_else(tmp_path: Path) -> None:
    newer = built(tmp_path / "newer")
    before = newer.template()
    after = older.older(newer, tmp_path / "older").template()
    assert before["Parameters"].keys() - after["Parameters"].keys() == set(older.PARAMETERS)
    function, route = older.ROUTE
    routes = [one["Resources"][function]["Properties"]["Events"].keys() for one in (before, after)]
    assert routes[0] - routes[1] == {route}
    assert before["Resources"].keys() == after["Resources"].keys()
    for name in older.PARAMETERS:
        assert json.dumps({"Ref": name}) not in json.dumps(after)


def test_older_release_leaves_the_code_of_the_newer_one(tmp_path: Path) -> None:
    newer = built(tmp_path / "newer")
    made = older.older(newer, tmp_path / "older")
    for file in newer.folder.rglob("*.py"):
        assert (made.folder / file.relative_to(newer.folder)).read_bytes() == file.read_bytes() + older.MARK
        assert older.MARK not in file.read_bytes()
