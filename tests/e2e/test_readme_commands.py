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
from tests.localcloud.template import ACCOUNT
from tests.recorded.cases import load
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


def settings(cloud: Serving, folder: Path) -> dict[str, str]:
    """Return the environment variables that point a command at the local cloud."""
    aws = cloud.printed["aws"]
    return {
        "AWS_ENDPOINT_URL": aws["endpoint"],
        "AWS_DEFAULT_REGION": aws["region"],
        "AWS_REGION": aws["region"],
        "AWS_ACCESS_KEY_ID": aws["access_key_id"],
        "AWS_SECRET_ACCESS_KEY": aws["secret_access_key"],
        "AWS_CLI_LOG": str(folder / "log"),
    }


@pytest.mark.parametrize("name", ["bash", "zsh"])
@pytest.mark.parametrize("cli", ["AWS CLI", "stand-in"])
def test_user_with_any_password_gets_a_token(cloud: Serving, tmp_path: Path, name: str, cli: str) -> None:
    aws = cloud.printed["aws"]
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
    printed = shell(
        name, script, tmp_path, {**settings(cloud, tmp_path), "EMAIL": email, "PASSWORD": PASSWORD}
    )

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


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_replay_of_dead_letters_is_a_request_that_aws_recorded(
    cloud: Serving, tmp_path: Path, name: str
) -> None:
    queues = {"Generation": "generation_dlq", "Watchdog": "watchdog_dlq"}
    urls = {f"{kind}DeadLetterQueueUrl": cloud.printed["queues"][queue] for kind, queue in queues.items()}
    cases = "".join(f"{output}) echo {url};; " for output, url in urls.items())
    output = f'output() {{ case "$1" in {cases}esac; }}\n'
    script = shlex.join([sys.executable, str(ROOT / "tests/e2e/aws_cli.py")])
    executable(tmp_path / "bin" / "aws", f'#!/bin/sh\nexec {script} "$@"\n')
    shell(name, output + block("for url in "), tmp_path, settings(cloud, tmp_path))

    calls = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    moves = [call[2:] for call in calls if call[:2] == ["sqs", "start-message-move-task"]]
    region = cloud.printed["aws"]["region"]
    arns = [f"arn:aws:sqs:{region}:{ACCOUNT}:{url.rpartition('/')[2]}" for url in urls.values()]
    assert moves == [["--source-arn", arn] for arn in arns]
    # AWS moved these messages back to the queue that they came from.
    (recorded,) = [case for case in load("sqs") if case.name == "move dead letters back"]
    (step,) = [one for one in recorded.content["steps"] if one["call"] == "sqs.start_message_move_task"]
    assert (set(step["with"]), step["answer"]["status"]) == ({"SourceArn"}, 200)


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
