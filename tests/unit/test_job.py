"""The rules of a job, without I/O. Each property is a promise."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random
from typing import NamedTuple, get_args

import pytest

from tests.support.jobs import START as NOW
from tests.support.jobs import waiting_job
from triptych import job as rules
from triptych.failures import Failure, FailureKind
from triptych.job import (
    MOST_ATTEMPTS,
    MOST_BILLABLE,
    MOST_OPENS,
    MOST_RETRIES,
    MOVES,
    AnswerLost,
    Asked,
    Canceled,
    DeadlinePassed,
    EnteredAgain,
    Event,
    GenerationRefused,
    ImageFailed,
    ImageRequest,
    ImageStatus,
    Job,
    JobRejected,
    JobRequest,
    JobStatus,
    Output,
    OutputBroken,
    OutputStored,
    Photo,
    PhotoLeft,
    PhotoOpened,
    PhotoPreviewed,
    PredictionCreated,
    PredictionNotCreated,
    Preview,
    Retried,
    UploadArrived,
    UploadExpired,
    WaitsInLine,
    apply,
    apply_all,
    has_used_its_attempts,
    has_used_its_retries,
    is_retryable,
)

KIND = FailureKind.REPLICATE_REFUSED
# The moves of an image, written down a second time: `MOVES` itself limits what `apply` does.
NEXT = {
    "PENDING": {"REQUESTING", "FAILED", "CANCELED"},
    "REQUESTING": {"PENDING", "GENERATING", "STORED", "FAILED", "CANCELED"},
    "GENERATING": {"PENDING", "STORED", "FAILED", "CANCELED"},
    "STORED": set(),
    "FAILED": set(),  # only a retry of the owner moves it
    "CANCELED": set(),
}
FAILURE = Failure.of(KIND)
OUTPUT = Output("outputs/j/0.png", "image/png", 100)


def arrived() -> UploadArrived:
    return UploadArrived("uploads/j/photo.jpg", NOW)


def opened(at: datetime) -> PhotoOpened:
    return PhotoOpened(at, at + timedelta(seconds=60), uploaded_at=NOW)


def asked(index: int) -> Asked:
    return Asked(index, seed=index, at=NOW, in_doubt_until=NOW + timedelta(seconds=90))


def generating(images: int = 3) -> Job:
    """Return a job whose images each have the prediction `p{index}`."""
    events: list[Event] = [arrived()]
    for index in range(images):
        events += [asked(index), PredictionCreated(index, 1, f"p{index}")]
    return apply_all(waiting_job(images), events, NOW)


def stored(index: int, attempt: int = 1) -> OutputStored:
    return OutputStored(index, attempt, f"p{index}", replace(OUTPUT, key=f"outputs/j/{index}.png"))


def failed(index: int, attempt: int = 1) -> ImageFailed:
    return ImageFailed(index, attempt, f"p{index}", KIND)


# ── from upload to end ──


def test_job_succeeds_when_all_images_are_stored() -> None:
    job = apply_all(generating(), [stored(0), stored(1), stored(2)], NOW)
    assert job.status is JobStatus.SUCCEEDED
    assert job.failure is None


def test_stored_image_is_kept_when_others_fail() -> None:
    job = apply_all(generating(), [failed(0), stored(1), failed(2)], NOW)
    assert job.status is JobStatus.PARTIAL
    assert [image.error for image in job.images] == [FAILURE, None, FAILURE]


def test_job_ends_with_its_last_change() -> None:
    later = NOW + timedelta(seconds=5)
    job = apply_all(generating(), [stored(0), stored(1)], NOW)
    assert job.ended_at is None
    assert apply(job, stored(2), later).ended_at == later


def test_photo_lies_where_it_arrived() -> None:
    elsewhere = UploadArrived("uploads/j/other.jpg", NOW, "prepared/j.jpg", inspected=False)
    photo = apply(waiting_job(), elsewhere, NOW).photo
    assert photo == Photo("uploads/j/other.jpg", prepared_key="prepared/j.jpg", uninspected=True)


def test_photo_keeps_its_first_preview() -> None:
    first, second = PhotoPreviewed(Preview(1, 1, "#000000")), PhotoPreviewed(Preview(2, 2, "#ffffff"))
    assert apply(waiting_job(), first, NOW) == waiting_job()  # no photo has come
    job = apply_all(waiting_job(), [arrived(), first, second], NOW)
    assert job.photo.preview == first.preview


def test_prompt_of_an_image_follows_its_style() -> None:
    own = (ImageRequest(prompt="a fox"), ImageRequest())
    request = JobRequest(
        content_type="image/jpeg", size=10, prompt="a cat", style_prompt="in oil", images=own
    )
    assert [request.prompt_of(index) for index in range(3)] == [
        "in oil a fox",
        "in oil a cat",
        "in oil a cat",
    ]
    assert replace(request, style_prompt=None).prompt_of(0) == "a fox"
    assert replace(request, prompt=None).prompt_of(1) == "in oil"
    assert replace(request, prompt=None, style_prompt=None).prompt_of(1) is None
    assert replace(request, style_prompt="in ink") == request  # the client sent the same


def test_image_keeps_the_time_of_its_end() -> None:
    later = NOW + timedelta(seconds=5)
    job = apply(apply(generating(), stored(0), NOW), failed(1), later)
    assert [image.ended_at for image in job.images] == [NOW, later, None]


def test_equal_failures_of_all_images_become_the_jobs_failure() -> None:
    assert apply_all(generating(), [failed(0), failed(1), failed(2)], NOW).failure == FAILURE
    other = ImageFailed(2, 1, "p2", FailureKind.OUTPUT_MISSING)
    mixed = apply_all(generating(), [failed(0), failed(1), other], NOW).failure
    assert mixed
    assert mixed.code == "all_images_failed"


def test_change_by_a_late_clock_is_never_dated_back() -> None:
    """The page takes the older of two answers for out of date."""
    job = apply(waiting_job(), UploadArrived("k", NOW), NOW)
    later = apply(job, WaitsInLine(NOW), NOW - timedelta(seconds=1))
    assert job.updated_at < later.updated_at < NOW + timedelta(seconds=1)


@pytest.mark.parametrize("seconds", [-1, -0.0001, 0.0001])
def test_next_change_is_a_millisecond_later(seconds: float) -> None:
    at = NOW.replace(microsecond=500)
    job = apply(waiting_job(), UploadArrived("k", NOW), at)
    later = apply(job, WaitsInLine(NOW), at + timedelta(seconds=seconds))
    assert later.updated_at == job.updated_at + timedelta(milliseconds=1)


def test_missing_photo_expires_the_job() -> None:
    job = apply(waiting_job(), UploadExpired(), NOW)
    assert job.error == Failure.of(FailureKind.UPLOAD_EXPIRED)
    assert job.status is JobStatus.EXPIRED
    assert job.failure
    assert apply(job, arrived(), NOW) is job


@pytest.mark.parametrize("event", [stored(0), PredictionCreated(0, 1, "p0"), Canceled()])
def test_job_with_an_output_or_open_image_has_no_failure(event: Event) -> None:
    """What Replicate refused is the failure of the images alone, unless the whole job has no output."""
    job = apply_all(waiting_job(2), [arrived(), asked(0), asked(1), GenerationRefused(1, 1, KIND)], NOW)
    assert (job.status, job.failure) == (JobStatus.GENERATING, None)
    after = apply(job, event, NOW)
    assert (after.failure, after.images[1].error) == (None, FAILURE)


def test_uploaded_job_does_not_expire() -> None:
    job = apply(waiting_job(), arrived(), NOW)
    assert apply(job, UploadExpired(), NOW) is job


def test_job_starts_at_or_after_its_creation() -> None:
    seconds_of_s3 = UploadArrived("uploads/j/photo.jpg", NOW - timedelta(milliseconds=900))
    assert apply(waiting_job(), seconds_of_s3, NOW).started_at == NOW


def test_rejected_photo_fails_the_job() -> None:
    job = apply_all(waiting_job(), [arrived(), JobRejected(KIND)], NOW)
    assert (job.status, job.failure) == (JobStatus.FAILED, FAILURE)


def test_photo_is_rejected_after_too_many_opens() -> None:
    job = waiting_job()
    for minute in range(MOST_OPENS):
        job = apply(job, opened(NOW + timedelta(minutes=minute)), NOW)
        assert job.status is JobStatus.AWAITING_UPLOAD
    job = apply(job, opened(NOW + timedelta(minutes=MOST_OPENS)), NOW)
    assert (job.status, job.failure) == (JobStatus.FAILED, Failure.of(FailureKind.PHOTO_UNOPENABLE))
    assert job.uploaded_at == NOW


def test_photo_is_opened_by_one_invocation_at_a_time() -> None:
    job = apply(waiting_job(), opened(NOW), NOW)
    assert apply(job, opened(NOW + timedelta(seconds=59)), NOW) is job
    assert apply(job, opened(NOW + timedelta(seconds=60)), NOW).photo.opens == 2


def test_opened_photo_is_not_opened_again() -> None:
    job = apply_all(waiting_job(), [opened(NOW), arrived()], NOW)
    assert apply(job, opened(NOW + timedelta(minutes=5)), NOW) is job


def test_photo_is_not_rejected_after_a_prediction() -> None:
    job = generating()
    assert apply(job, JobRejected(KIND), NOW) is job


def test_deadline_fails_open_images_and_keeps_stored_ones() -> None:
    job = apply_all(generating(), [stored(1), DeadlinePassed(0)], NOW)
    assert job.status is JobStatus.PARTIAL
    assert job.images[0].error
    assert job.images[0].error.code == "deadline_exceeded"


# ── requests and doubt ──


@pytest.mark.parametrize("end", [Canceled(), DeadlinePassed(0)])
def test_ended_image_is_in_doubt_only_if_it_was(end: Event) -> None:
    """For a doubt, the list is read. A refused prediction is known not to exist."""
    refused = PredictionNotCreated(1, 1, NOW + timedelta(seconds=7))
    job = apply_all(waiting_job(2), [arrived(), asked(0), asked(1), refused], NOW)
    doubts = [image.in_doubt_until for image in apply(job, end, NOW).images]
    assert doubts == [NOW + timedelta(seconds=90), None]


def test_no_prediction_is_requested_before_the_upload() -> None:
    job = waiting_job()
    assert apply(job, asked(0), NOW) is job


def test_request_is_stored_with_its_seed_and_times() -> None:
    image = apply_all(waiting_job(), [arrived(), asked(2)], NOW).images[2]
    assert (image.status, image.attempt, image.seed) == (ImageStatus.REQUESTING, 1, 2)
    assert (image.asked_at, image.in_doubt_until) == (NOW, NOW + timedelta(seconds=90))


def test_requested_image_is_not_requested_again() -> None:
    job = apply_all(waiting_job(), [arrived(), asked(0)], NOW)
    assert apply(job, asked(0), NOW) is job


def test_each_request_is_a_new_attempt() -> None:
    again = PredictionNotCreated(0, 1, NOW)
    job = apply_all(waiting_job(), [arrived(), asked(0), again, asked(0)], NOW)
    assert job.images[0].attempt == 2
    # An event about the first attempt changes nothing in the second.
    assert apply(job, again, NOW) is job
    assert apply(job, PredictionCreated(0, 1, "late"), NOW) is job
    assert apply(job, stored(0, attempt=1), NOW) is job


def test_webhook_may_arrive_before_the_answer() -> None:
    job = apply_all(waiting_job(1), [arrived(), asked(0), stored(0)], NOW)
    assert job.status is JobStatus.SUCCEEDED
    assert job.images[0].prediction_id == "p0"
    assert apply(job, PredictionCreated(0, 1, "p0"), NOW) is job


def test_unknown_prediction_changes_nothing() -> None:
    job = generating()
    assert apply(job, OutputStored(0, 1, "stranger", OUTPUT), NOW) is job
    assert apply(job, ImageFailed(0, 1, "stranger", KIND), NOW) is job


def test_lost_answer_leaves_the_image_in_doubt() -> None:
    until = NOW + timedelta(seconds=20)
    job = apply_all(waiting_job(), [arrived(), asked(0), AnswerLost(0, 1, until)], NOW)
    assert (job.images[0].status, job.images[0].in_doubt_until) == (ImageStatus.REQUESTING, until)


@pytest.mark.parametrize(
    "event",
    [
        PredictionCreated(0, 1, "p0"),
        PredictionNotCreated(0, 1, NOW),
        GenerationRefused(0, 1, KIND),
        stored(0),
        failed(0),
    ],
)
def test_answer_ends_the_doubt(event: Event) -> None:
    job = apply_all(waiting_job(1), [arrived(), asked(0)], NOW)
    assert job.images[0].in_doubt_until
    assert apply(job, event, NOW).images[0].in_doubt_until is None


def test_requested_image_waits_no_longer() -> None:
    job = apply_all(waiting_job(), [arrived(), WaitsInLine(NOW), asked(1)], NOW)
    assert [image.not_before for image in job.images] == [NOW, None, NOW]


def test_refusal_fails_only_images_without_a_prediction() -> None:
    events: list[Event] = [arrived(), asked(0), asked(1), PredictionCreated(0, 1, "p0")]
    job = apply_all(waiting_job(), [*events, GenerationRefused(1, 1, KIND)], NOW)
    assert [image.status for image in job.images] == ["GENERATING", "FAILED", "FAILED"]
    assert apply(job, stored(0), NOW).status is JobStatus.PARTIAL


def test_image_in_doubt_is_not_requested_after_a_refusal() -> None:
    events: list[Event] = [arrived(), asked(0), asked(1), asked(2), GenerationRefused(1, 1, KIND)]
    job = apply_all(
        waiting_job(), [*events, GenerationRefused(2, 1, KIND), PredictionNotCreated(0, 1, NOW)], NOW
    )
    assert (job.status, job.failure) == (JobStatus.FAILED, FAILURE)


# ── attempts ──


def lost(index: int, attempt: int, at: datetime) -> PredictionNotCreated:
    """Return the event that Replicate's list does not hold the prediction."""
    return PredictionNotCreated(index, attempt, at, was_in_doubt=True)


