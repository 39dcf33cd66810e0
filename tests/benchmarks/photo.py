"""Memory and time that opening a photo takes, each photo in a process of its own.

What GenerateFunction's memory size in template.yaml was chosen by: the peak is that of the whole process, with all
that `generate` has imported. Seconds are of CPU, which a busy machine does not change much, and are for comparison
with each other.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from tests.benchmarks._report import Figure
from tests.environment import ROOT
from tests.localcloud import template

if TYPE_CHECKING:
    from collections.abc import Iterator

# Import what `generate` does, then open the photo. VmHWM is the most that was ever resident, in KiB.
OPENER = """
import json, sys, time
from pathlib import Path
import generate
from triptych.photo import inspection

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

started = time.process_time()
with open(sys.argv[1], "rb") as file:
    found = photos.inspect(file, sys.argv[2], max_pixels=int(sys.argv[3]), max_edge=int(sys.argv[4]))
seconds = time.process_time() - started
print(json.dumps({"found": type(found).__name__, "seconds": seconds, "peak": peak()}))
"""
PIXELS, EDGE = 70_000_000, 2048  # the template's defaults
TILES = {"quality": 60, "tile_size": 512, "enc_params": {"preset": "ultrafast"}}
TWELVE, FORTY_EIGHT, MOST = (4032, 3024), (8064, 6048), (10_000, 7_000)


@dataclass(frozen=True)
class Photo:
    """A photo to be made and measured."""

    name: str
    size: tuple[int, int]
    kind: str
    announced: str
    options: dict[str, Any]
    mode: str = "RGB"
    edge: int = EDGE


PHOTOS = (
    Photo("12 MP JPEG", TWELVE, "JPEG", "image/jpeg", {"quality": 90}),
    Photo("12 MP JPEG, passed on as it is", TWELVE, "JPEG", "image/jpeg", {"quality": 90}, edge=0),
    Photo("12 MP HEIC", TWELVE, "HEIF", "image/heic", TILES),
    Photo(
        "48 MP HEIC, in tiles, as iPhones do",
        FORTY_EIGHT,
        "HEIF",
        "image/heic",
        TILES,
    ),
    Photo(
        "48 MP HEIC, not scaled down",
        FORTY_EIGHT,
        "HEIF",
        "image/heic",
        TILES,
        edge=0,
    ),
    Photo("70 MP JPEG", MOST, "JPEG", "image/jpeg", {"quality": 60}),
    Photo(
        "70 MP JPEG, progressive",
        MOST,
        "JPEG",
        "image/jpeg",
        {"quality": 60, "progressive": True, "subsampling": 0},
    ),
    Photo("70 MP JPEG, as it is", MOST, "JPEG", "image/jpeg", {"quality": 60}, edge=0),
    Photo("70 MP JPEG in CMYK, not scaled down", MOST, "JPEG", "image/jpeg", {"quality": 60}, "CMYK", edge=0),
    Photo("70 MP PNG", MOST, "PNG", "image/png", {"compress_level": 1}),
    Photo("70 MP PNG, with alpha", MOST, "PNG", "image/png", {"compress_level": 1}, "RGBA"),
    Photo("70 MP PNG, with a palette", MOST, "PNG", "image/png", {"compress_level": 1}, "P"),
    Photo("70 MP PNG, 16 bits of grey", MOST, "PNG", "image/png", {"compress_level": 1}, "I;16"),
    Photo("70 MP WebP", MOST, "WEBP", "image/webp", {"method": 0}),
    Photo("70 MP WebP, with alpha", MOST, "WEBP", "image/webp", {"method": 0}, "RGBA"),
    Photo("70 MP HEIC", MOST, "HEIF", "image/heic", TILES),
    Photo("70 MP AVIF", MOST, "AVIF", "image/heif", {"speed": 10}),
)


def drawn(photo: Photo) -> bytes:
    """The photo: with the detail of a real one up to 48 MP; beyond, where only memory is asked about, a gradient."""
    width, height = photo.size
    if photo.size == MOST:
        grey = Image.linear_gradient("L").resize(photo.size)
    else:
        noise = Image.effect_noise((width // 4, height // 4), 30)
        grey = noise.resize(photo.size, Image.Resampling.BICUBIC)
    if photo.mode == "I;16":
        picture = Image.new("I;16", photo.size, 30_000)
    else:
        across = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(photo.size)
        picture = Image.merge("RGB", (grey, across, grey)).convert(photo.mode)
        if photo.mode == "RGBA":
            picture.putalpha(across)
    file = io.BytesIO()
    picture.save(file, photo.kind, **photo.options)
    return file.getvalue()


def measured(data: bytes, photo: Photo) -> dict[str, Any]:
    """What was found, seconds of CPU, and the most memory, in KiB."""
    path = os.pathsep.join(map(str, (ROOT / "layers/triptych", ROOT / "functions/generate")))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo")
        file.write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", OPENER, str(file), photo.announced, str(PIXELS), str(photo.edge)],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure() -> Iterator[Figure]:
    from pillow_heif import register_heif_opener  # noqa: PLC0415  # only the command needs it

    register_heif_opener()
    memory = float(str(template.load().resources["GenerateFunction"].properties["MemorySize"]))  # MiB
    drawn_before: tuple[Photo, bytes] | None = None
    for photo in PHOTOS:
        if drawn_before and replace(drawn_before[0], name=photo.name, edge=photo.edge) == photo:
            data = drawn_before[1]
        else:
            data = drawn(photo)
        drawn_before = photo, data
        got = measured(data, photo)
        name = f"{photo.name} ({len(data) / 2**20:.1f} MiB): {got['found']}"
        yield Figure(f"{name}, peak", got["peak"] / 1024, "MiB", "the function has", memory, at_most=1)
        yield Figure(f"{name}, CPU", got["seconds"], "s")
