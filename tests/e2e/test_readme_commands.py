"""The README's commands that make a user and get a token, pasted into a shell, against the local cloud."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import boto3
import pytest
from botocore.config import Config

from tests.environment import ROOT
from tests.localcloud.driving import PYTHON, Serving, serving
from tests.support import readme

PASSWORD = """Aa1 ,="'$ !\\%{"""  # characters that a shell or AWS CLI's shorthand would interpret
# macOS pads the number with blanks.
PADDING_WC = '#!/bin/sh\nprintf "%8s\\n" "$({wc} "$@" | tr -d " ")"\n'


def block(beginning: str) -> str:
    """Return the fenced block of the README that begins with `beginning`."""
    (found,) = [one for one in readme.blocks("sh") if one.startswith(beginning)]
    return found


@pytest.fixture(scope="module")
def cloud() -> Iterator[Serving]:
    with serving() as found:
        yield found


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def shell(name: str, script: str, folder: Path, environment: Mapping[str, str]) -> str:
    """Run the script in this shell; return what it prints."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    options = ["-f"] if name == "zsh" else []
    path = f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [found, *options, "-eu", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", ["bash", "zsh"])
@pytest.mark.parametrize("cli", ["AWS CLI", "stand-in"])
def test_user_with_any_password_gets_a_token(cloud: Serving, tmp_path: Path, name: str, cli: str) -> None:
    aws = cloud.printed["aws"]
    settings = {
        "AWS_ENDPOINT_URL": aws["endpoint"],
        "AWS_DEFAULT_REGION": aws["region"],
        "AWS_REGION": aws["region"],
        "AWS_ACCESS_KEY_ID": aws["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": aws["secret_access_key"],
        "AWS_CLI_LOG": str(tmp_path / "log"),
    }
    if cli == "stand-in":
        script = shlex.join([sys.executable, str(ROOT / "tests/e2e/aws_cli.py")])
        executable(tmp_path / "bin" / "aws", f'#!/bin/sh\nexec {script} "$@"\n')
    elif subprocess.run("aws --version", shell=True, capture_output=True, check=False).returncode != 0:
        pytest.skip("AWS CLI is not installed")
    cognito = boto3.client(
        "cognito-idp",
        endpoint_url=aws["endpoint"],
        region_name=aws["region"],
        aws_access_key_id=aws["access_key_id"],
        aws_secret_access_key=aws["secret_access_key"],
        config=Config(proxies={}),
    )
    (pool,) = cognito.list_user_pools(MaxResults=5)["UserPools"]
    (client,) = cognito.list_user_pool_clients(UserPoolId=pool["Id"])["UserPoolClients"]
    email = f"{name}-{cli.replace(' ', '-')}@example.com"
    output = (
        f'output() {{ case "$1" in UserPoolId) echo {pool["Id"]};; *) echo {client["ClientId"]};; esac; }}\n'
    )
    commands = block("aws cognito-idp admin-create-user") + block("API=$(output ApiUrl)\nTOKEN=")
    script = f'{output}{commands}\nprintf %s "$TOKEN"'
    printed = shell(name, script, tmp_path, {**settings, "EMAIL": email, "PASSWORD": PASSWORD})

    token = printed[printed.index("eyJ") :]
    answer = cloud.http.get(
        f"{cloud.printed['api']}/api/v1/jobs", headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 200
    user = cognito.admin_get_user(UserPoolId=pool["Id"], Username=email)
    attributes = {one["Name"]: one.get("Value") for one in user["UserAttributes"]}
    assert (attributes["email"], attributes["email_verified"]) == (email, "true")
    if cli == "stand-in":
        assert "%{" not in (tmp_path / "log").read_text()  # no part of the password is an argument


def test_commands_that_serve_prints_can_be_pasted(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.localcloud", "serve"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if line.startswith('curl -sS "$API/api/v1/jobs/$ID"'):
                break
        script = "".join(lines[next(n for n, line in enumerate(lines) if line.startswith("API=")) :])
        script = script.replace("Repeat this line until it says SUCCEEDED:\n", "")
        assert "#" not in script
        executable(tmp_path / "bin" / "wc", PADDING_WC.format(wc=shutil.which("wc")))
        for name in filter(shutil.which, ("bash", "zsh")):
            created, job = map(json.loads, shell(name, script, tmp_path, {}).splitlines())
            assert created["job_id"] == job["job_id"]
            assert job["status"] in {"AWAITING_UPLOAD", "GENERATING", "SUCCEEDED"}
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
