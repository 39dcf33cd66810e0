"""The jobs table: one item a job, under optimistic locking."""

from __future__ import annotations

import base64
import random
import time
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, ClassVar

import pynamodb.connection.base
from pydantic import BaseModel, ConfigDict, Field
from pynamodb.attributes import (
    ListAttribute,
    MapAttribute,
    NumberAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
    VersionAttribute,
)
from pynamodb.exceptions import PutError, TransactWriteError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model
from pynamodb.transactions import TransactWrite

from triptych.aws import session
from triptych.failures import Failure
from triptych.job import Event, Image, ImageStatus, Job, JobStatus, Output, Photo, apply_all
from triptych.runtime import clock
from triptych.runtime.observability import changed
from triptych.settings import settings

if TYPE_CHECKING:
    from pynamodb.expressions.condition import Condition

# PynamoDB can be given no session: it asks botocore's function, under this name, for a new one.
pynamodb.connection.base.get_session = lambda *_: session.botocore_session()  # type: ignore[attr-defined]  # not exported

CONTENDED_TRIES = 20  # of one owner's transactions, which all touch his day's count: some four seconds
CONTENTION = {"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"}
COUNT_DAYS = 2  # a day's count is kept for so long


JOB_ID = "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


class Conflict(Exception):  # noqa: N818  # it is no error: somebody was faster
    """The item is not what it was when it was read."""


class BadCursor(ValueError):  # noqa: N818  # the field's own name for it
    """The cursor is not one that `list_jobs` gave."""


class _Bounds:
    """How long to wait for DynamoDB: PynamoDB by itself waits for 30 s, which is all that API Gateway has."""

    connect_timeout_seconds = 2
    read_timeout_seconds = 4
    max_retry_attempts = 3


class _Image(MapAttribute[str, object]):
    index = NumberAttribute()
    status = UnicodeAttribute()
    attempt = NumberAttribute()
    seed = NumberAttribute(null=True)
    prediction_id = UnicodeAttribute(null=True)
    asked_at = UTCDateTimeAttribute(null=True)
    not_before = UTCDateTimeAttribute(null=True)
    output_key = UnicodeAttribute(null=True)
    content_type = UnicodeAttribute(null=True)
    size = NumberAttribute(null=True)
    error_code = UnicodeAttribute(null=True)
    error_message = UnicodeAttribute(null=True)


class _Count(Model):
    """How many jobs an owner has created or retried in a day: an item beside the jobs, under a key that no job has."""

    class Meta:
        table_name = ""

    job_id = UnicodeAttribute(hash_key=True)
    jobs = NumberAttribute()
    expires_at = TTLAttribute()


class _Gone(Model):
    """A deleted job's id, which its idempotency key would bring forth again: a late webhook must not find it."""

    class Meta(_Bounds):
        table_name = ""

    job_id = UnicodeAttribute(hash_key=True)
    expires_at = TTLAttribute()


class _ByOwner(GlobalSecondaryIndex["_Job"]):  # type: ignore[no-untyped-call]  # PynamoDB's own hook
    class Meta:
        index_name = "by-owner"
        projection = AllProjection()

    owner = UnicodeAttribute(hash_key=True)
    created_at = UTCDateTimeAttribute(range_key=True)


class _Job(Model):
    class Meta(_Bounds):
        table_name = ""  # set when the settings are read

    job_id = UnicodeAttribute(hash_key=True)
    owner = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()
    updated_at = UTCDateTimeAttribute()
    uploaded_at = UTCDateTimeAttribute(null=True)
    retried_at = UTCDateTimeAttribute(null=True)
    retries = NumberAttribute(null=True)
    status = UnicodeAttribute()  # for the stream's filter, and whoever looks at the table; never read back
    closed_as = UnicodeAttribute(null=True)
    prompt = UnicodeAttribute(null=True)
    photo_key = UnicodeAttribute()
    photo_type = UnicodeAttribute()
    photo_size = NumberAttribute()
    photo_checksum_sha256 = UnicodeAttribute(null=True)
    photo_prepared_key = UnicodeAttribute(null=True)
    photo_opens = NumberAttribute(null=True)
    photo_opening_until = UTCDateTimeAttribute(null=True)
    images: ListAttribute[_Image] = ListAttribute(of=_Image)
    error_code = UnicodeAttribute(null=True)
    error_message = UnicodeAttribute(null=True)
    expires_at = TTLAttribute()
    version = VersionAttribute()

    by_owner: ClassVar = _ByOwner()


class Contended(Exception):  # noqa: N818  # an answer
    """The owner creates or retries so many jobs at once that the day's count cannot be had."""


class LimitReached(Exception):  # noqa: N818  # an answer
    """The owner has created or retried as many jobs today as are allowed."""


@dataclass(frozen=True, slots=True)
class Day:
    """An owner's day, and how many jobs may be created or retried in it; 0 is no limit."""

    date: date
    limit: int


