"""The bucket: where photos, prepared copies and outputs lie, and presigned URLs for them."""

from __future__ import annotations

import re
import secrets
import shutil
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import ClientError, NoCredentialsError

from triptych import job_ids
from triptych.aws import links, session
from triptych.job import Job, Output
from triptych.photo.formats import EXTENSIONS
from triptych.runtime import clock
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 256 * 1024
# An object never changes under its key. No presigned URL is valid for longer than this.
CACHED = "private, max-age=43200, immutable"
# S3's answers to a copy whose target is there, or is being written.
COPIED = {"PreconditionFailed", "ConditionalRequestConflict"}

# The key layout: FOLDER/JOB_ID/NAME. template.yaml grants each function the folders that it needs.
FOLDERS = UPLOADS, PREPARED, OUTPUTS, PREVIEWS = ("uploads", "prepared", "outputs", "previews")
UPLOAD_KEY = re.compile(rf"{UPLOADS}/(?P<job_id>[^/]{{1,64}})/[^/]+")


@dataclass(frozen=True, slots=True)
class Look:
    """The size and the age of an object."""

    size: int  # bytes
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo as the client uploaded it."""

    file: IO[bytes] | None  # at its beginning; None if it is larger than the caller's limit
    size: int  # bytes
    stored_at: datetime


def photo_key(job_id: str, content_type: str) -> str:
    """Return where the client uploads the job's photo.

    An idempotency key that is used again after the job has expired gives the same id. The old photo may still be there,
    so the name of the new one differs.
    """
    own = f"-{secrets.token_hex(4)}" if job_ids.is_keyed(job_id) else ""
    return f"{UPLOADS}/{job_id}/photo{own}.{EXTENSIONS[content_type]}"


def is_upload_of(key: str, job_id: str) -> bool:
    """Return whether the key lies in the job's folder for uploads."""
    return key.startswith(f"{UPLOADS}/{job_id}/")


def job_of_upload(key: str) -> str | None:
    """Return the id of the job that an uploaded object belongs to, or None if the key is not an upload's."""
    found = UPLOAD_KEY.fullmatch(key)
    return found["job_id"] if found else None


def output_key(job: Job, index: int, prediction_id: str, content_type: str) -> str:
    """Return where the output of an image's prediction lies.

    After a retry, the name holds its number and the attempt. An invocation that still copies an output from before then
    writes and removes another object. While the image does not know its prediction, the name holds the prediction: one
    POST can make two, and both can end at once.
    """
    image = job.images[index]
    attempt = f".{job.retries}.{image.attempt}" if job.retried_at else ""
    own = "" if image.prediction_id == prediction_id else f".{prediction_id}"
    return f"{OUTPUTS}/{job.job_id}/{index}{attempt}{own}.{EXTENSIONS[content_type]}"


def preview_key(key: str) -> str:
    """Return where the preview of a photo or an output lies."""
    _, job_id, name = key.split("/")
    return f"{PREVIEWS}/{job_id}/{name.rpartition('.')[0]}.webp"


def presign_upload(job: Job, seconds: int) -> tuple[str, dict[str, str]]:
    """Return a presigned URL for one PUT of exactly this type, size and checksum, and the headers that it needs.

    Content-Length is signed too, but it is not among the headers: every HTTP client sets it, and a browser permits nobody
    else to. The URL is valid for `seconds`. `If-None-Match: *` is signed into it: S3 accepts one upload and answers 412 to
    every later one.
    """
    params: dict[str, str | int] = {
        "Bucket": settings().bucket,
        "Key": job.photo.key,
        "ContentType": job.request.content_type,
        "ContentLength": job.request.size,
        "IfNoneMatch": "*",
    }
    headers = {
        "Content-Type": job.request.content_type,
        "If-None-Match": "*",
    }
    if checksum := job.request.checksum_sha256:
        params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = checksum
    url = _s3().generate_presigned_url("put_object", Params=params, ExpiresIn=seconds)
    return url, headers


def presign_photo(key: str, file_name: str, seconds: int) -> str:
    """Return a presigned URL of the photo for Replicate, valid for `seconds`. `file_name` makes the URL unique.

    S3 stores a Content-Encoding that nobody signed. The URL overrides it, so that no client decides how the model reads a
    photo.
    """
    params = {
        "Bucket": settings().bucket,
        "Key": key,
        "ResponseContentDisposition": f'inline; filename="{file_name}"',
        "ResponseContentEncoding": "identity",
    }
    return _s3().generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)


def link(key: str, *, file_name: str | None = None) -> str:
    """Return a presigned URL of an object, for its owner. It stays the same for half its life, so that browsers cache it.

    It is valid for `download_url_seconds` from the beginning of that half, so for at least half of them from now on. Processes
    whose role sessions differ return different URLs.

    Args:
        key: The object.
        file_name: If given, a browser downloads the object under this name instead of showing it.
    """
    disposition = f'attachment; filename="{file_name}"' if file_name else None
    life = settings().download_url_seconds
    credentials = session.boto3_session().get_credentials()
    if credentials is None:
        raise NoCredentialsError
    since = links.beginning(clock.now(), life)
    where = links.Place(_bucket_url(), _s3().meta.region_name, credentials.get_frozen_credentials())
    return links.presigned(where, key, disposition, life, since)


