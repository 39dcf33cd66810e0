"""The metrics of each change of a job."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import get_args

import pytest

from tests.support.jobs import START, waiting_job
from tests.support.readme import rows
from tests.support.sources import SOURCES
from triptych.failures import Failure, FailureKind
from triptych.job import (
    Asked,
    Canceled,
    DeadlinePassed,
    Event,
    GenerationRefused,
    ImageFailed,
    Job,
    JobRejected,
    Output,
    OutputStored,
    PredictionCreated,
    Retried,
    UploadArrived,
    UploadExpired,
    apply,
    apply_all,
)
from triptych.metrics import UNITS, Metric, figures

ARRIVED = UploadArrived("uploads/j/photo.jpg", START)


def asked(index: int) -> Asked:
    return Asked(index, 1, START, START + timedelta(seconds=90))


def stored(index: int, attempt: int = 1) -> OutputStored:
    return OutputStored(index, attempt, f"p{index}", Output(f"outputs/j/{index}.png", "image/png", 100))


def failed(index: int, kind: FailureKind = FailureKind.PREDICTION_FAILED) -> ImageFailed:
    return ImageFailed(index, 1, f"p{index}", kind)


RUNNING: list[Event] = [
    ARRIVED,
    *(event for index in range(3) for event in (asked(index), PredictionCreated(index, 1, f"p{index}"))),
]


def counted(*events: Event, before: Job | None = None) -> list[tuple[str, float]]:
    """Return the metrics of the last of `events`, which are 10 s apart."""
    current = before or waiting_job()
    figures_of_last: list[tuple[str, float]] = []
    for number, event in enumerate(events):
        after = apply(current, event, START + timedelta(seconds=10 * (number + 1)))
        figures_of_last = [*figures(current, after)]
        current = after
    return figures_of_last


def test_each_image_is_counted_and_first_and_last_are_timed() -> None:
    one = [("ImagesStored", 1), ("BytesCopied", 100)]
    assert counted(*RUNNING, stored(0)) == [*one, ("SecondsToFirstPicture", 80)]
    assert counted(*RUNNING, stored(0), stored(1)) == one
    assert counted(*RUNNING, stored(0), stored(1), stored(2)) == [
        *one,
        ("JobsSucceeded", 1),
        ("SecondsToLastPicture", 100),
    ]


def test_event_without_effect_counts_nothing() -> None:
    for again in (stored(0), failed(0), stored(0, attempt=2), ARRIVED):
        assert counted(*RUNNING, stored(0), again) == []


@pytest.mark.parametrize(
    ("kind", "image", "ours"),
    [
        (FailureKind.PREDICTION_FAILED, "ImagesFailedByModel", False),
        (FailureKind.CONTENT_REJECTED, "ImagesFailedByPhoto", False),
        (FailureKind.OUTPUT_HOST_NOT_ALLOWED, "ImagesFailedByUs", True),
    ],
)
def test_fault_of_a_failure_selects_the_metric(kind: FailureKind, image: str, *, ours: bool) -> None:
    end = counted(*RUNNING, stored(0), stored(1), failed(2, kind))
    assert end == [(image, 1), ("JobsPartial", 1), *([("JobsFailedByUs", 1)] if ours else [])]


def test_unknown_failure_code_counts_as_a_service_fault() -> None:
    before = apply_all(waiting_job(), [*RUNNING, stored(0), stored(1)], START)
    after = apply(before, failed(2), START)
    unknown = replace(after.images[2], error=Failure("code_of_another_release", "."))
    counted_as = figures(before, replace(after, images=(*after.images[:2], unknown)))
    assert counted_as == [("ImagesFailedByUs", 1), ("JobsPartial", 1), ("JobsFailedByUs", 1)]


def test_one_service_fault_makes_the_job_a_service_fault() -> None:
    end = counted(*RUNNING, failed(0, FailureKind.OUTPUT_TOO_LARGE), failed(1), stored(2))
    assert ("JobsFailedByUs", 1) in end


def test_photo_counts_as_arrived_prepared_or_rejected() -> None:
    assert counted(ARRIVED) == [("PhotosArrived", 1)]
    prepared = replace(ARRIVED, prepared_key="prepared/j/photo.jpg")
    assert counted(prepared) == [("PhotosArrived", 1), ("PhotosPrepared", 1)]
    rejected = apply(waiting_job(), ARRIVED, START)
    rejected = apply(rejected, JobRejected(FailureKind.PHOTO_EMPTY), START)
    assert figures(waiting_job(), rejected) == [  # arrival and rejection are one write
        *[("ImagesFailedByPhoto", 1)] * 3,
        ("PhotosArrived", 1),
        ("PhotosRejected", 1),
        ("JobsFailed", 1),
    ]


def test_expired_canceled_and_failed_jobs_are_counted() -> None:
    canceled = [("ImagesCanceled", 1)] * 3
    assert counted(UploadExpired()) == [*canceled, ("JobsExpired", 1)]
    assert counted(*RUNNING, Canceled()) == [*canceled, ("JobsCanceled", 1)]
    ours = [("ImagesFailedByUs", 1)] * 3
    assert counted(*RUNNING, DeadlinePassed(0)) == [*ours, ("JobsFailed", 1), ("JobsFailedByUs", 1)]
    refused = GenerationRefused(0, 1, FailureKind.REPLICATE_UNAUTHORIZED)
    assert counted(ARRIVED, asked(0), refused) == [*ours, ("JobsFailed", 1), ("JobsFailedByUs", 1)]


def test_prediction_first_named_by_its_webhook_counts_as_adopted() -> None:
    assert ("PredictionsAdopted", 1) in counted(ARRIVED, asked(0), stored(0))
    assert ("PredictionsAdopted", 1) in counted(ARRIVED, asked(0), failed(0))
    assert ("PredictionsAdopted", 1) not in counted(ARRIVED, asked(0), DeadlinePassed(0))
    assert counted(ARRIVED, asked(0), PredictionCreated(0, 1, "p0")) == []


def test_seconds_count_from_the_retry() -> None:
    ended = waiting_job()
    for event in (*RUNNING, *(failed(index) for index in range(3))):
        ended = apply(ended, event, START)
    at = START + timedelta(hours=2)
    retried = apply(ended, Retried(at), at)
    assert figures(ended, retried) == [("JobsRetried", 1)]
    again = apply(retried, asked(0), at)
    assert ("SecondsToFirstPicture", 7.0) in figures(
        again, apply(again, stored(0, attempt=2), at + timedelta(seconds=7))
    )


# ── the names of the metrics ──


def test_every_metric_is_documented_and_counted() -> None:
    names = set(get_args(Metric.__value__))
    assert names == set(rows("What you will see"))
    assert names >= UNITS.keys()
    code = "".join(source.read_text() for source in SOURCES)
    declared = 1  # in the type that lists all metrics
    assert {name for name in names if code.count(f'"{name}"') - (name in UNITS) <= declared} == set()
