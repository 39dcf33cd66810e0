"""Tests of the count of a job's requests: what a loaded machine explains, and what it does not."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.rehearsal import floor


def test_allowed_requests_are_no_surplus() -> None:
    assert floor.surplus(Counter(floor.allowed()), seconds=1, webhooks=3) == {}


@pytest.mark.parametrize("name", floor.NAMES)
def test_one_more_or_less_of_any_request_is_noticed(name: str) -> None:
    for number in (1, -1):
        found = Counter(floor.allowed()) + Counter({name: 2}) - Counter({name: 2 - number})
        assert floor.surplus(found, seconds=1, webhooks=3) != {}


@pytest.mark.parametrize(
    ("more", "seconds", "webhooks"),
    [
        ({"PutItem": 2, "GetItem": 2}, 1, 3),  # two lost races
        ({"SendMessage": 1, "GetItem": 1}, 61, 3),  # a look of the watchdog
        ({"GetItem": 4}, 30, 7),  # webhooks that were sent again
        ({"GetItem": 1, "PutObject": 1}, 30, 4),
    ],
)
def test_what_a_loaded_machine_explains_is_no_surplus(
    more: dict[str, int], seconds: float, webhooks: int
) -> None:
    found = Counter(floor.allowed()) + Counter(more)
    assert floor.surplus(found, seconds=seconds, webhooks=webhooks) == {}
