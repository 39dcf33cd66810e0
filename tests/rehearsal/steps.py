"""The steps of the rehearsal: what an operator does with a stack, from its first deployment to its end."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import httpx

from tests.environment import ROOT
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.rehearsal import deploy, older, rehearsal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.localcloud.driving import Driver
    from tests.localcloud.replicate import StandIn
    from tests.rehearsal.ministack import Ministack
    from tests.rehearsal.rehearsal import Rehearsed

type Say = Callable[[str, float, str], None]  # a step, its seconds, its result

TEMPLATE = ROOT / "template.yaml"
RELEASES = ROOT / "tests/releases"
EVERY_SECONDS = 5  # a job that starts while the stack is updated
END_SECONDS = 90  # until a job's end
RETAINED = {
    "AWS::Cognito::UserPool": 1,
    "AWS::DynamoDB::Table": 1,
    "AWS::S3::Bucket": 2,
}  # how many of each type
# How to list what a stack made: service, operation, its arguments, the list's name, the name of an element's id.
LISTS: dict[str, tuple[str, str, dict[str, Any], str, str | None]] = {
    "AWS::ApiGatewayV2::Api": ("apigatewayv2", "get_apis", {}, "Items", "ApiId"),
    "AWS::CloudWatch::Alarm": ("cloudwatch", "describe_alarms", {}, "MetricAlarms", "AlarmName"),
    "AWS::CloudWatch::Dashboard": ("cloudwatch", "list_dashboards", {}, "DashboardEntries", "DashboardName"),
    "AWS::Cognito::UserPool": ("cognito-idp", "list_user_pools", {"MaxResults": 60}, "UserPools", "Id"),
    "AWS::DynamoDB::Table": ("dynamodb", "list_tables", {}, "TableNames", None),
    "AWS::Events::ApiDestination": ("events", "list_api_destinations", {}, "ApiDestinations", "Name"),
    "AWS::Events::Connection": ("events", "list_connections", {}, "Connections", "Name"),
    "AWS::Events::Rule": ("events", "list_rules", {}, "Rules", "Name"),
    "AWS::IAM::Role": ("iam", "list_roles", {}, "Roles", "RoleName"),
    "AWS::Lambda::EventSourceMapping": (
        *("lambda", "list_event_source_mappings", {}),
        *("EventSourceMappings", "UUID"),
    ),
    "AWS::Lambda::Function": ("lambda", "list_functions", {}, "Functions", "FunctionName"),
    "AWS::Lambda::LayerVersion": ("lambda", "list_layers", {}, "Layers", "LayerName"),
    "AWS::Logs::LogGroup": ("logs", "describe_log_groups", {}, "logGroups", "logGroupName"),
    "AWS::S3::Bucket": ("s3", "list_buckets", {}, "Buckets", "Name"),
    "AWS::SNS::Topic": ("sns", "list_topics", {}, "Topics", "TopicArn"),
    "AWS::SQS::Queue": ("sqs", "list_queues", {}, "QueueUrls", None),
    "AWS::SecretsManager::Secret": ("secretsmanager", "list_secrets", {}, "SecretList", "Name"),
}


class StepError(Exception):
    """A step showed something else than an operator expects."""


@dataclass
class Receiver:
    """The server at `CallbackUrl`."""

    server: HttpServer = field(default_factory=HttpServer)
    jobs: Counter[str] = field(default_factory=Counter)
    keys: set[str] = field(default_factory=set)
    changed: threading.Condition = field(default_factory=threading.Condition)

    def answer(self, request: Request) -> Response:
        with self.changed:
            self.jobs[json.loads(request.body)["detail"]["job_id"]] += 1
            self.keys |= {value for name, value in request.headers if name.lower() == "x-triptych-key"}
            self.changed.notify_all()
        return Response(204)

    def wait_for(self, *job_ids: str) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: self.jobs.keys() >= set(job_ids), END_SECONDS):
                raise StepError(f"no callback for {set(job_ids) - self.jobs.keys()}")


class Traffic(threading.Thread):
    """A client that starts a job every few seconds until `finish`."""

    def __init__(self, driver: Driver) -> None:
        super().__init__(daemon=True)
        self._driver, self._end = driver, threading.Event()
        self.jobs: list[str] = []
        self.refusals: list[str] = []

    def run(self) -> None:
        while not self._end.is_set():
            try:
                self.jobs.append(self._driver.start())
            except (AssertionError, OSError, httpx.HTTPError) as error:
                self.refusals.append(f"{type(error).__name__}: {error}"[:300])
            self._end.wait(EVERY_SECONDS)

    def finish(self) -> list[str]:
        """Start no more jobs; return those that were started."""
        self._end.set()
        self.join(60)
        if self.refusals:
            raise StepError(f"requests failed during the update: {self.refusals}")
        return self.jobs


@dataclass
class Rehearsal:
    """The steps, in order. Each returns a short result."""

    folder: Path
    stack: ExitStack
    receiver: Receiver = field(default_factory=Receiver)
    before: dict[str, set[str]] = field(default_factory=dict)

    def start(self) -> str:
        """Start MiniStack, the stand-in for Replicate and the server at `CallbackUrl`."""
        self.stack.enter_context(self.receiver.server.start(self.receiver.answer))
        token = "r8_rehearsal"  # the stand-in's, which listens on loopback
        self.replicate: StandIn = self.stack.enter_context(rehearsal.start_replicate(token))
        self.rehearsed: Rehearsed = self.stack.enter_context(
            rehearsal.running(self.folder, stand_in=self.replicate, token=token)
        )
        self.before = listed(self.rehearsed.cloud)
        return self.rehearsed.cloud.endpoint

    def build(self) -> str:
        """Run `sam build`, also for the last release's template if it differs from today's."""
        self.today = deploy.build(self.folder)
        last, path = self.today, last_release()
        if path.read_bytes() != TEMPLATE.read_bytes():
            other = self.folder / "release"
            other.mkdir()
            last = deploy.build(other, path)
        self.older = older.older(last, self.folder / "older")
        return f"{len(self.today.template()['Resources'])} resources in the template"

    def deploy_today(self) -> str:
        """Deploy today's template as a new stack."""
        return self._deploy(self.today)

    def deploy_older(self) -> str:
        """Deploy an older release as a new stack. It lacks a route and some parameters of today's."""
        url = self._deploy(self.older)
        if (status := self._describes_itself()) != HTTPStatus.UNAUTHORIZED:
            raise StepError(f"the older release has today's route: {status}")
        if present := set(older.PARAMETERS) & self._parameters().keys():
            raise StepError(f"the older release has parameters of today's: {present}")
        return f"{last_release().stem} without {', '.join(older.PARAMETERS)} and a route, {url}"

    def _describes_itself(self) -> int:
        return self.driver.http.get(self.rehearsed.outputs["ApiUrl"] + older.PATH).status_code

    def _parameters(self) -> dict[str, str]:
        (found,) = self.rehearsed.cloud.client("cloudformation").describe_stacks(
            StackName=self.rehearsed.stack
        )["Stacks"]
        return {one["ParameterKey"]: one["ParameterValue"] for one in found["Parameters"]}

    def _deploy(self, built: deploy.Build) -> str:
        callback = f"{self.receiver.server.url}/ends"
        self.rehearsed.deploy(built, {"CallbackUrl": callback, "WatchdogDelaySeconds": "5"})
        self.driver = self.stack.enter_context(self.rehearsed.driver())
        return self.rehearsed.outputs["ApiUrl"]

    def job(self) -> str:
        """Run a job from a token of Cognito to three pictures."""
        return self._job(3)

    def _job(self, count: int) -> str:
        job = self.driver.end_of(self.driver.start(), within=END_SECONDS)
        pictures = self.driver.pictures(job)
        if job["status"] != "SUCCEEDED" or len(set(pictures)) != count:
            raise StepError(f"{len(set(pictures))} pictures, expected {count}: {job}")
        return f"{count} pictures, {sum(map(len, pictures)) // 1024} KiB"

    def callback(self) -> str:
        """Wait until CallbackUrl has been called, with the key of the stack's secret."""
        job = self.driver.request("GET", "/api/v1/jobs").json()["jobs"][0]["job_id"]
        self.receiver.wait_for(job)
        secret = self.rehearsed.cloud.client("secretsmanager").get_secret_value(
            SecretId=self.rehearsed.outputs["CallbackKeyArn"]
        )
        if self.receiver.keys != {secret["SecretString"]}:
            raise StepError("X-Triptych-Key is not the stack's secret")
        return f"{self.receiver.jobs[job]} call, with the stack's key"

    def update_from_older(self) -> str:
        """Update to today's release while jobs run; all of them end."""
        waiting = self.driver.create()
        paid = len(self.replicate.ledger().predictions)
        traffic = Traffic(self.driver)
        traffic.start()
        began = time.monotonic()
        self.rehearsed.deploy(self.today, {})
        seconds = time.monotonic() - began
        jobs = traffic.finish()
        if (status := self._describes_itself()) != HTTPStatus.OK:
            raise StepError(f"the update did not add the route: {status}")
        if missing := set(older.PARAMETERS) - self._parameters().keys():
            raise StepError(f"the update did not add the parameters {missing}")
        self.driver.upload(waiting)
        for job_id in (*jobs, str(waiting["job_id"])):
            job = self.driver.end_of(job_id, within=END_SECONDS)
            if job["status"] != "SUCCEEDED" or len(self.driver.pictures(job)) != 3:
                raise StepError(f"a job of the update: {job}")
        paid = len(self.replicate.ledger().predictions) - paid
        if paid != 3 * (len(jobs) + 1):
            raise StepError(f"{paid} predictions for {len(jobs) + 1} jobs of three images")
        self.receiver.wait_for(*jobs)
        return f"{seconds:.0f} s for the update, {len(jobs) + 1} jobs ended, {paid} predictions"

    def update_parameter(self) -> str:
        """Update one parameter; a new job follows it."""
        self.rehearsed.deploy(self.today, {"ImageCount": "1"})
        return f"ImageCount=1: {self._job(1)}"

    def delete(self) -> str:
        """Delete the stack; only what the template retains is left."""
        deploy.delete(self.rehearsed.cloud, self.rehearsed.stack)
        left = {
            kind: found - self.before[kind]
            for kind, found in listed(self.rehearsed.cloud).items()
            if found - self.before[kind]
        }
        left["AWS::S3::Bucket"] = {
            name for name in left.get("AWS::S3::Bucket", set()) if not name.startswith("aws-sam-cli-managed")
        }
        # MiniStack makes a log group again for the last lines of a function that still runs. AWS does not: the functions'
        # roles may not create one.
        left.pop("AWS::Logs::LogGroup", None)
        if {kind: len(names) for kind, names in left.items()} != RETAINED:
            raise StepError(f"left after the deletion: {left}")
        return "left: the user pool, the table and the two buckets, which the template retains"