def after_lost_attempts(lost_attempts: int) -> tuple[Job, list[float]]:
    """Return a job of one image whose attempts were all lost, and the seconds from each to the next."""
    job, now, waits = apply(waiting_job(1), arrived(), NOW), NOW, []
    for attempt in range(1, lost_attempts + 1):
        asked_at = now
        job = apply_all(job, [Asked(0, 1, now, now), AnswerLost(0, attempt, now), lost(0, attempt, now)], now)
        now = job.images[0].not_before or now
        waits.append((now - asked_at).total_seconds())
    return job, waits


def test_lost_attempts_are_limited_and_ever_rarer() -> None:
    job, waits = after_lost_attempts(MOST_BILLABLE - 1)
    assert job.status is JobStatus.GENERATING
    assert waits == [30 * attempt for attempt in range(1, MOST_BILLABLE)]
    job, _ = after_lost_attempts(MOST_BILLABLE)
    assert job.failure
    assert (job.status, job.failure.code) == (JobStatus.FAILED, "attempts_used")
    assert has_used_its_attempts(job)
    assert not is_retryable(job)
    assert apply(job, Retried(NOW), NOW) is job


def test_refused_attempts_use_up_none_that_may_be_billed() -> None:
    job = apply(waiting_job(1), arrived(), NOW)
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert job.status is JobStatus.GENERATING
        job = apply_all(job, [Asked(0, 1, NOW, NOW), PredictionNotCreated(0, attempt, NOW)], NOW)
        assert job.images[0].billable == 0
    assert job.failure
    assert job.failure.code == "attempts_used"


