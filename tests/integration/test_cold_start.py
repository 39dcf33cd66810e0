"""The first invocation of each function creates the AWS clients that it needs, each once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import botocore.session
import pytest

import announce
import api
import generate
import watchdog
import webhook
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.function_environment import forget_caches
from tests.support.world import World


def finished(world: World, context: SimpleNamespace) -> str:
    """Create a job with three stored images."""
    job_id = started(world, context)
    for prediction_id in ("p0", "p1", "p2"):
        webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
    return job_id


def started(world: World, context: SimpleNamespace) -> str:
    """Create a job whose predictions run."""
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def create(_world: World, _context: SimpleNamespace) -> dict[str, Any]:
    return api_event("POST", "/api/v1/jobs", {"content_type": "image/jpeg", "content_length": 1000})


def poll(world: World, context: SimpleNamespace) -> dict[str, Any]:
    return api_event("GET", f"/api/v1/jobs/{finished(world, context)}")


def upload(world: World, _context: SimpleNamespace) -> dict[str, Any]:
    return sqs_event(s3_notification(world.new_job()))


def output(world: World, context: SimpleNamespace) -> dict[str, Any]:
    started(world, context)
    return webhook_for(world.replicate.finish("p0"), world.clock)


def check(world: World, context: SimpleNamespace) -> dict[str, Any]:
    job_id = finished(world, context)
    return sqs_event({"job_id": job_id, "born_at": world.job(job_id).created_at.isoformat()})


def end(world: World, context: SimpleNamespace) -> dict[str, Any]:
    image = world.item(finished(world, context))
    return {
        "Records": [{"eventSource": "aws:dynamodb", "dynamodb": {"NewImage": image, "SequenceNumber": "1"}}]
    }


@pytest.mark.parametrize(
    ("function", "event", "services"),
    [
        (api, create, ["dynamodb", "s3", "sqs"]),
        (api, poll, ["dynamodb", "s3"]),
        (generate, upload, ["dynamodb", "s3", "ssm"]),
        (webhook, output, ["dynamodb", "s3", "ssm"]),
        (watchdog, check, ["dynamodb", "sqs"]),
        (announce, end, ["dynamodb", "events"]),
    ],
)
def test_first_invocation_creates_only_the_clients_it_needs(
    world: World,
    context: SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    function: Any,
    event: Any,
    services: list[str],
) -> None:
    made_event = event(world, context)
    forget_caches()
    made: list[str] = []
    create_client = botocore.session.Session.create_client

    def counted(session: Any, service: str, *args: Any, **kwargs: Any) -> Any:
        made.append(service)
        return create_client(session, service, *args, **kwargs)

    monkeypatch.setattr(botocore.session.Session, "create_client", counted)
    function.handler(made_event, context)
    assert sorted(made) == services
