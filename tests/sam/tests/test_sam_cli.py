"""Tests with SAM CLI in its own environment: how it reads parameters, and what guided deploy writes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests import environment
from tests.environment import ROOT
from tests.localcloud import template
from tests.localcloud.overrides import OverrideError, quoted, read
from tests.support import readme

LOCK = ROOT / "tests/sam/requirements.txt"
NAMES = frozenset(template.load().parameters)
NASTY = [
    "",
    " ",
    "two words",
    " around ",
    '{"image": "photo", "extra": {"a": [1, 2]}}',
    '{"image":"photo"}',
    '{"a": "say \\"hi\\""}',
    "it's",
    "'single'",
    '"double"',
    "a\"b'c",
    "https://example.com/?a=b&c=d#e",
    "x,y, z",
    "Asia/Seoul",
    "수채화 한 장",
    "$HOME `date` !",
    "back\\slash",
    "trailing\\",
    "\\ \\",
    "two\nlines",
    "ParameterKey=A,ParameterValue=1",
    "a=b c=d",
]
# Values as a user may write them without knowing SAM CLI's rules. SAM CLI is slow on a long unclosed quote.
RAW = [
    "two words",
    '{"a": 1}',
    "it's",
    "a'b c'",
    "'a'b",
    "trailing\\",
    "",
    " x",
    'a"b"',
    '"a" b',
    "수채화 한",
    "a B=c",
    "a,b",
    "a\\ b",
]


@pytest.fixture(scope="module")
def sam() -> Path:
    """SAM CLI's Python. Outside CI, the tests are skipped without a package index."""
    try:
        return environment.make(environment.CACHE / "sam", (LOCK,))
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"SAM CLI cannot be installed here: {error}")


