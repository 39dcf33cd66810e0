"""Replicate in this process, without a server."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.support.function_environment import SECRET, TOKEN
from tests.support.photos import PNG


def streamed(content: bytes, status: int = 200, **headers: str) -> httpx.Response:
    """Build a response with a streamed body, as a download has."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=named)


@dataclass
class FakeReplicate:
    """Replicate's API and its delivery host, in this process. Replace `before_create`, `after_create`, `on_read` or `on_download` to inject faults."""

    predictions: dict[str, dict[str, Any]] = field(default_factory=dict)
    requests: list[httpx.Request] = field(default_factory=list)
    before_create: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    after_create: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    on_read: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    on_download: Callable[[httpx.Request], httpx.Response] = lambda _: streamed(PNG)
    secret: str = SECRET
    echoes: bool = False  # answers contain `webhook`, which Replicate's schema does not promise

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path
        if request.url.host != "api.replicate.com":
            return self.on_download(request)
        assert request.headers["authorization"] == f"Bearer {TOKEN}"
        if request.method == "POST" and path.endswith("/cancel"):
            found = self.predictions[path.split("/")[-2]]
            found["status"] = "canceled"
            return httpx.Response(200, json=self._shown(found))
        if request.method == "POST":
            return self.before_create(request) or self._created(request)
        if path == "/v1/webhooks/default/secret":
            return self.on_read(request) or httpx.Response(200, json={"key": self.secret})
        if path == "/v1/predictions":
            rows = [self._shown(one) for one in reversed(self.predictions.values())]
            return self.on_read(request) or httpx.Response(
                200, json={"next": None, "previous": None, "results": rows}
            )
        return self.on_read(request) or self._known(path.split("/")[-1])

    def _created(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        prediction = {
            "id": f"p{len(self.predictions)}",
            "model": "black-forest-labs/flux-kontext-pro",
            "version": "hidden",
            "status": "starting",
            "input": body["input"],
            "output": None,
            "error": None,
            "webhook": body["webhook"],
            "created_at": "2026-11-24T12:00:00.123456789Z",
            "cancel_after": request.headers["cancel-after"],
        }
        self.predictions[prediction["id"]] = prediction
        return self.after_create(request) or httpx.Response(201, json=self._shown(prediction))

    def _shown(self, prediction: dict[str, Any]) -> dict[str, Any]:
        return prediction if self.echoes else promised(prediction)

    def _known(self, prediction_id: str) -> httpx.Response:
        found = self.predictions.get(prediction_id)
        if found is None:
            return httpx.Response(404, json={"detail": "Not found."})
        return httpx.Response(200, json=self._shown(found))

    @property
    def creates(self) -> list[httpx.Request]:
        return [r for r in self.requests if r.method == "POST" and not r.url.path.endswith("/cancel")]

    def finish(self, prediction_id: str, **changes: object) -> dict[str, Any]:
        """End the prediction, by default with success; `webhook_for` builds its webhook."""
        done = {"status": "succeeded", "output": f"https://replicate.delivery/{prediction_id}/out.png"}
        self.predictions[prediction_id].update({**done, **changes})
        return self.predictions[prediction_id]


def promised(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction as Replicate's schema promises it, without the webhook's URL."""
    return {name: value for name, value in prediction.items() if name != "webhook"}
