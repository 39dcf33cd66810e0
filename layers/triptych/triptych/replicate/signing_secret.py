"""The secret that Replicate signs its webhooks with: fetched with the token, and kept for a while."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pydantic import BaseModel

from triptych.replicate import transport
from triptych.runtime import clock

SECRET_SECONDS = 600  # after a rotation, the old one is good for no longer
SECRET_REFETCH_SECONDS = 60

_NEVER = datetime.min.replace(tzinfo=UTC)


class _Secret(BaseModel):
    key: str


@dataclass(slots=True)
class _Kept:
    """The signing secret that is kept, and when it was last asked for."""

    secret: str | None = None
    asked_at: datetime = _NEVER


_kept = _Kept()


def signing_secret(*, fresh: bool = False) -> str:
    """The webhooks' signing secret of the token's account, kept for SECRET_SECONDS.

    Args:
        fresh: the one that is kept did not fit: fetch it again, unless that was tried within the last minute.

    Raises:
        wire.ReplicateUnavailableError: it could not be had, now or before.
    """
    age = clock.now() - _kept.asked_at
    stale = age >= timedelta(seconds=SECRET_REFETCH_SECONDS if fresh else SECRET_SECONDS)
    if _kept.secret is None or stale:
        _kept.asked_at = clock.now()
        try:
            _kept.secret = transport.read(_Secret, lambda client: client.webhooks.default.secret()).key
        except transport.ReplicateUnavailableError:
            if _kept.secret is None:
                raise
    return _kept.secret
