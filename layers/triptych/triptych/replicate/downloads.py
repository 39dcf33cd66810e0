"""Fetching what a model made: from allowed hosts only, in constant memory, whole or not at all."""

from __future__ import annotations

import ipaddress
import socket
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

import httpx

from triptych.failures import FailureKind
from triptych.photo.formats import EXTENSIONS, HEAD_BYTES, TAIL_BYTES, content_type, is_whole
from triptych.runtime import tls
from triptych.runtime.budget import within
from triptych.runtime.once import once

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

REDIRECTS = 3
TIMEOUT = httpx.Timeout(5.0, connect=3.0)  # seconds, for each read


class OutputRefused(Exception):  # noqa: N818  # a verdict on what was offered
    """What is offered will not do, however often it is asked for."""

    def __init__(self, failure: FailureKind) -> None:
        super().__init__(failure.code)
        self.failure = failure


class OutputUnavailable(Exception):  # noqa: N818  # as above
    """It could not be had this time; the same request may succeed later."""


class _AsksForToken(OutputUnavailable):
    """The host answered 401 or 403."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The hosts that outputs are fetched from, each with all its subdomains.

    Only an IP address or `localhost` that is itself in a list may be plain HTTP or a private address.
    """

    allowed: Sequence[str]
    delivery: Sequence[str]  # Replicate's own: only they may see the API token


@dataclass(frozen=True, slots=True)
class Fetched:
    """A picture that was fetched whole; `file` is at its beginning."""

    file: IO[bytes]
    content_type: str
    size: int  # bytes


@contextmanager
def fetch(
    url: str, *, max_bytes: int, sources: Sources, token: Callable[[], str], seconds: float
) -> Iterator[Fetched]:
    """The picture at `url`, in a temporary file that goes away with the context.

    Replicate's reference says that outputs need the API token; the hosts seen so far give them without. So the first
    request carries no token. Where a delivery host answers it with 401 or 403, one more request carries the token.
    A redirect is followed without the token, and its target is never asked with it.

    Args:
        url: where the model put its picture.
        max_bytes: what is larger is refused while it streams.
        sources: the hosts that may be asked, without the token and with it.
        token: gives the API token, or raises OutputUnavailable. It is called only when the token is sent.
        seconds: for all of it, redirects included.

    Raises:
        OutputRefused: another host, too large, or no picture.
        OutputUnavailable: no answer, an error, or a cut download.
    """
    give_up_at = time.monotonic() + seconds
    (got,) = within(seconds + 0.5, [lambda: _fetch(url, max_bytes, sources, token, give_up_at)])
    if got is None:
        raise OutputUnavailable("too slow")
    with got.file:
        yield got


def _fetch(
    url: str, max_bytes: int, sources: Sources, token: Callable[[], str], give_up_at: float
) -> Fetched:
    for hop in range(REDIRECTS + 1):
        _check_host(url, sources.allowed)
        try:
            got = _ask(url, {}, max_bytes, give_up_at)
        except _AsksForToken:
            if hop or not may_see_token(url, sources.delivery):
                raise
            got = _ask(url, {"authorization": f"Bearer {token()}"}, max_bytes, give_up_at)
        if isinstance(got, Fetched):
            return got
        url = got
    raise OutputUnavailable("too many redirects")


def _ask(url: str, headers: dict[str, str], max_bytes: int, give_up_at: float) -> Fetched | str:
    """Send one request; return the picture, or the URL that it is redirected to."""
    if time.monotonic() > give_up_at:
        raise OutputUnavailable("too slow")
    try:
        with ExitStack() as until_whole, _client().stream("GET", url, headers=headers) as answer:
            if answer.is_redirect:
                return str(answer.url.join(answer.headers.get("location", "")))
            if answer.status_code != httpx.codes.OK:
                denied = answer.status_code in {httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN}
                raise (_AsksForToken if denied else OutputUnavailable)(f"HTTP {answer.status_code}")
            file = until_whole.enter_context(TemporaryFile())
            size = _copy(answer, file, max_bytes, give_up_at)
            kind = _judge(answer, file, size)
            file.seek(0)
            until_whole.pop_all()
            return Fetched(file, kind, size)
    except httpx.InvalidURL:
        raise OutputRefused(FailureKind.OUTPUT_HOST_NOT_ALLOWED) from None
    except (httpx.HTTPError, UnicodeEncodeError) as error:
        # Its message may hold the URL, or a token that is no header's value: the type says enough.
        raise OutputUnavailable(type(error).__name__) from None


