"""S3's CopyObject with If-None-Match, which moto 5.2.5 ignores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moto.s3.exceptions import PreconditionFailed
from moto.s3.responses import S3Response

if TYPE_CHECKING:
    from moto.core.common_types import TYPE_RESPONSE

_moto_copy_object = S3Response.copy_object


def copy_object(self: S3Response) -> TYPE_RESPONSE:
    """Copy an object, but overwrite none if the client forbids it.

    https://docs.aws.amazon.com/AmazonS3/latest/API/API_CopyObject.html
    """
    key = self.parse_key_name()
    if self.headers.get("If-None-Match") == "*" and self.backend.get_object(self.bucket_name, key):
        raise PreconditionFailed("If-None-Match")
    return _moto_copy_object(self)
