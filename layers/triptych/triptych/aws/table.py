"""The jobs table: one item for each job, under optimistic locking. It only gets, puts, deletes and lists.

A write that an order counts, such as the creation of a job, is in `counts`.
"""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, ClassVar, override

import pynamodb.connection.base
from pydantic import ConfigDict, Field, TypeAdapter
from pynamodb.attributes import (
    Attribute,
    BooleanAttribute,
    JSONAttribute,
    ListAttribute,
    MapAttribute,
    TTLAttribute,
    UnicodeAttribute,
    UTCDateTimeAttribute,
    VersionAttribute,
)
from pynamodb.constants import NUMBER
from pynamodb.exceptions import DeleteError, PutError, QueryError
from pynamodb.indexes import AllProjection, GlobalSecondaryIndex
from pynamodb.models import Model

from triptych import job_ids
from triptych.aws import session
from triptych.deadlines import expires_at
from triptych.failures import Failure
from triptych.job import Image, ImageStatus, Job, JobRequest, JobStatus, Output, Photo, Preview
from triptych.lazy import Lazy
from triptych.runtime.budget import TimeBudget
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from pynamodb.connection.table import TableConnection

# PynamoDB accepts no session, and makes its own with this function. The replacement returns the shared one.
pynamodb.connection.base.get_session = lambda *_: session.botocore_session()  # type: ignore[attr-defined]  # not exported

# Of an item in a transaction, or of the transaction as a whole.
CONTENTION = {
    "TransactionConflict",
    "ThrottlingError",
    "ProvisionedThroughputExceeded",
    "ThrottlingException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
}
# Of a plain write: another version is stored, or a transaction on the same item is under way.
LOST_RACES = {"ConditionalCheckFailedException", "TransactionConflictException"}
MOST_IMAGES_LISTED = 400  # on one page: each costs a presigned URL
PAGE_SIZE = 100  # jobs in an answer of DynamoDB
MOST_READ = 500  # jobs that one page of a filtered list may read
# Then a page ends with what it has. A job with the longest prompts has 100 KB, and whoever reads many of them holds
# functions.
MOST_TEXT_READ = 2_000_000  # bytes of what clients wrote
READ_SECONDS = 1.0
_NOTHING: tuple[object, ...] = (None, (), {})  # fields of a request that the client left out
_REQUEST = TypeAdapter(JobRequest)  # ignores the fields of a newer release


class ConflictError(Exception):
    """The stored item is not the one that was read: another invocation wrote first, or the id is in use."""


class BlockedError(Exception):
    """The id was that of a keyed job, which was deleted a short time ago."""


class BadCursorError(ValueError):
    """The cursor does not come from `list_jobs`."""


class ContendedError(Exception):
    """Too many jobs are created, retried or listed at once: the counts cannot be updated, or the index cannot be read."""


class _Bounds:
    """How long to wait for DynamoDB. PynamoDB's default is 30 s, which is all the time that API Gateway gives."""

    connect_timeout_seconds = 2
    read_timeout_seconds = 4
    max_retry_attempts = 3


class _Integer(Attribute[int]):
    """A whole number. PynamoDB's own attribute reads each number as JSON, which takes longer."""

    attr_type = NUMBER

    @override
    def serialize(self, value: int) -> str:
        return str(value)

    @override
    def deserialize(self, value: str) -> int:
        return int(value)


class _Image(MapAttribute[str, object]):
    index = _Integer()
    status = UnicodeAttribute()
    attempt = _Integer()
    seed = _Integer(null=True)
    prediction_id = UnicodeAttribute(null=True)
    asked_at = UTCDateTimeAttribute(null=True)
    in_doubt_until = UTCDateTimeAttribute(null=True)
    not_before = UTCDateTimeAttribute(null=True)
    reclaimed = BooleanAttribute(null=True)
    broken = _Integer(null=True)
    billable = _Integer(null=True)
    billable_before = _Integer(null=True)
    output_key = UnicodeAttribute(null=True)
    content_type = UnicodeAttribute(null=True)
    size = _Integer(null=True)
    ended_at = UTCDateTimeAttribute(null=True)
    width = _Integer(null=True)
    height = _Integer(null=True)
    color = UnicodeAttribute(null=True)
    error_code = UnicodeAttribute(null=True)
    error_message = UnicodeAttribute(null=True)


