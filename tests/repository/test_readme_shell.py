"""The documents' shell blocks, pasted into bash and into zsh."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.environment import ROOT
from tests.support import readme

BLOCKS = readme.blocks("sh")
SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
# The commands in the blocks. A stub logs its arguments, with what stands on its input in place of the input's name, as
# AWS CLI sends it. It prints an answer where a block reads one.
COMMANDS = ("aws", "curl", "git", "python3", "sam")
STUB = """#!{python}
import json, sys
with open({log!r}, "a") as file:
    words = [sys.stdin.buffer.read().decode() if word == "file:///dev/stdin" else word for word in sys.argv[1:]]
    file.write(json.dumps([{name!r}, *words]) + "\\n")
if {name!r} in ("aws", "curl"):
    print('{{"job_id": "a-job", "url": "https://bucket.example/photo?X-Amz-Signature=a%2Fb&c=\\\\\\\\u0026"}}')
"""
PYENV = "pyenv: python3.13: command not found"
# As pyenv's: it runs the version of PYENV_VERSION, or of a .python-version in this folder (pyenv also looks above it).
SHIM = f"""[ -n "$PYENV_VERSION" ] || [ -e .python-version ] || {{ echo "{PYENV}" >&2; exit 127; }}"""


def unquoted(line: str) -> str:
    """Return the line without its quoted parts."""
    return re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", "", line)


def installed(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    return found


@pytest.mark.parametrize("block", BLOCKS)
def test_no_line_needs_shell_options(block: str) -> None:
    """Typed into zsh, `#` is no comment, `?*[` are patterns, and `!` in double quotes is history."""
    for line in block.splitlines():
        rest = unquoted(re.sub(r"\$\([^()]*\)", "", line))
        assert not re.search(r"(^|\s)#", rest), f"a comment: {line}"
        assert not re.search(r"[?*]|\S\[|\[\S", rest.replace("$((", "")), f"a pattern: {line}"
        assert not re.search(r'"[^"\']*![^"]*"', line), f"history: {line}"
        assert "…" not in line, f"an ellipsis: {line}"


@pytest.mark.parametrize("block", BLOCKS)
def test_read_is_on_the_last_line(block: str) -> None:
    """A `read` may take the next pasted line as its answer."""
    lines = block.replace("\\\n", " ").splitlines()
    assert not any(re.search(r"\bread -r", line) for line in lines[:-1])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("block", BLOCKS)
def test_shell_parses_the_block(shell: str, block: str) -> None:
    done = subprocess.run([installed(shell), "-n"], input=block, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def pasted(shell: str, folder: Path, blocks: list[str]) -> tuple[list[list[str]], str]:
    """Paste the blocks into an interactive shell; return its commands and its complaints."""
    log = folder / "log"
    commands = folder / "bin"
    commands.mkdir()
    for name in COMMANDS:
        stub = commands / name
        stub.write_text(STUB.format(python=sys.executable, log=str(log), name=name))
        stub.chmod(stub.stat().st_mode | stat.S_IXUSR)
    (folder / "photo.jpg").write_bytes(b"12345678")
    # Without a terminal `read` would take the next line as its answer.
    lines = (
        "\n".join(blocks)
        .replace("read -rs SECRET", "SECRET=secret")
        .replace("IFS= read -rs PASSWORD", "PASSWORD=p")
        .replace("read -r CODE", "CODE=123456")
    )
    done = subprocess.run(
        [installed(shell), *SHELLS[shell][1:]],
        cwd=folder,
        env={
            "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(folder),
            "PS1": "",
            "PS2": "",
            "TERM": "dumb",
        },
        input=lines + "\nexit\n",
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
    )
    complaints = [line for line in done.stderr.splitlines() if re.search(r"(bash|zsh): ", line)]
    ours = [line for line in complaints if "job control" not in line and "terminal process group" not in line]
    return [json.loads(line) for line in log.read_text().splitlines()], "\n".join(ours)


def test_zsh_runs_the_same_as_bash(tmp_path: Path) -> None:
    ran = {}
    for shell in SHELLS:
        folder = tmp_path / shell
        folder.mkdir()
        ran[shell], complaints = pasted(shell, folder, BLOCKS)
        assert complaints == ""
    assert sorted(ran["zsh"]) == sorted(ran["bash"])  # both ends of a pipe start at once
    assert any(words[:3] == ["python3", "-m", "tests.deployed"] for words in ran["bash"])
    assert any(words[:2] == ["sam", "deploy"] for words in ran["bash"])


def retained_after_failed_creation() -> set[str]:
    """Return the resources that a rollback of the first deployment keeps."""
    found, name = set(), ""
    for line in (ROOT / "template.yaml").read_text().splitlines():
        if key := re.match(r"  (\w+):", line):
            name = key[1]
        elif re.match(r"    DeletionPolicy: Retain\b", line):
            found.add(name)
    return found


def test_check_of_python_sees_what_sam_build_sees(tmp_path: Path) -> None:
    """SAM CLI runs make outside of the repository, where pyenv does not read its .python-version."""
    (check,) = [span for span in readme.spans() if span.startswith("make --version")]
    (tmp_path / ".python-version").write_text("3.13\n")
    shims = tmp_path / "bin"
    shims.mkdir()
    for name, script in {"make": "exit 0", "python3.13": SHIM}.items():
        (shims / name).write_text(f"#!/bin/sh\n{script}\n")
        (shims / name).chmod(0o755)
    path = f"{shims}{os.pathsep}{os.environ['PATH']}"
    codes = {
        version: subprocess.run(
            ["bash", "-c", check],
            cwd=tmp_path,
            env={"PATH": path, **({"PYENV_VERSION": version} if version else {})},
            capture_output=True,
            check=False,
        ).returncode
        for version in ("", "3.13")
    }
    assert codes == {"": 127, "3.13": 0}


def test_message_of_pyenv_is_explained() -> None:
    (line,) = [line for line in readme.section("Deploy in detail").splitlines() if PYENV in line]
    assert "`PYENV_VERSION=3.13 sam build`" in line


@pytest.mark.parametrize("shell", SHELLS)
def test_failed_first_stack_is_removed_without_its_outputs(shell: str, tmp_path: Path) -> None:
    """It has none, and after its deletion nothing names what stays."""
    (block,) = [
        one for one in BLOCKS if "describe-stack-resources" in one and one in readme.section("Remove")
    ]
    ran, complaints = pasted(shell, tmp_path, ["STACK=a-stack", block])
    assert complaints == ""
    steps = [" ".join(words[1:3]) for words in ran]
    assert steps[:4] == [
        "cloudformation describe-stack-resources",
        "cloudformation describe-stack-resources",
        "cloudformation delete-stack",
        "cloudformation wait",
    ]
    assert {"dynamodb delete-table", "cognito-idp delete-user-pool"} <= set(steps[4:])
    named = {words[words.index("--logical-resource-id") + 1] for words in ran[:2]}
    assert named == retained_after_failed_creation()


@pytest.mark.parametrize("shell", SHELLS)
def test_token_is_stored_as_typed(shell: str, tmp_path: Path) -> None:
    """A here-string appends a newline, and Parameter Store keeps it."""
    storing = [text for text in (*BLOCKS, *readme.spans()) if "read -rs SECRET" in text]
    ran, complaints = pasted(shell, tmp_path, storing)
    assert complaints == ""
    assert len(ran) == len(storing) > 1
    for words in ran:
        assert words[:3] == ["aws", "ssm", "put-parameter"]
        assert words[words.index("--value") + 1] == "secret"
