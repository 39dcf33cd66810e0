"""Presigned GET URLs that stay the same for a while, so that a browser finds what it has loaded in its cache.

botocore signs a URL for the moment of the call. Here a URL is signed for the beginning of a span of time, with botocore's
own signer, so all calls within that span return the same URL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

KEPT = 2048  # URLs of about 2 KB, in each process


def span(life: int) -> int:
    """Return for how many seconds a URL that is valid for `life` seconds stays the same."""
    return max(1, life // 2)


def beginning(now: datetime, life: int) -> datetime:
    """Return when the span began that `now` lies in."""
    seconds = int(now.timestamp())
    return datetime.fromtimestamp(seconds - seconds % span(life), UTC)


class Place(NamedTuple):
    """The bucket, and who signs."""

    url: str
    region: str
    credentials: ReadOnlyCredentials


# A client that polls, and a page of jobs that is read again, get the URLs that they have. One costs 0.15 ms to sign.
@lru_cache(maxsize=KEPT)
def presigned(where: Place, key: str, disposition: str | None, life: int, since: datetime) -> str:
    """Return the URL of an object, signed as if `since` were now.

    Args:
        where: The bucket, and who signs.
        key: The object.
        disposition: The Content-Disposition that S3 will answer, if not its own.
        life: Seconds.
        since: The beginning of the URL's life.
    """
    params = {"response-content-disposition": disposition} if disposition else {}
    request = AWSRequest("GET", f"{where.url}/{key}", params=params)
    _Signer(where, life, since).add_auth(request)
    return str(request.url)


class _Signer(S3SigV4QueryAuth):
    def __init__(self, where: Place, life: int, since: datetime) -> None:
        super().__init__(where.credentials, "s3", where.region, expires=life)
        self._since = since.strftime(SIGV4_TIMESTAMP)

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._since
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # botocore's stubs leave it out
