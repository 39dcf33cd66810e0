"""Tests of the losses that a benchmark counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks._losses import Losses, count_losses
from tests.benchmarks._sides import Found

KEYS = ("outputs/j/0.png", "outputs/j/1.png", "outputs/j/2.png")


def predictions(billed: int, free: int = 0, job: str = "j") -> list[Any]:
    url = f"http://127.0.0.1/bucket/uploads/{job}/photo.jpg?X-Amz-Signature=x"
    return [
        SimpleNamespace(billed=number < billed, input={"input_image": url}) for number in range(billed + free)
    ]


@pytest.mark.parametrize(
    ("found", "made", "stored", "losses"),
    [
        (Found("done", KEYS), predictions(3), KEYS, Losses(0, 0, 0)),
        (Found("done", KEYS), predictions(3), KEYS[:2], Losses(0, 0, 1)),
        (Found("done", KEYS[:2]), predictions(3), KEYS, Losses(0, 0, 1)),
        (Found("done", KEYS), predictions(4), KEYS, Losses(0, 1, 0)),
        (Found("done", KEYS), predictions(3, 1), KEYS, Losses(0, 0, 0)),
        (Found("open", ()), predictions(1), (), Losses(1, 0, 0)),
        (Found("failed", ()), predictions(1), (), Losses(0, 0, 1)),
        (Found("failed", ()), predictions(0, 1), (), Losses(0, 0, 0)),
        (Found("failed", ()), predictions(4, job="other"), (), Losses(0, 0, 0)),
    ],
)
def test_losses_compare_a_job_with_predictions_and_outputs(
    found: Found, made: list[Any], stored: tuple[str, ...], losses: Losses
) -> None:
    assert count_losses({"j": found}, made, stored, images=3) == losses
