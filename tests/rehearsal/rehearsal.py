"""A rehearsed stack: MiniStack, the stand-in for Replicate, and an operator's commands."""

from __future__ import annotations

import os
import secrets
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, override

import httpx

from tests.localcloud import replicate, sample
from tests.localcloud.driving import Driver
from tests.rehearsal import deploy, ministack
from tests.support.cognito import sign_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from tests.localcloud.replicate import StandIn
    from tests.rehearsal.deploy import Build, Template
    from tests.rehearsal.ministack import Ministack

STACK = "triptych"
TOKEN_PARAMETER = "/triptych/replicate-token"
QUEUES = {
    "generation": "GenerationQueueUrl",
    "generation_dlq": "GenerationDeadLetterQueueUrl",
    "watchdog": "WatchdogQueueUrl",
    "watchdog_dlq": "WatchdogDeadLetterQueueUrl",
}


@dataclass
class Rehearsed:
    """A stack on a running MiniStack, before or after its deployment."""

    cloud: Ministack
    replicate_url: str
    stack: str = STACK
    outputs: dict[str, str] = field(default_factory=dict)
    parameters: dict[str, str] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)

    def deploy(
        self,
        built: Build,
        parameters: Mapping[str, str],
        *,
        change: Callable[[Template], None] = lambda _: None,
    ) -> None:
        """Create or update the stack with `sam deploy`. Parameters of earlier deployments stay, as with samconfig.toml.

        Raises:
            RuntimeError: SAM CLI failed. The message holds its output.
        """
        host = self.replicate_url.removeprefix("http://").partition(":")[0]
        self.parameters = {**self.parameters, **parameters}
        hosts = {
            name: f"{self.parameters.get(name, 'replicate.delivery')},{host}"
            for name in ("AllowedOutputHosts", "ReplicateDeliveryHosts")
        }
        used = {**self.parameters, "ReplicateBaseUrl": self.replicate_url, **hosts}
        self.outputs = deploy.deploy(self.cloud, built, self.stack, used, change)
        if not self.tokens:
            self.tokens = list(sign_up(self.cloud.client("cognito-idp"), self.outputs))

    def description(self) -> dict[str, Any]:
        """Return what `--keep` prints for programs. It holds what the local cloud's `serve --json` holds, and more."""
        return {
            "api": self.outputs["ApiUrl"],
            "tokens": self.tokens,
            "aws": {
                "endpoint": self.cloud.endpoint,
                "region": ministack.REGION,
                "access_key_id": self.cloud.environment["AWS_ACCESS_KEY_ID"],
                "secret_access_key": self.cloud.environment["AWS_SECRET_ACCESS_KEY"],
            },
            "bucket": self.outputs["Bucket"],
            "table": self.outputs["Table"],
            "queues": {name: self.outputs[output] for name, output in QUEUES.items()},
            "log": str(self.cloud.log),
            "region": ministack.REGION,
            "account": self.cloud.client("sts").get_caller_identity()["Account"],
            "stack": self.stack,
            "outputs": self.outputs,
            "parameters": self.parameters,
            "environment": self.cloud.environment,
            "replicate": self.replicate_url,
        }

    @contextmanager
    def driver(self) -> Iterator[StackDriver]:
        """Drive the stack as a client does."""
        # A function that an update has replaced starts anew, which takes MiniStack long on a loaded machine.
        with httpx.Client(trust_env=False, timeout=90) as http:
            yield StackDriver(self.description(), http, sample.photo(), self)


@dataclass
class StackDriver(Driver):
    """A driver of a rehearsed stack, with an operator's access."""

    rehearsed: Rehearsed

    @cached_property
    def _folders(self) -> dict[str, str]:
        """The functions' folder names, by the functions' names."""
        found = self.rehearsed.cloud.client("cloudformation").list_stack_resources(
            StackName=self.rehearsed.stack
        )
        return {
            one["PhysicalResourceId"]: one["LogicalResourceId"].removesuffix("Function").lower()
            for one in found["StackResourceSummaries"]
            if one["ResourceType"] == "AWS::Lambda::Function"
        }

    @override
    def pids(self) -> dict[str, list[int]]:
        """Return the ids of the functions' processes, which MiniStack starts as its children."""
        pids: dict[str, list[int]] = {folder: [] for folder in self._folders.values()}
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if os.getpgid(int(folder.name)) != self.rehearsed.cloud.group:
                    continue
                settings = dict(
                    pair.split("=", 1) for pair in (folder / "environ").read_text().split("\0") if "=" in pair
                )
            except (OSError, UnicodeDecodeError):
                continue  # the process has ended
            if name := self._folders.get(settings.get("AWS_LAMBDA_FUNCTION_NAME", "")):
                pids[name].append(int(folder.name))
        return pids

    @override
    def log(self) -> str:
        """Return the functions' log lines from CloudWatch Logs."""
        logs = self.rehearsed.cloud.client("logs").get_paginator("filter_log_events")
        pages = logs.paginate(logGroupName=self.rehearsed.outputs["LogGroup"])
        return "".join(event["message"].rstrip("\n") + "\n" for page in pages for event in page["events"])


@contextmanager
def running(
    folder: Path,
    *,
    replicate_url: str | None = None,
    stand_in: StandIn | None = None,
    token: str = "",
) -> Iterator[Rehearsed]:
    """Run MiniStack in `folder`, with Replicate's token stored in it, until the context ends.

    Args:
        folder: The folder for MiniStack's files.
        replicate_url: A server that speaks Replicate's API, instead of a new stand-in.
        stand_in: A running stand-in, instead of a new one.
        token: Replicate's token, for these two.
    """
    with ExitStack() as stack:
        if replicate_url is None and stand_in is None:
            token = secrets.token_hex(20)
            stand_in = stack.enter_context(start_replicate(token))
        cloud = stack.enter_context(ministack.running(folder))
        cloud.client("ssm").put_parameter(Name=TOKEN_PARAMETER, Type="SecureString", Value=token)
        yield Rehearsed(cloud, replicate_url or (stand_in.url if stand_in else ""))


def start_replicate(token: str) -> StandIn:
    """Start the stand-in for Replicate, without rate limits."""
    return replicate.start(token, allow_http_webhooks=True, creates_per_minute=0, requests_per_minute=0)
