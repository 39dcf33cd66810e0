"""Tests of the simulation's stand-ins. Each runs on the stand-in and on moto."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.s3.responses import S3Response

from tests.simulation.aws import Answer, Bucket, Jobs, Queue, Request
from tests.support.clock import Clock
from tests.support.jobs import START, waiting_job
from tests.support.moto_copies import copy_object
from tests.support.world import world_on_moto
from triptych.aws import counts, table
from triptych.job import Job, UploadArrived, apply
from triptych.spending import Order

VISIBILITY = 240
MOST_RECEIVES = 3
NO_LIMIT = Order(owner="ann", entry="e", day=START.date(), pictures=1)

type Call = Callable[[str, Request], Answer]


@pytest.fixture
def clock() -> Clock:
    return Clock(START)


@pytest.fixture(params=["moto", "stand-in"])
def bucket(request: pytest.FixtureRequest, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    if request.param == "stand-in":
        yield Bucket(clock.now).handle
        return
    monkeypatch.setattr("moto.s3.models.utcnow", lambda: clock.time.replace(tzinfo=None))
    monkeypatch.setattr(S3Response, "copy_object", copy_object)
    with mock_aws():
        s3 = boto3.client("s3", region_name="us-east-1")
        s3.create_bucket(Bucket="photos")
        yield lambda operation, given: s3._make_api_call(operation, {"Bucket": "photos", **given})  # type: ignore[attr-defined]  # calls an operation by its name


def code(call: Call, operation: str, request: Request) -> str:
    """Return the code of the error that a call raises."""
    with pytest.raises(ClientError) as caught:
        call(operation, request)
    return caught.value.response["Error"]["Code"]


def test_stored_object_is_returned(bucket: Call, clock: Clock) -> None:
    bucket("PutObject", {"Key": "uploads/j/photo.jpg", "Body": b"a photo", "ContentType": "image/jpeg"})
    clock.advance(10)
    got = bucket("GetObject", {"Key": "uploads/j/photo.jpg"})
    assert got["Body"].read() == b"a photo"
    assert got["ContentType"] == "image/jpeg"
    assert got["LastModified"] == START
    head = bucket("HeadObject", {"Key": "uploads/j/photo.jpg"})
    assert (head["ContentLength"], head["LastModified"]) == (7, START)


def test_copy_of_an_object_is_as_new(bucket: Call, clock: Clock) -> None:
    bucket("PutObject", {"Key": "uploads/j/photo.jpg", "Body": b"a photo", "ContentType": "image/jpeg"})
    clock.advance(10)
    source = {"Bucket": "photos", "Key": "uploads/j/photo.jpg"}
    bucket("CopyObject", {"Key": "uploads/k/photo.jpg", "CopySource": source})
    got = bucket("GetObject", {"Key": "uploads/k/photo.jpg"})
    assert (got["Body"].read(), got["ContentType"]) == (b"a photo", "image/jpeg")
    assert got["LastModified"] == clock.time
    missing = {"Key": "k", "CopySource": {"Bucket": "photos", "Key": "missing"}}
    assert code(bucket, "CopyObject", missing) == "NoSuchKey"


def test_conditional_copy_does_not_overwrite_an_object(bucket: Call) -> None:
    for key in ("first", "second"):
        bucket("PutObject", {"Key": key, "Body": key.encode()})
        source = {"Bucket": "photos", "Key": key}
        copy = {"Key": "k", "CopySource": source, "IfNoneMatch": "*"}
        if key == "first":
            bucket("CopyObject", copy)
        else:
            assert code(bucket, "CopyObject", copy) == "PreconditionFailed"
    assert bucket("GetObject", {"Key": "k"})["Body"].read() == b"first"


@pytest.mark.parametrize(
    ("span", "content", "described"), [("0-3", b"a ph", "0-3/7"), ("0-31", b"a photo", "0-6/7")]
)
def test_range_returns_a_part_of_an_object(bucket: Call, span: str, content: bytes, described: str) -> None:
    bucket("PutObject", {"Key": "k", "Body": b"a photo"})
    got = bucket("GetObject", {"Key": "k", "Range": f"bytes={span}"})
    assert got["Body"].read() == content
    assert got["ContentRange"] == f"bytes {described}"


def test_range_of_an_empty_object_is_refused(bucket: Call) -> None:
    bucket("PutObject", {"Key": "k", "Body": b""})
    assert code(bucket, "GetObject", {"Key": "k", "Range": "bytes=0-31"}) == "InvalidRange"
    assert bucket("HeadObject", {"Key": "k"})["ContentLength"] == 0


def test_missing_object_is_an_error_except_on_delete(bucket: Call) -> None:
    assert code(bucket, "GetObject", {"Key": "k"}) == "NoSuchKey"
    assert code(bucket, "HeadObject", {"Key": "k"}) == "404"
    bucket("DeleteObject", {"Key": "k"})


def test_conditional_put_does_not_overwrite_an_object(bucket: Call) -> None:
    bucket("PutObject", {"Key": "k", "Body": b"first", "IfNoneMatch": "*"})
    assert (
        code(bucket, "PutObject", {"Key": "k", "Body": b"second", "IfNoneMatch": "*"}) == "PreconditionFailed"
    )
    assert bucket("GetObject", {"Key": "k"})["Body"].read() == b"first"
    bucket("PutObject", {"Key": "k", "Body": b"third"})
    assert bucket("GetObject", {"Key": "k"})["Body"].read() == b"third"


def test_objects_are_listed_by_prefix(bucket: Call) -> None:
    for key in ("outputs/a/1.png", "outputs/a/0.png", "outputs/b/0.png"):
        bucket("PutObject", {"Key": key, "Body": b"x"})
    bucket("DeleteObject", {"Key": "outputs/a/0.png"})
    listed = bucket("ListObjectsV2", {"Prefix": "outputs/a/"})
    assert [one["Key"] for one in listed.get("Contents", [])] == ["outputs/a/1.png"]
    assert listed["IsTruncated"] is False
    assert bucket("ListObjectsV2", {"Prefix": "none/"}).get("Contents", []) == []


@dataclass
class Queues:
    """A queue and its dead-letter queue."""

    call: Call
    dead: Call

    def received(self, call: Call | None = None) -> list[tuple[str, int]]:
        """Receive all visible messages; return their bodies and receive counts."""
        found: list[tuple[str, int]] = []
        while messages := self.messages(call):
            found += [(one["Body"], int(one["Attributes"]["ApproximateReceiveCount"])) for one in messages]
        return sorted(found)

    def messages(self, call: Call | None = None) -> list[dict[str, Any]]:
        request = {"AttributeNames": ["ApproximateReceiveCount"], "MaxNumberOfMessages": 1}
        return list((call or self.call)("ReceiveMessage", request).get("Messages", []))

    def send(self, body: str, delay: int = 0) -> None:
        self.call("SendMessage", {"MessageBody": body, "DelaySeconds": delay})


@pytest.fixture(params=["moto", "stand-in"])
def queues(request: pytest.FixtureRequest, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Queues]:
    if request.param == "stand-in":
        dead = Queue(clock.now, 30)
        yield Queues(Queue(clock.now, VISIBILITY, dead, MOST_RECEIVES).handle, dead.handle)
        return
    monkeypatch.setattr("moto.sqs.models.unix_time_millis", lambda *_: clock.time.timestamp() * 1000)
    monkeypatch.setattr("moto.sqs.models.unix_time", lambda *_: clock.time.timestamp())
    with mock_aws():
        sqs = boto3.client("sqs", region_name="us-east-1")
        letters = sqs.create_queue(QueueName="dead")["QueueUrl"]
        policy = f'{{"deadLetterTargetArn": "arn:aws:sqs:us-east-1:123456789012:dead", "maxReceiveCount": {MOST_RECEIVES}}}'
        url = sqs.create_queue(
            QueueName="queue", Attributes={"VisibilityTimeout": str(VISIBILITY), "RedrivePolicy": policy}
        )["QueueUrl"]

        def of(queue: str) -> Call:
            return lambda operation, given: sqs._make_api_call(operation, {"QueueUrl": queue, **given})  # type: ignore[attr-defined]  # calls an operation by its name

        yield Queues(of(url), of(letters))


def test_received_message_is_invisible_until_its_timeout(queues: Queues, clock: Clock) -> None:
    queues.send("a")
    queues.send("b")
    assert queues.received() == [("a", 1), ("b", 1)]
    clock.advance(VISIBILITY - 1)
    assert queues.received() == []
    clock.advance(2)
    assert queues.received() == [("a", 2), ("b", 2)]


def test_delayed_message_is_visible_after_its_delay(queues: Queues, clock: Clock) -> None:
    queues.send("a", delay=300)
    clock.advance(299)
    assert queues.received() == []
    clock.advance(2)
    assert queues.received() == [("a", 1)]


def test_deleted_message_is_not_redelivered(queues: Queues, clock: Clock) -> None:
    queues.send("a")
    (message,) = queues.messages()
    queues.call("DeleteMessage", {"ReceiptHandle": message["ReceiptHandle"]})
    clock.advance(VISIBILITY + 1)
    assert queues.received() == []


@pytest.mark.parametrize("seconds", [7, 600])
def test_changed_visibility_decides_when_a_message_is_redelivered(
    queues: Queues, clock: Clock, seconds: int
) -> None:
    queues.send("a")
    (message,) = queues.messages()
    clock.advance(5)
    given = {"ReceiptHandle": message["ReceiptHandle"], "VisibilityTimeout": seconds}
    queues.call("ChangeMessageVisibility", given)
    clock.advance(seconds - 1)
    assert queues.received() == []
    clock.advance(2)
    assert queues.received() == [("a", 2)]


def test_message_with_too_many_receives_becomes_a_dead_letter(queues: Queues, clock: Clock) -> None:
    queues.send("a")
    for receives in range(1, MOST_RECEIVES + 1):
        assert queues.received() == [("a", receives)]
        assert queues.received(queues.dead) == []
        clock.advance(VISIBILITY + 1)
    assert queues.received() == []
    assert [body for body, _ in queues.received(queues.dead)] == ["a"]


@dataclass
class Table:
    """The functions of `triptych.aws.table` and `triptych.aws.counts`. The second argument of `delete` is whether to block the id."""

    get: Callable[[str], Job | None]
    get_keyed: Callable[[str], Job | None]
    create: Callable[[Job], Job]
    put: Callable[[Job], Job]
    delete: Callable[[Job, bool], None]


@pytest.fixture(params=["moto", "stand-in"])
def jobs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    if request.param == "stand-in":
        stand_in = Jobs()
        yield Table(
            stand_in.get,
            stand_in.get_keyed,
            lambda job: stand_in.create(job, NO_LIMIT),
            stand_in.put,
            lambda job, keep: stand_in.delete(job, until=START if keep else None),
        )
        return
    with world_on_moto(monkeypatch):
        yield Table(
            table.get,
            table.get_keyed,
            lambda job: counts.create(job, NO_LIMIT),
            table.put,
            lambda job, keep: table.delete(job, until=START if keep else None),
        )


def moved_on(job: Job) -> Job:
    return apply(job, UploadArrived("uploads/j/photo.jpg", START), START + timedelta(seconds=1))


def test_stored_job_is_returned_with_its_version(jobs: Table) -> None:
    assert jobs.get("j") is None
    stored = jobs.create(waiting_job())
    assert stored == waiting_job()
    assert jobs.get("j") == stored
    again = jobs.put(moved_on(stored))
    assert jobs.get("j") == again == moved_on(waiting_job())
    assert (stored.version, again.version) == (1, 2)


@pytest.mark.parametrize("keep", [True, False])
def test_blocked_id_is_told_from_an_unused_one(jobs: Table, keep: bool) -> None:  # noqa: FBT001  # a pytest parameter
    assert jobs.get_keyed("j") is None
    stored = jobs.create(waiting_job())
    assert jobs.get_keyed("j") == stored
    jobs.delete(stored, keep)
    with pytest.raises(table.BlockedError) if keep else nullcontext():
        assert jobs.get_keyed("j") is None


def test_second_create_of_a_job_is_refused(jobs: Table) -> None:
    jobs.create(waiting_job())
    with pytest.raises(table.ConflictError):
        jobs.create(waiting_job())


def test_put_of_an_old_version_is_refused(jobs: Table) -> None:
    first = jobs.create(waiting_job())
    second = jobs.put(moved_on(first))
    with pytest.raises(table.ConflictError):
        jobs.put(moved_on(first))
    assert jobs.get("j") == second


@pytest.mark.parametrize("keep", [True, False])
def test_put_of_a_deleted_job_is_refused(jobs: Table, keep: bool) -> None:  # noqa: FBT001  # a pytest parameter
    stored = jobs.create(waiting_job())
    jobs.delete(stored, keep)
    assert jobs.get("j") is None
    with pytest.raises(table.ConflictError):
        jobs.delete(stored, keep)
    with pytest.raises(table.ConflictError):
        jobs.put(moved_on(stored))
    assert jobs.get("j") is None


@pytest.mark.parametrize("keep", [True, False])
def test_delete_of_an_old_version_is_refused(jobs: Table, keep: bool) -> None:  # noqa: FBT001  # a pytest parameter
    first = jobs.create(waiting_job())
    second = jobs.put(moved_on(first))
    with pytest.raises(table.ConflictError):
        jobs.delete(first, keep)
    assert jobs.get("j") == second
    jobs.delete(second, keep)
    assert jobs.get("j") is None


def test_only_a_blocked_id_cannot_be_created_again(jobs: Table) -> None:
    jobs.delete(jobs.create(waiting_job()), False)  # noqa: FBT003  # a Callable has no keywords
    again = jobs.create(waiting_job())
    assert again.version == 1
    jobs.delete(again, True)  # noqa: FBT003  # a Callable has no keywords
    with pytest.raises(table.ConflictError):
        jobs.create(waiting_job())
