"""The photo in generate: it is opened once, prepared if it needs it, and rejected after too many crashes."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError

import generate
from tests.integration.generating import DONE, KEPT, deliver
from tests.support.events import s3_notification, sqs_event
from tests.support.function_environment import BUCKET
from tests.support.photo_corpus import jpeg_of_scans
from tests.support.photos import JPEG, picture
from tests.support.world import World
from triptych.aws import bucket, queues, table
from triptych.failures import FailureKind
from triptych.flows import create_job, open_photo
from triptych.job import MOST_OPENS, ImageStatus, Job, JobRequest, JobStatus, is_retryable
from triptych.pace import Pace
from triptych.photo import bounded, formats, inspection

HEIC = picture("HEIF")


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The delay in seconds of each message that was put back."""
    seen: list[int] = []
    monkeypatch.setattr(queues, "put_back", lambda _receipt, *, seconds: seen.append(seconds))
    return seen


def new_job(world: World, photo: bytes, content_type: str) -> str:
    job = create_job.create_job("ann", JobRequest(content_type=content_type, size=len(photo)), None)
    world.s3.put_object(Bucket=BUCKET, Key=job.photo.key, Body=photo)
    return job.job_id


def arrive(world: World, job_id: str, context: SimpleNamespace, receives: int = 1) -> dict[str, Any]:
    body = s3_notification(job_id, world.job(job_id).photo.key)
    return dict(generate.handler(sqs_event(body, receives=receives), context))


def photo_sent(world: World) -> tuple[str, bytes]:
    """Return the key and the bytes of the photo that Replicate gets."""
    url = httpx.URL(json.loads(world.replicate.creates[-1].content)["input"]["input_image"])
    key = url.path.lstrip("/")
    return key, world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()


def test_photo_that_another_invocation_accepted_is_not_rejected(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How much a child may need depends on the memory of its own process. In line, no image has a prediction yet."""
    world.replicate.before_create = lambda _: httpx.Response(429, json={"retry_after": 20})
    job_id = world.new_job()
    inspect = open_photo._inspect

    def rejected(_file: Any, job: Job) -> inspection.Rejected:
        monkeypatch.setattr(open_photo, "_inspect", inspect)
        open_photo.photo_arrived(job_id, job.photo.key, Pace())
        assert world.job(job_id).has_photo
        return inspection.Rejected(FailureKind.PHOTO_TOO_COMPLEX)

    monkeypatch.setattr(open_photo, "_inspect", rejected)
    arrive(world, job_id, context)
    assert world.job(job_id).status is JobStatus.GENERATING


def test_content_encoding_of_the_client_does_not_reach_the_model(
    world: World, context: SimpleNamespace
) -> None:
    job_id = world.new_job(photo=None)
    key = world.job(job_id).photo.key
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=JPEG, ContentEncoding="gzip")
    assert world.s3.head_object(Bucket=BUCKET, Key=key)["ContentEncoding"] == "gzip"
    generate.handler(sqs_event(s3_notification(job_id)), context)
    for create in world.replicate.creates:
        given = json.loads(create.content)["input"].values()
        url = next(str(value) for value in given if "X-Amz-Signature" in str(value))
        assert parse_qs(urlsplit(url).query)["response-content-encoding"] == ["identity"]


@pytest.mark.parametrize(
    ("photo", "content_type", "extension"),
    [
        (HEIC, "image/heic", "heic"),
        (HEIC, "image/heif", "heif"),
        (picture("PNG", (1000, 10)), "image/png", "png"),
        (picture("WEBP", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0"), "image/webp", "webp"),
    ],
)
def test_replicate_gets_the_prepared_copy(
    world: World, context: SimpleNamespace, photo: bytes, content_type: str, extension: str
) -> None:
    job_id = new_job(world, photo, content_type)
    assert world.job(job_id).photo.key == f"uploads/{job_id}/photo.{extension}"
    assert arrive(world, job_id, context) == DONE
    key, content = photo_sent(world)
    assert key == f"prepared/{job_id}/photo.jpg" == world.job(job_id).photo.prepared_key
    assert content.startswith(b"\xff\xd8\xff")
    assert len(world.replicate.creates) == 3


def test_photo_that_needs_no_preparation_is_used_unchanged(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job()
    deliver(world, job_id, context)
    assert photo_sent(world) == (f"uploads/{job_id}/photo.jpg", JPEG)
    assert world.object_keys("prepared/") == []


def test_second_receive_uses_the_prepared_copy(
    world: World, context: SimpleNamespace, waits: list[int]
) -> None:
    def refused(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    world.replicate.before_create = refused
    job_id = new_job(world, HEIC, "image/heic")
    assert arrive(world, job_id, context) == KEPT
    world.replicate.before_create = lambda _: None
    world.clock.advance(waits[-1])
    assert arrive(world, job_id, context, receives=2) == DONE
    assert photo_sent(world)[0] == f"prepared/{job_id}/photo.jpg"


def test_job_deleted_meanwhile_leaves_no_prepared_copy(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, HEIC, "image/heic")
    store = bucket.store_prepared

    def deleted_meanwhile(*args: Any) -> str:
        table.delete(world.job(job_id))
        return store(*args)

    monkeypatch.setattr(bucket, "store_prepared", deleted_meanwhile)
    arrive(world, job_id, context)
    assert world.object_keys("prepared/") == []
    assert world.replicate.requests == []


def kill(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def open_again(world: World, job_id: str) -> Job | None:
    key = world.job(job_id).photo.key
    return open_photo.photo_arrived(job_id, key, Pace(), again=True)


def test_photo_that_kills_the_process_is_opened_four_times(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, HEIC, "image/heic")
    monkeypatch.setattr(inspection, "inspect", kill)
    for receives in range(1, 2 + MOST_OPENS):
        with pytest.raises(KeyboardInterrupt):
            arrive(world, job_id, context, receives)
        assert world.job(job_id).status is JobStatus.AWAITING_UPLOAD
        world.clock.advance(open_photo.TRY_OVER_SECONDS)
    assert arrive(world, job_id, context, 10) == DONE
    job = world.job(job_id)
    assert job.failure
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "photo_unopenable")
    assert not is_retryable(job)
    assert world.replicate.requests == []


def test_death_while_the_copy_is_stored_does_not_count(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow S3 takes more time than the function has left."""
    job_id = new_job(world, HEIC, "image/heic")
    with monkeypatch.context() as patch:
        patch.setattr(bucket, "store_prepared", kill)
        for _ in range(MOST_OPENS + 1):
            with pytest.raises(KeyboardInterrupt):
                open_again(world, job_id)
            world.clock.advance(open_photo.TRY_OVER_SECONDS + 1)
    open_again(world, job_id)
    assert photo_sent(world)[0] == f"prepared/{job_id}/photo.jpg"


def test_opening_that_hangs_counts_as_a_death(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, HEIC, "image/heic")

    def hang(*_: Any, **__: Any) -> Any:
        raise bounded.StuckError

    monkeypatch.setattr(bounded, "run", hang)
    for receives in range(1, 2 + MOST_OPENS):
        assert arrive(world, job_id, context, receives) == KEPT
        world.clock.advance(open_photo.TRY_OVER_SECONDS)
    assert arrive(world, job_id, context, 10) == DONE
    job = world.job(job_id)
    assert job.failure
    assert job.failure.code == "photo_unopenable"


@pytest.mark.parametrize("receives", [1, 2])
def test_photo_beyond_the_limits_fails_at_the_first_try(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, receives: int
) -> None:
    monkeypatch.setattr(bounded, "CPU_SECONDS", 1)
    monkeypatch.setattr(bounded, "WALL_SECONDS", 60.0)
    monkeypatch.setattr(formats, "is_too_complex", lambda *_: False)
    job_id = new_job(world, jpeg_of_scans(12_000, (1_000, 900)), "image/jpeg")
    assert arrive(world, job_id, context, receives) == DONE
    job = world.job(job_id)
    assert job.failure
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "photo_too_complex")
    assert not is_retryable(job)
    assert world.replicate.requests == []