FIRST = ("start", "build", "deploy_today", "job")
WHOLE = (
    *("start", "build", "deploy_older", "job", "callback", "update_from_older", "update_parameter"),
    "delete",
)


def last_release() -> Path:
    """Return the template of the newest release."""
    return max(RELEASES.glob("*.yaml"), key=lambda path: [int(part) for part in path.stem.split(".")])


def listed(cloud: Ministack) -> dict[str, set[str]]:
    """Return the ids of everything in the account, by resource type."""
    found = {}
    for kind, (service, operation, arguments, name, identity) in LISTS.items():
        answer = getattr(cloud.client(service), operation)(**arguments)
        found[kind] = {one[identity] if identity else one for one in answer.get(name, [])}
    return found


@contextmanager
def rehearsing(folder: Path, names: tuple[str, ...], say: Say) -> Iterator[Rehearsal]:
    """Run the steps in order, and keep everything up until the context ends.

    Args:
        folder: The folder for all files.
        names: The steps.
        say: Called after each step that succeeded.

    Raises:
        StepError: A step failed. Its name is in a note.
        RuntimeError: A command or a server failed, likewise.
    """
    with ExitStack() as stack:
        made = Rehearsal(folder, stack)
        for name in names:
            began = time.monotonic()
            try:
                result = getattr(made, name)()
            except Exception as error:
                error.add_note(f"in the step {name}")
                raise
            say(name, time.monotonic() - began, result)
        yield made
