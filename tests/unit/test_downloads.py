"""The URLs that may be requested with Replicate's API token."""

from __future__ import annotations

import pytest

from triptych.failures import FailureKind
from triptych.replicate import downloads
from triptych.replicate.downloads import OutputRefusedError, OutputUnavailableError, may_see_token

HOSTS = ("replicate.delivery", "localhost", "127.0.0.1", "203.0.113.9")


@pytest.mark.parametrize(
    "url",
    [
        "https://replicate.delivery/out.png",
        "https://REPLICATE.delivery./out.png",
        "https://pbxt.replicate.delivery/out.png",
        "http://localhost:8000/out.png",
        "http://127.0.0.1:8000/out.png",
    ],
)
def test_a_delivery_host_may_see_the_token(url: str) -> None:
    assert may_see_token(url, HOSTS)


@pytest.mark.parametrize(
    "url",
    [
        "http://replicate.delivery/out.png",
        "http://pbxt.replicate.delivery/out.png",
        "ftp://127.0.0.1/out.png",
        "http://203.0.113.9/out.png",  # listed, but not on this machine
        "https://notreplicate.delivery/out.png",
        "https://replicate.delivery.evil.example/out.png",
        "https://replicate.delivery@evil.example/out.png",
        "https://evil.example/?https://replicate.delivery/",
        "https://evil.example#@replicate.delivery/",
        "https://127.0.0.2/out.png",
        "http://x.localhost/out.png",
        "https://api.replicate.com/out.png",
    ],
)
def test_any_other_url_may_not_see_the_token(url: str) -> None:
    assert not may_see_token(url, HOSTS)


def test_no_delivery_hosts_means_no_url_may_see_the_token() -> None:
    assert not may_see_token("https://replicate.delivery/out.png", ())


def test_ip_address_never_matches_a_listed_suffix() -> None:
    assert not may_see_token("https://10.0.0.1/out.png", ("0.0.1",))


# ── the host of an output ──

PUBLIC, OTHER, PRIVATE = "104.16.1.1", "104.16.1.2", "10.0.0.1"
ALLOWED = ("cdn.example", "*.files.example", "127.0.0.1", "localhost")


def resolve_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> list[tuple[str, int]]:
    """Let every name have these addresses; return what was looked up."""
    looked_up: list[tuple[str, int]] = []

    def resolve(host: str, port: int, **_: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        looked_up.append((host, port))
        return [(2, 1, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr("socket.getaddrinfo", resolve)
    return looked_up


def refusal_of(url: str) -> FailureKind | None:
    try:
        downloads._check_host(url, ALLOWED)
    except OutputRefusedError as refused:
        return refused.failure
    return None


@pytest.mark.parametrize(
    ("addresses", "allowed"),
    [
        ([PUBLIC], True),
        ([PUBLIC, OTHER], True),
        ([PRIVATE], False),
        ([PUBLIC, PRIVATE], False),
        ([PRIVATE, PUBLIC], False),
    ],
)
def test_every_address_of_a_host_must_be_public(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str], *, allowed: bool
) -> None:
    resolve_to(monkeypatch, *addresses)
    assert (refusal_of("https://cdn.example/x.png") is None) is allowed


@pytest.mark.parametrize(
    "url",
    [
        "https://cdn.example/x.png",
        "https://CDN.example./x.png",
        "https://a.cdn.example/x.png",
        "https://a.files.example/x.png",
        "http://127.0.0.1:9/x.png",
        "https://127.0.0.1:9/x.png",
        "http://localhost:9/x.png",
    ],
)
def test_host_in_the_list_is_allowed(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    resolve_to(monkeypatch, PUBLIC)
    assert refusal_of(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://cdn.example/x.png",
        "ftp://127.0.0.1/x.png",
        "ftp://localhost/x.png",
        "https://evil.example/x.png",
        "https://notcdn.example/x.png",
        "https://cdn.example.evil/x.png",
        "https://127.0.0.2/x.png",
        "https://104.16.1.1/x.png",
        "http://x.localhost/x.png",
        "https://cdn.example:port/x.png",
        "https://[cdn.example/x.png",
        "file:///etc/passwd",
        "",
    ],
)
def test_any_other_url_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    resolve_to(monkeypatch, PUBLIC)
    assert refusal_of(url) is FailureKind.OUTPUT_HOST_NOT_ALLOWED


@pytest.mark.parametrize(
    ("url", "port"), [("https://cdn.example/", 443), ("https://cdn.example:8443/", 8443)]
)
def test_name_is_looked_up_with_its_port(monkeypatch: pytest.MonkeyPatch, url: str, port: int) -> None:
    looked_up = resolve_to(monkeypatch, PUBLIC)
    assert refusal_of(url) is None
    assert looked_up == [("cdn.example", port)]


def test_unknown_name_may_be_known_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no such host")

    monkeypatch.setattr("socket.getaddrinfo", fails)
    with pytest.raises(OutputUnavailableError):
        downloads._check_host("https://cdn.example/x.png", ALLOWED)


def test_impossible_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(host: str, *_: object, **__: object) -> None:
        host.encode("idna")

    monkeypatch.setattr("socket.getaddrinfo", fails)
    assert refusal_of(f"https://{'a' * 64}.cdn.example/") is FailureKind.OUTPUT_HOST_NOT_ALLOWED
