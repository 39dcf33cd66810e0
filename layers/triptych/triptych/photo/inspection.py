"""Inspect a photo, and prepare a copy of it if the model cannot take it as it is.

Pillow and the HEIF decoder lie in a layer of their own and are slow to import. So this module is imported only when
there is a photo to open.

A model gets an upright still image in sRGB, as JPEG, PNG or WebP, without transparency. No metadata in it reveals
the place or the photographer. A photo that meets all this is passed on byte for byte. Any other photo is converted to a
JPEG.
"""

from __future__ import annotations

import io
import mmap
import os
import re
from dataclasses import dataclass
from typing import IO

from PIL import Image, ImageCms

from triptych.failures import FailureKind
from triptych.photo import av1, bounded, formats, pixels
from triptych.runtime.observability import logger

# Declared type → types that the bytes may have. A HEIF file holds HEVC or AV1, and phones mix up the names of HEVC.
MAY_BE = {
    "image/heic": {"image/heic", "image/heif", formats.HEIF_SEQUENCE},
    "image/heif": {"image/heic", "image/heif", formats.HEIF_SEQUENCE, "image/avif"},
}
JPEG_QUALITY = 92
JPEG_LONGEST_EDGE = 65_500  # libjpeg's own limit
# What libheif, libavif and Pillow say when they get no memory, or stop at a limit of their own.
_NO_MEMORY = re.compile("memory|security limit", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Ready:
    """The model can take the photo as it is."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The model gets this copy instead."""

    jpeg: bytes
    width: int  # pixels of the photo itself, upright
    height: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """No model gets this photo."""

    failure: FailureKind


type Finding = Ready | Prepared | Rejected


def inspect(file: IO[bytes], announced: str, *, max_pixels: int, max_edge: int) -> Finding:
    """Inspect a photo, in a child process with limits on CPU time and memory.

    Args:
        file: The whole photo, in a real file.
        announced: The media type that the client declared.
        max_pixels: A photo with more pixels is rejected before one is decoded.
        max_edge: A longer edge, in pixels, is scaled down. 0 is no limit.

    Raises:
        bounded.StuckError: The child waited for something until its time was over.
        bounded.ChildError: The layer, the disk or this code failed, not the photo.
    """
    if not file.seek(0, io.SEEK_END):
        return Rejected(FailureKind.PHOTO_EMPTY)
    # Not through the buffer of `file`: parent and child share its position.
    kind = formats.content_type(os.pread(file.fileno(), formats.HEAD_BYTES, 0)) or ""
    if failure := _check_type(kind, announced):
        return Rejected(failure)
    pixels.import_decoder(kind)  # here, so that it is still imported for the next photo
    try:
        return _read(bounded.run(lambda: _written(_look(file, kind, max_pixels, max_edge))))
    except bounded.ExceededError:
        return Rejected(FailureKind.PHOTO_TOO_COMPLEX)
    except bounded.CrashedError:
        return Rejected(FailureKind.PHOTO_UNREADABLE)


def _check_type(kind: str, announced: str) -> FailureKind | None:
    if kind not in pixels.DECODERS and kind != formats.HEIF_SEQUENCE:
        return FailureKind.PHOTO_UNSUPPORTED
    if kind not in MAY_BE.get(announced, {announced}):
        return FailureKind.PHOTO_TYPE_MISMATCH
    return FailureKind.PHOTO_ANIMATED if kind == formats.HEIF_SEQUENCE else None


def _written(finding: Finding) -> bytes:
    match finding:
        case Rejected(failure):
            return b"x" + failure.code.encode()
        case Prepared(jpeg, width, height):
            return b"p%dx%d\n" % (width, height) + jpeg
        case Ready():
            return b"r"


def _read(answer: bytes) -> Finding:
    """Return the finding that the child wrote. Nothing else is read from it: a photo may have taken the child over."""
    match answer[:1]:
        case b"r":
            return Ready()
        case b"p":
            size, _, jpeg = answer[1:].partition(b"\n")
            width, _, height = size.partition(b"x")
            return Prepared(jpeg, int(width), int(height))
        case _:
            return Rejected(FailureKind[answer[1:].decode().upper()])


def _look(file: IO[bytes], kind: str, max_pixels: int, max_edge: int) -> Finding:
    """Return the finding. This runs in the child: whatever reads the whole photo, or a part of it in a loop."""
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        if formats.is_too_complex(kind, data):
            return Rejected(FailureKind.PHOTO_TOO_COMPLEX)
        if pixels.DECODERS[kind] == "HEIF" and not formats.is_whole_heif(data):
            return Rejected(FailureKind.PHOTO_UNREADABLE)
        if pixels.DECODERS[kind] == "AVIF" and (failure := _check_frames(data, max_pixels)):
            return Rejected(failure)
        bare = formats.holds_only_the_picture(kind, data)
    try:
        return _decode(file, pixels.DECODERS[kind], max_pixels, max_edge or JPEG_LONGEST_EDGE, bare=bare)
    except Image.DecompressionBombError:
        return Rejected(FailureKind.PHOTO_TOO_MANY_PIXELS)
    except Exception as error:  # decoders report a damaged file in many ways
        if _is_ours(error):
            raise
        logger.info("the photo cannot be read", kind=kind, reason=type(error).__name__)
        exceeded = _NO_MEMORY.search(str(error))
        return Rejected(FailureKind.PHOTO_TOO_COMPLEX if exceeded else FailureKind.PHOTO_UNREADABLE)


def _check_frames(data: mmap.mmap, max_pixels: int) -> FailureKind | None:
    """Return what is wrong with an AVIF whose frames are not what its container says."""
    try:
        found = av1.frames(data)
    except av1.MalformedError:
        return FailureKind.PHOTO_UNREADABLE
    if found is None:
        return FailureKind.PHOTO_ANIMATED
    if found.items > av1.MOST_ITEMS:
        return FailureKind.PHOTO_TOO_COMPLEX
    if any(width * height > max_pixels for width, height in found.frames):
        return FailureKind.PHOTO_TOO_MANY_PIXELS
    return None if found.frames <= found.claimed else FailureKind.PHOTO_UNREADABLE


def _is_ours(error: Exception) -> bool:
    """Return whether the layer, the disk or the child's memory failed. Pillow's own OSErrors have no number."""
    numbered = isinstance(error, OSError) and error.errno is not None
    return numbered or isinstance(error, ImportError | MemoryError)


def _decode(file: IO[bytes], decoder: str, max_pixels: int, longest: int, *, bare: bool) -> Finding:
    file.seek(0)
    with pixels.refusing_above(max_pixels), Image.open(file, formats=(decoder,)) as image:
        if image.width * image.height > max_pixels:
            return Rejected(FailureKind.PHOTO_TOO_MANY_PIXELS)
        # A JPEG or HEIC that holds further images (a depth map, say) is not animated.
        if decoder in {"PNG", "WEBP", "AVIF"} and getattr(image, "is_animated", False):
            return Rejected(FailureKind.PHOTO_ANIMATED)
        if bare and max(image.size) <= longest and _suits_any_model(image):
            image.draft(None, (1, 1))  # decode at an eighth of the size: the pixels are not used
            image.load()  # reads to the last byte, so it finds a truncated file
            return Ready()
        return _prepared(image, longest)


def _suits_any_model(image: Image.Image) -> bool:
    """Return whether a model's own decoder sees the same image as a browser."""
    deep = any("16" in str(tile.args) for tile in getattr(image, "tile", []))
    if deep or image.mode not in {"RGB", "L"} or image.has_transparency_data:
        return False
    try:
        profile = image.info.get("icc_profile")
        return profile is None or ImageCms.getProfileName(io.BytesIO(profile)).startswith("sRGB")
    except ImageCms.PyCMSError:
        return False


def _prepared(image: Image.Image, longest: int) -> Prepared:
    """Return the image as a JPEG without metadata: upright, opaque, in sRGB, with no edge above `longest` pixels."""
    turn, profile = pixels.upright_turn(image), image.info.get("icc_profile")
    width, height = pixels.upright_size(image, turn)
    image = pixels.without_transparency(image)
    # Scale down first: then a JPEG is decoded at a fraction of its size.
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    if turn is not None:
        image = image.transpose(turn)
    image = pixels.in_srgb(image, profile)
    image.info.clear()  # Pillow would write a comment again
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return Prepared(out.getvalue(), width, height)
