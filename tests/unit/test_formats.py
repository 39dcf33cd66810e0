"""Formats are recognised in files that Pillow wrote."""

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


def image_file(kind: str) -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(file, PILLOW_NAMES[kind])
    return file.getvalue()


@pytest.mark.parametrize("kind", PILLOW_NAMES)
def test_format_is_recognised_by_the_first_bytes(kind: str) -> None:
    assert content_type(image_file(kind)[:HEAD_BYTES]) == kind


@pytest.mark.parametrize(
    "head", [b"", b"%PDF-1.7", b"<!DOCTYPE html>", b"RIFF....WAVE", b"\0" * 32, b"\xff\xd8"]
)
def test_other_bytes_have_no_format(head: bytes) -> None:
    assert content_type(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_recognising_a_format_never_raises(head: bytes) -> None:
    content_type(head)


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "image/webp", "image/gif"])
def test_truncated_file_is_not_whole(kind: str) -> None:
    whole = image_file(kind)
    assert is_whole(kind, whole[:HEAD_BYTES], whole[-TAIL_BYTES:], len(whole))
    for tenth in range(1, 10):
        cut = whole[: len(whole) * tenth // 10]
        assert not is_whole(kind, cut[:HEAD_BYTES], cut[-TAIL_BYTES:], len(cut)), tenth
