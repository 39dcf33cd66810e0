"""The stand-in for Replicate in this process, without a server, at the time of a test's clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from tests.support.clock import Clock
from tests.support.function_environment import SECRET, TOKEN
from tests.support.photos import PNG
from tests.support.replicate.account import Account
from tests.support.replicate.api import Answer, Api
from tests.support.replicate.prediction import Prediction, nanoseconds


def streamed(content: bytes, status: int = 200, **headers: str) -> httpx.Response:
    """Build a response with a streamed body, as a download has."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, stream=httpx.ByteStream(content), headers=named)


def answered(api: Api, request: httpx.Request, now: int) -> httpx.Response:
    """Return the API's answer to a request of httpx."""
    return response(answer_to(api, request, now))


def answer_to(api: Api, request: httpx.Request, now: int) -> Answer:
    target = request.url.raw_path.decode()
    return api.answer(request.method, target, request.headers, request.content, now)


def response(answer: Answer) -> httpx.Response:
    headers = {"content-type": answer.content_type, **answer.headers}
    return httpx.Response(answer.status, content=answer.content, headers=headers)


@dataclass
class FakeReplicate:
    """Replicate's API and its delivery host, in this process. Replace `before_create`, `after_create`, `on_read` or `on_download` to inject faults."""

    clock: Clock
    account: Account = field(default_factory=lambda: Account(secret=SECRET))
    requests: list[httpx.Request] = field(default_factory=list)
    before_create: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    after_create: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    on_read: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
    on_download: Callable[[httpx.Request], httpx.Response] = lambda _: streamed(PNG)
    ahead: timedelta = timedelta()  # of the test's clock

    @property
    def now(self) -> int:
        return nanoseconds(self.clock.time + self.ahead)

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.host != "api.replicate.com":
            return self.on_download(request)
        if request.method == "GET":
            return self.on_read(request) or self._answered(request)
        if request.url.path.endswith("/cancel"):
            return self._answered(request)
        if refused := self.before_create(request):
            return refused
        answer = self._answered(request)
        return self.after_create(request) or answer

    def _answered(self, request: httpx.Request) -> httpx.Response:
        return answered(Api(self.account, TOKEN), request, self.now)

    @property
    def predictions(self) -> dict[str, dict[str, Any]]:
        """The predictions with the URLs of their webhooks."""
        self.account.advance(self.now)
        return {name: self._echoed(one) for name, one in list(self.account.predictions.items())}

    def _echoed(self, prediction: Prediction) -> dict[str, Any]:
        return prediction.view(self.account.base, echoes=True)

    @property
    def creates(self) -> list[httpx.Request]:
        return [r for r in self.requests if r.method == "POST" and not r.url.path.endswith("/cancel")]

    def add(self, prediction_id: str, given: dict[str, Any], created_at: datetime) -> None:
        """Add a prediction that no request here has created."""
        made = Prediction(prediction_id, "a/model", "hidden", given, nanoseconds(created_at))
        self.account.add(made)

    def forget(self, prediction_id: str) -> None:
        del self.account.predictions[prediction_id]

    def forget_all(self) -> None:
        self.account.predictions.clear()

    def change(self, prediction_id: str, **fields: object) -> None:
        """Let answers hold these fields instead of the true ones."""
        self.account.predictions[prediction_id].odd.update(fields)

    def finish(self, prediction_id: str, **changes: Any) -> dict[str, Any]:
        """End the prediction, by default with success; `webhook_for` builds its webhook.

        A field that a prediction of this status cannot have, or not any more, is only changed.
        """
        found = self.account.predictions[prediction_id]
        done = {"status": "succeeded", "output": f"https://replicate.delivery/{prediction_id}/out.png"}
        wanted = {**done, **changes}
        self.account.start(found, self.now)
        if wanted["status"] in {"succeeded", "failed", "canceled"}:
            self.account.end(found, wanted["status"], self.now, output=wanted["output"])
        true = self._echoed(found)
        found.odd |= {name: value for name, value in wanted.items() if true.get(name) != value}
        return self._echoed(found)


def promised(prediction: dict[str, Any]) -> dict[str, Any]:
    """Return the prediction as Replicate's schema promises it, without the webhook's URL."""
    return {name: value for name, value in prediction.items() if name != "webhook"}
