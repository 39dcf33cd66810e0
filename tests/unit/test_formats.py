"""Formats are told by bytes that Pillow wrote."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from triptych.photo.formats import HEAD_BYTES, TAIL_BYTES, content_type, is_whole

PILLOW_NAMES = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/gif": "GIF",
    "image/avif": "AVIF",
}


def picture(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, PILLOW_NAMES[kind])
    return file.getvalue()


@pytest.mark.parametrize("kind", PILLOW_NAMES)
def test_a_picture_is_known_by_its_first_bytes(kind: str) -> None:
    assert content_type(picture(kind)[:HEAD_BYTES]) == kind


@pytest.mark.parametrize(
    "head", [b"", b"%PDF-1.7", b"<!DOCTYPE html>", b"RIFF....WAVE", b"\0" * 32, b"\xff\xd8"]
)
def test_anything_else_is_no_picture(head: bytes) -> None:
    assert content_type(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_may_be_looked_at(head: bytes) -> None:
    content_type(head)


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "image/webp", "image/gif"])
def test_a_picture_that_was_cut_off_is_not_whole(kind: str) -> None:
    whole = picture(kind)
    assert is_whole(kind, whole[:HEAD_BYTES], whole[-TAIL_BYTES:], len(whole))
    for tenth in range(1, 10):
        cut = whole[: len(whole) * tenth // 10]
        assert not is_whole(kind, cut[:HEAD_BYTES], cut[-TAIL_BYTES:], len(cut)), tenth
