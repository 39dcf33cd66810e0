"""Owners who order under low limits, and the ends of their jobs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

import announce
import api
import generate
from tests.support.events import api_event, s3_notification, sqs_event
from tests.support.world import World
from triptych.aws import event_bus, queues
from triptych.flows import create_job, record
from triptych.job import Job
from triptych.settings import settings

ORDER = {"content_type": "image/jpeg", "content_length": 9}


def set_limits(monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    """Allow an owner nine pictures a day, everybody twelve, and an owner two unfinished jobs, and set other variables."""
    given = {
        "DAILY_PICTURES_PER_OWNER": "9",
        "DAILY_PICTURES": "12",
        "MAX_ACTIVE_JOBS_PER_OWNER": "2",
        **others,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    create_job._refused.clear()  # what another test's process would not know
    monkeypatch.setattr(event_bus, "announce", lambda _: None)
    monkeypatch.setattr(queues, "put_back", lambda *_, **__: None)


class Client:
    """An owner who creates jobs."""

    def __init__(self, world: World, context: SimpleNamespace, name: str) -> None:
        self.world, self.context, self.name = world, context, name

    def order(self, key: str | None = None) -> tuple[int, dict[str, Any], dict[str, Any]]:
        headers = {"idempotency_key": key} if key else {}
        event = api_event("POST", "/api/v1/jobs", ORDER, owner=self.name, **headers)
        answer: Any = api.handler(event, self.context)
        return answer["statusCode"], json.loads(answer["body"]), answer["headers"]

    def job(self, key: str | None = None) -> Job:
        return self.world.job(self.order(key)[1]["job_id"])

    def usage(self) -> dict[str, Any]:
        answer: Any = api.handler(api_event("GET", "/api/v1/usage", owner=self.name), self.context)
        found: dict[str, Any] = json.loads(answer["body"])
        return found

    @property
    def pictures(self) -> int:
        return int(self.usage()["pictures_today"])


def end(context: SimpleNamespace, before: dict[str, Any], after: dict[str, Any] | None) -> None:
    """Give `announce` the stream's record of a write, in a process that has done nothing before."""
    announce.done.clear()
    images = {"OldImage": before, **({"NewImage": after} if after else {})}
    record = {"eventSource": "aws:dynamodb", "dynamodb": {**images, "SequenceNumber": "1"}}
    assert announce.handler({"Records": [record]}, context) == {"batchItemFailures": []}


def finish(world: World, context: SimpleNamespace, job: Job, *events: Any) -> dict[str, Any]:
    """Move the job to its end, and announce that."""
    before = world.item(job.job_id)
    after = record.move_on(world.job(job.job_id), *events).job
    assert after
    assert after.status.is_terminal
    ended = world.item(job.job_id)
    end(context, before, ended)
    return ended


def asked_job(world: World, context: SimpleNamespace, client: Client) -> Job:
    """Create a job whose three predictions exist."""
    job = client.job()
    world.upload(job.job_id)
    generate.handler(sqs_event(s3_notification(job.job_id)), context)
    return world.job(job.job_id)
