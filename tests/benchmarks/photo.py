"""Time and memory that opening a photo takes, each in a process of its own.

What GenerateFunction's memory size in template.yaml was chosen by: the peak is that of the whole process, with what
`generate` has imported, as Lambda would bill it. Memory is in MiB; the times are of this machine, for comparison
with each other.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.environment import ROOT

# What a process does: import as `generate` does, then open the photo. VmHWM is the most that was ever resident.
OPENER = """
import json, sys, time
import generate
from pathlib import Path
from triptych import photos
from triptych.settings import Settings

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

limits = Settings.model_construct(max_photo_pixels=int(sys.argv[3]), max_photo_edge=int(sys.argv[4]))
before, started = peak(), time.perf_counter()
with open(sys.argv[1], "rb") as file:
    found = photos.inspect(file, sys.argv[2], limits)
seconds = time.perf_counter() - started
print(json.dumps([type(found).__name__, getattr(getattr(found, "failure", None), "code", ""), seconds, before, peak()]))
"""
LIMIT, EDGE = 100_000_000, 2048  # pixels; the template's defaults


def scene(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """A picture with as much detail as a photo has, so that the decoders have something to do."""
    small = Image.effect_noise((width // 4, height // 4), 30).resize((width, height), Image.Resampling.BICUBIC)
    if mode == "L":
        return small
    across = Image.linear_gradient("L").resize((width, height))
    parts = [small, across, across.transpose(Image.Transpose.ROTATE_180), Image.new("L", small.size, 200)]
    return Image.merge(mode, parts[: len(mode)])


def written(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def measure(photo: bytes, announced: str, *, limit: int = LIMIT, edge: int = EDGE) -> tuple[str, str, float, float, float]:
    """What was found and its code, seconds, and MiB resident before and at most."""
    path = os.pathsep.join(map(str, (ROOT / "layers/triptych", ROOT / "functions/generate")))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "photo")
        file.write_bytes(photo)
        done = subprocess.run(
            [sys.executable, "-c", OPENER, str(file), announced, str(limit), str(edge)],
            env={**os.environ, "PYTHONPATH": path},
            check=True,
            capture_output=True,
            text=True,
        )
    found, code, seconds, before, peak = json.loads(done.stdout.splitlines()[-1])
    return str(found), str(code), float(seconds), float(before), float(peak)


def main() -> None:
    import pillow_heif  # noqa: PLC0415  # only this command needs it here

    pillow_heif.register_heif_opener()
    say = sys.stdout.write
    say(f"{'photo':44}{'file MiB':>9}{'found':>11}{'seconds':>9}{'before':>8}{'peak MiB':>9}{'bytes/pixel':>12}\n")

    def row(name: str, photo: bytes, announced: str, pixels: int, edge: int = EDGE) -> None:
        found, code, seconds, before, peak = measure(photo, announced, edge=edge)
        per_pixel = (peak - before) * 2**20 / pixels
        say(f"{name:44}{len(photo) / 2**20:9.1f}{found:>11}{seconds:9.2f}{before:8.0f}{peak:9.0f}{per_pixel:12.1f}  {code}\n")
        sys.stdout.flush()

    sides = (4032, 3024)
    picture = scene(*sides)
    row("12 MP JPEG", written(picture, "JPEG", quality=90), "image/jpeg", 12_192_768)
    row("12 MP JPEG, passed on as it is", written(picture, "JPEG", quality=90), "image/jpeg", 12_192_768, edge=0)
    row("12 MP HEIC", written(picture, "HEIF", quality=60, tile_size=512), "image/heic", 12_192_768)
    sides = (8064, 6048)
    picture = scene(*sides)
    row("48 MP HEIC, in tiles of 512, as iPhones do", written(picture, "HEIF", quality=60, tile_size=512), "image/heic", 48_771_072)
    row("48 MP HEIC, not scaled down", written(picture, "HEIF", quality=60, tile_size=512), "image/heic", 48_771_072, edge=0)
    # The most that is allowed, in the ways that take most.
    picture = scene(10_000, 10_000)
    row("100 MP JPEG", written(picture, "JPEG", quality=60), "image/jpeg", 10**8)
    row("100 MP JPEG, progressive, 4:4:4", written(picture, "JPEG", quality=60, progressive=True, subsampling=0), "image/jpeg", 10**8)
    row("100 MP WebP", written(Image.new("RGB", (10_000, 10_000), "teal"), "WEBP", method=0), "image/webp", 10**8)
    row("100 MP HEIC, in tiles", written(picture, "HEIF", quality=40, tile_size=512), "image/heic", 10**8)
    row("100 MP AVIF", written(Image.new("RGB", (10_000, 10_000), "teal"), "AVIF", speed=10), "image/heif", 10**8)
    clear = Image.new("RGBA", (10_000, 10_000), (9, 99, 199, 99))
    row("100 MP PNG, with alpha", written(clear, "PNG", compress_level=1), "image/png", 10**8)
    row("100 MP PNG, with alpha, not scaled down", written(clear, "PNG", compress_level=1), "image/png", 10**8, edge=0)
    row("200 MP PNG of few kB", written(Image.new("1", (20_000, 10_000)), "PNG"), "image/png", 2 * 10**8)
