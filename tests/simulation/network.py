"""The network between the functions and Replicate, with its faults."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import httpx

from tests.simulation.situations import Situation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.simulation.cloud import Cloud
    from tests.simulation.engine import Engine

# Faults of a POST that strike before a prediction is made, and those that strike after.
CREATE_BEFORE = {
    "create_refused_connection": Situation.POST_REFUSED,
    "create_cut_before": Situation.POST_CUT_BEFORE,
    "create_5xx_before": Situation.POST_5XX_BEFORE,
}
CREATE_AFTER = {
    "create_cut_after": Situation.POST_CUT_AFTER,
    "create_hangs_after": Situation.POST_HUNG,
    "create_late": Situation.POST_LATE,
    "create_5xx_after": Situation.POST_5XX_AFTER,
    "create_500_after": Situation.POST_500_AFTER,
    "create_unreadable": Situation.POST_UNREADABLE,
}
CREATE_FAULTS = (*CREATE_BEFORE, *CREATE_AFTER)
KNOWN_SECONDS = 85  # after its POST, Replicate knows every prediction; the layer allows 90 s
FAILED = {
    "list": Situation.LIST_FAILED,
    "get": Situation.GET_FAILED,
    "cancel": Situation.CANCEL_FAILED,
    "secret": Situation.SECRET_FAILED,
    "download": Situation.DOWNLOAD_FAILED,
}
LOOK_UP_SECONDS = (2.0, 200.0)
TRICKLE_SECONDS = (2.0, 60.0)
LATEST_SECONDS = (
    40.0  # how long after the client's timeout a request may still arrive; the layer allows 90 s in all
)


class _Trickle(httpx.SyncByteStream):
    """The body of an answer, of which a little comes in time for each read."""

    def __init__(self, engine: Engine, answer: httpx.Response, seconds: float, timeout: float) -> None:
        self._engine = engine
        self._content = answer.read()
        self._pieces = math.ceil(seconds / (timeout / 2))
        self._pause = seconds / self._pieces

    def __iter__(self) -> Iterator[bytes]:
        size = math.ceil(len(self._content) / self._pieces) or 1
        for start in range(0, len(self._content), size):
            self._engine.sleep(self._pause)
            yield self._content[start : start + size]


class Network(httpx.BaseTransport):
    """A transport that replaces the layer's."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        random = self._cloud.random
        kind = _kind(request)
        self._connect(kind)
        if trace := request.extensions.get("trace"):
            trace("http11.send_request_headers.started", {})
        timeout = float(request.extensions["timeout"]["read"])
        fault = self._fault(kind)
        if fault:
            self._cloud.hinder()
        if kind == "download":
            self._cloud.copies()
        there = random.uniform(0.02, 0.3)
        back: float | None = random.uniform(0.02, 1)
        if fault == "create_late":
            there = timeout + random.uniform(0, LATEST_SECONDS)
        if fault in {"create_late", "create_hangs_after"}:
            back = None

        about = self._cloud.engine.current and self._cloud.engine.current.process.about

        def effect() -> httpx.Response:
            answer = self._answer(request, kind, fault)
            return self._cloud.lag.cut(answer, about) if kind == "list" and about else answer

        try:
            answer = self._cloud.exchange(
                f"Replicate {kind}", effect, there=there, back=back, timeout=timeout
            )
        except TimeoutError:
            raise httpx.ReadTimeout("nothing came", request=request) from None
        if not self._cloud.faults.happens("body_trickles", self._cloud.engine.now):
            return answer
        self._cloud.faults.struck(Situation.BODY_TRICKLED)
        self._cloud.hinder()
        body = _Trickle(self._cloud.engine, answer, random.uniform(*TRICKLE_SECONDS), timeout)
        return httpx.Response(answer.status_code, headers=answer.headers, stream=body)

    def _connect(self, kind: str) -> None:
        """Wait for a slow name look-up, which no timeout of the client ends."""
        if kind == "create" and self._cloud.faults.happens("create_connects_late", self._cloud.engine.now):
            self._cloud.faults.struck(Situation.POST_CONNECTED_LATE)
            self._cloud.hinder()
            self._cloud.engine.sleep(self._cloud.random.uniform(*LOOK_UP_SECONDS))

    def _fault(self, kind: str) -> str | None:
        faults, now = self._cloud.faults, self._cloud.engine.now
        if faults.is_down("replicate", now):
            faults.struck(Situation.REPLICATE_DOWN)
            return self._cloud.random.choice(["create_refused_connection", "create_5xx_before"])
        match kind:
            case "create":
                return self._create_fault()
            case "cancel":
                return (
                    "read_failed"
                    if faults.happens("cancel_failed", now)
                    else faults.one_of(("read_failed",), now)
                )
            case "download":
                return faults.one_of(("download_failed",), now)
        return faults.one_of(("read_failed",), now)

    def _create_fault(self) -> str | None:
        faults, now = self._cloud.faults, self._cloud.engine.now
        assert self._cloud.engine.current
        process = self._cloud.engine.current.process
        if process.create_fault:
            faults.struck(Situation.POSTS_ALIKE)
            return process.create_fault
        fault = faults.one_of(CREATE_FAULTS, now)
        if fault and faults.happens("create_alike", now):
            process.create_fault = fault
        return fault

    def _answer(self, request: httpx.Request, kind: str, fault: str | None) -> httpx.Response:
        """Return the answer to a request, or raise if the fault cuts the connection."""
        self._struck(kind, CREATE_BEFORE.get(fault or ""))
        match fault:
            case "create_refused_connection":
                raise httpx.ConnectError("refused", request=request)
            case "create_cut_before":
                raise httpx.ReadError("cut", request=request)
            case "create_5xx_before" | "read_failed" | "download_failed":
                self._struck(kind, FAILED.get(kind))
                return httpx.Response(503, html="<html>Service Unavailable</html>")
        answer = self._unfaulted(request, kind)
        if not answer.is_success:
            return answer
        self._struck(kind, CREATE_AFTER.get(fault or ""))
        match fault:
            case "create_cut_after":
                raise httpx.ReadError("cut", request=request)
            case "create_5xx_after":
                return httpx.Response(502, html="<html>Bad Gateway</html>")
            case "create_500_after":
                return httpx.Response(500, json={"detail": "Internal error."})
            case "create_unreadable":
                return httpx.Response(201, text="created!")
        return answer

    def _unfaulted(self, request: httpx.Request, kind: str) -> httpx.Response:
        """Return the answer of Replicate, which may not know a new prediction yet."""
        if kind == "get" and self._is_unknown(request.url.path.rpartition("/")[2]):
            self._cloud.faults.struck(Situation.GET_UNKNOWN)
            return httpx.Response(404, json={"detail": "Not found.", "status": 404})
        return self._cloud.replicate.answer(request)

    def _is_unknown(self, prediction_id: str) -> bool:
        now = self._cloud.engine.now
        asked_at = self._cloud.checks.asked_at(prediction_id)
        is_new = asked_at is not None and now < asked_at + KNOWN_SECONDS
        return is_new and self._cloud.faults.happens("get_unknown", now)

    def _struck(self, kind: str, situation: Situation | None) -> None:
        # An outage gives the faults of a POST to other requests too.
        if situation and (kind == "create" or situation in FAILED.values()):
            self._cloud.faults.struck(situation)


def _kind(request: httpx.Request) -> str:
    if request.url.host == "replicate.delivery":
        return "download"
    path = request.url.path.removeprefix("/v1/").split("/")
    if path[-1] in {"cancel", "secret"}:
        return path[-1]
    if request.method == "POST":
        return "create"
    return "list" if path == ["predictions"] else "get"
