from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

import api
import generate
from tests.support.events import CONTEXT, api_event
from tests.support.world import World, world_on_moto
from triptych.aws import queues
from triptych.pace import Pace
from triptych.runtime import observability


@pytest.fixture
def context() -> SimpleNamespace:
    return SimpleNamespace(**vars(CONTEXT))


@pytest.fixture
def call(world: World, context: SimpleNamespace) -> Callable[..., tuple[int, Any]]:
    """Return a function that calls the API, and returns the status and the body of its answer."""

    def call(method: str, path: str, body: object = None, **options: str) -> tuple[int, Any]:
        answer = api.handler(api_event(method, path, body, **options), context)
        text = str(answer["body"] or "")
        return int(str(answer["statusCode"])), json.loads(text) if text else None

    return call


@pytest.fixture(autouse=True)
def waste(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail if a prediction is counted as made for nothing, or if a test with the mark `wastes` wastes none."""
    counted: list[float] = []
    add = observability.metrics.add_metric

    def seen(name: str, unit: str, value: float) -> None:
        if name == "PredictionsWasted":
            counted.append(value)
        add(name=name, unit=unit, value=value)

    monkeypatch.setattr(observability.metrics, "add_metric", seen)
    yield
    expected = request.node.get_closest_marker("wastes") is not None
    assert bool(counted) == expected, f"{sum(counted)} predictions were made for nothing"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(generate, "pace", Pace())
    with world_on_moto(monkeypatch) as world:
        yield world


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[queues.WatchdogMessage, int]]:
    """The watchdog's messages, each with its delay in seconds."""
    seen: list[tuple[queues.WatchdogMessage, int]] = []
    monkeypatch.setattr(queues, "send_to_watchdog", lambda message, *, delay: seen.append((message, delay)))
    return seen


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The messages that were sent to the generation queue."""
    seen: list[tuple[str, str]] = []
    monkeypatch.setattr(queues, "send_to_generation", lambda *task, **_: seen.append(task))
    return seen
