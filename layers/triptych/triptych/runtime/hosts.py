"""Hosts whose URLs come from outside: which of them may be called, and at which addresses."""

from __future__ import annotations

import ipaddress
import socket
from typing import TYPE_CHECKING

import httpx

from triptych.runtime import tls

if TYPE_CHECKING:
    from collections.abc import Sequence

PORTS = range(1, 65536)
TIMEOUT = httpx.Timeout(5.0, connect=3.0)  # seconds, for each read
_ADDRESSES = "triptych_addresses"  # the extension of a request that names where to connect to


class HostNotAllowedError(Exception):
    """This URL is not called. Asking again does not help."""


class HostUnknownError(Exception):
    """The host's name has no address now."""


def is_allowed(url: str, allowed: Sequence[str]) -> bool:
    """Return whether a URL may be called, as far as the URL itself tells.

    Args:
        url: The URL.
        allowed: Hosts, each with all its subdomains. Plain HTTP and addresses are refused, unless the IP address or
            `localhost` is itself in the list.
    """
    try:
        parsed = httpx.URL(url)
        port, host = parsed.port, _host(parsed)  # both may raise
    except (httpx.InvalidURL, ValueError):
        return False
    if port is not None and port not in PORTS:  # the socket would cut it to 16 bits, which is another port
        return False
    if _is_this_machine(host):
        return host in allowed and parsed.scheme in {"http", "https"}
    return parsed.scheme == "https" and is_of(host, allowed)


def addresses(url: str, allowed: Sequence[str]) -> Sequence[str]:
    """Return the addresses of an allowed host, or none if the host is an address itself, or this machine.

    The request goes to these addresses. A second look-up could have another answer: a name can be made to change it.

    Raises:
        HostNotAllowedError: The host is not in the list, or one of its addresses is not public.
        HostUnknownError: The host's name has no address now.
    """
    if not is_allowed(url, allowed):
        raise HostNotAllowedError
    parsed = httpx.URL(url)
    host = _host(parsed)
    if _is_this_machine(host):
        return ()
    try:
        found = socket.getaddrinfo(host, parsed.port or 443)
    except UnicodeError:  # not a valid host name
        raise HostNotAllowedError from None
    except OSError:
        raise HostUnknownError from None
    each = tuple(dict.fromkeys(str(address[0]) for *_, address in found))
    if not all(ipaddress.ip_address(address).is_global for address in each):
        raise HostNotAllowedError
    return each


def pinned(addresses: Sequence[str]) -> dict[str, object]:
    """Return the extensions of a request that a PinnedTransport sends to one of these addresses."""
    return {_ADDRESSES: addresses}


def is_of(host: str, hosts: Sequence[str]) -> bool:
    """Return whether the host is in the list, or a subdomain of one that is."""
    return any(host == one or host.endswith("." + one.removeprefix("*.")) for one in hosts)


def is_address(host: str) -> bool:
    """Return whether the host is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine."""
    return host == "localhost" or (is_address(host) and ipaddress.ip_address(host).is_loopback)


def _host(url: httpx.URL) -> str:
    """Return the host of a URL.

    Raises:
        UnicodeError: It begins with `xn--`, and what follows is no name.
    """
    return url.host.lower().rstrip(".")


def _is_this_machine(host: str) -> bool:
    """Return whether a host in the list can only be meant literally: an address, or this machine."""
    return host == "localhost" or is_address(host)


class PinnedTransport(httpx.HTTPTransport):
    """Connects to the addresses in a request's extensions, one after the other, instead of looking up its host.

    The host still stands in the header Host and in the TLS handshake, and the certificate must be the host's.
    """

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        addresses: Sequence[str] = request.extensions.get(_ADDRESSES, ())
        host = request.url.raw_host.decode("ascii")
        for number, address in enumerate(addresses, start=1):
            to_address = httpx.Request(
                request.method,
                request.url.copy_with(host=address),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return super().handle_request(to_address)
            except (httpx.ConnectError, httpx.ConnectTimeout):  # nothing was sent
                if number == len(addresses):
                    raise
        return super().handle_request(request)


def client(headers: dict[str, str]) -> httpx.Client:
    """Return a client for such hosts. It follows no redirect by itself."""
    # trust_env is off: no proxy and no password from .netrc. No connection is kept: after Lambda has frozen the
    # function, it would be stale.
    limits = httpx.Limits(max_keepalive_connections=0)
    transport = PinnedTransport(limits=limits, verify=tls.context())
    return httpx.Client(timeout=TIMEOUT, headers=headers, transport=transport, trust_env=False)
