"""Presigned GET URLs that stay the same for a while, so that a browser finds what it has loaded in its cache.

botocore signs a URL for the moment of the call. Here a URL is signed for the beginning of a span of time, with botocore's
own signer, so all calls within that span return the same URL.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from botocore.auth import SIGV4_TIMESTAMP, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials


def span(life: int) -> int:
    """Return for how many seconds a URL that is valid for `life` seconds stays the same."""
    return max(1, life // 2)


def beginning(now: datetime, life: int) -> datetime:
    """Return when the span began that `now` lies in."""
    seconds = int(now.timestamp())
    return datetime.fromtimestamp(seconds - seconds % span(life), UTC)


class Signer(S3SigV4QueryAuth):
    """Signs GET URLs as if `since` were now."""

    def __init__(self, credentials: ReadOnlyCredentials, region: str, life: int, since: datetime) -> None:
        super().__init__(credentials, "s3", region, expires=life)
        self._since = since.strftime(SIGV4_TIMESTAMP)

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        request.context["timestamp"] = self._since
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # botocore's stubs leave it out

    def presign(self, url: str, disposition: str | None) -> str:
        """Return `url` with a signature. `disposition` is the Content-Disposition that S3 will answer."""
        params = {"response-content-disposition": disposition} if disposition else {}
        request = AWSRequest("GET", url, params=params)
        self.add_auth(request)
        return str(request.url)
