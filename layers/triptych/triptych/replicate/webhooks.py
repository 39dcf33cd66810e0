"""Replicate's webhooks: nothing in one is read before its signature is verified.

The signature is described at https://replicate.com/docs/topics/webhooks/verify-webhook. `replicate.webhooks.validate`
(1.0.7) is not used. It accepts any version prefix and stops at the first malformed signature. It checks no age by
default, and its ValueErrors contain the secret.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pydantic import ValidationError

from triptych.lazy import Lazy
from triptych.replicate import transport
from triptych.replicate.predictions import Prediction
from triptych.replicate.tags import Tag
from triptych.runtime import clock

if TYPE_CHECKING:
    from collections.abc import Mapping

TOLERANCE_SECONDS = 300  # between a webhook's timestamp and our clock
SECRET_SECONDS = 600  # a rotated secret is accepted for at most this long
SECRET_REFETCH_SECONDS = 60
MOST_SIGNATURES = 16  # that are read from one header
LONGEST_TIMESTAMP = 12  # digits
SIGNATURE_BYTES = 32  # of SHA-256
# After a failed fetch of the secret, no other one: the shortest and the longest wait, in seconds.
FAILED_SECONDS = (5, 60)

_NEVER = datetime.min.replace(tzinfo=UTC)


class WebhookRejectedError(Exception):
    """Replicate did not send this webhook for a prediction of this stack."""


def verified(headers: Mapping[str, str], body: str, query: str, *, is_base64: bool) -> tuple[Prediction, Tag]:
    """Return the prediction that a webhook reports, and the tag in its query.

    Args:
        headers: By lower-case name.
        body: As API Gateway passes it.
        query: The raw query string. It is not signed.
        is_base64: Whether API Gateway has encoded the body.

    Raises:
        WebhookRejectedError: The signature, the query or the body is not good.
        transport.ReplicateUnavailableError: The signing secret could not be read.
    """
    try:
        raw = base64.b64decode(body, validate=True) if is_base64 else body.encode()
    except ValueError:
        raise WebhookRejectedError("not base64") from None
    # What costs nothing comes first: a forgery must not make this function fetch the secret.
    tag = Tag.of_query(query)
    if tag is None:
        raise WebhookRejectedError("query")
    now = clock.now()
    if not _is_plausible(headers, now):
        raise WebhookRejectedError("headers")
    secret = _known_secret(now)
    if not (secret and is_signed(headers, raw, secret, now)):
        # Only a call whose query Replicate was given may make this function wait for Replicate.
        if not tag.has_key(query, _token(now)):
            raise WebhookRejectedError("signature" if secret else "key")
        if not _is_signed_by_replicate(headers, raw, now):
            raise WebhookRejectedError("signature")
    try:
        return Prediction.model_validate_json(raw), tag
    except ValidationError:
        raise WebhookRejectedError("not a prediction") from None


def _is_signed_by_replicate(headers: Mapping[str, str], body: bytes, now: datetime) -> bool:
    secret = signing_secret()
    if is_signed(headers, body, secret, now):
        return True
    rotated = signing_secret(fresh=True)
    return rotated != secret and is_signed(headers, body, rotated, now)


# ── the signature ──


def is_signed(headers: Mapping[str, str], body: bytes, secret: str, now: datetime) -> bool:
    """Return whether a `v1` signature was made with `secret`, within TOLERANCE_SECONDS of `now`.

    Args:
        headers: By lower-case name.
        body: The raw bytes, as received.
        secret: `whsec_…`.
        now: The time to compare the timestamp with.
    """
    if not _is_plausible(headers, now):
        return False
    webhook_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
    try:
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    except (binascii.Error, ValueError):
        return False
    expected = hmac.digest(key, f"{webhook_id}.{timestamp}.".encode("utf-8", "replace") + body, "sha256")
    # All are compared, so that the time taken does not tell which one was close.
    matches = [hmac.compare_digest(expected, given) for given in _v1(headers.get("webhook-signature", ""))]
    return any(matches)


def _is_plausible(headers: Mapping[str, str], now: datetime) -> bool:
    """Return whether the headers hold an id, a timestamp of about `now` and a `v1` signature. That needs no secret."""
    timestamp = headers.get("webhook-timestamp", "")
    is_number = timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= LONGEST_TIMESTAMP
    if not headers.get("webhook-id") or not is_number:
        return False
    is_fresh = abs(now.timestamp() - int(timestamp)) <= TOLERANCE_SECONDS
    return is_fresh and any(
        len(given) == SIGNATURE_BYTES for given in _v1(headers.get("webhook-signature", ""))
    )


def _v1(header: str) -> list[bytes]:
    """Decode the `v1` signatures of a header such as `v1,AAAA v2,BBBB v1,CCCC`. Malformed ones are left out."""
    decoded = []
    for entry in header.split()[:MOST_SIGNATURES]:
        version, _, signature = entry.partition(",")
        if version != "v1":
            continue
        try:
            decoded.append(base64.b64decode(signature, validate=True))
        except (binascii.Error, ValueError):
            continue
    return decoded


# ── the secret ──


class _Secret(Lazy):
    key: str


@dataclass(slots=True)
class _Failures:
    """Failed requests in a row. Soon after one, no other is sent: meanwhile each forgery would hold a process."""

    number: int = 0
    at: datetime = _NEVER

    def add(self, now: datetime) -> None:
        self.number += 1
        self.at = now

    def are_recent(self, now: datetime) -> bool:
        shortest, longest = FAILED_SECONDS
        wait = min(longest, shortest * 2 ** (self.number - 1))
        return bool(self.number) and (now - self.at).total_seconds() < wait


@dataclass(slots=True)
class _Kept:
    """The signing secret, and when it was last asked for."""

    secret: str | None = None
    asked_at: datetime = _NEVER
    failures: _Failures = field(default_factory=_Failures)


_kept = _Kept()
_unread = _Failures()  # of the token


def _token(now: datetime) -> str:
    """Return Replicate's token.

    Raises:
        transport.ReplicateUnavailableError: It could not be read, now or a moment ago.
    """
    if _unread.are_recent(now):
        raise transport.ReplicateUnavailableError("the token could not be read a moment ago")
    try:
        found = transport.token()
    except transport.ReplicateUnavailableError:
        _unread.add(now)
        raise
    _unread.number = 0
    return found


def _known_secret(now: datetime) -> str | None:
    """Return the signing secret if it is known and not too old. This asks nobody."""
    age = (now - _kept.asked_at).total_seconds()
    return _kept.secret if age < SECRET_SECONDS else None


def signing_secret(*, fresh: bool = False) -> str:
    """Return the webhooks' signing secret of the token's account, kept for SECRET_SECONDS.

    Args:
        fresh: Fetch it again, unless it was asked for within SECRET_REFETCH_SECONDS.

    Raises:
        transport.ReplicateUnavailableError: The secret could not be read, and none is kept.
    """
    age = (clock.now() - _kept.asked_at).total_seconds()
    if _kept.secret is None:
        if _kept.failures.are_recent(clock.now()):
            raise transport.ReplicateUnavailableError("the signing secret could not be read a moment ago")
        return _fetch()
    if age >= (SECRET_REFETCH_SECONDS if fresh else SECRET_SECONDS):
        with suppress(transport.ReplicateUnavailableError):
            return _fetch()
    return _kept.secret


def _fetch() -> str:
    _kept.asked_at = clock.now()
    try:
        _kept.secret = transport.read(_Secret, lambda client: client.webhooks.default.secret()).key
    except transport.ReplicateUnavailableError:
        _kept.failures.add(_kept.asked_at)
        raise
    _kept.failures.number = 0
    return _kept.secret