def test_refusal_for_good_is_not_billed() -> None:
    job = apply_all(waiting_job(1), [arrived(), asked(0), GenerationRefused(0, 1, KIND)], NOW)
    assert job.images[0].billable == 0


def test_refusal_that_comes_after_a_retry_hides_no_later_attempt() -> None:
    job = apply_all(waiting_job(1), [arrived(), asked(0), DeadlinePassed(0), Retried(NOW)], NOW)
    assert job.images[0].status is ImageStatus.REQUESTING
    job = apply_all(job, [PredictionNotCreated(0, 1, NOW), asked(0)], NOW)
    assert job.images[0].billable - job.images[0].billable_before == 1


def test_predictions_of_all_retries_count_as_attempts() -> None:
    job = generating()
    for attempt in range(1, MOST_RETRIES + 2):
        assert [image.billable for image in job.images] == [attempt] * 3
        job = apply_all(job, [failed(0, attempt), failed(1, attempt), failed(2, attempt)], NOW)
        events = [(asked(index), PredictionCreated(index, attempt + 1, f"p{index}")) for index in range(3)]
        job = apply_all(job, [Retried(NOW), *(event for pair in events for event in pair)], NOW)


def test_retry_spares_an_image_without_attempts() -> None:
    job, _ = after_lost_attempts(MOST_BILLABLE)
    other = replace(apply_all(generating(), [failed(0), failed(1), stored(2)], NOW).images[1], index=1)
    job = replace(job, images=(job.images[0], other))
    retried = apply(job, Retried(NOW), NOW)
    assert [image.status for image in retried.images] == ["FAILED", "PENDING"]
    assert retried.counted == 1


