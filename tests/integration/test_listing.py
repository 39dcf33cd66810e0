"""Replicate's list of predictions on a busy account: what is read of it, and what a gap in it proves."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace

import httpx
import pytest

import generate
from tests.integration.account import BUSY, Account
from tests.support.events import s3_notification, sqs_event
from tests.support.replicate.account import PAGE
from tests.support.world import World
from triptych.deadlines import deadline
from triptych.flows import cleanup, doubts
from triptych.job import ImageStatus
from triptych.replicate import listing, transport
from triptych.replicate.tags import Tag
from triptych.replicate.transport import ReplicateUnavailableError
from triptych.runtime import clock
from triptych.runtime.budget import TimeBudget

TAG = Tag("0b7a6a0e-5c9c-4f0e-9a53-7f3c7d0a3b52", 0, 1)


@pytest.fixture
def account(world: World) -> Account:
    return Account(world)


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow machine must not end the reading: that takes real time."""
    monkeypatch.setattr(listing, "LIST_SECONDS", 60.0)


def find(account: Account, asked_ago: float) -> listing.Listed:
    asked_at = account.world.clock.time - timedelta(seconds=asked_ago)
    return listing.find({TAG: asked_at}, whole=True)


@pytest.mark.parametrize("asked_ago", [2, 30, 85, 600, 1500])
def test_prediction_is_found_on_a_busy_account(account: Account, asked_ago: float) -> None:
    account.add(TAG, "mine", account.world.clock.time - timedelta(seconds=asked_ago - 1))
    assert find(account, asked_ago).of(TAG) == ["mine"]
    assert len(account.requests) <= 4


@pytest.mark.parametrize("late", [-55, 60, 85])
def test_prediction_at_an_unlikely_time_is_found(account: Account, late: float) -> None:
    account.add(TAG, "mine", account.world.clock.time - timedelta(seconds=600 - late))
    assert find(account, 600).of(TAG) == ["mine"]


@pytest.mark.parametrize("asked_ago", [30, 90, 1500])
def test_absence_on_a_busy_account_takes_few_pages(account: Account, asked_ago: float) -> None:
    listed = find(account, asked_ago)
    assert listed.of(TAG) == []
    whole = min(asked_ago, listing.LATEST_SECONDS) + 2 * listing.SKEW.total_seconds()
    slices = whole / listing.SLICE.total_seconds() + 3
    assert len(account.requests) <= whole / (PAGE * BUSY.total_seconds()) + slices


def test_list_that_catches_up_while_it_is_read_hides_nothing(account: Account) -> None:
    """The part with the prediction was read before, and a part that shows no lag afterwards."""
    account.add(TAG, "mine", account.world.clock.time - timedelta(seconds=599))
    replicate = account.world.replicate
    replicate.account.unlisted = {"mine"}

    def catch_up(_: httpx.Request) -> None:
        if len(account.requests) > 8:
            replicate.account.unlisted = set()

    replicate.on_read = catch_up
    assert find(account, 600).of(TAG) == ["mine"]


@pytest.mark.parametrize("catches_up", [False, True])
def test_list_that_catches_up_while_read_proves_no_absence(account: Account, *, catches_up: bool) -> None:
    account.add(TAG._replace(image=1), "another", account.world.clock.time - timedelta(seconds=599))
    replicate = account.world.replicate
    replicate.account.unlisted = {"another"}

    def catch_up(_: httpx.Request) -> None:
        if len(account.requests) > 8 and catches_up:
            replicate.account.unlisted = set()

    replicate.on_read = catch_up
    listed = find(account, 600)
    assert listed.of(TAG) == []
    assert listed.covers(account.world.clock.time - timedelta(seconds=600)) is not catches_up


