"""How a benchmark judges what came of jobs under faults."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.benchmarks._sides import Found
from tests.benchmarks._verdict import Verdict, judge

KEYS = ("outputs/j/0.png", "outputs/j/1.png", "outputs/j/2.png")


def predictions(billed: int, free: int = 0, job: str = "j") -> list[Any]:
    url = f"http://127.0.0.1/bucket/uploads/{job}/photo.jpg?X-Amz-Signature=x"
    return [
        SimpleNamespace(billed=number < billed, input={"input_image": url}) for number in range(billed + free)
    ]


@pytest.mark.parametrize(
    ("found", "made", "lying", "verdict"),
    [
        (Found("done", KEYS), predictions(3), KEYS, Verdict(0, 0, 0)),
        (Found("done", KEYS), predictions(3), KEYS[:2], Verdict(0, 0, 1)),
        (Found("done", KEYS[:2]), predictions(3), KEYS, Verdict(0, 0, 1)),
        (Found("done", KEYS), predictions(4), KEYS, Verdict(0, 1, 0)),
        (Found("done", KEYS), predictions(3, 1), KEYS, Verdict(0, 0, 0)),
        (Found("open", ()), predictions(1), (), Verdict(1, 0, 0)),
        (Found("failed", ()), predictions(1), (), Verdict(0, 0, 1)),
        (Found("failed", ()), predictions(0, 1), (), Verdict(0, 0, 0)),
        (Found("failed", ()), predictions(4, job="other"), (), Verdict(0, 0, 0)),
    ],
)
def test_a_job_is_held_against_what_was_paid_and_what_is_there(
    found: Found, made: list[Any], lying: tuple[str, ...], verdict: Verdict
) -> None:
    assert judge({"j": found}, made, lying, images=3) == verdict
