"""The memory and CPU time to inspect a photo, each photo in its own process.

These figures decide GenerateFunction's memory size in template.yaml. The peak is that of the function, with all imports of
`generate`, plus that of its child, which opens the photo: what they share counts twice. Seconds are CPU time, because a
busy machine changes it little. Compare them with each other.
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

# Import `generate`, then inspect the photo. VmHWM is the peak resident memory in KiB.
OPENER = """
import json, resource, sys
from pathlib import Path
import generate
from triptych.photo import bounded, inspection

bounded.WALL_SECONDS = 300  # another program may use the CPU

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

def cpu():
    kinds = resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))

started = cpu()
with open(sys.argv[1], "rb") as file:
    found = inspection.inspect(file, sys.argv[2], max_pixels=int(sys.argv[3]), max_edge=int(sys.argv[4]))
seconds = cpu() - started
child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
name = found.failure.code if isinstance(found, inspection.Rejected) else type(found).__name__
print(json.dumps({"found": name, "seconds": seconds, "peak": peak() + child}))
"""
PIXELS, EDGE = 70_000_000, 2048  # the template's defaults
TILES = {"quality": 60, "tile_size": 512, "enc_params": {"preset": "ultrafast"}}
TWELVE, FORTY_EIGHT, MOST = (4032, 3024), (8064, 6048), (10_000, 7_000)


@dataclass(frozen=True)
class Photo:
    """A photo to make and measure."""

    name: str
    size: tuple[int, int]
    kind: str
    announced: str
    options: dict[str, Any]
    mode: str = "RGB"
    edge: int = EDGE


PHOTOS = (
    Photo("12 MP JPEG", TWELVE, "JPEG", "image/jpeg", {"quality": 90}),
    Photo("12 MP JPEG, passed on unchanged", TWELVE, "JPEG", "image/jpeg", {"quality": 90}, edge=0),
    Photo("12 MP HEIC", TWELVE, "HEIF", "image/heic", TILES),
    Photo(
        "48 MP HEIC, in tiles as from iPhones",
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
    Photo("70 MP JPEG, not scaled down", MOST, "JPEG", "image/jpeg", {"quality": 60}, edge=0),
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
    """Return the photo: up to 48 MP with the detail of a real photo, above that a gradient, since only memory counts."""
    width, height = photo.size
    if photo.size == MOST:
        grey = Image.linear_gradient("L").resize(photo.size)
    else:
        noise = Image.effect_noise((width // 4, height // 4), 30)
        grey = noise.resize(photo.size, Image.Resampling.BICUBIC)
    if photo.mode == "I;16":
        image = Image.new("I;16", photo.size, 30_000)
    else:
        across = Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(photo.size)
        image = Image.merge("RGB", (grey, across, grey)).convert(photo.mode)
        if photo.mode == "RGBA":
            image.putalpha(across)
    file = io.BytesIO()
    image.save(file, photo.kind, **photo.options)
    return file.getvalue()


def measured(data: bytes, announced: str, edge: int = EDGE) -> dict[str, Any]:
    """Return the finding, the seconds of CPU and the peak memory in KiB."""
    path = os.pathsep.join(map(str, (ROOT / "layers/triptych", ROOT / "functions/generate")))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo")
        file.write_bytes(data)
        done = subprocess.run(
            [sys.executable, "-c", OPENER, str(file), announced, str(PIXELS), str(edge)],
            env={
                **os.environ,
                "PYTHONPATH": path,
                "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": f"{function_memory():.0f}",
            },
            check=True,
            capture_output=True,
            text=True,
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def function_memory() -> float:
    """Return GenerateFunction's memory in MiB."""
    return float(str(template.load().resources["GenerateFunction"].properties["MemorySize"]))


def measure() -> Iterator[Figure]:
    from pillow_heif import register_heif_opener  # noqa: PLC0415  # tests import this module without needing it

    register_heif_opener()
    memory = function_memory()
    drawn_before: tuple[Photo, bytes] | None = None
    for photo in PHOTOS:
        if drawn_before and replace(drawn_before[0], name=photo.name, edge=photo.edge) == photo:
            data = drawn_before[1]
        else:
            data = drawn(photo)
        drawn_before = photo, data
        got = measured(data, photo.announced, photo.edge)
        name = f"{photo.name} ({len(data) / 2**20:.1f} MiB): {got['found']}"
        yield Figure(f"{name}, peak", got["peak"] / 1024, "MiB", "the function has", memory, at_most=1)
        yield Figure(f"{name}, CPU", got["seconds"], "s")