def look_at(key: str) -> Look | None:
    """Return the size and age of an object, or None if there is no such object."""
    try:
        answer = _s3().head_object(Bucket=settings().bucket, Key=key)
    except ClientError as error:
        if _is_missing(key, error):
            return None
        raise
    return Look(answer["ContentLength"], answer["LastModified"])


@contextmanager
def fetch_photo(key: str, max_bytes: int) -> Iterator[Upload | None]:
    """Yield the photo at `key` (one GET) in a temporary file that the context removes, or None if there is none.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: S3 did not answer; try again later.
    """
    try:
        answer = _s3().get_object(Bucket=settings().bucket, Key=key)
    except ClientError as error:
        if not _is_missing(key, error):
            raise
        yield None
        return
    size, stored_at = answer["ContentLength"], answer["LastModified"]
    with closing(answer["Body"]) as body, TemporaryFile() as file:
        if size > max_bytes:
            yield Upload(None, size, stored_at)
            return
        shutil.copyfileobj(body, file, CHUNK_BYTES)
        file.seek(0)
        yield Upload(file, size, stored_at)


def copy_photo(source: str, target: str) -> bool:
    """Copy the photo at `source` to `target`, where S3 announces it like an upload. Return False if there is none.

    If it has been copied before, nothing happens: an order that is repeated again and again must cause no further event.
    """
    given = settings().bucket
    try:
        _s3().copy_object(
            Bucket=given, Key=target, CopySource={"Bucket": given, "Key": source}, IfNoneMatch="*"
        )
    except ClientError as error:
        if error.response["Error"]["Code"] in COPIED:
            return True
        if _is_missing(source, error):
            return False
        raise
    return True


def _is_missing(key: str, error: ClientError) -> bool:
    """Return whether S3 refused a request because there is no such object.

    A function may list only the folders that it needs. S3 then answers 403 for a missing object, as for one that the
    function may not read. The list tells them apart.
    """
    code = error.response["Error"]["Code"]
    if code in {"403", "AccessDenied"}:
        listed = _s3().list_objects_v2(Bucket=settings().bucket, Prefix=key, MaxKeys=1)
        return all(item["Key"] != key for item in listed.get("Contents", []))
    return code in {"404", "NoSuchKey"}


def prepared_key(job_id: str) -> str:
    """Return where the copy of a job's photo lies that the model is given."""
    return f"{PREPARED}/{job_id}/photo.jpg"


def store_prepared(job_id: str, jpeg: bytes) -> str:
    """Store the copy of a photo that the model is given; return its key. Repeating it changes nothing."""
    key = prepared_key(job_id)
    _s3().put_object(Bucket=settings().bucket, Key=key, Body=jpeg, ContentType="image/jpeg")
    return key


def store_output(key: str, content_type: str, size: int, file: IO[bytes]) -> Output:
    """Store an output. Repeating it with the same bytes changes nothing.

    `file` must be seekable: botocore reads it again to repeat a request.
    """
    _s3().put_object(
        Bucket=settings().bucket,
        Key=key,
        Body=file,
        ContentLength=size,
        ContentType=content_type,
        CacheControl=CACHED,
    )
    return Output(key, content_type, size)


def store_preview(key: str, webp: bytes) -> None:
    """Store the preview of the photo or output at `key`. Repeating it changes nothing."""
    _s3().put_object(
        Bucket=settings().bucket,
        Key=preview_key(key),
        Body=webp,
        ContentType="image/webp",
        CacheControl=CACHED,
    )


def remove_output(output: Output) -> None:
    """Remove an output and its preview."""
    remove(output.key)
    if output.preview:
        remove(preview_key(output.key))


def remove_made_of(photo_key: str, prepared_key: str | None) -> None:
    """Remove what was made of a photo: its preview and its prepared copy."""
    for key in filter(None, (preview_key(photo_key), prepared_key)):
        remove(key)


def remove(key: str) -> None:
    """Remove an object. An object that is not there is no error."""
    _s3().delete_object(Bucket=settings().bucket, Key=key)


def remove_all(job_id: str) -> int:
    """Remove every object of a job; return how many there were."""
    removed = 0
    for folder in FOLDERS:
        pages = (
            _s3()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=settings().bucket, Prefix=f"{folder}/{job_id}/")
        )
        for page in pages:
            for item in page.get("Contents", []):
                remove(item["Key"])
                removed += 1
    return removed


@once
def _bucket_url() -> str:
    where = {"Bucket": settings().bucket, "Key": "x"}
    url = _s3().generate_presigned_url("get_object", Params=where, ExpiresIn=1)
    return url.partition("/x?")[0]


@once
def _s3() -> S3Client:
    # SigV4 and the regional host. In us-east-1 botocore's default is the global host. It redirects, which breaks a
    # browser's preflight, and the page's CSP names the regional host. Without "when_required", the client would have to
    # send a checksum.
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
        request_checksum_calculation="when_required",
        connect_timeout=2,
        read_timeout=10,
        retries={"mode": "standard", "max_attempts": 3},
    )
    return session.boto3_session().client("s3", config=config)
