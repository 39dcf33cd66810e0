from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

import generate
from tests.support.world import World, world_on_moto
from triptych.aws import queues
from triptych.pace import Pace
from triptych.runtime import observability


@pytest.fixture
def context() -> SimpleNamespace:
    return SimpleNamespace(
        function_name="test",
        memory_limit_in_mb=128,
        invoked_function_arn="arn:aws:lambda:ap-northeast-2:123456789012:function:test",
        aws_request_id="request-1",
        get_remaining_time_in_millis=lambda: 30_000,
    )


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
