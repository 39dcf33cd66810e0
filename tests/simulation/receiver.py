"""The server of the clients, which takes callbacks."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx

from tests.simulation.situations import Situation
from triptych import callbacks
from triptych.runtime import hosts

if TYPE_CHECKING:
    from tests.simulation.cloud import Cloud

KEY = "the stack's key of callbacks"
HOST = "client.example.com"
URL = f"https://{HOST}/ends"
MOST_AGE = timedelta(seconds=60)  # of a signature
SITUATIONS = {
    "callback_refused": Situation.CALLBACK_REFUSED,
    "callback_unwanted": Situation.CALLBACK_UNWANTED,
    "callback_hangs": Situation.CALLBACK_HUNG,
    "callback_cut": Situation.CALLBACK_CUT,
}


class Receiver(httpx.BaseTransport):
    """A transport that takes the callbacks."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def client(self) -> httpx.Client:
        """Return a client as that of `triptych.runtime.posts`."""
        return httpx.Client(transport=self, timeout=hosts.TIMEOUT)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        cloud = self._cloud
        fault = cloud.faults.one_of(tuple(SITUATIONS), cloud.engine.now)
        if fault:
            cloud.faults.struck(SITUATIONS[fault])
        try:
            return cloud.exchange(
                "client callback",
                lambda: self._take(request, fault),
                there=cloud.random.uniform(0.02, 0.3),
                back=None if fault == "callback_hangs" else cloud.random.uniform(0.02, 1),
                timeout=request.extensions["timeout"]["read"],
            )
        except TimeoutError:
            raise httpx.ReadTimeout("nothing came", request=request) from None

    def _take(self, request: httpx.Request, fault: str | None) -> httpx.Response:
        """Return the answer, or raise if the fault cuts the connection."""
        if fault == "callback_refused":
            return httpx.Response(httpx.codes.SERVICE_UNAVAILABLE)
        body = request.read()
        end = json.loads(body)["data"]
        signed = self._is_signed(request, body, end["owner"])
        self._cloud.checks.on_called_back(end, request.headers["webhook-id"], signed=signed)
        if fault == "callback_cut":
            raise httpx.ReadError("cut", request=request)
        return httpx.Response(httpx.codes.GONE if fault == "callback_unwanted" else httpx.codes.NO_CONTENT)

    def _is_signed(self, request: httpx.Request, body: bytes, owner: str) -> bool:
        """Return whether the owner's secret signed the body within the last minute."""
        given = {name: value for name, value in request.headers.items() if name.startswith("webhook-")}
        at = datetime.fromtimestamp(int(given["webhook-timestamp"]), UTC)
        right = callbacks.headers(callbacks.secret_of(owner, KEY), given["webhook-id"], body, at)
        return given == right and self._cloud.now() - at < MOST_AGE
