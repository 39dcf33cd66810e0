"""The jobs table when DynamoDB refuses a request: nothing is taken as stored that is not."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.client import BaseClient
from botocore.exceptions import ClientError
from pynamodb.exceptions import DeleteError, PutError, QueryError, TransactWriteError

from tests.support.jobs import at, waiting_job
from tests.support.world import World
from triptych.aws import counts, table
from triptych.failures import Failure
from triptych.job import (
    Canceled,
    Image,
    ImageRequest,
    ImageStatus,
    Job,
    JobRequest,
    JobStatus,
    Output,
    Photo,
    Preview,
    apply,
)
from triptych.runtime import clock
from triptych.spending import Limits, Order, OwnersDayFullError, entry_of

START = waiting_job().created_at
UNLIMITED = Order(owner="ann", entry=entry_of(waiting_job()), day=START.date(), pictures=3)
LIMITED = replace(UNLIMITED, limits=Limits(pictures_of_owner=6))


# No field has its default, and no two of a type are equal.
FULL_IMAGE = Image(
    index=0,
    status=ImageStatus.STORED,
    attempt=2,
    seed=3,
    prediction_id="p4",
    asked_at=at(5),
    in_doubt_until=at(6),
    not_before=at(29),
    reclaimed=True,
    broken=7,
    billable=3,
    billable_before=1,
    output=Output("outputs/j/0.png", "image/png", 8, Preview(20, 21, "#222222")),
    error=Failure("a_code", "A message."),
    ended_at=at(23),
)
FULL_JOB = Job(
    job_id="full",
    owner="ann",
    created_at=at(10),
    updated_at=at(11),
    request=JobRequest(
        content_type="image/jpeg",
        size=12,
        checksum_sha256="c3Vt",
        prompt="Paint it.",
        image_count=2,
        images=(ImageRequest("In spring.", 0), ImageRequest(seed=24)),
        style="oil",
        style_prompt="In oil.",
        model="somebody/something",
        metadata={"order": "A-17"},
        callback_url="https://app.example.com/ends",
        photo_of="another",
        image_of=28,
    ),
    photo=Photo(
        "uploads/full/photo.jpg",
        "prepared/full/photo.jpg",
        uninspected=True,
        opens=13,
        opening_until=at(14),
        preview=Preview(25, 26, "#272727"),
    ),
    images=(FULL_IMAGE, Image(1)),
    uploaded_at=at(15),
    retried_at=at(16),
    retries=17,
    entered_again_at=at(19),
    counted=18,
    closed_as=JobStatus.CANCELED,
    error=Failure("another_code", "Another message."),
    version=1,
)


def refuse(monkeypatch: pytest.MonkeyPatch, operation: str, code: str, *reasons: str) -> list[str]:
    """Let DynamoDB refuse an operation; return the list of its refusals, which grows."""
    call_of: Any = vars(BaseClient)["_make_api_call"]
    refused: list[str] = []

    def call(client: BaseClient, name: str, arguments: Any) -> Any:
        if name != operation:
            return call_of(client, name, arguments)
        refused.append(name)
        answer: Any = {"Error": {"Code": code, "Message": "No."}}
        answer["CancellationReasons"] = [{"Code": reason, "Message": "No."} for reason in reasons]
        raise ClientError(answer, name)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return refused


@pytest.fixture
def job(world: World) -> Job:
    return counts.create(waiting_job(), UNLIMITED)


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Record the waits instead of waiting."""
    naps: list[float] = []
    monkeypatch.setattr(clock, "sleep", naps.append)
    return naps


