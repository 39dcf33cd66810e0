"""The second at which a look of the watchdog decides: just before it nothing ends, from then on it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace

import httpx
import pytest

import generate
from tests.integration import looking
from tests.support.events import s3_notification, sqs_event
from tests.support.function_environment import BUCKET
from tests.support.world import World
from triptych.aws import queues
from triptych.flows import doubts, watch
from triptych.flows import generate as generation
from triptych.job import ImageStatus, Job, JobStatus
from triptych.replicate import listing

SECOND = timedelta(seconds=1)


def look(world: World, job_id: str, context: SimpleNamespace, at: datetime) -> Job:
    """Let the watchdog look at this time; return the job as it is then."""
    world.clock.time = at
    looking.look(world, job_id, context)
    return world.job(job_id)


def generated(world: World, context: SimpleNamespace) -> str:
    job_id = world.new_job()
    generate.handler(sqs_event(s3_notification(job_id)), context)
    return job_id


def never_uploaded(world: World, _context: SimpleNamespace) -> tuple[str, datetime]:
    job_id = world.new_job(photo=None)
    return job_id, world.job(job_id).created_at + timedelta(seconds=900 + 300 + 300)


def never_opened(world: World, _context: SimpleNamespace) -> tuple[str, datetime]:
    job_id = world.new_job()
    photo = world.s3.head_object(Bucket=BUCKET, Key=world.job(job_id).photo.key)
    return job_id, photo["LastModified"] + timedelta(seconds=1800)


def running(world: World, context: SimpleNamespace) -> tuple[str, datetime]:
    job_id = generated(world, context)
    started_at = world.job(job_id).started_at
    assert started_at
    return job_id, started_at + timedelta(seconds=1800)


# A photo that was never opened has a deadline that only S3 knows, so the looks go on as before.
@pytest.mark.parametrize(("begin", "longest"), [(never_uploaded, 2), (never_opened, 300), (running, 2)])
def test_job_ends_at_its_deadline_and_not_before(
    world: World,
    context: SimpleNamespace,
    checks: list[tuple[queues.WatchdogMessage, int]],
    begin: Callable[[World, SimpleNamespace], tuple[str, datetime]],
    longest: int,
) -> None:
    job_id, deadline = begin(world, context)
    checks.clear()
    assert not look(world, job_id, context, deadline - SECOND).status.is_terminal
    ((_, delay),) = checks
    assert 1 <= delay <= longest
    assert look(world, job_id, context, deadline).status.is_terminal


def test_prediction_is_lost_only_when_replicate_must_know_it(
    world: World, context: SimpleNamespace, checks: list[tuple[queues.WatchdogMessage, int]]
) -> None:
    """Just after a POST, Replicate may answer 404 for a prediction that exists."""
    job_id = generated(world, context)
    asked_at = world.job(job_id).images[0].asked_at
    assert asked_at
    account = world.replicate.account
    held, account.predictions = account.predictions, {}
    known_by = asked_at + timedelta(seconds=90)
    assert len(look(world, job_id, context, known_by - SECOND).having(ImageStatus.GENERATING)) == 3
    account.predictions = held
    assert len(look(world, job_id, context, known_by).having(ImageStatus.GENERATING)) == 3
    account.predictions = {}
    lost = look(world, job_id, context, known_by).images
    assert {image.error.code for image in lost if image.error} == {"prediction_lost"}
    assert len(world.replicate.creates) == 3


def test_whole_list_is_read_when_the_doubt_ends(
    world: World, context: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the whole list proves that a prediction does not exist."""
    world.replicate.before_create = lambda _: httpx.Response(503)
    job = world.job(generated(world, context))
    end = job.images[0].in_doubt_until
    assert end
    seen: list[bool] = []

    def find(*_: object, whole: bool) -> listing.Listed:
        seen.append(whole)
        return listing.Listed([])

    monkeypatch.setattr(listing, "find", find)
    for now in (end - SECOND, end):
        settled, _ = doubts.settle(replace(job, images=job.images[:1]), now)
        assert settled == []
    assert seen == [False, True]


def test_image_is_asked_for_from_its_second_on(world: World, context: SimpleNamespace) -> None:
    world.replicate.before_create = lambda _: httpx.Response(429, json={"retry_after": 7})
    job = world.job(generated(world, context))
    first = job.images[0].not_before
    assert first
    assert job.images[0] not in generation.to_ask_for(job, first - SECOND)
    assert job.images[0] in generation.to_ask_for(job, first)


def test_look_overtaken_by_the_deadline_is_soon_followed_by_another(
    world: World, context: SimpleNamespace
) -> None:
    """A slow output makes a look long. It began too early to end the job."""
    job_id, deadline = running(world, context)
    world.clock.time = deadline + 8 * SECOND
    job = world.job(job_id)
    assert watch._next_look(job, deadline - SECOND) <= 5
    assert watch._next_look(job, deadline + SECOND) > 60


def test_fresh_404_at_the_deadline_loses_no_prediction(
    world: World, context: SimpleNamespace, checks: list[tuple[queues.WatchdogMessage, int]]
) -> None:
    job_id = world.new_job()
    world.clock.advance(1740)
    generate.handler(sqs_event(s3_notification(job_id)), context)
    started_at = world.job(job_id).started_at
    assert started_at
    world.replicate.account.predictions = {}
    late = look(world, job_id, context, started_at + timedelta(seconds=1800))
    assert late.status is JobStatus.FAILED
    assert {image.error.code for image in late.images if image.error} == {"deadline_exceeded"}


def test_found_photo_is_opened_as_one_that_may_kill(
    world: World, context: SimpleNamespace, checks: list[tuple[queues.WatchdogMessage, int]]
) -> None:
    """The try is counted before the photo is opened: it may have killed the function before."""
    job_id = world.new_job()
    opens: list[int] = []
    opened_at = look(world, job_id, context, world.clock.time + timedelta(seconds=60)).photo.opens
    assert opened_at == 0
    (message,) = world.messages("generation")
    with pytest.MonkeyPatch.context() as patch:

        def killed(*_: object, **__: object) -> None:
            opens.append(world.job(job_id).photo.opens)
            raise KeyboardInterrupt

        patch.setattr("triptych.photo.inspection.inspect", killed)
        with pytest.raises(KeyboardInterrupt):
            generate.handler(sqs_event(message), context)
    assert opens == [1]
