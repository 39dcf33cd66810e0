"""The time that a preview may take, and what its failure costs: never the picture itself."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from botocore.exceptions import BotoCoreError

from triptych.aws import bucket
from triptych.flows import preview
from triptych.job import Preview
from triptych.photo import inspection, previews
from triptych.photo.bounded import UnpreviewableError

SHOWN = Preview(3, 2, "#000000")


class World:
    """What makes the preview, and what is told."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.sizes: list[int] = []
        self.stored: list[str] = []
        self.counted: list[str] = []
        self.unexpected: list[str] = []
        self.error: Exception | None = None
        self.budget = SimpleNamespace(seconds_left=100.0, is_spent=False)
        self.takes_all = False

    def make(self, file: IO[bytes], seconds: float) -> SimpleNamespace:
        self.seconds.append(seconds)
        self.sizes.append(os.fstat(file.fileno()).st_size)  # a child process opens the file anew
        self.budget.is_spent = self.takes_all
        if self.error:
            raise self.error
        return SimpleNamespace(webp=b"webp", preview=SHOWN)


@pytest.fixture(autouse=True)
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(previews, "make", world.make)
    monkeypatch.setattr(bucket, "store_preview", lambda key, _: world.stored.append(key))
    monkeypatch.setattr(preview, "count", world.counted.append)
    monkeypatch.setattr(preview, "unexpected", world.unexpected.append)
    return world


def add(world: World, tmp_path: Path) -> Preview | None:
    budget: Any = world.budget
    picture = tmp_path / "picture"
    picture.write_bytes(b"picture")
    with picture.open("rb") as file:
        return preview.add("outputs/j/0.png", file, budget)


@pytest.mark.parametrize(("left", "seconds"), [(100, 6), (8, 6), (7.5, 5.5), (3, 1)])
def test_preview_leaves_two_seconds_of_its_budget(
    world: World, tmp_path: Path, left: float, seconds: float
) -> None:
    world.budget.seconds_left = left
    assert add(world, tmp_path) == SHOWN
    assert (world.seconds, world.stored) == ([seconds], ["outputs/j/0.png"])


def test_preview_is_not_begun_with_less_than_a_second(world: World, tmp_path: Path) -> None:
    world.budget.seconds_left = 2.9
    assert add(world, tmp_path) is None
    assert (world.seconds, world.counted, world.unexpected) == ([], ["PreviewsMissing"], [])


def test_late_preview_is_not_stored(world: World, tmp_path: Path) -> None:
    """The caller has gone on, and the job may be deleted by now."""
    world.takes_all = True
    assert add(world, tmp_path) is None
    assert (world.stored, world.counted) == ([], ["PreviewsMissing"])


@pytest.mark.parametrize(
    ("error", "alarms"), [(UnpreviewableError("animated"), 0), (BotoCoreError(), 0), (LookupError(), 1)]
)
def test_missing_preview_is_counted(world: World, tmp_path: Path, error: Exception, alarms: int) -> None:
    world.error = error
    assert add(world, tmp_path) is None
    assert (world.counted, len(world.unexpected)) == (["PreviewsMissing"], alarms)


def test_preview_of_a_prepared_photo_tells_the_photos_own_size(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    budgets: list[float] = []

    def budget(seconds: float) -> SimpleNamespace:
        budgets.append(seconds)
        return world.budget

    monkeypatch.setattr(preview, "TimeBudget", budget)
    photo: Any = None  # it is not opened
    made = preview.of_photo("uploads/j/photo.jpg", photo, inspection.Prepared(b"jpeg", width=30, height=20))
    assert made == Preview(30, 20, SHOWN.color)
    assert (world.sizes, budgets) == ([4], [8])
    world.error = UnpreviewableError("animated")
    assert preview.of_photo("uploads/j/photo.jpg", photo, inspection.Prepared(b"jpeg", 30, 20)) is None