def test_output_that_is_gone_gets_no_attempt_beyond_the_limit() -> None:
    job = generating(1)
    image = replace(job.images[0], billable=MOST_BILLABLE - 1)
    job = apply(replace(job, images=(image,)), DeadlinePassed(0), NOW)
    job = apply(job, Retried(NOW), NOW)
    assert job.images[0].reclaimed
    job = replace(job, images=(replace(job.images[0], billable=MOST_BILLABLE),))
    job = apply(job, failed(0), NOW)
    assert job.failure
    assert job.failure.code == "attempts_used"


def test_deadline_of_an_earlier_try_ends_nothing() -> None:
    """The look that found it was slow: meanwhile the job ended, and its owner retried it."""
    job = apply_all(generating(), [DeadlinePassed(0), Retried(NOW)], NOW)
    assert apply(job, DeadlinePassed(0), NOW) is job
    assert apply(job, DeadlinePassed(1), NOW).status is JobStatus.FAILED


def test_output_missed_before_a_retry_is_still_awaited() -> None:
    job = apply_all(generating(), [DeadlinePassed(0), Retried(NOW)], NOW)
    assert job.images[0].reclaimed
    missed = ImageFailed(0, 1, job.images[0].prediction_id or "", FailureKind.OUTPUT_UNAVAILABLE, 0)
    assert apply(job, missed, NOW) is job
    assert apply(job, replace(missed, retries=1), NOW).images[0].status is ImageStatus.FAILED


