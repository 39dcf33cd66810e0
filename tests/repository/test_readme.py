"""The documents are complete and right: parameters, codes, links, named tests and commands."""

from __future__ import annotations

import re
from pathlib import Path

import botocore.session
import pytest
from botocore import xform_name

from tests.environment import ROOT
from tests.localcloud import template
from tests.support.readme import DOCUMENTS, README, anchors, blocks, links, rows, section, spans
from tests.support.sources import SOURCES


def test_the_first_two_blocks_are_the_two_commands() -> None:
    fenced = re.findall(r"^```\w*\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert [block.strip() for block in fenced[:2]] == ["python3 -m tests.localcloud", "python3 -m tests"]


def test_every_parameter_is_listed_with_its_default() -> None:
    listed: dict[str, str] = {}
    for line in section("Configuration").splitlines():
        if line.startswith("| `"):
            _, names, defaults, _ = re.split(r" ?\| ?", line, maxsplit=3)
            parameters = re.findall(r"`(\w+)`", names)
            written = re.findall(r"`([^`]+)`", defaults) if defaults else [""] * len(parameters)
            listed |= zip(parameters, written, strict=True)
    assert listed == template.load().parameters


def test_measured_table_names_existing_benchmarks() -> None:
    lines = section("Measured").splitlines()
    named = {re.findall(r"`(\w+)` \|$", line)[-1] for line in lines if line.endswith("` |")}
    there = {file.stem for file in (ROOT / "tests/benchmarks").glob("[a-z]*.py")}
    assert named
    assert named <= there


def test_every_test_folder_is_in_the_table_of_folders() -> None:
    cells = [line.split(" | ")[0] for line in section("Folders").splitlines()]
    listed = {name for cell in cells for name in re.findall(r"\[(\w+)\]", cell)}
    assert listed == {file.parts[-2] for file in (ROOT / "tests").glob("[a-z]*/[!_]*") if file.is_file()}


def test_simulation_names_each_of_its_modules() -> None:
    items = re.findall(r"^\* (.*?):", (ROOT / "tests/simulation/__init__.py").read_text(), re.MULTILINE)
    named = set(re.findall(r"`(\w+)`", " ".join(items)))
    assert named == {file.stem for file in (ROOT / "tests/simulation").glob("[a-z]*.py")} - {
        "test_simulation"
    }


def test_readme_has_at_most_150_lines() -> None:
    assert len(README.splitlines()) <= 150


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_link_resolves(document: Path) -> None:
    for file, anchor in links(document):
        assert file.exists(), file
        assert not anchor or anchor in anchors(file), f"{file}#{anchor}"


def test_every_document_is_reached_from_the_readme() -> None:
    reached, following = set(), [DOCUMENTS[0]]
    while following:
        document = following.pop()
        reached.add(document)
        following += {file for file, _ in links(document) if file in DOCUMENTS} - reached
    assert reached == set(DOCUMENTS)


def test_every_named_test_is_in_the_linked_file() -> None:
    named = [
        (test, document.parent / file)
        for document in DOCUMENTS
        for test, file in re.findall(r"`(test_\w+)`[^|]*?\]\(([^)]+)\)", document.read_text())
    ]
    assert len(named) > 40
    for test, file in named:
        assert f"def {test}(" in file.read_text(), test


def test_no_document_is_built_into_a_function_or_layer() -> None:
    source = (ROOT / "template.yaml").read_text()
    folders = re.findall(r"^ *(?:CodeUri|ContentUri): (\S+)$", source, re.MULTILINE)
    assert len(folders) == 10
    assert [file for folder in folders for file in (ROOT / folder).rglob("*.md")] == []


def test_runbook_names_real_log_words() -> None:
    written = "".join(source.read_text() for source in (*SOURCES, ROOT / "template.yaml"))
    look_at = [row.split(" | ")[1] for row in rows("Runbook").values()]
    words = [word for cell in look_at for word in re.findall(r"`([a-z][a-z_ ]+)`", cell)]
    assert len(words) > 10
    assert [word for word in words if f'"{word}' not in written and f"{word}=" not in written] == []


def test_cognito_commands_and_their_options_exist() -> None:
    model = botocore.session.get_session().get_service_model("cognito-idp")
    operations = {xform_name(name, "-"): model.operation_model(name) for name in model.operation_names}
    commands = re.findall(r"aws cognito-idp ([a-z-]+)((?:\\\n|[^\n])*)", "".join(blocks("sh")))
    assert {"associate-software-token", "verify-software-token", "set-user-mfa-preference"} <= dict(
        commands
    ).keys()
    for name, rest in commands:
        shape = operations[name].input_shape
        assert shape is not None
        options = set(re.findall(r" --([a-z-]+)", rest)) - {"query", "output"}
        assert options <= {xform_name(member, "-") for member in shape.members}, name
        assert {xform_name(member, "-") for member in shape.required_members} <= options, name


def test_both_versions_of_aws_cli_have_every_command() -> None:
    """Both have all operations of AWS. Of the other commands, only version 2 has some, for example `logs tail`."""
    session = botocore.session.get_session()
    text = "\n".join((*blocks("sh"), *spans()))
    commands = set(re.findall(r"\baws ([a-z0-9-]+) ([a-z][a-z-]+)", text))
    assert {("ssm", "put-parameter"), ("s3", "rb")} < commands
    known = {("s3", "rb"), ("dynamodb", "wait"), ("cloudformation", "wait")}
    for service, name in commands - known:
        model = session.get_service_model(service)
        assert name in {xform_name(operation, "-") for operation in model.operation_names}, (service, name)
