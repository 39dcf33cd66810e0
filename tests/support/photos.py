"""A small photo, and a model's output."""

from __future__ import annotations

import io
from typing import Any

import pillow_heif
from PIL import Image

pillow_heif.register_heif_opener()

PNG = b"\x89PNG\r\n\x1a\n" + b"an output" * 10 + b"IEND\xaeB`\x82"


def picture(kind: str = "JPEG", size: tuple[int, int] = (64, 48), **options: Any) -> bytes:
    """Write a photo of `size` pixels with Pillow."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize(size).convert("RGB").save(file, kind, **options)
    return file.getvalue()


JPEG = picture()
