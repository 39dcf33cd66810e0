"""The decisions of IAM on all requests of the end-to-end tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.iam import recorded
from tests.localcloud import decisions


@pytest.fixture(scope="module", autouse=True)
def every_decision_is_recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fail if the file's local clouds made a request that tests/iam does not judge, such as one with a new key."""
    if decisions.RECORD in os.environ:  # they are being recorded
        yield
        return
    folder: Path = tmp_path_factory.mktemp("decisions")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(decisions.RECORD, str(folder))
        yield
    new = recorded.unknown(folder)
    assert new == [], (
        "These requests are not recorded. Run python3 -m tests.iam, and commit its decisions.json."
    )