class _ListElement(MapAttribute[str, object]):
    """PynamoDB prepares an `_Image` for reading only where it is an attribute of a class."""

    image = _Image()  # type: ignore[no-untyped-call]  # PynamoDB's constructor


class _Images(ListAttribute[_Image]):
    """A list of images. PynamoDB's own copies the attributes of the element for each list: most of the time of a read."""

    @override
    def deserialize(self, values: list[dict[str, dict[str, object]]]) -> list[_Image]:
        element = _ListElement.image
        return [element.deserialize(element.get_value(value)) for value in values]  # type: ignore[no-untyped-call]  # PynamoDB's own


class _Gone(Model):
    """Marks the id of a deleted job whose idempotency key can produce the id again. A late webhook must not find a job."""

    class Meta(_Bounds):
        table_name = ""

    job_id = UnicodeAttribute(hash_key=True)
    status = UnicodeAttribute(default="DELETED")  # for the stream's filter
    expires_at = TTLAttribute()


class _ByOwner(GlobalSecondaryIndex["_Job"]):  # type: ignore[no-untyped-call]  # PynamoDB's own hook
    class Meta:
        index_name = "by-owner"
        projection = AllProjection()

    owner = UnicodeAttribute(hash_key=True)
    created_at = UTCDateTimeAttribute(range_key=True)


class _Text(JSONAttribute):
    """JSON in UTF-8. DynamoDB bills bytes: escaped, a Korean prompt is twice as long and an emoji three times."""

    @override
    def serialize(self, value: object) -> str:
        return json.dumps(value, ensure_ascii=False)


class _Job(Model):
    class Meta(_Bounds):
        table_name = ""  # set when the settings are read

    job_id = UnicodeAttribute(hash_key=True)
    owner = UnicodeAttribute()
    created_at = UTCDateTimeAttribute()
    updated_at = UTCDateTimeAttribute()
    uploaded_at = UTCDateTimeAttribute(null=True)
    retried_at = UTCDateTimeAttribute(null=True)
    entered_again_at = UTCDateTimeAttribute(null=True)
    retries = _Integer(null=True)
    counted = _Integer(null=True)
    status = UnicodeAttribute()  # for the stream's filter and for people; never read back
    closed_as = UnicodeAttribute(null=True)
    request = _Text()
    photo_key = UnicodeAttribute()
    photo_prepared_key = UnicodeAttribute(null=True)
    photo_uninspected = BooleanAttribute(null=True)
    photo_opens = _Integer(null=True)
    photo_opening_until = UTCDateTimeAttribute(null=True)
    photo_width = _Integer(null=True)
    photo_height = _Integer(null=True)
    photo_color = UnicodeAttribute(null=True)
    images: ListAttribute[_Image] = _Images(of=_Image)
    error_code = UnicodeAttribute(null=True)
    error_message = UnicodeAttribute(null=True)
    expires_at = TTLAttribute()
    version = VersionAttribute()

    by_owner: ClassVar = _ByOwner()


def get(job_id: str) -> Job | None:
    """Return the job as it is now (a consistent read), or None if there is none."""
    with suppress(BlockedError):
        return get_keyed(job_id)
    return None


def get_keyed(job_id: str) -> Job | None:
    """As `get`, for an id that an idempotency key has produced.

    Raises:
        BlockedError: The id cannot be used yet.
    """
    try:
        record = _table().get(job_id, consistent_read=True)
    except _Job.DoesNotExist:
        return None
    if not record.attribute_values.get("owner"):  # it is a _Gone
        raise BlockedError(job_id)
    return _to_job(record)


def put(job: Job) -> Job:
    """Store the job if the stored version is the one that was read; return it with its new version.

    Raises:
        ConflictError: Another version is stored, or none.
    """
    record = to_record(job)
    try:
        record.save()
    except PutError as error:
        if error.cause_response_code in LOST_RACES:
            raise ConflictError(job.job_id) from None
        raise
    return replace(job, version=record.version)