def create(job: Job, *, day: date, daily_limit: int) -> Job:
    """Store a new job; where there is a limit, count it in the same transaction, so that neither is without the other.

    Args:
        job: the job.
        day: the owner's day that it counts for.
        daily_limit: jobs that one owner may create in a day; 0 is no limit.

    Raises:
        Conflict: there is a job of that id already.
        LimitReached: the owner's day is full.
        Contended: too many at once; later it may succeed.
    """
    if not daily_limit:
        return _save(job, _Job.job_id.does_not_exist())
    return _save_and_count(job, Day(day, daily_limit), _Job.job_id.does_not_exist())


def check(owner: str, day: Day) -> None:
    """Read the day's count, and change nothing.

    Raises:
        LimitReached: the owner's day is full.
    """
    if not day.limit:
        return
    key = _count(owner, day.date).job_id
    # By the jobs' own connection: another would have another client.
    found = _table()._get_connection().get_item(key, consistent_read=True).get("Item")  # noqa: SLF001  # as above
    if found and int(found["jobs"]["N"]) >= day.limit:
        raise LimitReached(owner)


def _save_and_count(job: Job, day: Day, condition: Condition | None = None) -> Job:
    """Store the job under its version's condition, and count it in the same transaction.

    Raises:
        Conflict, LimitReached, Contended: nothing is stored or counted.
    """
    record = _to_record(job)
    count = _count(job.owner, day.date)
    connection = _table()._get_connection().connection  # noqa: SLF001  # another would have another client
    for tries in range(CONTENDED_TRIES):
        time.sleep(random.uniform(0, 0.02 * tries))  # noqa: S311  # no secret
        try:
            with TransactWrite(connection=connection) as transaction:
                transaction.save(record, condition=condition)
                transaction.update(
                    count,
                    actions=[
                        _Count.jobs.add(1),
                        _Count.expires_at.set(job.updated_at + timedelta(days=COUNT_DAYS)),
                    ],
                    condition=_Count.jobs.does_not_exist() | (_Count.jobs < day.limit),
                )
        except TransactWriteError as error:
            job_reason, count_reason = (
                reason.code if reason else None for reason in error.cancellation_reasons or (None, None)
            )
            if job_reason == "ConditionalCheckFailed":
                raise Conflict(job.job_id) from None
            if count_reason == "ConditionalCheckFailed":
                raise LimitReached(job.owner) from None
            if not CONTENTION & {job_reason, count_reason}:
                raise
        else:
            return replace(job, version=record.version)
    raise Contended(job.owner)


def delete(job_id: str, *, until: datetime | None = None) -> None:
    """Remove a job's record, whatever its version; it may be gone already.

    Args:
        job_id: the job.
        until: where given, its id is kept from being used again until then, by an item that holds nothing else.
    """
    if until is None:
        _table()(job_id).delete(add_version_condition=False)
        return
    _Gone.Meta.table_name = settings().table
    _Gone(job_id, expires_at=until).save()


def get(job_id: str) -> Job | None:
    """The job as it is now (a consistent read), or None where there is none."""
    try:
        record = _table().get(job_id, consistent_read=True)
    except _Job.DoesNotExist:
        return None
    return _to_job(record) if record.attribute_values.get("owner") else None  # else it is a _Gone


def read_image(image: dict[str, dict[str, object]]) -> Job:
    """The job in an image of its item, as the table's stream gives it: attribute values with their types.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: it is not one.
    """
    return _to_job(_Job.from_raw_data(image))


def save(job: Job, *events: Event, day: Day | None = None) -> Job:
    """Store `job` after `events`, and count what that changed; nothing is written where none applies.

    Args:
        job: the job as it was read.
        events: what happened to it.
        day: where given, the write counts as one job of its owner's day, in the same transaction.

    Raises:
        Conflict: somebody else wrote since `job` was read. Read it again: the events may no longer apply.
        LimitReached: the owner's day is full.
        Contended: too many at once; later it may succeed.
    """
    after = apply_all(job, events, clock.now())
    if after is job:
        return job
    stored = _save_and_count(after, day) if day and day.limit else _save(after)
    changed(job, stored)
    return stored


def record(job: Job, *events: Event, day: Day | None = None) -> tuple[Job | None, bool]:
    """Store what happened to `job`, whoever else writes: a lost race reads again and applies again.

    Args:
        job: the job as it was read.
        events: what happened to it.
        day: as in `save`.

    Raises:
        LimitReached, Contended: as `save` does.

    Returns:
        the job as it is stored now (None where it has been deleted), and whether it was this write that changed it.
    """
    current: Job | None = job
    while current:
        try:
            after = save(current, *events, day=day)
        except Conflict:
            current = get(job.job_id)
        else:
            return after, after is not current
    return None, False