@pytest.mark.parametrize("code", ["AccessDeniedException", "ProvisionedThroughputExceededException"])
def test_refused_write_is_an_error(job: Job, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    refuse(monkeypatch, "PutItem", code)
    with pytest.raises(PutError):
        table.put(apply(job, Canceled(), job.created_at))
    assert table.get(job.job_id) == job


@pytest.mark.parametrize("code", ["ProvisionedThroughputExceededException", "ThrottlingException"])
def test_throttled_list_may_succeed_later(job: Job, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    refuse(monkeypatch, "Query", code)
    with pytest.raises(table.ContendedError):
        table.list_jobs(job.owner, limit=1, cursor=None)


def test_refused_list_is_an_error(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse(monkeypatch, "Query", "AccessDeniedException")
    with pytest.raises(QueryError):
        table.list_jobs(job.owner, limit=1, cursor=None)


def test_write_of_an_old_version_is_a_conflict(job: Job) -> None:
    table.put(job)
    with pytest.raises(table.ConflictError):
        table.put(job)
    with pytest.raises(table.ConflictError):
        counts.create(waiting_job(), UNLIMITED)


@pytest.mark.parametrize("keyed", [False, True])
def test_refused_deletion_is_an_error(job: Job, monkeypatch: pytest.MonkeyPatch, keyed: bool) -> None:  # noqa: FBT001  # a pytest parameter
    refuse(monkeypatch, "PutItem" if keyed else "DeleteItem", "AccessDeniedException")
    with pytest.raises((DeleteError, PutError)):
        table.delete(job, until=job.created_at + timedelta(days=2) if keyed else None)
    assert table.get(job.job_id) == job


@pytest.mark.parametrize("keyed", [False, True])
def test_deletion_of_an_old_version_is_a_conflict(job: Job, keyed: bool) -> None:  # noqa: FBT001  # a pytest parameter
    until = job.created_at + timedelta(days=2) if keyed else None
    newer = table.put(job)
    with pytest.raises(table.ConflictError):
        table.delete(job, until=until)
    assert table.get(job.job_id) == newer
    table.delete(newer, until=until)
    assert table.get(job.job_id) is None


def test_blocked_id_is_free_after_its_time(world: World, job: Job) -> None:
    until = job.created_at + timedelta(days=2)
    table.delete(job, until=until)
    with pytest.raises(table.ConflictError):
        counts.create(waiting_job(), UNLIMITED)
    assert world.item(job.job_id)["expires_at"] == {"N": str(int(until.timestamp()))}


def test_refused_counted_write_is_an_error(
    world: World, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refuse(monkeypatch, "TransactWriteItems", "AccessDeniedException")
    with pytest.raises(TransactWriteError):
        counts.create(waiting_job(), LIMITED)
    assert len(refused) == 1
    assert table.get("j") is None


def test_contended_count_is_tried_for_a_few_seconds(
    world: World, naps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = refuse(
        monkeypatch, "TransactWriteItems", "TransactionCanceledException", "None", "TransactionConflict"
    )
    with pytest.raises(table.ContendedError):
        counts.create(waiting_job(), LIMITED)
    assert len(refused) == len(naps) == 20
    assert 1 < sum(naps) < 8
    assert table.get("j") is None


def test_contended_count_succeeds_at_a_later_try(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        refuse(patch, "TransactWriteItems", "TransactionCanceledException", "None", "TransactionConflict")
        naps: list[float] = []

        def nap(seconds: float) -> None:
            naps.append(seconds)
            if len(naps) == 3:
                patch.undo()

        monkeypatch.setattr(clock, "sleep", nap)
        counts.create(waiting_job(), LIMITED)
    assert len(naps) == 3
    assert table.get("j")


def test_day_counts_exactly_up_to_its_limit(world: World, naps: list[float]) -> None:
    counts.create(waiting_job(), LIMITED)
    counts.check(LIMITED)
    stored = table.get("j")
    assert stored
    counts.put(stored, LIMITED)  # a retry counts, too
    with pytest.raises(OwnersDayFullError):
        counts.check(LIMITED)
    newer = table.get("j")
    assert newer
    with pytest.raises(OwnersDayFullError):
        counts.put(newer, LIMITED)
    assert table.get("j") == newer
    counts.check(replace(LIMITED, owner="bob"))
    counts.check(replace(LIMITED, day=LIMITED.day + timedelta(days=1)))
    counts.check(UNLIMITED)


def test_count_is_kept_longer_than_two_months(world: World) -> None:
    world.clock.time = START
    counts.create(waiting_job(), LIMITED)
    item = world.item("spent by owner ann")
    assert item[START.date().isoformat()] == {"N": "3"}
    assert item["expires_at"] == {"N": str(int((START + timedelta(days=70)).timestamp()))}


def test_count_item_is_no_job(world: World) -> None:
    counts.create(waiting_job(), LIMITED)
    assert world.item("spent by owner ann")
    assert table.get("spent by owner ann") is None


def test_item_names_its_status_and_expiry(world: World, job: Job) -> None:
    item = world.item(job.job_id)
    assert item["status"] == {"S": "AWAITING_UPLOAD"}  # the stream's filter reads it
    assert "photo_uninspected" not in item  # there is no photo yet
    end = job.created_at + timedelta(days=30)
    assert item["expires_at"] == {"N": str(int(end.timestamp()))}


@pytest.mark.parametrize(
    "value", [FULL_JOB, FULL_JOB.request, FULL_JOB.photo, FULL_IMAGE], ids=lambda one: type(one).__name__
)
def test_full_job_has_no_default(value: Job | JobRequest | Photo | Image) -> None:
    """A new field must be given here, so that its place in the item is tested."""
    for field in fields(value):
        assert field.default is MISSING or getattr(value, field.name) != field.default, field.name


def test_job_is_read_as_it_was_written(world: World) -> None:
    stored = counts.create(replace(FULL_JOB, version=None), UNLIMITED)
    read = table.get("full")
    assert read == stored == FULL_JOB
    assert read.request.style_prompt == FULL_JOB.request.style_prompt  # no part of the comparison
    assert read.version == stored.version == 1
    again = table.put(read)
    assert again.version == 2
    assert table.get("full") == again


def test_job_is_read_without_copies_of_attributes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """PynamoDB copies those of a list's elements for each list, which took most of the time of a read."""
    stored = counts.create(replace(FULL_JOB, version=None), UNLIMITED)

    def copied(what: object) -> object:
        raise AssertionError(what)

    monkeypatch.setattr("pynamodb.attributes.deepcopy", copied)
    assert table.get("full") == stored


@pytest.mark.parametrize("sign", ["é", "한", "🎨"])
def test_prompt_takes_its_bytes_in_the_item(world: World, sign: str) -> None:
    short, long = (JobRequest(content_type="image/jpeg", size=1, prompt=sign * times) for times in (1, 1001))
    sizes = []
    for request in (short, long):
        job = replace(waiting_job(), job_id=f"of {len(request.prompt or '')}", request=request)
        assert counts.create(job, UNLIMITED).request == request
        assert table.get(job.job_id) == job
        sizes.append(len(world.item(job.job_id)["request"]["S"].encode()))
    assert sizes[1] - sizes[0] == 1000 * len(sign.encode())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The requests to AWS: each with its operation and its arguments."""
    call_of: Any = vars(BaseClient)["_make_api_call"]
    seen: list[tuple[str, Any]] = []

    def call(client: BaseClient, name: str, arguments: Any) -> Any:
        seen.append((name, arguments))
        return call_of(client, name, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", call)
    return seen


def test_job_is_read_as_it_is_now(job: Job, calls: list[tuple[str, Any]]) -> None:
    """DynamoDB may answer with an old item otherwise, which moto never does."""
    table.get(job.job_id)
    counts.spent("ann")
    counts.spent_in_total()
    assert [arguments.get("ConsistentRead") for _, arguments in calls] == [True] * 3


def store(jobs: int) -> list[str]:
    """Store an owner's jobs of three images; return their ids, the newest first."""
    ids = [f"00000000-0000-4000-8000-{number:012}" for number in range(jobs)]
    for number, job_id in enumerate(ids):
        counts.create(replace(waiting_job(), job_id=job_id, created_at=at(number)), UNLIMITED)
    return ids[::-1]


def listed(**options: Any) -> tuple[list[str], str | None]:
    jobs, cursor = table.list_jobs("ann", **({"limit": 20, "cursor": None} | options))
    return [job.job_id for job in jobs], cursor


def test_list_reads_no_more_than_it_shows(world: World, calls: list[tuple[str, Any]]) -> None:
    ids = store(3)
    calls.clear()
    assert listed(limit=2)[0] == ids[:2]
    assert listed(wanted=lambda _: True) == (ids, None)
    assert [(name, arguments["Limit"]) for name, arguments in calls] == [("Query", 2), ("Query", 100)]


@pytest.mark.parametrize(("images", "shown"), [(6, 2), (5, 1), (2, 1)])
def test_page_has_only_so_many_images_but_a_job(
    world: World, monkeypatch: pytest.MonkeyPatch, images: int, shown: int
) -> None:
    ids = store(3)
    monkeypatch.setattr(table, "MOST_IMAGES_LISTED", images)
    page, cursor = listed()
    assert page == ids[:shown]
    rest, _ = listed(cursor=cursor)
    assert rest == ids[shown : 2 * shown]


def test_page_ends_after_the_job_with_too_much_text(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = store(3)
    size = len(world.item(ids[0])["request"]["S"])
    monkeypatch.setattr(table, "MOST_TEXT_READ", 2 * size)
    assert listed()[0] == ids
    monkeypatch.setattr(table, "MOST_TEXT_READ", 2 * size - 1)
    page, cursor = listed(wanted=lambda job: job.job_id != ids[1])  # what is not shown is read too
    assert page == ids[:1]
    assert listed(cursor=cursor) == (ids[2:], None)


def test_filtered_page_ends_when_it_is_full(world: World) -> None:
    ids = store(3)
    page, cursor = listed(limit=1, wanted=lambda job: job.job_id != ids[0])
    assert page == ids[1:2]
    assert listed(cursor=cursor) == (ids[2:], None)


def test_waiting_job_is_read_as_it_was_written(job: Job) -> None:
    assert table.get("j") == job == waiting_job()


def test_job_without_counts_is_read_as_it_was_written(world: World) -> None:
    """A job of an older release lacks them, and its first write stores it again."""
    job = Job(
        "old", "ann", START, START, JobRequest(content_type="image/jpeg", size=1), Photo("k"), (Image(0),)
    )
    assert counts.create(job, UNLIMITED) == table.get("old") == job


@pytest.mark.parametrize(
    "image",
    [
        Image(0, ImageStatus.PENDING, attempt=1, not_before=START),
        Image(0, ImageStatus.REQUESTING, attempt=1, in_doubt_until=START),
        Image(0, ImageStatus.FAILED, attempt=1, in_doubt_until=START),
        Image(0, ImageStatus.CANCELED, attempt=1, in_doubt_until=START),
    ],
)
def test_time_of_an_older_item_is_read_by_status(world: World, image: Image) -> None:
    """An older release stores both times as `not_before`."""
    counts.create(replace(waiting_job(), images=(image,)), UNLIMITED)
    item = world.item("j")
    stored = item["images"]["L"][0]["M"]
    stored["not_before"] = stored.pop("in_doubt_until", None) or stored["not_before"]
    assert table.read_image(item).images == (image,)


def test_stream_holds_the_job_as_it_was_written(world: World) -> None:
    counts.create(replace(FULL_JOB, version=None), UNLIMITED)
    assert table.read_image(world.item("full")) == FULL_JOB
