"""What a webhook or a look makes of a prediction that Replicate reports."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.jobs import START, job_of
from triptych.aws import bucket, queues
from triptych.failures import FailureKind
from triptych.flows import collect, costs, preview, record
from triptych.flows.collect import Handling, UnboundError
from triptych.job import (
    Canceled,
    Event,
    Image,
    ImageFailed,
    ImageStatus,
    Job,
    Output,
    OutputStored,
    PredictionCreated,
    Preview,
    apply,
    apply_all,
)
from triptych.replicate.downloads import Fetched, OutputRefusedError, OutputUnavailableError
from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.runtime.budget import TimeBudget
from triptych.settings import settings

pytestmark = pytest.mark.usefixtures("configured")
TAG = Tag("j", 0, 1)
RUNNING = job_of(Image(0, ImageStatus.GENERATING, attempt=1, prediction_id="p0", asked_at=START))
SHOWN = Preview(3, 2, "#000000")


class World:
    """One stored job, Replicate's hosts and S3."""

    def __init__(self) -> None:
        self.job: Job | None = RUNNING
        self.counted: list[tuple[str, float]] = []
        self.logged: list[str] = []
        self.events: list[Event] = []
        self.sent: list[str] = []
        self.error: Exception | None = None
        self.removed: list[Output] = []
        self.fetched_with: dict[str, Any] = {}
        self.is_late = False

    def move_on(self, job: Job, *events: Event) -> record.Change:
        self.events += events
        after = apply_all(job, events, START)
        return record.Change(job, after)

    def count(self, name: str, number: float = 1) -> None:
        self.counted.append((name, number))

    @contextmanager
    def fetch(self, url: str, **options: Any) -> Iterator[Fetched]:
        self.fetched_with = {"url": url, **options}
        if self.error:
            raise self.error
        yield Fetched(io.BytesIO(b"picture"), "image/png", 7)


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(record, "read", lambda _: world.job)
    monkeypatch.setattr(record, "move_on", world.move_on)
    monkeypatch.setattr(queues, "send_to_generation", lambda job_id, _: world.sent.append(job_id))
    monkeypatch.setattr(collect, "about_job", world.logged.append)
    for module in (collect, costs):
        monkeypatch.setattr(module, "count", world.count)
    monkeypatch.setattr(costs, "settings", lambda: SimpleNamespace(picture_cost_dollars=0.5))
    monkeypatch.setattr(collect, "fetch", world.fetch)
    monkeypatch.setattr(preview, "add", lambda *_: SHOWN)
    monkeypatch.setattr(bucket, "store_output", lambda key, kind, size, _: Output(key, kind, size))
    monkeypatch.setattr(bucket, "remove_output", world.removed.append)
    monkeypatch.setattr(TimeBudget, "is_spent", property(lambda _: world.is_late))
    return world


def reported(status: str = "processing", name: str = "p0", tag: Tag | None = TAG, **rest: Any) -> Prediction:
    url = tag.on("https://x", "a token") if tag else None
    return Prediction.model_validate({"id": name, "status": status, "webhook": url, **rest})


# ── which prediction ──


def test_webhook_is_about_the_image_that_its_body_confirms(world: World) -> None:
    for prediction in (reported("failed"), reported("failed", tag=None)):
        assert collect.take(prediction, TAG) is Handling.APPLIED
    assert [type(event) for event in world.events] == [ImageFailed] * 2
    assert world.logged == ["j"] * 2


@pytest.mark.parametrize(
    ("prediction", "tag"),
    [
        (reported(), TAG._replace(attempt=2)),
        (reported(tag=TAG._replace(image=1)), TAG),
        (reported(tag=TAG._replace(image=1)), TAG._replace(image=1)),  # the job has one image
        (reported(name="another", tag=None), TAG),
    ],
)
def test_webhook_for_another_image_is_refused(world: World, prediction: Prediction, tag: Tag) -> None:
    with pytest.raises(UnboundError):
        collect.take(prediction, tag)
    assert world.events == []


def test_webhook_of_a_deleted_job_is_counted_as_wasted(world: World) -> None:
    world.job = None
    assert collect.take(reported("succeeded"), TAG) is Handling.IGNORED
    assert collect.take(reported("failed"), TAG) is Handling.IGNORED
    assert world.counted == [("PredictionsWasted", 1)]


def test_webhook_of_an_ended_job_is_counted_as_wasted(world: World) -> None:
    world.job = apply(RUNNING, Canceled(), START)
    assert collect.take(reported("succeeded"), TAG) is Handling.IGNORED
    assert (world.events, world.counted) == ([], [("PredictionsWasted", 1)])


def test_repeated_webhook_changes_nothing(world: World) -> None:
    assert collect.take(reported("processing"), TAG) is Handling.IGNORED
    world.job = replace(RUNNING, images=(*RUNNING.images, Image(1)))
    assert collect.take(reported("canceled"), TAG) is Handling.APPLIED


