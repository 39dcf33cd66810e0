"""SAM CLI itself, in its own environment: how it reads parameters, and what its answers do to samconfig.toml."""

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
# The same values as somebody may write them who does not know; SAM CLI is slow where a long quote is not closed.
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
    """SAM CLI's Python. Outside of CI, a machine without a package index may go without."""
    try:
        return environment.make(environment.CACHE / "sam", (LOCK,))
    except (OSError, subprocess.CalledProcessError) as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the environment of SAM CLI cannot be made here: {error}")


def ask(sam: Path, folder: Path = ROOT, **wanted: object) -> Any:
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
        input=json.dumps(empty | wanted),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def ours(given: Any) -> dict[str, str] | str:
    """What the local cloud reads, or why it refuses."""
    try:
        return read(given)
    except OverrideError as error:
        return str(error)


def command_lines() -> list[list[str]]:
    """The words of each line of the README that gives a parameter, as a POSIX shell splits it."""
    lines = [line for block in readme.blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    lines += [span for span in readme.spans() if re.match(r"\w+=|.*--parameter-overrides \w+=", span)]
    found = []
    for line in lines:
        try:
            words = shlex.split(line)
        except ValueError:  # a line of a string that goes on
            continue
        given = [word for word in words if word.partition("=")[0] in NAMES]
        if given:
            found.append(given)
    return found


def test_readme_lines_are_read_alike(sam: Path) -> None:
    lines = command_lines()
    told = ask(sam, words=lines)["words"]
    assert told == [ours(tuple(line)) for line in lines]
    assert any("A watercolour of this photo." in line.values() for line in told)
    for line in told:
        if mapping := line.get("ReplicateInputMapping"):
            assert json.loads(mapping)["image"] == "input_image"
        template.load(overrides=line)


def test_samconfig_values_are_read_alike(sam: Path) -> None:
    texts = [block for block in readme.blocks("toml") if "parameter_overrides" in block]
    assert texts
    values: list[Any] = [tomllib.loads(text)["parameter_overrides"] for text in texts]
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    environments = [name for name in config if name != "version"]
    found = [config[name]["deploy"]["parameters"].get("parameter_overrides", "") for name in environments]
    told = ask(sam, values=values, deploys=[["--config-env", name] for name in environments])
    assert told["values"] == [ours(value) for value in values]
    assert told["deploys"] == [ours(value) for value in found]
    for overrides in (*told["values"], *told["deploys"]):
        template.load(overrides=overrides)


def test_nasty_values_are_read_alike(sam: Path) -> None:
    written = [(value, quoted("A", value)) for value in NASTY]
    words = [[pair, "B=1"] for _, pair in written if pair is not None]
    lines = [shlex.split(shlex.join(line)) for line in words]
    told = ask(
        sam, words=lines, deploys=[["--stack-name", "a", "--parameter-overrides", *line] for line in lines]
    )
    kept = [{"A": value, "B": "1"} for value, pair in written if pair is not None]
    assert told["words"] == told["deploys"] == [ours(tuple(line)) for line in lines] == kept
    tables = ask(sam, values=[{"A": value} for value, _ in written])["values"]
    assert tables == [ours({"A": value}) for value, _ in written]


def test_what_sam_would_cut_is_refused(sam: Path) -> None:
    words = [f"A={value}" for value in RAW]
    for word, told in zip(words, ask(sam, words=[[word] for word in words])["words"], strict=True):
        mine = ours((word,))
        if isinstance(mine, str):
            assert isinstance(told, str) or told != {"A": word.removeprefix("A=")}, word
        else:
            assert mine == told, word
    assert [isinstance(ours((word,)), str) for word in words].count(True) == len(RAW) - 4


def test_a_second_option_is_refused(sam: Path) -> None:
    """SAM CLI reads the last alone, and says nothing of the first."""
    argv = ["--parameter-overrides", "ImageCount=1", "--parameter-overrides", "RetentionDays=2"]
    assert ask(sam, deploys=[["--stack-name", "a", *argv]])["deploys"] == [{"RetentionDays": "2"}]
    command = [sys.executable, "-m", "tests.localcloud", "serve", *argv]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "give it once" in done.stderr


def test_odd_tables_are_read_alike(sam: Path) -> None:
    values: list[Any] = [
        {"A": True, "B": 3, "C": 1.5, "D": ["x", " y", ""], "E": '"q"'},
        ["A=1", ["B=2"]],
        [],
        {},
        [5],
    ]
    for value, told in zip(values, ask(sam, values=values)["values"], strict=True):
        mine = ours(value)
        assert mine == told or (isinstance(mine, str) and isinstance(told, str)), value


def test_the_readme_lists_the_questions(sam: Path, tmp_path: Path) -> None:
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, tmp_path)
    told = ask(sam, tmp_path, guided=[])
    asked, deployed = told["questions"], told["deployed"]
    questions = [(text, default) for text, default in asked if not text.startswith("Parameter ")]
    section = readme.section("Deploy in detail").split("| question | default |\n", 1)[1].split("\n\n", 1)[0]
    rows = [re.match(r"\| `([^`…]+)[^|]*\| (.*) \|$", line) for line in section.splitlines()[1:]]
    listed = [(row[1].strip(), row[2]) for row in rows if row is not None and row[1].strip() != "Parameter"]
    assert [text for text, _ in questions] == [text for text, _ in listed]
    for (text, default), (_, said) in zip(questions, listed, strict=True):
        expected = {"True": "`Y`", "False": "`N`"}.get(default, f"`{default}`")
        assert expected in said or (text, default) == ("AWS Region", "ap-northeast-2"), text
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
        f"GIT_{who}_{what}": "a@example.com" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    done = subprocess.run(
        ["git", *words], cwd=folder, env=settings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A repository of releases, with the first one in it."""
    folder = tmp_path / "releases"
    folder.mkdir()
    for name in ("template.yaml", "samconfig.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "the first release")
    return folder


def update_command() -> list[str]:
    """What the README tells to pull a release with."""
    (found,) = re.findall(r"^git ([^&]+) &&", readme.section("Update"), re.MULTILINE)
    return shlex.split(found)


@pytest.fixture(scope="module", params=["default", "dev", "prod"])
def answered(
    sam: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> tuple[str, str]:
    """An environment, and samconfig.toml after SAM CLI wrote the answers for it."""
    folder = tmp_path_factory.mktemp("answered")
    for name in ("template.yaml", "samconfig.toml"):
        shutil.copy(ROOT / name, folder)
    answers = {
        "Parameter DefaultPrompt": 'A "blue" photo.',
        "Parameter RetentionDays": "9",
        "AWS Region": "eu-west-1",
    }
    options = ["--config-env", request.param]
    told = ask(sam, folder, guided=options, answers=answers | {"Deploy this": "y"}, deploys=[options])
    assert told["deployed"]
    assert told["deploys"][0]["DefaultPrompt"] == 'A "blue" photo.'
    return request.param, (folder / "samconfig.toml").read_text()


@pytest.mark.parametrize("committed", [False, True], ids=["uncommitted", "committed"])
@pytest.mark.parametrize("changed", ["template", "samconfig"])
def test_answers_outlive_a_pull(
    release: Path, tmp_path: Path, answered: tuple[str, str], changed: str, *, committed: bool
) -> None:
    """A release leaves samconfig.toml as it is; should one change it all the same, the pull still goes through."""
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
        words = [word for word in words if word != "--autostash"]  # git pull alone is enough
    git(mine, *words, *(["--no-rebase"] if committed else []))
    assert "26214401" in (mine / "template.yaml").read_text()
    config = tomllib.loads((mine / "samconfig.toml").read_text())
    assert config["default"]["validate"]["parameters"]["lint"] is (changed == "template")
    assert config[config_env]["deploy"] == tomllib.loads(answers)[config_env]["deploy"]
    assert config[config_env]["deploy"]["parameters"]["region"] == "eu-west-1"