def delete(job: Job, *, until: datetime | None = None) -> None:
    """Remove the job if the stored version is the one that was read.

    Args:
        job: The job as it was read.
        until: If given, the id cannot be used again before this time. A placeholder item takes the job's place.

    Raises:
        ConflictError: Another version is stored, or none.
    """
    unchanged = _Job.version == job.version
    try:
        if until is None:
            _table()(job.job_id).delete(unchanged, add_version_condition=False)
        else:
            _Gone.Meta.table_name = settings().table
            _Gone(job.job_id, expires_at=until).save(unchanged)
    except (DeleteError, PutError) as error:
        if error.cause_response_code in LOST_RACES:
            raise ConflictError(job.job_id) from None
        raise


def read_image(image: dict[str, dict[str, object]]) -> Job:
    """Return the job in an image of its item, as the table's stream holds it: attribute values with their types.

    Raises:
        KeyError, TypeError, ValueError, AttributeError: The image is not a job's.
    """
    return _to_job(_Job.from_raw_data(image))


class _Cursor(Lazy):
    model_config = ConfigDict(extra="forbid")

    created_at: Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+0000$")]
    job_id: Annotated[str, Field(pattern=f"^{job_ids.PATTERN}$")]


def list_jobs(
    owner: str, *, limit: int, cursor: str | None, wanted: Callable[[Job], bool] | None = None
) -> tuple[list[Job], str | None]:
    """Return a page of the owner's jobs, newest first, and the cursor of the next page (None after the last).

    A cursor holds a place in a list but no owner. With another owner's cursor this reads the given owner's jobs.

    Args:
        owner: Whose jobs.
        limit: How many at most.
        cursor: Where to begin.
        wanted: If given, only these jobs are returned. At most MOST_READ jobs are read, so the page may be short. So may
            a page be whose jobs have more than MOST_IMAGES_LISTED images or MOST_TEXT_READ bytes of text, or take longer
            than READ_SECONDS to read.

    Raises:
        BadCursorError: `cursor` does not come from this function.
        ContendedError: The owner lists more than DynamoDB reads; a later call may succeed.
    """
    start = None
    if cursor is not None:
        try:
            place = _Cursor.model_validate_json(base64.b64decode(cursor.encode(), b"-_", validate=True))
        except ValueError as error:  # binascii.Error, UnicodeError and ValidationError are ValueErrors
            raise BadCursorError from error
        start = {
            "owner": {"S": owner},
            "created_at": {"S": place.created_at},
            "job_id": {"S": place.job_id},
        }
    most = MOST_READ if wanted else limit
    page = _table().by_owner.query(
        owner, limit=most, page_size=min(most, PAGE_SIZE), scan_index_forward=False, last_evaluated_key=start
    )
    jobs: list[Job] = []
    images, text = 0, 0
    budget: TimeBudget | None = None
    for found in _unless_throttled(page):
        budget = budget or TimeBudget(READ_SECONDS)  # the first jobs are here, however long they took
        job = _to_job(found)
        text += len(_Job.request.serialize(found.request).encode())
        if wanted is None or wanted(job):
            images += len(job.images)
            if images > MOST_IMAGES_LISTED and jobs:
                return jobs, cursor_after(jobs[-1])
            jobs.append(job)
            if len(jobs) == limit and wanted:
                return jobs, cursor_after(job)
        if text > MOST_TEXT_READ or budget.is_spent:
            return jobs, cursor_after(job)
    last = page.last_evaluated_key
    if last is None:
        return jobs, None
    return jobs, _cursor(last["created_at"]["S"], last["job_id"]["S"])


def _unless_throttled(page: Iterable[_Job]) -> Iterator[_Job]:
    try:
        yield from page
    except QueryError as error:
        if error.cause_response_code in CONTENTION:
            raise ContendedError from None
        raise


def cursor_after(job: Job) -> str:
    """Return the cursor of the page that begins after the job."""
    return _cursor(job.created_at.strftime("%Y-%m-%dT%H:%M:%S.%f+0000"), job.job_id)


def _cursor(created_at: str, job_id: str) -> str:
    place = _Cursor(created_at=created_at, job_id=job_id)
    return base64.urlsafe_b64encode(place.model_dump_json().encode()).decode()


