"""Tests of how the bytes that S3 serves are counted."""

from __future__ import annotations

import httpx
import pytest

from tests.benchmarks.traffic import _Cache

URL = "https://bucket.example.com/previews/j/0.webp"
HEAD = len("etag: 1\r\n")


def s3(request: httpx.Request) -> httpx.Response:
    if request.headers.get("if-none-match") == "1":
        return httpx.Response(304, headers=[("etag", "1")])
    return httpx.Response(200, headers=[("etag", "1")], stream=httpx.ByteStream(b"1" * 1000))


def test_bytes_that_a_client_has_are_not_counted_again() -> None:
    cache = _Cache(httpx.Client(transport=httpx.MockTransport(s3)))
    assert cache.load([URL]) == 1000 + HEAD
    assert cache.load([URL]) == HEAD
    assert cache.load([URL, f"{URL}?X-Amz-Date=2"]) == 1000 + 2 * HEAD


def test_bytes_of_a_refusal_are_not_counted() -> None:
    cache = _Cache(httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(403))))
    with pytest.raises(RuntimeError, match="403"):
        cache.load([URL])