def _copy(answer: httpx.Response, file: IO[bytes], max_bytes: int, give_up_at: float) -> int:
    announced = answer.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > max_bytes:
        raise OutputRefused(FailureKind.OUTPUT_TOO_LARGE)
    size = 0
    for chunk in answer.iter_raw():  # as they come: to wait for a full chunk would be to wait without a clock
        size += len(chunk)
        if size > max_bytes:
            raise OutputRefused(FailureKind.OUTPUT_TOO_LARGE)
        if time.monotonic() > give_up_at:
            raise OutputUnavailable("too slow")
        file.write(chunk)
    return size


def _judge(answer: httpx.Response, file: IO[bytes], size: int) -> str:
    """The picture's type, by its bytes: the header is the model's word only."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(max(0, size - TAIL_BYTES))
    tail = file.read()
    kind = content_type(head)
    framed = "content-length" in answer.headers or "chunked" in answer.headers.get("transfer-encoding", "")
    if size == 0 or (kind and not framed and not is_whole(kind, head, tail, size)):
        raise OutputUnavailable("cut off")
    if kind not in EXTENSIONS:
        raise OutputRefused(FailureKind.OUTPUT_NOT_A_PICTURE)
    return kind


def may_see_token(url: str, delivery_hosts: Sequence[str]) -> bool:
    """Whether Replicate's token may be sent to this URL: over HTTPS to a delivery host, or to this very machine."""
    parsed = httpx.URL(url)
    host = parsed.host.lower().rstrip(".")
    if host in delivery_hosts and _is_loopback(host):
        return parsed.scheme in {"http", "https"}
    return parsed.scheme == "https" and not _is_address(host) and _is_of(host, delivery_hosts)


def _is_of(host: str, hosts: Sequence[str]) -> bool:
    return any(host == one or host.endswith("." + one.removeprefix("*.")) for one in hosts)


def _check_host(url: str, allowed_hosts: Sequence[str]) -> None:
    try:
        parsed = httpx.URL(url)
        port = parsed.port or 443
    except (httpx.InvalidURL, ValueError):
        raise OutputRefused(FailureKind.OUTPUT_HOST_NOT_ALLOWED) from None
    host = parsed.host.lower().rstrip(".")
    if host in allowed_hosts and _is_this_machine(host):
        if parsed.scheme in {"http", "https"}:
            return
        raise OutputRefused(FailureKind.OUTPUT_HOST_NOT_ALLOWED)
    if not _is_of(host, allowed_hosts) or parsed.scheme != "https" or _is_address(host):
        raise OutputRefused(FailureKind.OUTPUT_HOST_NOT_ALLOWED)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # no host can be named so
        raise OutputRefused(FailureKind.OUTPUT_HOST_NOT_ALLOWED) from None
    except OSError:
        raise OutputUnavailable("no such host") from None
    if not all(ipaddress.ip_address(address[0]).is_global for *_, address in found):
        raise OutputRefused(FailureKind.OUTPUT_HOST_NOT_ALLOWED)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)


def _is_this_machine(host: str) -> bool:
    """Whether a deployer who lists this host can only have meant the very machine."""
    return host == "localhost" or _is_address(host)


@once
def _client() -> httpx.Client:
    # trust_env off: neither a proxy nor a .netrc's password has a place here. No connection is kept: it would be
    # stale when Lambda thaws the function.
    headers = {"accept": "image/*", "accept-encoding": "identity"}
    limits = httpx.Limits(max_keepalive_connections=0)
    return httpx.Client(
        timeout=TIMEOUT, limits=limits, headers=headers, verify=tls.context(), trust_env=False
    )
