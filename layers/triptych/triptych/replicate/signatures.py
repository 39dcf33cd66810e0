"""The signature on Replicate's webhooks, as https://replicate.com/docs/topics/webhooks/verify-webhook has it.

Not `replicate.webhooks.validate` (1.0.7): it takes any version prefix, gives up at the first malformed
signature in the list, has no tolerance unless told, and leaks ValueErrors that name the secret.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

TOLERANCE_SECONDS = 300


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> bool:
    """Whether one of the `v1` signatures is `secret`'s, and the timestamp within 5 minutes of `now`, either way.

    Args:
        headers: by lower-case name.
        body: the raw bytes, as they came.
        secret: `whsec_…`.
        now: the time to judge the timestamp by.
    """
    webhook_id = headers.get("webhook-id", "")
    timestamp = headers.get("webhook-timestamp", "")
    if not (webhook_id and timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):  # noqa: PLR2004
        return False
    if abs(now.timestamp() - int(timestamp)) > TOLERANCE_SECONDS:
        return False
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    expected = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode("utf-8", "replace") + body, "sha256")
    # All are compared: how long it takes must not tell which of them was near.
    matches = [hmac.compare_digest(expected, given) for given in _v1(headers.get("webhook-signature", ""))]
    return any(matches)


def _v1(header: str) -> list[bytes]:
    """The decoded `v1` signatures of a header such as `v1,AAAA v2,BBBB v1,CCCC`; what is malformed is left out."""
    decoded = []
    for entry in header.split()[:16]:
        version, _, signature = entry.partition(",")
        if version != "v1":
            continue
        try:
            decoded.append(base64.b64decode(signature, validate=True))
        except (binascii.Error, ValueError):
            continue
    return decoded