def test_retry_counts_what_it_may_create_and_waits_anew() -> None:
    job = apply_all(generating(), [EnteredAgain(NOW), failed(0), stored(1), failed(2)], NOW)
    retried = apply(job, Retried(NOW), NOW)
    assert (retried.counted, retried.entered_again_at) == (2, None)


def test_request_of_an_older_release_that_was_refused_costs_nothing() -> None:
    """Its item has no count of requests."""
    job = apply_all(waiting_job(1), [arrived(), asked(0)], NOW)
    old = replace(job, images=(replace(job.images[0], billable=0),))
    assert apply(old, PredictionNotCreated(0, 1, NOW), NOW).images[0].billable == 0
    twice = replace(job, images=(replace(job.images[0], billable=2),))
    assert apply(twice, PredictionNotCreated(0, 1, NOW), NOW).images[0].billable == 1


def test_image_without_an_attempt_left_waits_for_none() -> None:
    doubtful = replace(generating(1).images[0], status=ImageStatus.REQUESTING, billable=MOST_BILLABLE)
    job = replace(generating(1), images=(replace(doubtful, billable_before=2),))
    image = apply(job, PredictionNotCreated(0, 1, NOW, was_in_doubt=True), NOW).images[0]
    assert (image.status, image.not_before, image.billable_before) == (ImageStatus.FAILED, None, 2)


