"""What the tests of functions share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.localcloud.tests.toy_function import HANDLER


@pytest.fixture
def code(tmp_path: Path) -> Path:
    """Return the folder of the toy function's code."""
    folder = tmp_path / "toy"
    folder.mkdir()
    (folder / "toy.py").write_text(HANDLER)
    return folder
