"""Make the preview of a photo or an output: a small WebP, with what a page needs to know before it has loaded.

A preview is never worth an output: whatever fails here, the photo or the output stays usable without one.

Pillow lies in a layer of its own and is slow to import. So this module is imported only when there is something to open.
"""

from __future__ import annotations

import io
import mmap
import os
import re
from dataclasses import dataclass
from typing import IO

from PIL import Image

from triptych.job import Preview
from triptych.photo import bounded, formats, pixels

LONGEST_EDGE = 512  # pixels
# How much larger than the preview an image may stay before the good filter scales it. Up to there a JPEG is decoded at a
# part of its size, and pixels are averaged. Pillow's default of 2 takes up to three times the CPU, and after the WebP no
# difference is left.
REDUCING_GAP = 1.0
QUALITY = 75
METHOD = 2  # libwebp's default, 4, takes three times as long for files that are 4 % smaller
CPU_SECONDS = 3  # an output of 4 megapixels takes 0.1 s, one of 40 megapixels 1 s
MOST_PIXELS = 100_000_000
MOST_BYTES = 1_000_000  # of a preview; usually 10 KB to 40 KB
_ANSWER = re.compile(
    rb"(?P<width>\d{1,6})x(?P<height>\d{1,6})(?P<color>#[0-9a-f]{6})\n(?P<webp>RIFF.{4}WEBP.*)", re.DOTALL
)
# Here: each child would import all of Pillow's formats otherwise, which takes 200 ms.
pixels.import_decoder("image/webp")
_DECODERS = pixels.DECODERS | {"image/gif": "GIF"}


@dataclass(frozen=True, slots=True)
class Made:
    """A preview that is not stored yet."""

    webp: bytes
    preview: Preview


def make(file: IO[bytes], seconds: float) -> Made:
    """Make the preview of an image, in a child process with limits on CPU time and memory.

    Args:
        file: The whole image, in a real file. Its position does not matter and does not change.
        seconds: How long this may take.

    Raises:
        bounded.UnpreviewableError: The image is damaged or too complex, or it takes too long.
        bounded.ChildError: The layer, the disk or this code failed, not the image.
    """
    kind = formats.content_type(os.pread(file.fileno(), formats.HEAD_BYTES, 0))
    if kind not in _DECODERS:
        raise bounded.UnpreviewableError(kind)
    if kind in pixels.DECODERS:
        pixels.import_decoder(kind)  # here, so that it is still imported for the next image
    try:
        answer = bounded.run(lambda: _written(file, kind), cpu_seconds=CPU_SECONDS, wall_seconds=seconds)
    except (bounded.ExceededError, bounded.CrashedError, bounded.StuckError) as error:
        raise bounded.UnpreviewableError(type(error).__name__) from error
    return _read(answer)


def _read(answer: bytes) -> Made:
    """Return what the child made. Nothing else is read from it: an image may have taken the child over."""
    found = _ANSWER.fullmatch(answer)
    if found is None or len(found["webp"]) > MOST_BYTES:
        raise bounded.UnpreviewableError(answer[:100].decode(errors="replace"))
    preview = Preview(int(found["width"]), int(found["height"]), found["color"].decode())
    return Made(found["webp"], preview)


def _written(file: IO[bytes], kind: str) -> bytes:
    """Return the child's answer: size, average colour and WebP, or the name of what is wrong with the image."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if formats.is_too_complex(kind, data):
            return b"too complex"
        try:
            return _made(io.BytesIO(data))
        except OSError as error:
            if error.errno is not None:  # the disk's; Pillow's own have no number
                raise
            return type(error).__name__.encode()
        except (ImportError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # decoders report a damaged file in many ways
            return type(error).__name__.encode()


def _made(image_file: IO[bytes]) -> bytes:
    with (
        pixels.refusing_above(MOST_PIXELS),
        Image.open(image_file, formats=tuple(_DECODERS.values())) as image,
    ):
        turn, profile = pixels.upright_turn(image), image.info.get("icc_profile")
        width, height = pixels.upright_size(image, turn)
        small = _opaque_or_rgba(image)
        small.thumbnail((LONGEST_EDGE, LONGEST_EDGE), Image.Resampling.LANCZOS, reducing_gap=REDUCING_GAP)
        if turn is not None:
            small = small.transpose(turn)
        if small.mode != "RGBA":
            small = pixels.in_srgb(small, profile)
    average = pixels.without_transparency(small).convert("RGB").resize((1, 1), Image.Resampling.BOX)
    out = io.BytesIO()
    small.info.clear()
    small.save(out, "WEBP", quality=QUALITY, method=METHOD)
    return f"{width}x{height}#{average.tobytes().hex()}\n".encode() + out.getvalue()


def _opaque_or_rgba(image: Image.Image) -> Image.Image:
    """Return an image that can be scaled. A transparent one stays so: a page may show it on any colour."""
    if image.has_transparency_data and not image.mode.startswith("I"):
        return image.convert("RGBA")
    return pixels.without_transparency(image)