def ask(sam: Path, folder: Path = ROOT, **request: object) -> Any:
    empty: dict[str, object] = {"words": [], "values": [], "deploys": [], "guided": None, "answers": {}}
    settings = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    settings |= dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "testing")
    settings |= {
        "AWS_DEFAULT_REGION": "ap-northeast-2",
        "AWS_REGION": "eu-west-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    done = subprocess.run(
        [sam, ROOT / "tests/sam/probe.py"],
        cwd=folder,
        env=settings,
        input=json.dumps(empty | request),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def local(given: Any) -> dict[str, str] | str:
    """Return what the local cloud reads, or its error message."""
    try:
        return read(given)
    except OverrideError as error:
        return str(error)


def command_lines() -> list[list[str]]:
    """Return the words of each command with a parameter in the documents, as a POSIX shell splits it."""
    lines = [line for block in readme.blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [span for span in readme.spans() if re.match(r"\w+=|.*--parameter-overrides \w+=", span)]
    found = []
    for line in lines:
        try:
            words = shlex.split(line)
        except ValueError:  # a line inside a longer string
            continue
        given = [word for word in words if word.partition("=")[0] in NAMES]
        if given:
            found.append(given)
    return found


def test_readme_commands_are_read_as_by_sam(sam: Path) -> None:
    lines = command_lines()
    by_sam = ask(sam, words=lines)["words"]
    assert by_sam == [local(tuple(line)) for line in lines]
    assert any("A watercolour of this photo." in line.values() for line in by_sam)
    for line in by_sam:
        if mapping := line.get("ReplicateInputMapping"):
            assert json.loads(mapping)["image"] == "input_image"
        template.load(overrides=line)


def test_samconfig_values_are_read_as_by_sam(sam: Path) -> None:
    texts = [block for block in readme.blocks("toml") if "parameter_overrides" in block]
    assert texts
    values: list[Any] = [tomllib.loads(text)["parameter_overrides"] for text in texts]
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    environments = [name for name in config if name != "version"]
    found = [config[name]["deploy"]["parameters"].get("parameter_overrides", "") for name in environments]
    by_sam = ask(sam, values=values, deploys=[["--config-env", name] for name in environments])
    assert by_sam["values"] == [local(value) for value in values]
    assert by_sam["deploys"] == [local(value) for value in found]
    for overrides in (*by_sam["values"], *by_sam["deploys"]):
        template.load(overrides=overrides)


def test_difficult_values_are_read_as_by_sam(sam: Path) -> None:
    written = [(value, quoted("A", value)) for value in NASTY]
    words = [[pair, "B=1"] for _, pair in written if pair is not None]
    lines = [shlex.split(shlex.join(line)) for line in words]
    by_sam = ask(
        sam, words=lines, deploys=[["--stack-name", "a", "--parameter-overrides", *line] for line in lines]
    )
    kept = [{"A": value, "B": "1"} for value, pair in written if pair is not None]
    assert by_sam["words"] == by_sam["deploys"] == [local(tuple(line)) for line in lines] == kept
    tables = ask(sam, values=[{"A": value} for value, _ in written])["values"]
    assert tables == [local({"A": value}) for value, _ in written]


def test_values_that_sam_would_cut_are_refused(sam: Path) -> None:
    words = [f"A={value}" for value in RAW]
    for word, by_sam in zip(words, ask(sam, words=[[word] for word in words])["words"], strict=True):
        locally = local((word,))
        if isinstance(locally, str):
            assert isinstance(by_sam, str) or by_sam != {"A": word.removeprefix("A=")}, word
        else:
            assert locally == by_sam, word
    assert [isinstance(local((word,)), str) for word in words].count(True) == len(RAW) - 4


def test_second_parameter_overrides_option_is_refused(sam: Path) -> None:
    """SAM CLI silently ignores all options but the last."""
    argv = ["--parameter-overrides", "ImageCount=1", "--parameter-overrides", "RetentionDays=2"]
    assert ask(sam, deploys=[["--stack-name", "a", *argv]])["deploys"] == [{"RetentionDays": "2"}]
    command = [sys.executable, "-m", "tests.localcloud", "serve", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "give it once" in done.stderr


def test_unusual_tables_are_read_as_by_sam(sam: Path) -> None:
    values: list[Any] = [
        {"A": True, "B": 3, "C": 1.5, "D": ["x", " y", ""], "E": '"q"'},
        ["A=1", ["B=2"]],
        [],
        {},
        [5],
    ]
    for value, by_sam in zip(values, ask(sam, values=values)["values"], strict=True):
        locally = local(value)
        assert locally == by_sam or (isinstance(locally, str) and isinstance(by_sam, str)), value


def test_readme_lists_the_questions_of_guided_deploy(sam: Path, tmp_path: Path) -> None:
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, tmp_path)
    reply = ask(sam, tmp_path, guided=[])
    asked, deployed = reply["questions"], reply["deployed"]
    questions = [(text, default) for text, default in asked if not text.startswith("Parameter ")]
    section = readme.section("Deploy in detail").split("| question | default |\n", 1)[1].split("\n\n", 1)[0]
    rows = [re.match(r"\| `([^`…]+)[^|]*\| (.*) \|$", line) for line in section.splitlines()[1:]]
    listed = [(row[1].strip(), row[2]) for row in rows if row is not None and row[1].strip() != "Parameter"]
    assert [text for text, _ in questions] == [text for text, _ in listed]
    for (text, default), (_, answer) in zip(questions, listed, strict=True):
        expected = {"True": "`Y`", "False": "`N`"}.get(default, f"`{default}`")
        assert expected in answer or (text, default) == ("AWS Region", "ap-northeast-2"), text
    assert {text.removeprefix("Parameter ") for text, _ in asked if text.startswith("Parameter ")} == NAMES
    assert asked[-1] == ["Deploy this changeset?", "False"]
    assert not deployed


def git(folder: Path, *words: str) -> str:
    settings = {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
    }
    settings |= {
        f"GIT_{role}_{field}": "a@example.com"
        for role in ("AUTHOR", "COMMITTER")
        for field in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *words], cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A repository that holds the first release."""
    folder = tmp_path / "releases"
    folder.mkdir()
    for name in ("template.yaml", "samconfig.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "the first release")
    return folder


def update_command() -> list[str]:
    """Return the documented command that pulls a release."""
    (found,) = re.findall(r"^git ([^&]+) &&", readme.section("Update"), re.MULTILINE)
    return shlex.split(found)


@pytest.fixture(scope="module", params=["default", "dev", "prod"])
def answered(
    sam: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, str]:
    """An environment's name, and samconfig.toml with the answers that SAM CLI wrote for it."""
    folder = tmp_path_factory.mktemp("answered")
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder)
    answers = {
        "Parameter DefaultPrompt": 'A "blue" photo.',
        "Parameter RetentionDays": "9",
        "AWS Region": "eu-west-1",
    }
    options = ["--config-env", request.param]
    reply = ask(sam, folder, guided=options, answers=answers | {"Deploy this": "y"}, deploys=[options])
    assert reply["deployed"]
    assert reply["deploys"][0]["DefaultPrompt"] == 'A "blue" photo.'
    return request.param, (folder / "samconfig.toml").read_text()


@pytest.mark.parametrize("committed", [False, True], ids=["uncommitted", "committed"])
@pytest.mark.parametrize("changed", ["template", "samconfig"])
def test_answers_of_guided_deploy_survive_a_pull(
    release: Path, tmp_path: Path, answered: tuple[str, str], changed: str, *, committed: bool
) -> None:
    """A release does not change samconfig.toml. If one does, the pull must still succeed."""
    config_env, answers = answered
    mine = tmp_path / "mine"
    git(tmp_path, "clone", "-q", str(release), str(mine))
    (mine / "samconfig.toml").write_text(answers)
    assert git(mine, "diff", "--name-only").split() == ["samconfig.toml"]
    if committed:
        git(mine, "commit", "-q", "-a", "-m", "our answers")

    edited = release / "template.yaml"
    edited.write_text(edited.read_text().replace("Default: 26214400", "Default: 26214401"))
    if changed == "samconfig":
        edited = release / "samconfig.toml"
        text = edited.read_text()
        edited.write_text(text.replace("lint = true", "lint = false"))
        assert edited.read_text() != text
    git(release, "commit", "-q", "-a", "-m", "the next release")

    words = update_command()
    if changed == "template":
        words = [word for word in words if word != "--autostash"]  # a plain git pull is enough
    git(mine, *words, *(["--no-rebase"] if committed else []))
    assert "26214401" in (mine / "template.yaml").read_text()
    config = tomllib.loads((mine / "samconfig.toml").read_text())
    assert config["default"]["validate"]["parameters"]["lint"] is (changed == "template")
    assert config[config_env]["deploy"] == tomllib.loads(answers)[config_env]["deploy"]
    assert config[config_env]["deploy"]["parameters"]["region"] == "eu-west-1"
