"""Tests of what MiniStack does as AWS and otherwise. A difference that a release closes fails here, too."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.rehearsal import evidence
from tests.rehearsal.evidence import CHECKS, Case
from tests.rehearsal.ministack import Ministack

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="MiniStack's group is killed as on Linux")


@pytest.fixture(scope="module")
def cloud() -> Iterator[Ministack]:
    with evidence.running() as made:
        yield made


@pytest.mark.parametrize("case", CHECKS, ids=[case.name for case in CHECKS])
def test_behaviour_is_the_listed_one(cloud: Ministack, case: Case) -> None:
    assert case.seen(cloud) == case.expected
