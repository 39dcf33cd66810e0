"""Inspecting a photo, given its bytes."""

from __future__ import annotations

import tempfile

from triptych.photo.inspection import Finding, inspect

PIXELS = 10_000_000


def find(data: bytes, announced: str, *, pixels: int = PIXELS, edge: int = 2048) -> Finding:
    """Inspect a photo, given its bytes and the type that the client declared."""
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        return inspect(file, announced, max_pixels=pixels, max_edge=edge)
