"""The announce function on moto: it sends the end of each job to EventBridge."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import announce
from tests.environment import ROOT
from tests.support.events import stream_event
from tests.support.world import World
from triptych.aws import bucket, counts, event_bus
from triptych.failures import Failure, FailureKind
from triptych.flows import create_job, record
from triptych.job import (
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    JobRequest,
    JobStatus,
    Output,
    OutputStored,
    Photo,
    UploadArrived,
    UploadExpired,
)
from triptych.settings import settings

UNAVAILABLE = ClientError({"Error": {"Code": "InternalFailure", "Message": ""}}, "PutEvents")


def accepted(_: dict[str, Any]) -> dict[str, Any]:
    return {"FailedEntryCount": 0, "Entries": [{"EventId": "1"}]}


@dataclass
class Bus:
    """EventBridge's client. It keeps the events that it accepted; a test may replace `answer`."""

    events: list[dict[str, Any]] = field(default_factory=list)
    answer: Callable[[dict[str, Any]], dict[str, Any]] = accepted

    def put_events(self, Entries: list[dict[str, Any]]) -> dict[str, Any]:  # noqa: N803  # boto3's name
        (entry,) = Entries
        answer = self.answer(entry)
        if not answer["FailedEntryCount"]:
            self.events.append(entry)
        return answer

    def details(self) -> list[dict[str, Any]]:
        return [json.loads(event["Detail"]) for event in self.events]


@pytest.fixture
def bus(world: World, monkeypatch: pytest.MonkeyPatch) -> Bus:
    made = Bus()
    monkeypatch.setattr(event_bus, "_events", cache(lambda: made))
    return made


def failed(event: dict[str, Any], context: SimpleNamespace) -> list[str]:
    """Return the sequence numbers that the function reports as failed."""
    answer: Any = announce.handler(event, context)
    return [item["itemIdentifier"] for item in answer["batchItemFailures"]]


def expired_job(world: World) -> str:
    job_id = world.new_job(photo=None)
    record.move_on(world.job(job_id), UploadExpired())
    return job_id


def partial_job(world: World) -> str:
    """Create a job with one stored and one failed image."""
    job = Job(
        job_id="partial",
        owner="ann",
        created_at=world.clock.time,
        updated_at=world.clock.time,
        request=JobRequest(content_type="image/jpeg", size=9, prompt="A private prompt."),
        photo=Photo("uploads/partial/photo.jpg"),
        images=tuple(Image(index, ImageStatus.GENERATING, 1, 7, f"p{index}") for index in range(2)),
    )
    stored = OutputStored(0, 1, "p0", Output("outputs/partial/0.png", "image/png", 77))
    refused = ImageFailed(1, 1, "p1", FailureKind.CONTENT_REJECTED)
    record.move_on(
        counts.create(job, create_job.order_of(job)),
        UploadArrived(job.photo.key, world.clock.time),
        stored,
        refused,
    )
    return job.job_id


def test_ended_job_is_announced_in_one_event(world: World, bus: Bus, context: SimpleNamespace) -> None:
    assert failed(stream_event(world.item(partial_job(world))), context) == []
    (event,) = bus.events
    assert (event["Source"], event["DetailType"], event["Time"]) == (
        "triptych",
        "Job Partial",
        world.clock.time,
    )
    local = world.clock.time.astimezone(settings().timezone).isoformat(timespec="milliseconds")
    error = {"code": "content_rejected", "message": FailureKind.CONTENT_REJECTED.message}
    assert bus.details() == [
        {
            "stack": "triptych",
            "job_id": "partial",
            "owner": "ann",
            "status": "PARTIAL",
            "created_at": local,
            "updated_at": local,
            "metadata": {},
            "images": [
                {
                    "index": 0,
                    "status": "STORED",
                    "seed": 7,
                    "prediction_id": "p0",
                    "content_type": "image/png",
                    "size": 77,
                    "error": None,
                },
                {
                    "index": 1,
                    "status": "FAILED",
                    "seed": 7,
                    "prediction_id": "p1",
                    "content_type": None,
                    "size": None,
                    "error": error,
                },
            ],
            "error": None,
        }
    ]