def test_retry_looks_for_an_output_as_often_as_at_first() -> None:
    broken = apply(generating(1), OutputBroken(0, 1, "p0"), NOW)
    assert broken.images[0].broken == 1
    assert apply_all(broken, [DeadlinePassed(0), Retried(NOW)], NOW).images[0].broken == 0


def test_image_whose_old_output_is_gone_ends_as_its_job() -> None:
    """A retry asks for old outputs. Replicate refuses another image's prediction, so it would refuse theirs too."""
    retried = apply_all(waiting_job(3), [arrived(), asked(0), asked(1), DeadlinePassed(0), Retried(NOW)], NOW)
    job = apply_all(retried, [asked(2), GenerationRefused(2, 1, KIND)], NOW)
    gone = ImageFailed(0, 1, "p0", FailureKind.OUTPUT_MISSING)
    assert apply(job, gone, NOW).images[0].error == FAILURE
    assert apply(retried, gone, NOW).images[0].status is ImageStatus.PENDING
    away = replace(gone, failure=FailureKind.OUTPUT_UNAVAILABLE)  # Replicate still holds it
    for one in (job, retried):
        assert apply(one, away, NOW).images[0].error == Failure.of(FailureKind.OUTPUT_UNAVAILABLE)


# ── any history of events ──


STARTS = [
    waiting_job(),
    apply(waiting_job(), opened(NOW), NOW),
    apply(waiting_job(), arrived(), NOW),
    generating(),
    apply(generating(), DeadlinePassed(0), NOW),
    apply_all(waiting_job(), [arrived(), asked(0), DeadlinePassed(0)], NOW),
]
KINDS: tuple[type, ...] = get_args(Event.__value__)
ENDS = {JobRejected, UploadExpired, GenerationRefused, DeadlinePassed, Canceled}
WEIGHTS = [1 if kind in ENDS else 6 for kind in KINDS]  # hardly anything follows an end


class Moved(NamedTuple):
    before: Job
    event: Event
    after: Job


def drawn_event(random: Random, job: Job) -> Event:
    """Return any event. Most fit the job; some are of an earlier attempt, another prediction or another time."""
    index = random.randrange(len(job.images))
    own = random.random() < 0.8
    attempt = job.images[index].attempt - (random.random() < 0.1)
    prediction_id = (job.images[index].prediction_id if own else None) or f"{index} {attempt} {own}"
    at = NOW + timedelta(seconds=random.randrange(100))
    possible: tuple[Event, ...] = (
        UploadArrived("uploads/j/photo.jpg", at, inspected=own),
        opened(at),
        PhotoLeft((job.photo.opening_until if own else None) or at),
        PhotoPreviewed(Preview(1, 1, "#000000")),
        JobRejected(KIND),
        UploadExpired(),
        Asked(index, seed=index, at=at, in_doubt_until=at),
        PredictionCreated(index, attempt, prediction_id),
        PredictionNotCreated(index, attempt, at, was_in_doubt=own),
        WaitsInLine(at),
        EnteredAgain(at),
        AnswerLost(index, attempt, at),
        GenerationRefused(index, attempt, KIND),
        OutputStored(index, attempt, prediction_id, OUTPUT),
        OutputBroken(index, attempt, prediction_id),
        ImageFailed(index, attempt, prediction_id, KIND),
        DeadlinePassed(job.retries if own else 0),
        Canceled(),
        Retried(at),
    )
    [kind] = random.choices(KINDS, WEIGHTS)
    return next(event for event in possible if type(event) is kind)


