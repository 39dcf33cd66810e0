"""Call back the client that ordered a job, at the URL that its order named."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from triptych import callbacks
from triptych.aws import callback_key
from triptych.runtime import clock, hosts
from triptych.runtime.budget import TimeBudget
from triptych.runtime.observability import count, logger
from triptych.settings import settings

if TYPE_CHECKING:
    from triptych.aws.queues import CallbackMessage

SECONDS = 10.0  # for one try


class NotDeliveredError(Exception):
    """The receiver did not accept the callback. A later try may succeed."""


def deliver(message: CallbackMessage) -> None:
    """Post a callback once.

    Raises:
        NotDeliveredError: The receiver did not accept it.
        MisconfiguredError: The stack's key cannot be read.
    """
    secret = callbacks.secret_of(message.owner, callback_key.read())
    budget = TimeBudget(SECONDS)
    with http_client() as client:  # closed after these seconds, whatever the receiver still sends
        (answer,) = budget.run([lambda: _post(client, message, secret, budget)])
    if answer == httpx.codes.GONE:  # the receiver wants no more: Standard Webhooks, "Webhook delivery"
        logger.info("callback unwanted")
        count("CallbacksRefused")
        return
    if answer is None or not httpx.codes.is_success(answer):
        raise NotDeliveredError("too slow" if answer is None else f"HTTP {answer}")
    count("CallbacksDelivered")


def _post(client: httpx.Client, message: CallbackMessage, secret: str, budget: TimeBudget) -> int:
    """Return the status of the receiver's answer. Its body is not read, and no redirect is followed."""

    def in_time(*_: object) -> None:
        if budget.is_spent:  # nobody waits for this thread any more
            raise NotDeliveredError("too slow")

    try:
        addresses = hosts.addresses(message.url, settings().allowed_callback_hosts)
        body = message.body.encode()
        signed = callbacks.headers(secret, message.webhook_id, body, clock.now())
        # httpcore calls "trace" before and after each step.
        extensions = {**hosts.pinned(addresses), "trace": in_time}
        sent = client.stream("POST", message.url, content=body, headers=signed, extensions=extensions)
        with sent as answer:
            return answer.status_code
    except (hosts.HostNotAllowedError, hosts.HostUnknownError, httpx.HTTPError, httpx.InvalidURL) as error:
        # The message may hold the URL, which may hold a secret. The type is enough.
        raise NotDeliveredError(type(error).__name__) from None


def http_client() -> httpx.Client:
    """Return a new client for one try. It forgets the cookies of a receiver, which could name another receiver's host."""
    return hosts.client({"content-type": "application/json", "user-agent": "Triptych"})
