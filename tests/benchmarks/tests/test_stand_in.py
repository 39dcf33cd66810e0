"""The stand-in for Replicate that measurements use answers as the others do."""

from __future__ import annotations

import tempfile
import time

import httpx

from tests.benchmarks._replicate import replicate
from tests.support.function_environment import SECRET, TOKEN
from tests.support.replicate import schema
from triptych.photo import previews

CREATE = {
    "version": "black-forest-labs/flux-kontext-pro",
    "input": {"prompt": "a", "input_image": "http://127.0.0.1:1/photo.jpg"},
    "webhook": "http://127.0.0.1:1/hook",
}


def test_creates_are_delayed_and_noted() -> None:
    with (
        replicate(SECRET) as stand_in,
        httpx.Client(base_url=stand_in.url, headers={"authorization": f"Bearer {TOKEN}"}) as http,
    ):
        stand_in.set_delay(0.1)
        began = time.monotonic()
        made = schema.Prediction.model_validate_json(http.post("/v1/predictions", json=CREATE).content)
        assert time.monotonic() - began >= 0.1
        (arrived,) = stand_in.arrivals()
        assert began <= arrived <= time.monotonic()
        assert stand_in.arrivals() == []
        got = schema.Prediction.model_validate_json(http.get(f"/v1/predictions/{made.id}").content)
        assert (made.status, got.id) == ("starting", made.id)
        assert http.get("/v1/webhooks/default/secret").json() == {"key": SECRET}
        assert httpx.get(f"{stand_in.url}/v1/predictions").status_code == 401
        output = http.get(stand_in.output_url(1_000_000)).content
    assert len(output) == 1_000_000
    with tempfile.TemporaryFile() as file:
        file.write(output)
        file.flush()
        assert previews.make(file, 60).preview.width == 1152
