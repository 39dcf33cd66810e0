"""Every action is pinned to a reviewed commit, and Dependabot updates it. The example of a deployment does what the README says."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deployed import updates
from tests.deployed.command import options_of
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


# The update of the locks.

UPDATE: dict[str, Any] = yaml.safe_load((ROOT / ".github/workflows/update.yml").read_text())["jobs"]


def commands_of(job: str) -> str:
    return "\n".join(step.get("run", "") for step in UPDATE[job]["steps"])


def test_new_releases_run_without_permission_to_write() -> None:
    assert UPDATE["locks"]["permissions"] == {"contents": "read"}
    assert "token" not in str(UPDATE["locks"]).lower()
    assert "tests.locks --upgrade" in commands_of("locks")
    writing = [name for name, job in UPDATE.items() if "write" in str(job["permissions"])]
    assert writing == ["propose"]
    assert UPDATE["propose"]["needs"] == "locks"


def test_job_that_may_write_runs_nothing_of_the_repository() -> None:
    words = {line.split()[0] for line in commands_of("propose").splitlines() if line.split()}
    assert words == {
        "git",
        "gh",
        "if",
        "locks='(layers|tests)/([a-z_]+/)*requirements\\.txt'",
        'branch="update/$(date',
    }
    assert not [step for step in UPDATE["propose"]["steps"] if "setup-python" in step.get("uses", "")]


def test_difference_is_kept_before_new_releases_run() -> None:
    steps = [step.get("run") or step["uses"].partition("@")[0] for step in UPDATE["locks"]["steps"]]
    assert steps.index("actions/upload-artifact") < steps.index(".ci/run")


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        ("layers/imaging/requirements.txt", True),
        ("tests/requirements.txt", True),
        ("tests/benchmarks/celery_baseline/requirements.txt", True),
        (".github/workflows/ci.yml", False),
        ("tests/environment.py", False),
        ("tests/requirements.txt.sh", False),
        ("template.yaml", False),
    ],
)
def test_proposed_difference_changes_only_locks(tmp_path: Path, path: str, *, accepted: bool) -> None:
    (step,) = [step for step in UPDATE["propose"]["steps"] if "numstat" in step.get("run", "")]

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", tmp_path, *words], check=True, capture_output=True, text=True)
        return done.stdout

    file = tmp_path / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("one\n")
    git("init", "--quiet")
    git("add", ".")
    file.write_text("two\n")
    (tmp_path / "locks.patch").write_text(git("diff"))
    file.write_text("one\n")
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]],
        cwd=tmp_path,
        env={**os.environ, "RUNNER_TEMP": str(tmp_path)},
        capture_output=True,
        check=False,
    )
    assert (done.returncode == 0) is accepted
    assert file.read_text() == ("two\n" if accepted else "one\n")


# The example of a deployment.

DEPLOY = yaml.safe_load((ROOT / ".github/workflows/deploy.yml").read_text())["jobs"]["deploy"]
STEPS: list[dict[str, Any]] = DEPLOY["steps"]
COMMANDS = [shlex.split(step["run"]) for step in STEPS if "run" in step]
CREDENTIALS = next(step["with"] for step in STEPS if "aws-actions/configure-aws" in step.get("uses", ""))


def test_deployment_builds_deploys_and_judges_in_this_order() -> None:
    modules = [command[1:4] for command in COMMANDS]
    assert modules == [
        ["-m", "tests.sam", "build"],
        ["-m", "tests.sam", "deploy"],
        ["-m", "tests.deployed", "--stack"],
    ]
    for command in COMMANDS:
        assert command[0] == "python3"
        assert (ROOT / command[2].replace(".", "/") / "__main__.py").is_file()


def test_deployment_asks_nothing() -> None:
    build, deploy, judge = COMMANDS
    assert "--no-confirm-changeset" in deploy
    assert options_of(judge[3:]).yes
    (settings,) = {
        option for words in (build, deploy) for option in words[words.index("--config-env") + 1 :][:1]
    }
    assert settings in tomllib.loads((ROOT / "samconfig.toml").read_text())
    assert f"settings of `{settings}` in samconfig.toml" in readme_section()


def test_deployment_stores_no_key_and_asks_for_approval() -> None:
    assert DEPLOY["permissions"] == {"contents": "read", "id-token": "write"}
    assert set(CREDENTIALS) == {"role-to-assume", "aws-region", "role-duration-seconds"}
    assert "secrets." not in str(DEPLOY)
    names = re.findall(r"vars\.(\w+)", str(DEPLOY))
    assert {f"`{name}`" for name in (*names, DEPLOY["environment"])} <= set(
        re.findall(r"`\w+`", readme_section())
    )


def test_credentials_of_the_deployment_last_as_long_as_its_job() -> None:
    minutes = DEPLOY["timeout-minutes"]
    assert CREDENTIALS["role-duration-seconds"] >= 60 * minutes
    assert minutes >= updates.MOST + 15  # a build, an update without its watch, and a judgement


def readme_section() -> str:
    """Return what functions/README.md says about deploy.yml."""
    text = (ROOT / "functions/README.md").read_text()
    return text[text.index("**From GitHub.**") : text.index("## Update")]