@pytest.mark.parametrize(
    ("status", "attempt", "doubled"),
    [("succeeded", 1, True), ("canceled", 1, False), ("succeeded", 2, False)],
)
def test_second_prediction_of_one_post_counts_if_billed(
    world: World, status: str, attempt: int, *, doubled: bool
) -> None:
    tag = TAG._replace(attempt=attempt)
    assert collect.take(reported(status, name="second", tag=tag), tag) is Handling.IGNORED
    double = [("PredictionsDoubled", 1), ("EstimatedDollars", 0.5)]
    assert world.counted == [*(double if doubled else []), ("PredictionsWasted", 1)]


def test_image_in_doubt_takes_its_first_prediction(world: World) -> None:
    doubtful = Image(0, ImageStatus.REQUESTING, attempt=1, asked_at=START)
    world.job = replace(RUNNING, images=(doubtful,))
    assert collect.take(reported("processing"), TAG) is Handling.APPLIED
    assert world.counted == []


# ── what it means ──


@pytest.mark.parametrize(
    ("prediction", "event"),
    [
        (reported("starting"), PredictionCreated(0, 1, "p0")),
        (reported("succeeded"), ImageFailed(0, 1, "p0", FailureKind.OUTPUT_MISSING)),
        (reported("failed"), ImageFailed(0, 1, "p0", FailureKind.PREDICTION_FAILED)),
        (reported("failed", error="E005: flagged"), ImageFailed(0, 1, "p0", FailureKind.CONTENT_REJECTED)),
        (reported("failed", error="NSFW"), ImageFailed(0, 1, "p0", FailureKind.CONTENT_REJECTED)),
        (reported("failed", error="out of memory"), ImageFailed(0, 1, "p0", FailureKind.PREDICTION_FAILED)),
        (reported("canceled"), ImageFailed(0, 1, "p0", FailureKind.PREDICTION_CANCELED)),
        (reported("aborted"), ImageFailed(0, 1, "p0", FailureKind.PREDICTION_ABORTED)),
    ],
)
def test_status_becomes_an_event(prediction: Prediction, event: Event) -> None:
    assert collect.result(RUNNING, TAG, prediction, TimeBudget(60)) == event


DONE = reported("succeeded", output="https://replicate.delivery/a.png")


def test_output_is_stored_with_its_preview(world: World) -> None:
    key = bucket.output_key(RUNNING, 0, "p0", "image/png")
    event = collect.result(RUNNING, TAG, DONE, TimeBudget(60))
    assert event == OutputStored(0, 1, "p0", Output(key, "image/png", 7, SHOWN))
    limits = settings()
    assert world.fetched_with["url"] == "https://replicate.delivery/a.png"
    assert world.fetched_with["max_bytes"] == limits.max_output_bytes
    assert world.fetched_with["sources"].allowed == limits.allowed_output_hosts
    assert world.fetched_with["sources"].delivery == limits.replicate_delivery_hosts


def test_refused_output_is_the_images_failure(world: World) -> None:
    world.error = OutputRefusedError(FailureKind.OUTPUT_TOO_LARGE)
    event = collect.result(RUNNING, TAG, DONE, TimeBudget(60))
    assert event == ImageFailed(0, 1, "p0", FailureKind.OUTPUT_TOO_LARGE)


def test_copy_that_comes_too_late_is_not_stored(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(bucket, "store_output")
    world.is_late = True
    with pytest.raises(OutputUnavailableError, match="too slow"):
        collect.result(RUNNING, TAG, DONE, TimeBudget(60))


@pytest.mark.parametrize("deleted", [False, True])
def test_late_copy_of_a_deleted_job_is_removed(
    world: World, monkeypatch: pytest.MonkeyPatch, *, deleted: bool
) -> None:
    world.job = None if deleted else RUNNING

    def store(key: str, kind: str, size: int, _: object) -> Output:
        world.is_late = True
        return Output(key, kind, size)

    monkeypatch.setattr(bucket, "store_output", store)
    if deleted:
        with pytest.raises(OutputUnavailableError, match="too slow"):
            collect.result(RUNNING, TAG, DONE, TimeBudget(60))
    else:
        assert isinstance(collect.result(RUNNING, TAG, DONE, TimeBudget(60)), OutputStored)
    assert len(world.removed) == deleted


def test_copy_in_time_reads_no_job(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(record, "read")
    assert isinstance(collect.result(RUNNING, TAG, DONE, TimeBudget(60)), OutputStored)
    assert world.removed == []


# ── storing it ──


@pytest.mark.parametrize(("reclaimed", "sent"), [(True, ["j"]), (False, [])])
def test_lost_output_of_a_retry_is_requested_again_at_once(
    world: World, *, reclaimed: bool, sent: list[str]
) -> None:
    job = replace(RUNNING, images=(replace(RUNNING.images[0], reclaimed=reclaimed),))
    change = collect.store(job, ImageFailed(0, 1, "p0", FailureKind.OUTPUT_MISSING))
    assert change.job
    assert change.job.images[0].status is (ImageStatus.PENDING if reclaimed else ImageStatus.FAILED)
    assert world.sent == sent


def test_result_of_a_deleted_job_sends_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "move_on", lambda *_: record.Change(None, None))
    assert collect.store(RUNNING).job is None
    assert world.sent == []
