"""Tests of the watchdog under Lambda's recursive loop detection, since it sends to the queue that invokes it.

MiniStack counts. gaps.py adds what it lacks to count a loop through a queue.
https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.environment import ROOT
from tests.rehearsal import deploy, ministack
from tests.rehearsal.ministack import Ministack

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="the layers are built for Lambda's Linux"),
    pytest.mark.timeout(600),  # the first test builds and deploys
]

LIMIT = 16  # invocations in one chain
UPLOAD_URL_SECONDS = 40  # the watchdog looks for twice as long, every 1 s to 2 s: 40 to 80 times
PARAMETERS = {"WatchdogDelaySeconds": "1", "UploadUrlSeconds": str(UPLOAD_URL_SECONDS), "ServePage": "false"}
EVENT: dict[str, Any] = json.loads((ROOT / "functions/api/event.json").read_text())


@dataclass
class Stack:
    """A deployed stack."""

    cloud: Ministack
    name: str
    outputs: dict[str, str]

    def function(self, logical_id: str) -> str:
        found = self.cloud.client("cloudformation").describe_stack_resource(
            StackName=self.name, LogicalResourceId=logical_id
        )
        return str(found["StackResourceDetail"]["PhysicalResourceId"])

    def call(self, method: str, path: str, **event: object) -> dict[str, Any]:
        """Invoke the API's function as API Gateway does, without a user and a token."""
        context = {
            **EVENT["requestContext"],
            "http": {**EVENT["requestContext"]["http"], "method": method, "path": path},
        }
        whole = {**EVENT, "rawPath": path, "requestContext": context, **event}
        answer = self.cloud.client("lambda").invoke(
            FunctionName=self.function("ApiFunction"), Payload=json.dumps(whole)
        )
        response = json.loads(answer["Payload"].read())
        assert response["statusCode"] < 300, response
        return dict(json.loads(response["body"]))

    def create(self) -> str:
        return str(self.call("POST", "/api/v1/jobs")["job_id"])

    def status(self, job_id: str) -> str:
        return str(self.call("GET", f"/api/v1/jobs/{job_id}", body=None)["status"])

    def looks(self) -> int:
        """Return the number of the watchdog's invocations; each has one message."""
        line = rf"ESM: Lambda {self.function('WatchdogFunction')} processed 1 SQS messages"
        return len(re.findall(line, self.cloud.log.read_text()))

    def dropped(self) -> float:
        """Return the watchdog's metric RecursiveInvocationsDropped in AWS/Lambda."""
        now = time.time()
        points = self.cloud.client("cloudwatch").get_metric_statistics(
            Namespace="AWS/Lambda",
            MetricName="RecursiveInvocationsDropped",
            Dimensions=[{"Name": "FunctionName", "Value": self.function("WatchdogFunction")}],
            StartTime=now - 3600,
            EndTime=now + 60,
            Period=3600,
            Statistics=["Sum"],
        )["Datapoints"]
        return float(sum(point["Sum"] for point in points))

    def dead_letters(self, *, wait: int = 20) -> list[dict[str, Any]]:
        """Wait up to `wait` seconds for messages in the watchdog's dead-letter queue; return them."""
        url = self.outputs["WatchdogDeadLetterQueueUrl"]
        answer = self.cloud.client("sqs").receive_message(
            QueueUrl=url, WaitTimeSeconds=wait, AttributeNames=["All"]
        )
        return list(answer.get("Messages", []))

    def waiting(self) -> int:
        """Return the number of messages in the watchdog's queue: visible, delayed or in flight."""
        counts = self.cloud.client("sqs").get_queue_attributes(
            QueueUrl=self.outputs["WatchdogQueueUrl"], AttributeNames=["All"]
        )["Attributes"]
        return sum(
            int(value) for name, value in counts.items() if name.startswith("ApproximateNumberOfMessages")
        )


@dataclass
class Stacks:
    """The stack, and the stack without `RecursiveLoop`. Each has a job whose photo is never uploaded."""

    cloud: Ministack
    allowed: Stack
    allowed_job: str
    stopped: Stack
    stopped_job: str