@pytest.fixture(scope="module")
def drawn() -> list[Moved]:
    """500 histories of 40 events each, the same in each run."""
    moves = []
    for seed in range(500):
        random = Random(seed)
        job = random.choice(STARTS)
        for _ in range(40):
            event = drawn_event(random, job)
            moves.append(Moved(job, event, apply(job, event, NOW)))
            job = moves[-1].after
    return moves


def test_drawn_events_make_every_move_of_an_image(drawn: list[Moved]) -> None:
    """Otherwise the properties below may hold because nothing happens."""
    assert {type(event) for before, event, after in drawn if after is not before} == set(KINDS)
    made = {
        (old.status, new.status)
        for before, _, after in drawn
        for old, new in zip(before.images, after.images, strict=True)
        if new.status is not old.status
    }
    assert made == {(old, new) for old, following in MOVES.items() for new in following}


def test_only_a_retry_changes_an_ended_job(drawn: list[Moved]) -> None:
    for before, event, after in drawn:
        if before.status.is_terminal and not isinstance(event, Retried):
            assert after is before


def test_a_stored_image_is_never_lost(drawn: list[Moved]) -> None:
    for before, _, after in drawn:
        for image in before.having(ImageStatus.STORED):
            assert after.images[image.index].status is ImageStatus.STORED
            assert after.images[image.index].output == image.output


def test_images_make_only_the_listed_moves(drawn: list[Moved]) -> None:
    for before, event, after in drawn:
        for old, new in zip(before.images, after.images, strict=True):
            retried = isinstance(event, Retried) and old.status is ImageStatus.FAILED
            assert retried or new.status is old.status or new.status in NEXT[old.status]


def test_applying_an_event_twice_equals_applying_it_once(drawn: list[Moved]) -> None:
    for _, event, after in drawn:
        if not isinstance(event, OutputBroken):  # each look that finds it counts
            assert apply(after, event, NOW) is after


def test_image_fields_match_its_status(drawn: list[Moved]) -> None:
    for _, _, job in drawn:
        for image in job.images:
            assert (image.output is not None) == (image.status is ImageStatus.STORED)
            assert (image.error is not None) == (image.status is ImageStatus.FAILED)
            assert image.attempt > 0 or image.status in {"PENDING", "FAILED", "CANCELED"}
            if image.status is ImageStatus.GENERATING:
                assert image.prediction_id
        if job.status in {JobStatus.FAILED, JobStatus.EXPIRED}:
            assert job.failure


def test_image_waits_or_is_in_doubt_as_its_status_says(drawn: list[Moved]) -> None:
    for _, _, job in drawn:
        for image in job.images:
            assert image.not_before is None or image.status is ImageStatus.PENDING
            if image.status is ImageStatus.REQUESTING:
                assert image.in_doubt_until
            elif image.in_doubt_until:  # it ended in doubt
                assert image.status in {ImageStatus.FAILED, ImageStatus.CANCELED}
            assert image.in_doubt_until is None or image.prediction_id is None


def test_job_can_end_from_any_state(drawn: list[Moved]) -> None:
    for _, _, job in drawn:
        end = DeadlinePassed(job.retries) if job.uploaded_at else UploadExpired()
        assert apply(job, end, NOW).status.is_terminal


def test_retry_reopens_only_failed_images(drawn: list[Moved]) -> None:
    for before, event, after in drawn:
        if after is before or not isinstance(event, Retried):
            continue
        assert before.status in {"FAILED", "PARTIAL"}
        assert after.status is JobStatus.GENERATING
        for old, new in zip(before.images, after.images, strict=True):
            assert new == replace(old, billable_before=old.billable) or old.status is ImageStatus.FAILED
            if new.status is not old.status:  # its last output may still be had, or it gets another one
                running = ImageStatus.GENERATING if old.prediction_id else ImageStatus.REQUESTING
                assert new.status is (running if new.reclaimed else ImageStatus.PENDING)
            assert new.attempt == old.attempt  # the next request begins a new attempt


