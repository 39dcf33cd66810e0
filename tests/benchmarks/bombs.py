"""The CPU time and memory of photos that are made to exhaust the function, beside good photos.

Each photo is inspected in its own process. The benchmark `photo` measures more good photos.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.benchmarks._report import Figure
from tests.benchmarks.photo import PHOTOS, drawn, function_memory, measured
from tests.support.photo_bombs import BOMBS
from triptych.photo.bounded import CPU_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

GOOD = (
    "12 MP JPEG",
    "12 MP JPEG, passed on unchanged",
    "48 MP HEIC, in tiles as from iPhones",
    "70 MP WebP, with alpha",
)


def measure() -> Iterator[Figure]:
    for photo in PHOTOS:
        if photo.name in GOOD:
            yield from _cost(f"good: {photo.name}", drawn(photo), photo.announced, photo.edge)
    for name, bomb in BOMBS.items():
        yield from _cost(name, bomb.data(), bomb.announced)


def _cost(name: str, data: bytes, announced: str, edge: int = 2048) -> Iterator[Figure]:
    got = measured(data, announced, edge)
    name = f"{name} ({len(data) / 2**20:.2f} MiB): {got['found']}"
    yield Figure(f"{name}, CPU", got["seconds"], "s", "the limit", CPU_SECONDS, at_most=1)
    yield Figure(f"{name}, peak", got["peak"] / 1024, "MiB", "the function has", function_memory(), at_most=1)
