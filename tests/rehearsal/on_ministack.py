"""A pytest plugin that runs end-to-end tests on a stack that SAM CLI has deployed on MiniStack.

`.venv/bin/python -m pytest -p tests.rehearsal.on_ministack tests/e2e/test_flow_e2e.py`

It takes the place of `serving`. Tests that use the local cloud in another way stay on the local cloud. The variable
`REHEARSAL_BUILD` names a folder with a finished build.
"""

from __future__ import annotations

import atexit
import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, override

import httpx

from tests.localcloud import driving, overrides, sample
from tests.rehearsal import deploy, rehearsal
from tests.rehearsal.rehearsal import Rehearsed, StackDriver

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass
class Observed(StackDriver):
    """A driver that also sees the events on the bus."""

    bus: str = ""  # URL of a queue that gets every event of the stack
    seen: list[dict[str, Any]] = field(default_factory=list)

    @override
    def ends_of(self, job_id: str, *, within: float = 30) -> list[dict[str, Any]]:
        sqs = self.aws("sqs")
        deadline = time.monotonic() + within
        while not (ends := [one for one in self.seen if one["detail"]["job_id"] == job_id]):
            assert time.monotonic() < deadline, f"no event of {job_id}"
            answer = sqs.receive_message(QueueUrl=self.bus, WaitTimeSeconds=1, MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                self.seen.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=self.bus, ReceiptHandle=message["ReceiptHandle"])
        return ends


@cache
def built() -> deploy.Build:
    """Return a build of today's template. Its folder is removed when the process ends."""
    if given := os.environ.get("REHEARSAL_BUILD"):
        return deploy.Build(Path(given))
    folder = TemporaryDirectory(prefix="rehearsal-build-", ignore_cleanup_errors=True)
    atexit.register(folder.cleanup)
    return deploy.build(Path(folder.name))


@contextmanager
def serving(
    *options: str, environment: Mapping[str, str] | None = None, wastes: bool = False, **_: object
) -> Iterator[Observed]:
    """Deploy the stack on a new MiniStack, with the local cloud's options."""
    words = iter(options)
    url: str | None = None
    given = []
    for word in words:
        match word:
            case "--replicate-url":
                url = next(words)
            case "--workers":
                next(words)
            case "--parameter-overrides":
                pass
            case _:
                given.append(word)
    token = (environment or {}).get("REPLICATE_API_TOKEN", "")
    with (
        TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True) as folder,
        rehearsal.running(Path(folder), replicate_url=url, token=token) as made,
    ):
        made.deploy(built(), overrides.read(given))
        with httpx.Client(trust_env=False, timeout=35) as http:
            running = Observed(made.description(), http, sample.photo(), made, bus=_watch_bus(made))
            yield running
            wasted = [line for line in running.log().splitlines() if '"PredictionsWasted"' in line]
            assert wastes or not wasted, f"predictions were made for nothing: {wasted}"


def _watch_bus(made: Rehearsed) -> str:
    sqs, events = made.cloud.client("sqs"), made.cloud.client("events")
    url = str(sqs.create_queue(QueueName="bus")["QueueUrl"])
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="bus", EventPattern=json.dumps({"source": ["triptych"]}))
    events.put_targets(Rule="bus", Targets=[{"Id": "bus", "Arn": arn}])
    return url


def pytest_configure() -> None:
    """Replace `serving` before any test module imports it."""
    driving.serving = serving  # type: ignore[assignment]  # the plugin's purpose