def test_retry_without_failures_does_nothing() -> None:
    running = generating()
    done = apply_all(running, [stored(0), stored(1), stored(2)], NOW)
    canceled = apply(running, Canceled(), NOW)
    expired = apply(waiting_job(), UploadExpired(), NOW)
    for job in (waiting_job(), running, done, canceled, expired):
        assert apply(job, Retried(NOW), NOW) is job


def test_job_is_retried_at_most_four_times() -> None:
    job = apply(generating(), DeadlinePassed(0), NOW)
    for retries in range(4):
        assert job.retries == retries
        assert is_retryable(job)
        assert not has_used_its_retries(job)
        job = apply_all(job, [Retried(NOW), DeadlinePassed(retries + 1)], NOW)
    assert apply(job, Retried(NOW), NOW) is job
    assert not is_retryable(job)
    assert has_used_its_retries(job)


def test_job_runs_out_of_retries_only_by_their_count() -> None:
    failed_job = apply(generating(), DeadlinePassed(0), NOW)
    rejected = apply_all(waiting_job(), [arrived(), JobRejected(FailureKind.PHOTO_UNSUPPORTED)], NOW)
    for job in (waiting_job(), generating(), failed_job, rejected, apply(generating(), Canceled(), NOW)):
        assert not has_used_its_retries(job)
    for job in (generating(), rejected, apply(generating(), Canceled(), NOW)):
        assert not has_used_its_retries(replace(job, retries=4))


@pytest.mark.parametrize("kind", [kind for kind in FailureKind if kind.ends])
def test_job_is_retryable_as_the_table_of_failures_says(kind: FailureKind) -> None:
    rejected = apply_all(waiting_job(), [arrived(), JobRejected(kind)], NOW)
    assert (apply(rejected, Retried(NOW), NOW) is not rejected) is kind.retryable


def test_unknown_failure_code_is_retryable() -> None:
    rejected = apply_all(waiting_job(), [arrived(), JobRejected(KIND)], NOW)
    assert is_retryable(replace(rejected, error=Failure("code_of_another_release", "No.")))


def test_the_deadline_counts_from_the_retry() -> None:
    later = NOW + timedelta(hours=1)
    job = apply(apply_all(generating(), [failed(0), stored(1), stored(2)], NOW), Retried(later), later)
    assert job.started_at == job.watched_since == later


@pytest.mark.parametrize(("seconds", "status"), [(3000 + 3599, "REQUESTING"), (3000 + 3600, "PENDING")])
def test_retry_asks_for_a_doubt_whose_output_may_live(seconds: int, status: str) -> None:
    """Replicate keeps an output for an hour from its end, and a prediction may run for 3,000 s."""
    doubtful = apply_all(waiting_job(), [arrived(), asked(0), DeadlinePassed(0)], NOW)
    later = NOW + timedelta(seconds=seconds)
    assert apply(doubtful, Retried(later), later).images[0].status == status


def test_cancel_keeps_stored_images() -> None:
    job = apply_all(generating(), [stored(0), Canceled()], NOW)
    assert job.status is JobStatus.CANCELED
    assert [image.status for image in job.images] == ["STORED", "CANCELED", "CANCELED"]
    assert apply(job, stored(1), NOW) is job


def test_move_that_the_table_forbids_is_an_error() -> None:
    job = apply(generating(), stored(0), NOW)
    with pytest.raises(rules.ImpossibleMoveError):
        rules._put(job, replace(job.images[0], status=ImageStatus.PENDING))


@pytest.mark.parametrize("status", list(ImageStatus))
def test_moves_are_those_of_the_design(status: ImageStatus) -> None:
    by_a_retry = {"PENDING", "REQUESTING", "GENERATING"} if status is ImageStatus.FAILED else set()
    assert set(MOVES[status]) == NEXT[status] | by_a_retry
