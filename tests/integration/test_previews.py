"""Previews of a job's photo and outputs, and the URLs that a client gets."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from PIL import Image

import api
import generate
import webhook
from tests.support.events import api_event, s3_notification, sqs_event, webhook_for
from tests.support.fake_replicate import streamed
from tests.support.function_environment import BUCKET
from tests.support.photos import JPEG, picture
from tests.support.world import World
from triptych.aws import bucket, links
from triptych.flows import finish as finish_flow
from triptych.flows import owner, preview, record
from triptych.job import ImageStatus, JobStatus
from triptych.photo import bounded, previews
from triptych.photo.formats import content_type
from triptych.runtime.budget import TimeBudget

OUTPUT = picture("PNG", (600, 300))


@pytest.fixture
def running(world: World, context: SimpleNamespace) -> str:
    """Create a job whose predictions p0, p1 and p2 run. Their outputs are pictures."""
    world.replicate.on_download = lambda _: streamed(OUTPUT)
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def finish(world: World, context: SimpleNamespace, *prediction_ids: str) -> None:
    for prediction_id in prediction_ids:
        answer = webhook.handler(webhook_for(world.replicate.finish(prediction_id), world.clock), context)
        assert answer["statusCode"] == 200


def view(job_id: str, context: SimpleNamespace) -> Any:
    return json.loads(str(api.handler(api_event("GET", f"/api/v1/jobs/{job_id}"), context)["body"]))


def key_in(url: str) -> str:
    return url.partition("?")[0].partition(".amazonaws.com/")[2]


def test_outputs_and_photo_have_previews(world: World, context: SimpleNamespace, running: str) -> None:
    finish(world, context, "p0", "p1", "p2")
    job = view(running, context)
    assert (job["photo"]["width"], job["photo"]["height"]) == (64, 48)
    assert (job["photo"]["size"], job["photo"]["content_type"]) == (len(JPEG), "image/jpeg")
    for image in job["images"]:
        assert (image["width"], image["height"]) == (600, 300)
        assert image["color"].startswith("#")
    for one in (job["photo"], *job["images"]):
        stored = world.s3.get_object(Bucket=BUCKET, Key=key_in(one["preview_url"]))
        assert stored["ContentType"] == "image/webp"
        assert "immutable" in stored["CacheControl"]
        assert content_type(stored["Body"].read()) == "image/webp"
    assert world.s3.get_object(Bucket=BUCKET, Key=key_in(job["photo"]["url"]))["Body"].read() == JPEG


def test_size_of_a_prepared_photo_is_its_own(world: World, context: SimpleNamespace) -> None:
    job_id = world.new_job(photo=picture(size=(1000, 500)))  # MaxPhotoEdge is 512
    generate.handler(sqs_event(s3_notification(job_id)), context)
    photo = world.job(job_id).photo
    assert photo.prepared_key
    assert photo.preview
    assert (photo.preview.width, photo.preview.height) == (1000, 500)
    (key,) = world.object_keys("previews/")
    with Image.open(BytesIO(world.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read())) as small:
        assert small.size == (512, 256)


def test_full_disk_of_a_preview_loses_no_prediction(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preview, "TemporaryFile", full)
    job_id = world.new_job(photo=picture(size=(900, 40)))  # needs a prepared copy
    assert generate.handler(sqs_event(s3_notification(job_id)), context) == {"batchItemFailures": []}
    job = world.job(job_id)
    assert len(job.having(ImageStatus.GENERATING)) == 3
    assert job.photo.preview is None


def test_preview_of_the_photo_delays_no_prediction(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[int] = []
    make = previews.make

    def watched(*args: Any) -> Any:
        created.append(len(world.replicate.creates))
        return make(*args)

    monkeypatch.setattr(previews, "make", watched)
    generate.handler(sqs_event(s3_notification(world.new_job())), context)
    assert created == [3]


def test_refused_job_has_the_preview_of_its_photo(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = lambda _: httpx.Response(402)
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    job = world.job(job_id)
    assert job.status is JobStatus.FAILED
    assert job.photo.preview


def test_photo_that_waits_in_line_has_a_preview(world: World, context: SimpleNamespace) -> None:
    generate.pace.refused(world.clock.now(), 30)
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    assert world.replicate.creates == []
    assert world.job(job_id).photo.preview


@pytest.mark.parametrize(
    "problem",
    [bounded.UnpreviewableError, bounded.ChildError, ImportError, OSError],
)
def test_no_problem_with_a_preview_loses_an_output(
    world: World,
    context: SimpleNamespace,
    running: str,
    monkeypatch: pytest.MonkeyPatch,
    problem: type[Exception],
) -> None:
    def fail(*_: Any) -> Any:
        raise problem

    monkeypatch.setattr(previews, "make", fail)
    finish(world, context, "p0", "p1", "p2")
    job = view(running, context)
    assert job["status"] == "SUCCEEDED"
    assert [image["preview_url"] for image in job["images"]] == [None] * 3
    assert all(image["url"] for image in job["images"])
    assert len(world.object_keys("previews/")) == 1  # the photo's


def test_preview_that_s3_refuses_loses_no_output(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "preview_key", lambda _: "x" * 2000)  # longer than S3 takes
    finish(world, context, "p0")
    assert [image.status for image in world.job(running).images].count(ImageStatus.STORED) == 1


def test_decoder_that_hangs_loses_no_output(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(previews, "_made", lambda _: sum(iter(int, 1)))  # for ever
    monkeypatch.setattr(preview, "MOST_SECONDS", 1.5)
    finish(world, context, "p0")
    (stored,) = world.job(running).having(ImageStatus.STORED)
    assert stored.output
    assert stored.output.preview is None


def test_slow_preview_costs_no_output_at_the_deadline(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = previews.make

    def slow(file: Any, seconds: float) -> Any:
        threading.Event().wait(min(seconds, 1.5))
        return make(file, seconds)

    monkeypatch.setattr(previews, "make", slow)
    for prediction_id in ("p0", "p1", "p2"):
        world.replicate.finish(prediction_id)
    world.clock.advance(1801)
    job = world.job(running)
    after = finish_flow.finish(job, TimeBudget(3))
    assert after
    assert after.status is JobStatus.SUCCEEDED


def test_deleted_job_leaves_no_preview(world: World, context: SimpleNamespace, running: str) -> None:
    finish(world, context, "p0", "p1", "p2")
    assert len(world.object_keys("previews/")) == 4
    owner.delete(world.job(running))
    assert world.object_keys() == []


def test_output_that_no_job_keeps_leaves_no_preview(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bucket.store_preview

    def deleted_meanwhile(*args: Any) -> None:
        monkeypatch.setattr(bucket, "store_preview", store)
        owner.delete(world.job(running))
        store(*args)

    monkeypatch.setattr(bucket, "store_preview", deleted_meanwhile)
    finish(world, context, "p0")
    assert world.object_keys() == []


def test_photo_of_a_job_deleted_meanwhile_leaves_no_preview(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = world.new_job()
    store = bucket.store_preview

    def deleted_meanwhile(*args: Any) -> None:
        owner.delete(world.job(job_id))
        store(*args)

    monkeypatch.setattr(bucket, "store_preview", deleted_meanwhile)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    assert world.object_keys() == []


def test_retried_job_keeps_the_preview_of_its_photo(world: World, running: str) -> None:
    job = world.job(running)
    assert job.photo.preview
    again = record.read(running)
    assert again
    assert again.photo.preview == job.photo.preview


# ── links ──


def at(second: int) -> datetime:
    return datetime.fromtimestamp(1_800_000_000 + second, UTC)  # a multiple of 450 s


def test_links_stay_the_same_for_half_their_life(
    world: World, context: SimpleNamespace, running: str
) -> None:
    finish(world, context, "p0", "p1", "p2")
    seen = []
    for second in (0, 1, 449, 450, 899):
        world.clock.time = at(second)
        job = view(running, context)
        seen.append([(one["url"], one["preview_url"]) for one in (job["photo"], *job["images"])])
    assert seen[0] == seen[1] == seen[2]
    assert seen[3] == seen[4]
    assert not set(seen[0]) & set(seen[3])


def test_link_is_valid_for_at_least_half_its_life(world: World) -> None:
    for life in (1, 2, 3, 10, 900, 43_200):
        for second in range(0, 2 * life, max(1, life // 7)):
            since = links.beginning(at(second), life)
            left = life - (at(second) - since).total_seconds()
            assert life / 2 <= left <= life


def test_download_has_a_name_that_people_understand(
    world: World, context: SimpleNamespace, running: str
) -> None:
    finish(world, context, "p0", "p1", "p2")
    job = view(running, context)
    day = job["created_at"][:10]
    for image in job["images"]:
        assert f"{day}-{running[:8]}-{image['index'] + 1}.png" in image["download_url"]
        assert "response-content-disposition=attachment" in image["download_url"]
        assert "response-content-disposition" not in image["url"]


def test_list_links_to_previews_only(world: World, context: SimpleNamespace, running: str) -> None:
    finish(world, context, "p0", "p1", "p2")
    answer = api.handler(api_event("GET", "/api/v1/jobs"), context)
    (job,) = json.loads(str(answer["body"]))["jobs"]
    assert job["photo"]["url"] is None
    assert job["photo"]["preview_url"]
    for image in job["images"]:
        assert image["url"] is image["download_url"] is None
        assert image["preview_url"]


def test_times_of_job_and_images_are_those_of_their_work(
    world: World, context: SimpleNamespace, running: str
) -> None:
    world.clock.advance(7)
    finish(world, context, "p0")
    world.clock.advance(5)
    finish(world, context, "p1", "p2")
    job = view(running, context)
    started, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "ended_at"))
    assert (world.clock.now() - ended).total_seconds() == 0
    assert started <= ended
    waits = sorted(
        (datetime.fromisoformat(one["ended_at"]) - datetime.fromisoformat(one["started_at"])).total_seconds()
        for one in job["images"]
    )
    assert waits == [7, 12, 12]


def test_unfinished_job_has_no_end(world: World, context: SimpleNamespace, running: str) -> None:
    job = view(running, context)
    assert job["ended_at"] is None
    assert {image["ended_at"] for image in job["images"]} == {None}
    assert world.job(running).status is JobStatus.GENERATING


def test_links_of_a_job_are_signed_once_in_their_span(
    world: World, context: SimpleNamespace, running: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(world, context, "p0", "p1", "p2")
    signed: list[object] = []
    sign = S3SigV4QueryAuth.add_auth

    def counted(signer: S3SigV4QueryAuth, request: AWSRequest) -> None:
        signed.append(request)
        sign(signer, request)

    monkeypatch.setattr(S3SigV4QueryAuth, "add_auth", counted)
    first = view(running, context)
    once = len(signed)
    assert once >= 11  # of three images, each shown, saved and as a preview, and of the photo
    assert view(running, context) == first
    assert len(signed) == once
    world.clock.advance(links.span(900))
    assert view(running, context)["images"][0]["url"] != first["images"][0]["url"]
    assert len(signed) == once + 11