def test_photo_that_kills_only_the_first_process_succeeds(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, HEIC, "image/heic")
    with monkeypatch.context() as patch:
        patch.setattr(inspection, "inspect", kill)
        with pytest.raises(KeyboardInterrupt):
            arrive(world, job_id, context)
    assert arrive(world, job_id, context, receives=2) == DONE
    assert len(world.replicate.creates) == 3


def test_message_waits_while_the_photo_is_opened_again(
    world: World, context: SimpleNamespace, waits: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, HEIC, "image/heic")
    inspect = inspection.inspect
    others: list[dict[str, Any]] = []

    def slow(*args: Any, **options: Any) -> inspection.Finding:
        if not others:
            others.extend([arrive(world, job_id, context, receives=2) for _ in range(5)])
        return inspect(*args, **options)

    monkeypatch.setattr(inspection, "inspect", slow)
    open_again(world, job_id)
    assert others == [KEPT] * 5
    assert len(waits) == 5
    assert world.job(job_id).photo.opens == 0  # it was opened once, and that killed nothing
    assert len(world.replicate.creates) == 3


def test_outage_of_s3_does_not_count_as_an_opening(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, HEIC, "image/heic")

    class Down:
        def get_object(self, **_: object) -> None:
            raise ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")

    with monkeypatch.context() as patch:
        patch.setattr(bucket, "_s3", Down)
        for receives in range(1, 10):
            assert arrive(world, job_id, context, receives) == KEPT
            world.clock.advance(120)
    assert world.job(job_id).photo.opens == 0
    assert arrive(world, job_id, context, 10) == DONE
    assert len(world.replicate.creates) == 3


def test_oversized_photo_is_not_downloaded(world: World) -> None:
    key = "uploads/x/photo.jpg"
    world.s3.put_object(Bucket=BUCKET, Key=key, Body=b"x" * 1001)
    with bucket.fetch_photo(key, 1000) as upload:
        assert upload
        assert (upload.file, upload.size) == (None, 1001)
    with bucket.fetch_photo(key, 1001) as upload:
        assert upload
        assert upload.file
        assert upload.file.read() == b"x" * 1001
    with bucket.fetch_photo("uploads/y/photo.jpg", 1001) as upload:
        assert upload is None


