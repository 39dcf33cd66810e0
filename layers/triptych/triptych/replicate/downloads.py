"""Downloads of outputs: from allowed hosts only, in constant memory, whole or not at all."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import httpx

from triptych.failures import FailureKind
from triptych.photo.formats import EXTENSIONS, HEAD_BYTES, TAIL_BYTES, content_type, is_whole
from triptych.runtime import hosts
from triptych.runtime.once import once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from triptych.runtime.budget import TimeBudget

REDIRECTS = 3  # followed at most
GRACE_SECONDS = 0.5


class OutputRefusedError(Exception):
    """The output cannot be used. Asking again does not help."""

    def __init__(self, failure: FailureKind) -> None:
        super().__init__(failure.code)
        self.failure = failure


class OutputUnavailableError(Exception):
    """The output could not be fetched this time. The same request may succeed later."""


class OutputBrokenError(OutputUnavailableError):
    """The host answered, but the output was cut, empty or not there."""


class _TokenRequiredError(OutputUnavailableError):
    """The host answered 401 or 403."""


STATUSES: dict[int, type[OutputUnavailableError]] = {
    httpx.codes.UNAUTHORIZED: _TokenRequiredError,
    httpx.codes.FORBIDDEN: _TokenRequiredError,
    httpx.codes.NOT_FOUND: OutputBrokenError,
    httpx.codes.GONE: OutputBrokenError,
}


@dataclass(frozen=True, slots=True)
class Sources:
    """The hosts that outputs are fetched from, each with all its subdomains.

    Plain HTTP and private addresses are refused, unless the IP address or `localhost` is itself in a list.
    """

    allowed: Sequence[str]
    delivery: Sequence[str]  # Replicate's own; only these may receive the API token


@dataclass(frozen=True, slots=True)
class Fetched:
    """An output that was fetched whole; `file` is at its beginning."""

    file: IO[bytes]
    content_type: str
    size: int  # bytes


@contextmanager
def fetch(
    url: str, *, max_bytes: int, sources: Sources, token: Callable[[], str], budget: TimeBudget
) -> Iterator[Fetched]:
    """Yield the output at `url`, in a temporary file that the context removes.

    Replicate's reference says that outputs need the API token. The hosts seen so far do not ask for it. So the first
    request carries no token. If a delivery host answers 401 or 403, one more request carries the token. A redirect is
    followed without the token, and its target never receives it.

    Args:
        url: Where the model put its output.
        max_bytes: A larger output is refused while it streams.
        sources: The hosts that may be asked, without the token and with it.
        token: Returns the API token or raises OutputUnavailableError. It is called only to send the token.
        budget: For all requests together, redirects included.

    Raises:
        OutputRefusedError: The host is not allowed, the output is too large, or it is not an image.
        OutputUnavailableError: No answer, an error, or a truncated download.
    """
    (got,) = budget.run([lambda: _fetch(url, max_bytes, sources, token, budget)], grace=GRACE_SECONDS)
    if got is None:
        raise OutputUnavailableError("too slow")
    with got.file:
        yield got


def _fetch(
    url: str, max_bytes: int, sources: Sources, token: Callable[[], str], budget: TimeBudget
) -> Fetched:
    for hop in range(REDIRECTS + 1):
        addresses = _addresses(url, sources.allowed)
        try:
            got = _ask(url, addresses, {}, max_bytes, budget)
        except _TokenRequiredError:
            if hop or not may_see_token(url, sources.delivery):
                raise
            with_token = {"authorization": f"Bearer {token()}"}
            got = _ask(url, addresses, with_token, max_bytes, budget)
        if isinstance(got, Fetched):
            return got
        url = got
    raise OutputUnavailableError("too many redirects")


def _ask(
    url: str, addresses: Sequence[str], headers: dict[str, str], max_bytes: int, budget: TimeBudget
) -> Fetched | str:
    """Send one request to one of the addresses; return the output, or the URL of a redirect."""
    if budget.is_spent:
        raise OutputUnavailableError("too slow")
    try:
        asked = http_client().stream("GET", url, headers=headers, extensions=hosts.pinned(addresses))
        with ExitStack() as until_whole, asked as answer:
            if answer.is_redirect:
                return str(answer.url.join(answer.headers.get("location", "")))
            if answer.status_code != httpx.codes.OK:
                raise STATUSES.get(answer.status_code, OutputUnavailableError)(f"HTTP {answer.status_code}")
            file = until_whole.enter_context(TemporaryFile())
            size = _copy(answer, file, max_bytes, budget)
            kind = _judge(answer, file, size)
            file.seek(0)
            until_whole.pop_all()
            return Fetched(file, kind, size)
    except (httpx.RemoteProtocolError, httpx.ReadError) as error:
        raise OutputBrokenError(type(error).__name__) from None
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeEncodeError) as error:
        # The message may hold the URL, or a malformed token. The type is enough.
        raise OutputUnavailableError(type(error).__name__) from None


def _copy(answer: httpx.Response, file: IO[bytes], max_bytes: int, budget: TimeBudget) -> int:
    announced = answer.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise OutputRefusedError(FailureKind.OUTPUT_TOO_LARGE)
    size = 0
    for chunk in answer.iter_raw():  # no chunk size: waiting for a full chunk would not look at the budget
        size += len(chunk)
        if size > max_bytes:
            raise OutputRefusedError(FailureKind.OUTPUT_TOO_LARGE)
        if budget.is_spent:
            raise OutputUnavailableError("too slow")
        file.write(chunk)
    return size


def _judge(answer: httpx.Response, file: IO[bytes], size: int) -> str:
    """Return the output's media type, by its bytes. The header is not reliable."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(-min(size, TAIL_BYTES), os.SEEK_END)
    tail = file.read()
    kind = content_type(head)
    framed = "content-length" in answer.headers or "chunked" in answer.headers.get("transfer-encoding", "")
    if size == 0 or (kind and not framed and not is_whole(kind, head, tail, size)):
        raise OutputBrokenError("truncated")
    if kind not in EXTENSIONS:
        raise OutputRefusedError(FailureKind.OUTPUT_NOT_A_PICTURE)
    return kind


def may_see_token(url: str, delivery_hosts: Sequence[str]) -> bool:
    """Return whether Replicate's token may be sent to this URL: over HTTPS to a delivery host, or to this machine."""
    parsed = httpx.URL(url)
    host = parsed.host.lower().rstrip(".")
    if host in delivery_hosts and hosts.is_loopback(host):
        return parsed.scheme in {"http", "https"}
    return parsed.scheme == "https" and not hosts.is_address(host) and hosts.is_of(host, delivery_hosts)


def _addresses(url: str, allowed: Sequence[str]) -> Sequence[str]:
    try:
        return hosts.addresses(url, allowed)
    except hosts.HostNotAllowedError:
        raise OutputRefusedError(FailureKind.OUTPUT_HOST_NOT_ALLOWED) from None
    except hosts.HostUnknownError:
        raise OutputUnavailableError("no such host") from None


@once
def http_client() -> httpx.Client:
    return hosts.client({"accept": "image/*", "accept-encoding": "identity"})
