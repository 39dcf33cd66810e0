"""A driver of the local cloud for tests. It uses only the command line, HTTP and AWS requests, as any program can."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal, override

import boto3
import httpx
from botocore.config import Config

from tests.environment import ROOT, VENV
from tests.localcloud import sample
from tests.support.client import Client

PYTHON = VENV / "bin" / "python"
START_SECONDS = 60


@dataclass
class Driver(Client):
    """A running local cloud, and requests to it. `printed` is the JSON line from `serve --json`."""

    printed: dict[str, Any]
    http: httpx.Client
    photo: bytes

    @property
    @override
    def api(self) -> str:
        return str(self.printed["api"])

    @property
    @override
    def tokens(self) -> list[str]:
        return list(self.printed["tokens"])

    @override
    def unfinished(self, job: Mapping[str, Any]) -> str:
        return f"{job}\n{self.log()[-3000:]}"

    def aws(self, service: Literal["s3", "sqs", "dynamodb", "secretsmanager"]) -> Any:
        aws = self.printed["aws"]
        return boto3.client(
            service,
            endpoint_url=aws["endpoint"],
            region_name=aws["region"],
            aws_access_key_id=aws["access_key_id"],
            aws_secret_access_key=aws["secret_access_key"],
            config=Config(proxies={}),
        )

    def pids(self) -> dict[str, list[int]]:
        return dict(self.http.get(self.printed["pids"]).json())

    def messages(self, queue: str) -> int:
        """Return the number of messages in a queue: visible, in flight and delayed."""
        found = self.aws("sqs").get_queue_attributes(
            QueueUrl=self.printed["queues"][queue], AttributeNames=["All"]
        )
        names = ("", "NotVisible", "Delayed")
        return sum(int(found["Attributes"][f"ApproximateNumberOfMessages{name}"]) for name in names)

    def log(self) -> str:
        with open(self.printed["log"], encoding="utf-8") as file:  # noqa: PTH123  # shorter than a Path
            return file.read()

    def ends_of(self, job_id: str, *, within: float = 30) -> list[dict[str, Any]]:
        """Wait for an event of the job's end in the log; return all of them."""
        give_up_at = time.monotonic() + within
        while True:
            lines = [line for line in self.log().splitlines() if '"service": "events"' in line]
            events = [one["event"] for one in map(json.loads, lines) if one["message"] == "event"]
            if ends := [event for event in events if event["detail"]["job_id"] == job_id]:
                return ends
            assert time.monotonic() < give_up_at, f"no event of {job_id}"
            time.sleep(0.1)  # there is no event to wait for


@dataclass
class Serving(Driver):
    """A running `serve --json`."""

    process: subprocess.Popen[str]


@contextmanager
def serving(
    *options: str,
    environment: Mapping[str, str] | None = None,
    stderr: IO[str] | None = None,
    wastes: bool = False,
) -> Iterator[Serving]:
    """Run `python -m tests.localcloud serve --json OPTIONS` until the context ends, then stop it by SIGTERM.

    Args:
        options: More options.
        environment: More environment variables.
        stderr: Where its standard error goes.
        wastes: Whether predictions may be made for nothing. Otherwise one in the log is an error.
    """
    process = subprocess.Popen(
        [PYTHON, "-m", "tests.localcloud", "serve", "--json", *options],
        cwd=ROOT,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line, "the local cloud ended before it was ready"
        with httpx.Client(trust_env=False, timeout=30) as http:
            running = Serving(json.loads(line), http, sample.photo(), process)
            yield running
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
    wasted = [line for line in running.log().splitlines() if '"PredictionsWasted"' in line]
    assert wastes or not wasted, f"predictions were made for nothing: {wasted}"