def test_missing_photo_is_told_from_a_forbidden_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A function may list only its folders, so S3 answers 403 for both."""

    def refused(code: str) -> Any:
        def refuse(**_: object) -> None:
            raise ClientError({"Error": {"Code": code}}, "GetObject")

        return refuse

    world.upload("x")
    monkeypatch.setattr(bucket._s3(), "head_object", refused("403"))
    monkeypatch.setattr(bucket._s3(), "get_object", refused("AccessDenied"))
    for missing in ("uploads/y/photo.jpg", "uploads/x/photo.jp"):
        assert bucket.look_at(missing) is None
        with bucket.fetch_photo(missing, 1) as upload:
            assert upload is None
    with pytest.raises(ClientError):
        bucket.look_at("uploads/x/photo.jpg")
    with pytest.raises(ClientError), bucket.fetch_photo("uploads/x/photo.jpg", 1):
        pass


@pytest.mark.parametrize("fault", ["the prepared copy", "an import", "a bug"])
def test_own_errors_do_not_count_as_openings(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    job_id = new_job(world, HEIC, "image/heic")

    def fail(*_: Any, **__: Any) -> Any:
        raise {
            "the prepared copy": EndpointConnectionError(endpoint_url="https://s3"),
            "an import": ImportError("no imaging layer"),
            "a bug": AttributeError("a bug"),
        }[fault]

    with monkeypatch.context() as patch:
        if fault == "the prepared copy":
            patch.setattr(bucket, "store_prepared", fail)
        else:
            patch.setattr(inspection, "inspect", fail)
        for receives in range(2, 12):
            assert arrive(world, job_id, context, receives=receives) == KEPT
            world.clock.advance(61)
    assert world.job(job_id).photo.opens == 0
    arrive(world, job_id, context, receives=12)
    assert len(world.job(job_id).having(ImageStatus.GENERATING)) == 3


def lost(monkeypatch: pytest.MonkeyPatch, *errors: Exception | None) -> list[Job]:
    """Let DynamoDB store the next jobs, but answer with these errors; return the jobs."""
    put, left, stored = table.put, list(errors), list[Job]()

    def stored_and_lost(job: Job) -> Job:
        stored.append(put(job))
        if error := left.pop(0) if left else None:
            raise error
        return stored[-1]

    monkeypatch.setattr(table, "put", stored_and_lost)
    return stored


def test_opening_whose_write_was_stored_without_an_answer_goes_on(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3 repeats the write, and the repetition meets the version that the first one stored."""
    job_id = new_job(world, JPEG, "image/jpeg")
    stored = lost(monkeypatch, table.ConflictError(job_id))
    assert arrive(world, job_id, context, receives=2) == DONE
    assert stored[0].photo.opens == 1
    assert world.job(job_id).photo.opens == 0
    assert world.job(job_id).having(ImageStatus.GENERATING)


def test_opening_whose_write_fails_is_not_counted(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, JPEG, "image/jpeg")
    stored = lost(monkeypatch, EndpointConnectionError(endpoint_url="https://dynamodb"))
    assert arrive(world, job_id, context, receives=2) == KEPT
    assert stored[0].photo.opens == 1
    assert world.job(job_id).photo.opens == 0


def test_taking_back_an_opening_is_tried_again(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, JPEG, "image/jpeg")
    get, left = table.get, [EndpointConnectionError(endpoint_url="https://dynamodb")] * 2

    def fail(*_: object, **__: object) -> None:
        monkeypatch.setattr(table, "get", lambda name: _raised(left.pop()) if left else get(name))
        raise RuntimeError

    monkeypatch.setattr(inspection, "inspect", fail)
    assert arrive(world, job_id, context, receives=2) == KEPT
    assert left == []
    assert world.job(job_id).photo.opens == 0


def _raised(error: Exception) -> Job:
    raise error


def test_intention_whose_write_had_no_answer_is_carried_out(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above. Otherwise the images would be in doubt for 90 s, and count twice."""
    job_id = new_job(world, JPEG, "image/jpeg")
    lost(monkeypatch, table.ConflictError(job_id))
    arrive(world, job_id, context)
    assert len(world.replicate.creates) == 3
    images = world.job(job_id).images
    assert {(one.status, one.attempt, one.billable) for one in images} == {(ImageStatus.GENERATING, 1, 1)}


def test_intention_of_another_invocation_is_not_carried_out_twice(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = new_job(world, JPEG, "image/jpeg")
    put, others = table.put, [True]

    def beaten(job: Job) -> Job:
        if others:
            others.clear()
            arrive(world, job_id, context)
        return put(job)

    monkeypatch.setattr(table, "put", beaten)
    arrive(world, job_id, context)
    assert not others
    assert len(world.replicate.creates) == 3
