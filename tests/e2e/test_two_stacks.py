"""Two stacks in one account and region share no job, event or resource."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass

import boto3
import httpx
import pytest

from tests.localcloud import aws
from tests.localcloud.cloud import Cloud, local_cloud
from tests.localcloud.http_server import HttpServer, Request, Response

STACKS = ("triptych-dev", "triptych-prod")


@dataclass
class Deployed:
    """A stack, and the events that its CallbackUrl received."""

    cloud: Cloud
    events: queue.SimpleQueue[dict[str, object]]

    def canceled_job(self) -> str:
        """Create and cancel a job; return its id."""
        with httpx.Client(
            base_url=self.cloud.api,
            headers={"authorization": f"Bearer {self.cloud.tokens[0]}"},
            trust_env=False,
            timeout=30,
        ) as client:
            body = {"content_type": "image/jpeg", "content_length": 9}
            job_id = str(client.post("/api/v1/jobs", json=body).raise_for_status().json()["job_id"])
            client.post(f"/api/v1/jobs/{job_id}/cancel").raise_for_status()
        return job_id


@pytest.fixture(scope="module")
def stacks() -> Iterator[list[Deployed]]:
    with ExitStack() as stack:
        account: Future[aws.Aws] = Future()
        account.set_result(aws.start())
        stack.callback(account.result().stop)
        made = []
        for name in STACKS:
            events: queue.SimpleQueue[dict[str, object]] = queue.SimpleQueue()

            def answer(request: Request, events: queue.SimpleQueue[dict[str, object]] = events) -> Response:
                events.put(json.loads(request.body))
                return Response(204)

            callback = stack.enter_context(HttpServer().start(answer))
            parameters = {"CallbackUrl": f"{callback.url}/ends"}
            cloud = stack.enter_context(local_cloud(parameters, workers=1, stack_name=name, moto=account))
            made.append(Deployed(cloud, events))
        yield made


def test_callback_gets_only_the_events_of_its_stack(stacks: list[Deployed]) -> None:
    jobs = [one.canceled_job() for one in stacks]
    for one, name, job_id in zip(stacks, STACKS, jobs, strict=True):
        detail = one.events.get(timeout=30)["detail"]
        assert isinstance(detail, dict)
        assert (detail["stack"], detail["job_id"]) == (name, job_id)
    # A duplicate, or an event for the other stack, would arrive before a later event.
    later = [one.canceled_job() for one in stacks]
    for one, job_id in zip(stacks, later, strict=True):
        detail = one.events.get(timeout=30)["detail"]
        assert isinstance(detail, dict)
        assert detail["job_id"] == job_id


def test_job_is_stored_only_in_its_own_stack(stacks: list[Deployed]) -> None:
    job_id = stacks[0].canceled_job()
    account = stacks[0].cloud.aws
    dynamodb = boto3.Session(
        account.access_key_id, account.secret_access_key, region_name=account.region
    ).client("dynamodb", endpoint_url=account.endpoint)
    found = [
        "Item" in dynamodb.get_item(TableName=one.cloud.table, Key={"job_id": {"S": job_id}})
        for one in stacks
    ]
    assert found == [True, False]
    assert (
        len(
            {one.cloud.bucket for one in stacks}
            | {url for one in stacks for url in one.cloud.queues.values()}
        )
        == 10
    )
