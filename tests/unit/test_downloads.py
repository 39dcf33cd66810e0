"""The URLs that may be requested with Replicate's API token."""

from __future__ import annotations

import pytest

from triptych.replicate.downloads import may_see_token

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