def test_part_that_is_about_to_be_read_is_awaited(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    account.add(TAG, "mine", account.world.clock.time - timedelta(seconds=599))

    def answer_late(_: httpx.Request) -> None:
        threading.Event().wait(0.05)

    account.world.replicate.on_read = answer_late
    monkeypatch.setattr(listing, "LIST_SECONDS", 0)
    monkeypatch.setattr(TimeBudget, "is_spent", False)
    monkeypatch.setattr(transport, "GRACE_SECONDS", 30)
    assert find(account, 600).of(TAG) == ["mine"]


def test_list_that_is_too_long_is_an_error(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "LIST_SECONDS", 0)
    with pytest.raises(ReplicateUnavailableError, match="too long"):
        find(account, 600)


def test_time_between_two_distant_requests_is_not_read(account: Account) -> None:
    now = account.world.clock.time
    asked = {Tag(TAG.job_id, image, 1): now - timedelta(seconds=300 + 1200 * image) for image in range(2)}
    for tag, asked_at in asked.items():
        account.add(tag, f"of image {tag.image}", asked_at + timedelta(seconds=80))
    listed = listing.find(asked, whole=True)
    assert [listed.of(tag) for tag in asked] == [["of image 0"], ["of image 1"]]
    windows = 2 * (listing.LATEST_SECONDS + 2 * listing.SKEW.total_seconds())
    slices = windows / listing.SLICE.total_seconds() + 7
    assert len(account.requests) <= windows / (PAGE * BUSY.total_seconds()) + slices


def test_idle_account_is_read_with_one_request(account: Account) -> None:
    account.set(every=timedelta(minutes=1))
    assert find(account, 600).of(TAG) == []
    assert len(account.requests) == 1


def test_idle_list_shows_two_distant_requests_at_once(account: Account) -> None:
    account.set(every=timedelta(hours=1))
    now = account.world.clock.time
    asked = {TAG: now - timedelta(seconds=2000), TAG._replace(image=1): now - timedelta(seconds=300)}
    for tag, asked_at in asked.items():
        account.add(tag, f"of image {tag.image}", asked_at + timedelta(seconds=1))
    listed = listing.find(asked, whole=True)
    assert [listed.of(tag) for tag in asked] == [["of image 0"], ["of image 1"]]
    assert len(account.requests) == 1


def test_unreadable_slice_proves_nothing(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:

    def fail_later(_: httpx.Request) -> httpx.Response | None:
        return None if len(account.requests) <= 5 else httpx.Response(503)

    account.world.replicate.on_read = fail_later
    with pytest.raises(ReplicateUnavailableError):
        find(account, 600)


def test_what_was_found_counts_though_the_rest_cannot_be_read(account: Account) -> None:
    account.add(TAG, "mine", account.world.clock.time - timedelta(seconds=599))
    account.world.replicate.on_read = lambda _: None if len(account.requests) <= 5 else httpx.Response(503)
    asked_at = account.world.clock.time - timedelta(seconds=600)
    listed = listing.find({TAG: asked_at, TAG._replace(image=1): asked_at}, whole=True)
    assert listed.of(TAG) == ["mine"]
    assert not listed.covers(asked_at - timedelta(seconds=600))


def test_found_prediction_is_canceled_though_the_rest_cannot_be_read(
    world: World, context: SimpleNamespace, account: Account
) -> None:
    job_id = asked(world, context, 503)
    account.add(Tag(job_id, 0, 1), "mine", world.clock.time + timedelta(seconds=1))
    world.clock.advance(600)
    before = len(account.requests)
    world.replicate.on_read = lambda _: None if len(account.requests) <= before + 5 else httpx.Response(503)
    running = cleanup.running_predictions(world.job(job_id))
    assert cleanup.stop(job_id, clock.now(), running)
    assert world.replicate.predictions["mine"]["status"] == "canceled"


@pytest.mark.parametrize(
    "address", ["https://evil.example/v1/predictions?page=2", "//evil.example/x", "http://["]
)
def test_list_is_not_followed_to_another_host(account: Account, address: str) -> None:
    """The next request would carry the token."""
    page = httpx.Response(200, json={"results": [], "next": address})
    account.world.replicate.on_read = lambda _: page
    with pytest.raises(ReplicateUnavailableError, match="another host"):
        find(account, 30)
    assert {request.url.host for request in account.world.replicate.requests} == {"api.replicate.com"}


def test_both_predictions_of_one_post_are_found(account: Account) -> None:
    asked_at = account.world.clock.time - timedelta(seconds=20)
    account.add(TAG, "second", asked_at + timedelta(seconds=3))
    account.add(TAG, "first", asked_at + timedelta(seconds=1))
    assert find(account, 20).of(TAG) == ["first", "second"]


@pytest.mark.parametrize("rows", range(PAGE - 5, PAGE + 5))
def test_page_break_between_two_predictions_hides_none(account: Account, rows: int) -> None:
    created = account.world.clock.time - rows * BUSY
    account.add(TAG, "first", created + BUSY / 3)
    account.add(TAG, "second", created + BUSY / 2)
    assert find(account, rows * BUSY.total_seconds() + 1).of(TAG) == ["first", "second"]


# ── in doubt ──


@pytest.fixture
def in_doubt(world: World, account: Account, context: SimpleNamespace) -> str:
    """Create a job whose three POSTs were answered with 503 and created nothing."""
    return asked(world, context, 503)


def asked(world: World, context: SimpleNamespace, status: int) -> str:
    """Create a job whose three POSTs got this answer and created nothing."""
    world.replicate.before_create = lambda _: httpx.Response(status)
    job_id = world.new_job()
    deliver(job_id, context)
    world.replicate.before_create = lambda _: None
    assert len(world.job(job_id).having(ImageStatus.REQUESTING)) == 3
    return job_id


def deliver(job_id: str, context: SimpleNamespace) -> None:
    generate.handler(sqs_event(s3_notification(job_id), receives=2), context)


def statuses(world: World, job_id: str) -> set[ImageStatus]:
    return {image.status for image in world.job(job_id).images}


def test_busy_list_settles_an_answered_doubt_earlier(
    world: World, context: SimpleNamespace, in_doubt: str
) -> None:
    world.clock.advance(71)
    deliver(in_doubt, context)
    assert statuses(world, in_doubt) == {ImageStatus.REQUESTING}  # Replicate's clock may be ahead
    world.clock.advance(1)
    deliver(in_doubt, context)
    assert statuses(world, in_doubt) == {ImageStatus.GENERATING}
    assert len(world.replicate.creates) == 6


@pytest.mark.parametrize("status", [502, 504, 408, 520, 524])
def test_busy_list_settles_a_gateways_doubt_late(
    world: World, account: Account, context: SimpleNamespace, status: int
) -> None:
    """A gateway's answer does not show that the request has arrived: it may still be on its way."""
    job_id = asked(world, context, status)
    world.clock.advance(89)
    deliver(job_id, context)
    assert statuses(world, job_id) == {ImageStatus.REQUESTING}
    world.clock.advance(2)
    deliver(job_id, context)
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


@pytest.mark.parametrize("behind", ["lagging", "idle"])
def test_list_that_may_lag_settles_doubts_late(
    world: World, context: SimpleNamespace, account: Account, in_doubt: str, behind: str
) -> None:
    if behind == "lagging":
        account.set(lag=timedelta(seconds=60))
    else:
        account.set(every=timedelta(days=1))
    world.clock.advance(80)
    deliver(in_doubt, context)
    assert statuses(world, in_doubt) == {ImageStatus.REQUESTING}
    world.clock.advance(11)
    deliver(in_doubt, context)
    assert statuses(world, in_doubt) == {ImageStatus.GENERATING}
    assert len(world.replicate.creates) == 6


def with_one_known(world: World, context: SimpleNamespace) -> str:
    """Create a job with a known prediction, which the list lacks, and two images in doubt."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        tag = Tag.of_query(json.loads(request.content)["webhook"].partition("?")[2])
        return httpx.Response(503) if tag and tag.image > 0 and tag.attempt == 1 else None

    world.replicate.before_create = answer
    job_id = world.new_job()
    deliver(job_id, context)
    world.replicate.account.unlisted = {"p0"}
    return job_id


def test_list_without_a_known_prediction_settles_no_doubt(
    world: World, context: SimpleNamespace, account: Account
) -> None:
    job_id = with_one_known(world, context)
    world.clock.advance(200)
    deliver(job_id, context)
    assert len(world.job(job_id).having(ImageStatus.REQUESTING)) == 2
    world.clock.advance(110)
    deliver(job_id, context)
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_list_that_catches_up_between_two_pages_settles_no_doubt(
    world: World, context: SimpleNamespace, account: Account
) -> None:
    """The page that lacks the prediction is older than the one which shows that the list does not lag."""
    job_id = with_one_known(world, context)
    replicate = world.replicate
    account.add(Tag(job_id, 1, 1), "mine", world.clock.time + timedelta(seconds=11))
    replicate.account.unlisted = {"p0", "mine"}
    world.clock.advance(200)
    deliver(job_id, context)
    pages = len(account.requests)

    def catch_up(_: httpx.Request) -> None:
        if len(account.requests) == 2 * pages:
            replicate.account.unlisted = set()

    replicate.on_read = catch_up
    deliver(job_id, context)
    assert not replicate.account.unlisted
    assert len(world.job(job_id).having(ImageStatus.REQUESTING)) == 2
    deliver(job_id, context)
    assert world.job(job_id).images[1].prediction_id == "mine"
    assert statuses(world, job_id) == {ImageStatus.GENERATING}


def test_known_prediction_on_a_younger_page_settles_no_doubt(
    world: World, context: SimpleNamespace, account: Account
) -> None:
    """Replicate's clock is 30 s ahead. The page that lacks the prediction is older than the one with a known one."""
    job_id = with_one_known(world, context)
    replicate = world.replicate
    account.add(Tag(job_id, 0, 1), "p0", world.clock.time + timedelta(seconds=31))
    account.add(Tag(job_id, 1, 1), "mine", world.clock.time + timedelta(seconds=36))
    replicate.account.unlisted = {"p0", "mine"}
    world.clock.advance(200)

    def catch_up(request: httpx.Request) -> None:
        replicate.account.unlisted = {"mine"} if len(account.requests) > 3 else {"p0", "mine"}

    replicate.on_read = catch_up
    deliver(job_id, context)
    assert len(world.job(job_id).having(ImageStatus.REQUESTING)) == 2
    replicate.on_read = lambda _: None
    replicate.account.unlisted = set()
    deliver(job_id, context)
    assert world.job(job_id).images[1].prediction_id == "mine"


def test_list_that_is_read_until_the_deadline_creates_nothing(
    world: World, context: SimpleNamespace, account: Account
) -> None:
    job_id = asked(world, context, 503)
    account.set(every=timedelta(days=1))
    world.clock.time = deadline(world.job(job_id)) - timedelta(seconds=6)
    slow = iter([6.4])
    world.replicate.on_read = lambda _: world.clock.advance(next(slow, 0))
    posts = len(world.replicate.creates)
    deliver(job_id, context)
    assert next(slow, None) is None
    assert statuses(world, job_id) == {ImageStatus.PENDING}
    assert len(world.replicate.creates) == posts


def test_list_without_a_known_older_prediction_settles_no_doubt(
    world: World, context: SimpleNamespace, account: Account
) -> None:
    """Another image was asked for some seconds later, so no prediction of its own time is known."""
    job_id = with_one_known(world, context)
    job = world.job(job_id)
    *_, last = job.having(ImageStatus.REQUESTING)
    assert last.asked_at
    later = replace(last, asked_at=last.asked_at + timedelta(seconds=17))
    job = replace(job, images=tuple(later if one is last else one for one in job.images))
    world.clock.advance(200)
    assert doubts.settle(job, clock.now()) == ([], {})
    world.replicate.account.unlisted = set()
    settled, _ = doubts.settle(job, clock.now())
    assert len(settled) == 2


def test_second_prediction_of_one_post_is_canceled(
    world: World, context: SimpleNamespace, account: Account, in_doubt: str
) -> None:
    for index, name in enumerate(("p0", "p1", "p2", "p3")):
        account.add(Tag(in_doubt, index % 3, 1), name, world.clock.time + timedelta(seconds=1 + index))
    world.clock.advance(10)
    deliver(in_doubt, context)
    assert [image.prediction_id for image in world.job(in_doubt).images] == ["p0", "p1", "p2"]
    assert world.replicate.predictions["p3"]["status"] == "canceled"
    assert world.replicate.predictions["p0"]["status"] == "starting"
