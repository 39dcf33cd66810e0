"""The README tells what is there: every parameter, every code, and tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import botocore.session
from botocore import xform_name

from tests.environment import ROOT
from tests.localcloud import template
from tests.support.readme import README, rows


def test_the_first_two_blocks_are_the_two_commands() -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert [block.strip() for block in blocks[:2]] == ["python3 -m tests.localcloud", "python3 -m tests"]


def test_every_parameter_is_told_with_its_default() -> None:
    told = rows("Configuration")
    parameters = template.load().parameters
    assert set(told) == set(parameters)
    for name, row in told.items():
        default = re.match(r"`([^`]+)` \|", row)
        assert default is None or default[1] == parameters[name], name


def test_what_was_measured_names_benchmarks_that_there_are() -> None:
    section = README.split("## Measured\n", 1)[1].split("\n## ", 1)[0]
    named = {re.findall(r"`(\w+)` \|$", line)[-1] for line in section.splitlines() if line.endswith("` |")}
    there = {file.stem for file in (ROOT / "tests/benchmarks").glob("[a-z]*.py")}
    assert named
    assert named <= there


def test_every_file_and_test_that_is_named_is_there() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    named = re.findall(r"`(test_\w+)`[^|]*?\]\(([^)]+)\)", README)
    assert named
    for test, file in named:
        assert f"def {test}(" in Path(ROOT / file).read_text(), test


def test_cognito_commands_and_their_options_exist() -> None:
    model = botocore.session.get_session().get_service_model("cognito-idp")
    operations = {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}
    commands = re.findall(r"aws cognito-idp ([a-z-]+)((?:\\\n|[^\n])*)", README)
    assert {"associate-software-token", "verify-software-token", "set-user-mfa-preference"} <= dict(
        commands
    ).keys()
    for name, rest in commands:
        shape = operations[name].input_shape
        assert shape is not None
        options = set(re.findall(r" --([a-z-]+)", rest)) - {"query", "output"}
        assert options <= {xform_name(member, "-") for member in shape.members}, name
        assert {xform_name(member, "-") for member in shape.required_members} <= options, name
