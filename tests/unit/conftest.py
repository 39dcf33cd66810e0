"""What unit tests share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.function_environment import ENVIRONMENT
from triptych.settings import settings

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of a stack."""
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    yield
    settings.cache_clear()
