"""A stand-in for Replicate for measurements: it answers after a delay, notes the time of each create request, and draws one output.

The local cloud's stand-in draws each of its outputs, which would add to the measured time.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import struct
import threading
import time
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

from PIL import Image

from tests.localcloud import sample
from tests.localcloud.http_server import HttpServer, Request, Response
from tests.support.function_environment import TOKEN
from tests.support.replicate.account import Account
from tests.support.replicate.api import Api

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

MEGAPIXEL = (1152, 896)
PNG_END = 12  # bytes of the last chunk


@dataclass(frozen=True)
class Replicate:
    """A running stand-in."""

    url: str

    def set_delay(self, seconds: float) -> None:
        """Set the delay in seconds of the answer to each create request."""
        self._get(f"/tests/delay/{seconds}")

    def arrivals(self) -> list[float]:
        """Return the times of the create requests since the last call.

        The clock is time.monotonic, which all processes share on Linux.
        """
        return list(json.loads(self._get("/tests/arrivals")))

    def output_url(self, size: int) -> str:
        """Return the URL of an output of `size` bytes, at least those of the image itself: about 600 kB."""
        return f"{self.url}/output/{size}/out.png"

    @property
    def callback_url(self) -> str:
        """The URL of a receiver of callbacks, which accepts each."""
        return f"{self.url}/tests/ends"

    def _get(self, path: str) -> bytes:
        with urlopen(self.url + path) as answer:
            return bytes(answer.read())


@contextmanager
def replicate(secret: str) -> Iterator[Replicate]:
    """Run the stand-in in its own process, so that it shares no interpreter with the measured code.

    Args:
        secret: The secret that signs webhooks.
    """
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there, secret), daemon=True)
    process.start()
    try:
        yield Replicate(here.recv())
    finally:
        process.kill()
        process.join()


class _State:
    def __init__(self, secret: str) -> None:
        self.api = Api(Account(secret=secret), TOKEN, allow_http_webhooks=True)
        self.delay = 0.0
        self.arrivals: list[float] = []
        self.lock = threading.Lock()
        self.output = b""

    def answer(self, request: Request) -> Response:
        arrived = time.monotonic()
        match request.method, request.target.strip("/").split("/"):
            case "GET", ["output", size, _]:
                if len(self.output) != int(size):
                    self.output = _output(int(size))
                return Response(200, (("content-type", "image/png"),), self.output)
            case "GET", ["tests", "delay", seconds]:
                self.delay = float(seconds)
                return _json(None)
            case "POST", ["tests", "ends"]:
                return Response(204)
            case "GET", ["tests", "arrivals"]:
                with self.lock:
                    found, self.arrivals = self.arrivals, []
                return _json(found)
        creates = (request.method, request.target) == ("POST", "/v1/predictions")
        with self.lock:
            if creates:
                self.arrivals.append(arrived)
            answer = self.api.answer(
                request.method, request.target, dict(request.headers), request.body, time.time_ns()
            )
        if creates:
            time.sleep(self.delay)
        return _json(answer.body, answer.status)


def _output(size: int) -> bytes:
    """Return a PNG of a megapixel, filled up to `size` bytes with a chunk that decoders skip."""
    file = io.BytesIO()
    image = Image.open(io.BytesIO(sample.photo()))
    image.resize(MEGAPIXEL, Image.Resampling.BICUBIC).save(file, "PNG")
    png = file.getvalue()
    chunk = b"fiLl" + bytes(size - len(png) - 12)
    filling = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
    return png[:-PNG_END] + filling + png[-PNG_END:]


def _json(value: Any, status: int = 200) -> Response:
    return Response(status, (("content-type", "application/json"),), json.dumps(value).encode())


def _serve(parent: Connection, secret: str) -> None:
    with HttpServer().start(_State(secret).answer) as server:
        parent.send(server.url)
        parent.poll(None)  # until the parent ends
