"""Photos and pictures in S3: presigned links, the photo and its prepared copy, the stored outputs."""

from __future__ import annotations

import shutil
from contextlib import closing, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import ClientError

from triptych.aws import session
from triptych.job import Job, Output, Photo
from triptych.photo.formats import EXTENSIONS
from triptych.runtime.once import once
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from mypy_boto3_s3 import S3Client

CHUNK_BYTES = 256 * 1024


PREFIXES = ("uploads", "prepared", "outputs")


@dataclass(frozen=True, slots=True)
class Look:
    """What a look at an object tells."""

    size: int  # bytes
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    """A photo as it was uploaded."""

    file: IO[bytes] | None  # at its beginning; None where there is more than was asked for
    size: int  # bytes
    stored_at: datetime


def photo_key(job_id: str, content_type: str) -> str:
    return f"uploads/{job_id}/photo.{EXTENSIONS[content_type]}"


def presign_upload(photo: Photo, seconds: int) -> tuple[str, dict[str, str]]:
    """A link for one PUT of exactly this type, size and checksum, and the headers that the client must send.

    It is good for `seconds`.

    `If-None-Match: *` is signed into it: S3 takes the upload once, and answers 412 from then on.
    """
    params: dict[str, str | int] = {
        "Bucket": settings().bucket,
        "Key": photo.key,
        "ContentType": photo.content_type,
        "ContentLength": photo.size,
        "IfNoneMatch": "*",
    }
    headers = {
        "Content-Type": photo.content_type,
        "Content-Length": str(photo.size),
        "If-None-Match": "*",
    }
    if photo.checksum_sha256:
        params["ChecksumSHA256"] = headers["x-amz-checksum-sha256"] = photo.checksum_sha256
    url = _s3().generate_presigned_url("put_object", Params=params, ExpiresIn=seconds)
    return url, headers


def presign_photo(key: str, file_name: str, seconds: int) -> str:
    """A link to the photo for Replicate, good for `seconds`. `file_name` makes it a link like no other."""
    disposition = f'inline; filename="{file_name}"'
    params = {"Bucket": settings().bucket, "Key": key, "ResponseContentDisposition": disposition}
    return _s3().generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)


def presign_output(output: Output) -> str:
    """A link to a stored picture, for its owner."""
    params = {"Bucket": settings().bucket, "Key": output.key}
    return _s3().generate_presigned_url(
        "get_object", Params=params, ExpiresIn=settings().download_url_seconds
    )


def look_at(key: str) -> Look | None:
    """The object's size and age, or None where there is no such object."""
    try:
        answer = _s3().head_object(Bucket=settings().bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] == "404":
            return None
        raise
    return Look(answer["ContentLength"], answer["LastModified"])


@contextmanager
def fetch_photo(key: str, max_bytes: int) -> Iterator[Upload | None]:
    """The photo at `key` (one GET) in a temporary file that goes away with the context, or None where there is none.

    Raises:
        botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError: it could not be had this time.
    """
    try:
        answer = _s3().get_object(Bucket=settings().bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchKey":
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


def store_prepared(job_id: str, jpeg: bytes) -> str:
    """Store a photo's copy for the model, and return its key. A second time with the same bytes changes nothing."""
    key = f"prepared/{job_id}/photo.jpg"
    _s3().put_object(Bucket=settings().bucket, Key=key, Body=jpeg, ContentType="image/jpeg")
    return key


def output_key(job: Job, index: int, content_type: str) -> str:
    """Where an image's picture lies.

    After a retry the attempt is in the name: an invocation that still copies what was made before the retry then
    writes, and removes, another object.
    """
    attempt = f".{job.images[index].attempt}" if job.retried_at else ""
    return f"outputs/{job.job_id}/{index}{attempt}.{EXTENSIONS[content_type]}"


def store_output(key: str, content_type: str, size: int, file: IO[bytes]) -> Output:
    """Store a picture. A second time with the same bytes changes nothing.

    `file` is seekable: botocore reads it again when S3 asks for a retry.
    """
    _s3().put_object(
        Bucket=settings().bucket, Key=key, Body=file, ContentLength=size, ContentType=content_type
    )
    return Output(key, content_type, size)


def remove(key: str) -> None:
    """Remove an object, if it is there."""
    _s3().delete_object(Bucket=settings().bucket, Key=key)


def remove_all(job_id: str) -> int:
    """Remove whatever lies in S3 for a job, and say how many objects that were."""
    removed = 0
    for prefix in PREFIXES:
        pages = (
            _s3()
            .get_paginator("list_objects_v2")
            .paginate(Bucket=settings().bucket, Prefix=f"{prefix}/{job_id}/")
        )
        for page in pages:
            for item in page.get("Contents", []):
                remove(item["Key"])
                removed += 1
    return removed


@once
def _s3() -> S3Client:
    # SigV4 and the regional host, also in us-east-1, where botocore's default is the global one: that redirects, which
    # breaks a browser's preflight, and the page's CSP names the regional one. No checksum that the client would have
    # to send.
    config = Config(
        signature_version="s3v4",
        s3={"addressing_style": "virtual", "us_east_1_regional_endpoint": "regional"},
        request_checksum_calculation="when_required",
        connect_timeout=2,
        read_timeout=10,
        retries={"mode": "standard", "max_attempts": 3},
    )
    return session.boto3_session().client("s3", config=config)
