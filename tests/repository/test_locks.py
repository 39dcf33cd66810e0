"""The locks match pyproject.toml and hold no download address."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.environment import ROOT
from tests.locks import LOCKS, compile_lock


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_compiling_again_gives_the_same_lock(lock: Path, tmp_path: Path) -> None:
    again = tmp_path / "requirements.txt"
    shutil.copy(ROOT / lock, again)  # its pins are kept, so that a new release of a package changes nothing
    compile_lock(lock, again)
    assert again.read_text() == (ROOT / lock).read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=str)
def test_lock_holds_no_download_address(lock: Path) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert "--hash=sha256:" in text
