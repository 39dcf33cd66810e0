"""Tests of the command line, without a stack."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.deployed import command
from tests.deployed.stack import connect
from tests.environment import ROOT
from tests.localcloud.driving import PYTHON


@pytest.mark.parametrize(
    ("option", "variables", "region"),
    [
        ("eu-west-1", {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-east-2"}, "eu-west-1"),
        (None, {"AWS_REGION": "us-west-2", "AWS_DEFAULT_REGION": "us-east-2"}, "us-west-2"),
        (None, {"AWS_DEFAULT_REGION": "us-east-2"}, "us-east-2"),
        (None, {}, None),
    ],
)
def test_region_is_the_one_that_aws_cli_uses(
    option: str | None, variables: dict[str, str], region: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert connect("triptych", option).session.region_name == region


@pytest.mark.parametrize("module", ["tests.deployed", "tests.privacy"])
def test_wrong_profile_is_named_in_one_line(module: str) -> None:
    words = ["export", "--owner", "a", "--to", "/nowhere"] if module == "tests.privacy" else []
    done = subprocess.run(
        [PYTHON, "-m", module, *words, "--stack", "triptych"],
        cwd=ROOT,
        env={**os.environ, "AWS_PROFILE": "nope", "AWS_CONFIG_FILE": os.devnull},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr == "The config profile (nope) could not be found. Correct AWS_PROFILE.\n"


def test_missing_token_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.options_of(["--stack", "triptych", "--token", str(tmp_path / "none")])
    assert "the token's file cannot be read" in capsys.readouterr().err
