"""Call back the client that ordered a job, at the URL that its order named."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from triptych import callbacks
from triptych.aws import callback_key
from triptych.runtime import clock, posts
from triptych.runtime.observability import count, logger
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.aws.queues import CallbackMessage


class NotDeliveredError(Exception):
    """The receiver did not accept the callback. A later try may succeed."""


def deliver(message: CallbackMessage) -> None:
    """Post a callback once.

    Raises:
        NotDeliveredError: The receiver did not accept it.
        MisconfiguredError: The stack's key cannot be read.
    """
    secret = callbacks.secret_of(message.owner, callback_key.read())
    body = message.body.encode()
    signed = callbacks.headers(secret, message.webhook_id, body, clock.now())
    try:
        status = posts.post(message.url, body, signed, settings().allowed_callback_hosts)
    except posts.NoAnswerError as error:
        raise NotDeliveredError(str(error)) from None
    if status == HTTPStatus.GONE:  # the receiver wants no more: Standard Webhooks, "Webhook delivery"
        logger.info("callback unwanted")
        count("CallbacksRefused")
        return
    if status // 100 != 2:  # noqa: PLR2004  # 2xx
        raise NotDeliveredError(f"HTTP {status}")
    count("CallbacksDelivered")
