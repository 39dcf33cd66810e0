"""The time of a preview beside that of decoding the image alone, and the bytes that it saves.

Each preview is made as the functions make it, in a child process.
"""

from __future__ import annotations

import io
import tempfile
import time
from statistics import median
from typing import IO, TYPE_CHECKING

from PIL import Image

from tests.benchmarks._report import Figure
from tests.localcloud import sample
from triptych.photo import previews

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROUNDS = 15
SECONDS = 60.0  # this machine may be busy
SIZES = {"1 MP": (1152, 896), "4 MP": (2304, 1792)}
MEGABYTE = 1e6


def measure() -> Iterator[Figure]:
    drawn = Image.open(io.BytesIO(sample.photo())).convert("RGB")
    for name, size in SIZES.items():
        image = drawn.resize(size, Image.Resampling.BICUBIC)
        for kind in ("PNG", "JPEG"):
            with tempfile.TemporaryFile() as file:
                image.save(file, kind)
                file.flush()
                yield from _figures(f"{kind} of {name}", file)


def _figures(name: str, file: IO[bytes]) -> Iterator[Figure]:
    made, decoded = [], []
    for _ in range(ROUNDS):  # in turn, because the machine is shared
        made.append(_seconds(lambda: previews.make(file, SECONDS)))
        decoded.append(_seconds(lambda: _decode(file)))
    yield Figure(
        f"preview of a {name}", median(made) * 1000, "ms", "decoding it alone", median(decoded) * 1000
    )
    webp = len(previews.make(file, SECONDS).webp)
    file.seek(0, io.SEEK_END)
    yield Figure(f"… bytes of a {name}'s preview", webp / MEGABYTE, "MB", "the image", file.tell() / MEGABYTE)


def _seconds(task: Callable[[], object]) -> float:
    begin = time.perf_counter()
    task()
    return time.perf_counter() - begin


def _decode(file: IO[bytes]) -> None:
    file.seek(0)
    with Image.open(file) as image:
        image.load()