class _Cursor(BaseModel):
    model_config = ConfigDict(extra="forbid")

    created_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+0000$")]
    job_id: Annotated[str, Field(pattern=f"^{JOB_ID}$")]


def list_jobs(owner: str, *, limit: int, cursor: str | None) -> tuple[list[Job], str | None]:
    """The owner's jobs, newest first, and the cursor of the next page (None after the last).

    A cursor holds a place in a list, not whose list: it reads the caller's own jobs, wherever it came from.

    Raises:
        BadCursor: `cursor` is not one that this function gave.
    """
    start = None
    if cursor is not None:
        try:
            place = _Cursor.model_validate_json(base64.b64decode(cursor.encode(), b"-_", validate=True))
        except ValueError as error:  # binascii.Error, UnicodeError and ValidationError are ValueErrors
            raise BadCursor from error
        start = {
            "owner": {"S": owner},
            "created_at": {"S": place.created_at},
            "job_id": {"S": place.job_id},
        }
    page = _table().by_owner.query(
        owner, limit=limit, page_size=limit, scan_index_forward=False, last_evaluated_key=start
    )
    jobs = [_to_job(found) for found in page]
    last = page.last_evaluated_key
    if last is None:
        return jobs, None
    place = _Cursor(created_at=last["created_at"]["S"], job_id=last["job_id"]["S"])
    return jobs, base64.urlsafe_b64encode(place.model_dump_json().encode()).decode()


def _table() -> type[_Job]:
    _Job.Meta.table_name = settings().table
    return _Job


def _count(owner: str, day: date) -> _Count:
    _Count.Meta.table_name = settings().table
    return _Count(f"jobs of {owner} on {day.isoformat()}")


def _save(job: Job, condition: Condition | None = None) -> Job:
    record = _to_record(job)
    try:
        record.save(condition)
    except PutError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            raise Conflict(job.job_id) from None
        raise
    return replace(job, version=record.version)


def _to_record(job: Job) -> _Job:
    record = _table()(
        job_id=job.job_id,
        owner=job.owner,
        created_at=job.created_at,
        updated_at=job.updated_at,
        uploaded_at=job.uploaded_at,
        retried_at=job.retried_at,
        retries=job.retries or None,
        status=job.status,
        closed_as=job.closed_as,
        prompt=job.prompt,
        photo_key=job.photo.key,
        photo_type=job.photo.content_type,
        photo_size=job.photo.size,
        photo_checksum_sha256=job.photo.checksum_sha256,
        photo_prepared_key=job.photo.prepared_key,
        photo_opens=job.photo.opens or None,
        photo_opening_until=job.photo.opening_until,
        images=[_to_map(image) for image in job.images],
        error_code=job.error and job.error.code,
        error_message=job.error and job.error.message,
        expires_at=job.created_at + timedelta(days=settings().retention_days),
    )
    if job.version is not None:
        record.version = job.version
    return record


def _to_map(image: Image) -> _Image:
    return _Image(  # type: ignore[no-untyped-call]  # PynamoDB's constructor
        index=image.index,
        status=image.status,
        attempt=image.attempt,
        seed=image.seed,
        prediction_id=image.prediction_id,
        asked_at=image.asked_at,
        not_before=image.not_before,
        output_key=image.output and image.output.key,
        content_type=image.output and image.output.content_type,
        size=image.output and image.output.size,
        error_code=image.error and image.error.code,
        error_message=image.error and image.error.message,
    )


def _to_job(record: _Job) -> Job:
    return Job(
        job_id=record.job_id,
        owner=record.owner,
        created_at=record.created_at,
        updated_at=record.updated_at,
        uploaded_at=record.uploaded_at,
        retried_at=record.retried_at,
        retries=int(record.retries or 0),
        closed_as=JobStatus(record.closed_as) if record.closed_as else None,
        prompt=record.prompt,
        photo=Photo(
            record.photo_key,
            record.photo_type,
            int(record.photo_size),
            record.photo_checksum_sha256,
            record.photo_prepared_key,
            int(record.photo_opens or 0),
            record.photo_opening_until,
        ),
        images=tuple(_to_image(image) for image in record.images),
        error=_to_failure(record.error_code, record.error_message),
        version=record.version,
    )


def _to_image(item: _Image) -> Image:
    output = None
    if item.output_key is not None and item.content_type is not None and item.size is not None:
        output = Output(item.output_key, item.content_type, int(item.size))
    return Image(
        index=int(item.index),
        status=ImageStatus(item.status),
        attempt=int(item.attempt),
        seed=None if item.seed is None else int(item.seed),
        prediction_id=item.prediction_id,
        asked_at=item.asked_at,
        not_before=item.not_before,
        output=output,
        error=_to_failure(item.error_code, item.error_message),
    )


def _to_failure(code: str | None, message: str | None) -> Failure | None:
    return Failure(code, message or "") if code else None
