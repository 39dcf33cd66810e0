"""How Replicate signs and repeats its webhooks."""

from __future__ import annotations

import base64
import hashlib
import hmac
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.replicate.creation import Event
    from tests.support.replicate.prediction import Prediction

# https://replicate.com/docs/topics/webhooks/receive-webhook: "We retry several times on an exponential backoff. The
# final retry is sent about 1 minute after the prediction completed."
RETRIES = (0, 4, 12, 28, 60)  # seconds after completion: 4 s later, 8, 16, 32


def is_sent(prediction: Prediction, event: Event) -> bool:
    """Return whether Replicate calls a webhook for this event of the prediction."""
    if prediction.webhook is None:
        return False
    if event == "completed" and prediction.status == "aborted":
        return False  # `completed` is documented for succeeded, canceled and failed only
    # Without a filter Replicate sends "whenever there are new outputs or the prediction has finished".
    return event in (prediction.events or ("output", "completed"))


def is_accepted(status: int | None) -> bool:
    """Return whether Replicate sends the webhook no more: a redirect counts as accepted and is not followed."""
    return status is not None and status < HTTPStatus.BAD_REQUEST


def sign(secret: str, webhook_id: str, at: int, body: bytes) -> str:
    """Return the header webhook-signature of standardwebhooks.com: base64 of HMAC-SHA256 over `id.timestamp.body`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mac = hmac.new(key, f"{webhook_id}.{at}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(mac.digest()).decode()}"


def headers(secret: str | None, webhook_id: str, at: int, body: bytes) -> dict[str, str]:
    """Return the headers of a webhook that is sent `at` seconds since the epoch; without a secret, unsigned."""
    sent = {"content-type": "application/json", "webhook-id": webhook_id, "webhook-timestamp": str(at)}
    return sent | ({} if secret is None else {"webhook-signature": sign(secret, webhook_id, at, body)})
