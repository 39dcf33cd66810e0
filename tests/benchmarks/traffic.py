"""Bytes that leave AWS or lie in it, and what a setting saves, in dollars for 1,000 jobs of three images.

A smaller photo for Replicate, previews in lists, links that browsers cache, and the retention. The bytes are those of
photos and images that are drawn here, the prices those of prices.toml.
"""

from __future__ import annotations

import io
import tempfile
from typing import TYPE_CHECKING

from PIL import Image

from tests.benchmarks import _prices
from tests.benchmarks._report import Figure
from tests.benchmarks.photo import EDGE, PHOTOS, PIXELS, drawn
from tests.localcloud import sample
from triptych.photo import inspection, previews

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGES = 3
JOBS = 1_000
EDGES = (0, EDGE, 1536, 1024)  # pixels; 0 is the photo as it is
OUTPUT = (1152, 896)  # pixels, a megapixel
LISTED = 30  # jobs that a client's history shows
DAYS = (30, 365)  # of retention
GIGABYTE = 1e9
MONTH = 365.25 / 12  # days


def measure() -> Iterator[Figure]:
    photo = drawn(PHOTOS[0])
    sent = {edge: _sent(photo, edge) for edge in EDGES}
    for edge, size in sent.items():
        name = f"photo of 12 MP to Replicate, MaxPhotoEdge {edge}"
        yield _dollars(name, IMAGES * size, "the default", IMAGES * sent[EDGE])
    image = Image.open(io.BytesIO(sample.photo())).convert("RGB").resize(OUTPUT, Image.Resampling.BICUBIC)
    with tempfile.TemporaryFile() as file:
        image.save(file, "PNG")
        output, preview = file.tell(), len(previews.make(file, 60).webp)
    # Each job's history is shown once, with the photo and its images.
    whole = LISTED * (IMAGES * output + len(photo))
    small = LISTED * (IMAGES + 1) * preview
    yield _dollars(f"a history of {LISTED} jobs shown, in previews", small, "in whole images", whole)
    yield _dollars("… shown again within 7 minutes, from the browser's cache", 0, "in whole images", whole)
    kept = len(photo) + sent[EDGE] + IMAGES * output + (IMAGES + 1) * preview
    price = _prices.file().prices.usd["s3_gb_month"].usd
    for days in DAYS:
        dollars = JOBS * kept / GIGABYTE * price * days / MONTH
        yield Figure(
            f"a job of {kept / 1e6:.1f} MB kept in S3, RetentionDays {days}", dollars, "$ for 1,000 jobs"
        )


def _sent(photo: bytes, edge: int) -> int:
    """Return the bytes that Replicate loads for each image."""
    with tempfile.TemporaryFile() as file:
        file.write(photo)
        file.flush()
        found = inspection.inspect(file, "image/jpeg", max_pixels=PIXELS, max_edge=edge)
    return len(found.jpeg) if isinstance(found, inspection.Prepared) else len(photo)


def _dollars(name: str, size: int, against: str, baseline: int) -> Figure:
    """Return what this many bytes for each job cost."""
    price = _prices.file().prices.usd["transfer_out_gb"].usd
    of = JOBS / GIGABYTE * price
    return Figure(f"{name}: {size / 1e6:.2f} MB", size * of, "$ for 1,000 jobs", against, baseline * of)