def connection() -> TableConnection:
    """Return the connection to the table, for the items that lie beside the jobs. Another model would make another client."""
    return _table()._get_connection()  # noqa: SLF001  # no public way


def _table() -> type[_Job]:
    _Job.Meta.table_name = settings().table
    return _Job


def to_record(job: Job) -> _Job:
    """Return the job's item, with the version that was read."""
    record = _table()(
        job_id=job.job_id,
        owner=job.owner,
        created_at=job.created_at,
        updated_at=job.updated_at,
        uploaded_at=job.uploaded_at,
        retried_at=job.retried_at,
        entered_again_at=job.entered_again_at,
        retries=job.retries or None,
        counted=job.counted or None,
        status=job.status,
        closed_as=job.closed_as,
        request={name: value for name, value in asdict(job.request).items() if value not in _NOTHING},
        photo_key=job.photo.key,
        photo_prepared_key=job.photo.prepared_key,
        photo_uninspected=job.photo.uninspected or None,
        photo_opens=job.photo.opens or None,
        photo_opening_until=job.photo.opening_until,
        photo_width=job.photo.preview and job.photo.preview.width,
        photo_height=job.photo.preview and job.photo.preview.height,
        photo_color=job.photo.preview and job.photo.preview.color,
        images=[_to_map(image) for image in job.images],
        error_code=job.error and job.error.code,
        error_message=job.error and job.error.message,
        expires_at=expires_at(job),
    )
    if job.version is not None:
        record.version = job.version
    return record


def _to_map(image: Image) -> _Image:
    preview = image.output and image.output.preview
    return _Image(  # type: ignore[no-untyped-call]  # PynamoDB's constructor
        index=image.index,
        status=image.status,
        attempt=image.attempt,
        seed=image.seed,
        prediction_id=image.prediction_id,
        asked_at=image.asked_at,
        in_doubt_until=image.in_doubt_until,
        not_before=image.not_before,
        reclaimed=image.reclaimed or None,
        broken=image.broken or None,
        billable=image.billable or None,
        billable_before=image.billable_before or None,
        output_key=image.output and image.output.key,
        content_type=image.output and image.output.content_type,
        size=image.output and image.output.size,
        ended_at=image.ended_at,
        width=preview and preview.width,
        height=preview and preview.height,
        color=preview and preview.color,
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
        entered_again_at=record.entered_again_at,
        retries=record.retries or 0,
        counted=record.counted or 0,
        closed_as=JobStatus(record.closed_as) if record.closed_as else None,
        request=_REQUEST.validate_python(record.request),
        photo=Photo(
            record.photo_key,
            record.photo_prepared_key,
            bool(record.photo_uninspected),
            record.photo_opens or 0,
            record.photo_opening_until,
            _to_preview(record.photo_width, record.photo_height, record.photo_color),
        ),
        images=tuple(_to_image(image) for image in record.images),
        error=_to_failure(record.error_code, record.error_message),
        version=record.version,
    )


def _to_image(item: _Image) -> Image:
    output = None
    if item.output_key is not None and item.content_type is not None and item.size is not None:
        preview = _to_preview(item.width, item.height, item.color)
        output = Output(item.output_key, item.content_type, item.size, preview)
    status, in_doubt_until, not_before = ImageStatus(item.status), item.in_doubt_until, item.not_before
    if status is not ImageStatus.PENDING and in_doubt_until is None:
        in_doubt_until, not_before = not_before, None  # an item of an older release has one name for both
    return Image(
        index=item.index,
        status=status,
        attempt=item.attempt,
        seed=item.seed,
        prediction_id=item.prediction_id,
        asked_at=item.asked_at,
        in_doubt_until=in_doubt_until,
        not_before=not_before,
        reclaimed=bool(item.reclaimed),
        broken=item.broken or 0,
        billable=item.billable or 0,
        billable_before=item.billable_before or 0,
        output=output,
        ended_at=item.ended_at,
        error=_to_failure(item.error_code, item.error_message),
    )


def _to_preview(width: int | None, height: int | None, color: str | None) -> Preview | None:
    if width is None or height is None or color is None:
        return None
    return Preview(width, height, color)


def _to_failure(code: str | None, message: str | None) -> Failure | None:
    return Failure(code, message or "") if code else None
