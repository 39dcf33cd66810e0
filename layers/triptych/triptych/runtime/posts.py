"""Post JSON once to a URL that comes from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from triptych.runtime import hosts
from triptych.runtime.budget import TimeBudget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS = 10.0  # for one POST


class NoAnswerError(Exception):
    """The receiver did not answer, or must not be called. The message says why, without the URL."""


def post(url: str, body: bytes, headers: Mapping[str, str], allowed: Sequence[str]) -> int:
    """Return the status of the receiver's answer. Its body is not read, and no redirect is followed.

    Args:
        url: Where to post to.
        body: The JSON.
        headers: Besides the type of the body.
        allowed: Hosts, each with all its subdomains, that may be called.

    Raises:
        NoAnswerError: There is no answer.
    """
    budget = TimeBudget(SECONDS)

    def in_time(*_: object) -> None:
        if budget.is_spent:  # nobody waits for this thread any more
            raise NoAnswerError("too slow")

    def send(client: httpx.Client) -> int:
        # httpcore calls "trace" before and after each step.
        extensions = {**hosts.pinned(hosts.addresses(url, allowed)), "trace": in_time}
        with client.stream("POST", url, content=body, headers=headers, extensions=extensions) as answer:
            return answer.status_code

    try:
        with http_client() as client:  # closed after these seconds, whatever the receiver still sends
            (status,) = budget.run([lambda: send(client)])
    except (hosts.HostNotAllowedError, hosts.HostUnknownError, httpx.HTTPError, httpx.InvalidURL) as error:
        # The message may hold the URL, which may hold a secret. The type is enough.
        raise NoAnswerError(type(error).__name__) from None
    if status is None:
        raise NoAnswerError("too slow")
    return status


def http_client() -> httpx.Client:
    """Return a new client for one POST. It forgets the cookies of a receiver, which could name another receiver's host."""
    return hosts.client({"content-type": "application/json", "user-agent": "Triptych"})