def test_event_bus_accepts_the_event(world: World, context: SimpleNamespace) -> None:
    queue = world.sqs.create_queue(QueueName="events")["QueueUrl"]
    eventbridge = boto3.client("events")
    eventbridge.put_rule(Name="all", EventPattern='{"source": ["triptych"]}')
    arn = world.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"][
        "QueueArn"
    ]
    eventbridge.put_targets(Rule="all", Targets=[{"Id": "1", "Arn": arn}])
    job_id = expired_job(world)
    assert failed(stream_event(world.item(job_id)), context) == []
    event = json.loads(world.sqs.receive_message(QueueUrl=queue)["Messages"][0]["Body"])
    assert (event["detail-type"], event["detail"]["job_id"]) == ("Job Expired", job_id)
    assert event["detail"]["error"]["code"] == "upload_expired"


def test_example_event_is_announced(world: World, bus: Bus, context: SimpleNamespace) -> None:
    example = json.loads((ROOT / "functions/announce/event.json").read_text())
    assert failed(example, context) == []
    assert bus.events[0]["DetailType"] == "Job Succeeded"


def test_rejected_entry_fails_its_own_record_only(world: World, bus: Bus, context: SimpleNamespace) -> None:
    jobs = [expired_job(world) for _ in range(3)]

    def throttled(entry: dict[str, Any]) -> dict[str, Any]:
        bad = jobs[1] in entry["Detail"]
        return {
            "FailedEntryCount": int(bad),
            "Entries": [{"ErrorCode": "ThrottlingException"} if bad else {"EventId": "1"}],
        }

    bus.answer = throttled
    assert failed(stream_event(*map(world.item, jobs)), context) == ["1"]
    assert [detail["job_id"] for detail in bus.details()] == [jobs[0], jobs[2]]


def test_unavailable_event_bus_fails_every_record(world: World, bus: Bus, context: SimpleNamespace) -> None:
    def down(_: dict[str, Any]) -> dict[str, Any]:
        raise UNAVAILABLE

    bus.answer = down
    event = stream_event(world.item(expired_job(world)), world.item(expired_job(world)))
    assert failed(event, context) == ["0", "1"]
    bus.answer = accepted
    assert failed(event, context) == []
    assert len(bus.events) == 2


@pytest.mark.parametrize(
    "image",
    [
        None,
        {},
        "nonsense",
        {"job_id": {"S": "x"}},
        {"job_id": {"N": "1"}},
        {"job_id": {"S": "x"}, "created_at": {"S": "yesterday"}},
    ],
)
def test_unreadable_record_is_returned_without_blocking_others(
    world: World, bus: Bus, context: SimpleNamespace, image: object
) -> None:
    job_id = expired_job(world)
    assert failed(stream_event(image, world.item(job_id)), context) == ["0"]
    assert [detail["job_id"] for detail in bus.details()] == [job_id]


def test_unfinished_job_is_not_announced(world: World, bus: Bus, context: SimpleNamespace) -> None:
    assert failed(stream_event(world.item(world.new_job())), context) == ["0"]
    assert bus.events == []


PRIVATE = "private"
NOW = datetime(2026, 11, 24, tzinfo=UTC)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    """Draw ended jobs with something private in every field that no event may hold."""
    images = []
    for index in range(draw(st.integers(1, 4))):
        stored = draw(st.booleans())
        output = Output(f"outputs/{PRIVATE}/{index}", "image/png", draw(st.integers(1))) if stored else None
        status = (
            ImageStatus.STORED
            if stored
            else draw(st.sampled_from([ImageStatus.FAILED, ImageStatus.CANCELED]))
        )
        error = None if stored else draw(st.sampled_from([None, Failure("code", "Sentence.")]))
        seed = draw(st.none() | st.integers(0, 2**31))
        prediction_id = draw(st.none() | st.just("p"))
        image = Image(index, status, 1, seed, prediction_id, NOW, NOW, output=output, error=error)
        images.append(image)
    return Job(
        job_id="j",
        owner="ann",
        created_at=NOW,
        updated_at=NOW,
        request=JobRequest(
            content_type=PRIVATE, size=1, checksum_sha256=PRIVATE, prompt=draw(st.text()) + PRIVATE
        ),
        photo=Photo(f"https://s3/uploads/{PRIVATE}"),
        images=tuple(images),
        uploaded_at=NOW,
        closed_as=draw(st.sampled_from([None, JobStatus.CANCELED, JobStatus.EXPIRED])),
    )


@hypothesis_settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(job=jobs())
def test_event_holds_no_url_key_or_prompt(world: World, job: Job) -> None:
    detail = event_bus.Detail.of(job).model_dump_json()
    assert PRIVATE not in detail
    assert "://" not in detail
    assert f"{bucket.OUTPUTS}/" not in detail