@pytest.fixture(scope="module")
def stacks() -> Iterator[Stacks]:
    # Not pytest's folder, which remains: a build and the functions' code are some 500 MB.
    with TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        with ministack.running(folder) as cloud:
            built = deploy.build(folder)
            # The watchdog looks at the first job while the second stack is deployed.
            allowed = Stack(cloud, "allowed", deploy.deploy(cloud, built, "allowed", PARAMETERS))
            allowed_job = allowed.create()
            outputs = deploy.deploy(cloud, built, "stopped", PARAMETERS, without_recursive_loop)
            stopped = Stack(cloud, "stopped", outputs)
            yield Stacks(cloud, allowed, allowed_job, stopped, stopped.create())


@pytest.fixture(autouse=True)
def log(stacks: Stacks) -> Iterator[None]:
    """Show the end of MiniStack's log if a test fails."""
    yield
    sys.stdout.write(stacks.cloud.end_of_log())


def without_recursive_loop(template: deploy.Template) -> None:
    found = [
        one["Properties"].pop("RecursiveLoop", None)
        for one in template["Resources"].values()
        if "Properties" in one
    ]
    assert "Allow" in found


def test_loop_limit_stops_the_watchdog_unless_loops_are_allowed(stacks: Stacks) -> None:
    stack = stacks.stopped
    deadline = time.monotonic() + 2 * UPLOAD_URL_SECONDS
    dead: list[dict[str, Any]] = []
    while not dead and time.monotonic() < deadline:
        dead = stack.dead_letters()
    assert [json.loads(one["Body"])["job_id"] for one in dead] == [stacks.stopped_job]
    # The function's own botocore carries the count from message to message.
    assert dead[0]["Attributes"]["AWSTraceHeader"].endswith(f":{LIMIT}")
    assert stack.looks() == LIMIT - 1  # the first invocation of the chain is the API's
    assert stack.dropped() == 1
    # The job has not ended, and no message is left that could end it.
    assert stack.waiting() == 0
    assert stack.status(stacks.stopped_job) == "AWAITING_UPLOAD"


def test_watchdog_continues_past_the_limit_when_loops_are_allowed(stacks: Stacks) -> None:
    stack = stacks.allowed
    deadline = time.monotonic() + 4 * UPLOAD_URL_SECONDS
    while (status := stack.status(stacks.allowed_job)) == "AWAITING_UPLOAD" and time.monotonic() < deadline:
        time.sleep(0.5)
    assert status == "EXPIRED"
    assert stack.looks() > 2 * LIMIT
    assert stack.dropped() == 0
    assert stack.waiting() == 0
    assert stack.dead_letters(wait=0) == []


@pytest.mark.parametrize(("name", "setting"), [("allowed", "Allow"), ("stopped", "Terminate")])
def test_recursive_loop_is_deployed(stacks: Stacks, name: str, setting: str) -> None:
    stack: Stack = getattr(stacks, name)
    for function in ("GenerateFunction", "WatchdogFunction"):
        found = stacks.cloud.client("lambda").get_function_recursion_config(
            FunctionName=stack.function(function)
        )
        assert found["RecursiveLoop"] == setting


def test_all_processes_listen_on_loopback_only(stacks: Stacks) -> None:
    addresses = listening(stacks.cloud.group)
    assert ("127.0.0.1", int(stacks.cloud.endpoint.rpartition(":")[2])) in addresses
    assert {address for address, _ in addresses} == {"127.0.0.1"}


def listening(group: int) -> set[tuple[str, int]]:
    """Return the addresses on which the group's processes accept TCP connections; `::` for any IPv6 address."""
    processes = [folder for folder in Path("/proc").glob("[0-9]*") if _group(folder) == group]
    sockets = {
        str(file.readlink()) for folder in processes for file in folder.glob("fd/*") if file.is_symlink()
    }
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in sockets:
                address, port = local.split(":")
                packed = bytes.fromhex(address)[::-1]
                found.add((socket.inet_ntoa(packed) if table == "tcp" else "::", int(port, 16)))
    return found


def _group(folder: Path) -> int | None:
    try:
        return os.getpgid(int(folder.name))
    except ProcessLookupError:
        return None
