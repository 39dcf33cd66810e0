"""The photo, opened: what it is found to be, and the copy that is made of it where it will not do as it is.

Pillow and the HEIF decoder lie in a layer of their own and take long to import, so that this module is imported
only when there is a photo to open.

A model at Replicate is given an upright still picture in sRGB, as JPEG, PNG or WebP, without transparency and with
nothing in its file that could tell where or by whom it was taken. A photo that is all this already is passed on
byte for byte; of any other a JPEG is made.
"""

from __future__ import annotations

import io
import mmap
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import IO, TYPE_CHECKING

from PIL import Image, ImageCms, PngImagePlugin

from triptych.failures import FailureKind
from triptych.photo import formats
from triptych.runtime.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_TEXT = 16 * 2**20  # bytes, of one text chunk of a PNG

# Each type is given to its own decoder, and to no other.
DECODERS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
    "image/avif": "AVIF",
}
# Announced type → what the bytes may be. A HEIF file holds HEVC or AV1, and phones mix up the names of the first.
MAY_BE = {
    "image/heic": {"image/heic", "image/heif", formats.HEIF_SEQUENCE},
    "image/heif": {"image/heic", "image/heif", formats.HEIF_SEQUENCE, "image/avif"},
}
JPEG_QUALITY = 92
JPEG_LONGEST_EDGE = 65_500  # libjpeg's own limit
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION_TAG = 0x0112
WHITE = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Ready:
    """The model can be given the photo as it is."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The model is to be given this instead."""

    jpeg: bytes


@dataclass(frozen=True, slots=True)
class Rejected:
    """No model is to be given this."""

    failure: FailureKind


type Finding = Ready | Prepared | Rejected


def inspect(file: IO[bytes], announced: str, *, max_pixels: int, max_edge: int) -> Finding:  # noqa: PLR0911  # one for each reason
    """What a photo is.

    Args:
        file: the whole of it, in a file of the operating system's.
        announced: the type that the client said it would be.
        max_pixels: a photo with more is rejected before a pixel is decoded.
        max_edge: what is longer, in pixels, is scaled down. 0 is no limit.
    """
    size = file.seek(0, io.SEEK_END)
    if not size:
        return Rejected(FailureKind.PHOTO_EMPTY)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        kind = formats.content_type(data[: formats.HEAD_BYTES])
        if kind not in DECODERS and kind != formats.HEIF_SEQUENCE:
            return Rejected(FailureKind.PHOTO_UNSUPPORTED)
        if kind not in MAY_BE.get(announced, {announced}):
            return Rejected(FailureKind.PHOTO_TYPE_MISMATCH)
        if kind == formats.HEIF_SEQUENCE:
            return Rejected(FailureKind.PHOTO_ANIMATED)
        if formats.is_too_complex(kind, data):
            return Rejected(FailureKind.PHOTO_TOO_COMPLEX)
        if DECODERS[kind] == "HEIF" and not formats.is_whole_heif(data):
            return Rejected(FailureKind.PHOTO_UNREADABLE)
        bare = formats.holds_only_the_picture(kind, data)
    try:
        return _decode(file, DECODERS[kind], max_pixels, max_edge or JPEG_LONGEST_EDGE, bare=bare)
    except Image.DecompressionBombError:
        return Rejected(FailureKind.PHOTO_TOO_MANY_PIXELS)
    except Exception as error:  # noqa: BLE001  # decoders have many ways to say that a file is damaged
        logger.info("the photo cannot be read", kind=kind, reason=type(error).__name__)
        return Rejected(FailureKind.PHOTO_UNREADABLE)


@contextmanager
def _refusing_above(max_pixels: int) -> Iterator[None]:
    """Let Pillow itself refuse larger pictures, for some formats before it allocates; it refuses twice its setting."""
    # What a file says beside the picture may be long, and is not kept: 1 MiB, Pillow's own limit, is no fault of it.
    PngImagePlugin.MAX_TEXT_CHUNK = LONGEST_TEXT
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _decode(file: IO[bytes], decoder: str, max_pixels: int, longest: int, *, bare: bool) -> Finding:
    if decoder == "HEIF":
        _register_heif()
    file.seek(0)
    with _refusing_above(max_pixels), Image.open(file, formats=(decoder,)) as image:
        if image.width * image.height > max_pixels:
            return Rejected(FailureKind.PHOTO_TOO_MANY_PIXELS)
        # A JPEG or a HEIC with further pictures in it (a depth map, say) does not move.
        if decoder in {"PNG", "WEBP", "AVIF"} and getattr(image, "is_animated", False):
            return Rejected(FailureKind.PHOTO_ANIMATED)
        if bare and max(image.size) <= longest and _suits_any_model(image):
            image.draft(None, (1, 1))  # an eighth will do, of as many bytes: nobody sees the pixels
            image.load()  # to the last byte: what is cut off is found here
            return Ready()
        return Prepared(_as_jpeg(image, longest))


@cache
def _register_heif() -> None:
    import pillow_heif  # noqa: PLC0415  # takes as long as Pillow, and most photos are of another type

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


def _suits_any_model(image: Image.Image) -> bool:
    """Whether a model's own decoder will see in it what a browser does."""
    deep = any("16" in str(tile.args) for tile in getattr(image, "tile", []))
    if deep or image.mode not in {"RGB", "L"} or image.has_transparency_data:
        return False
    try:
        profile = image.info.get("icc_profile")
        return profile is None or ImageCms.getProfileName(io.BytesIO(profile)).startswith("sRGB")
    except ImageCms.PyCMSError:
        return False


def _as_jpeg(image: Image.Image, longest: int) -> bytes:
    """The picture upright, flat, in sRGB and no longer than that, in a file that holds nothing else."""
    turn, profile = _turn(image), image.info.get("icc_profile")
    image = _without_transparency(image)
    # First, so that a JPEG is decoded at a fraction of its size where that is enough.
    image.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    if turn is not None:
        image = image.transpose(turn)
    image = _in_srgb(image, profile)
    image.info.clear()  # or a comment would be written along
    out = io.BytesIO()
    image.save(out, "JPEG", quality=JPEG_QUALITY, subsampling="4:4:4")
    return out.getvalue()


def _turn(image: Image.Image) -> Image.Transpose | None:
    """What sets it upright. In a HEIF file the EXIF orientation says nothing: its decoder has done it, and removed it."""
    try:
        return UPRIGHT.get(image.getexif().get(ORIENTATION_TAG, 1))
    except Exception:  # noqa: BLE001  # broken metadata has as many ways, and is no damage to the picture
        return None


def _without_transparency(image: Image.Image) -> Image.Image:
    """In L, RGB or CMYK: on white, which is what a page shows behind it."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off at 255
        return image.point(lambda value: value * (1 / 256)).convert("L")
    if not image.has_transparency_data:
        return (
            image
            if image.mode in {"L", "RGB", "CMYK"}
            else image.convert("L" if image.mode == "1" else "RGB")
        )
    clear = image if image.mode == "RGBA" else image.convert("RGBA")
    flat = Image.new("RGB", image.size, WHITE)
    flat.paste(clear, mask=clear)
    return flat


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """In RGB, as every decoder takes it that is told of no profile. A profile that cannot be used is left out."""
    if profile:
        try:
            given = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            wanted = ImageCms.createProfile("sRGB")
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            converted = ImageCms.profileToProfile(image, given, wanted, intent, "RGB", flags=flags)
        except (ImageCms.PyCMSError, OSError) as error:
            logger.info("the photo's colour profile cannot be used", reason=str(error)[:200])
        else:
            if converted is not None:
                return converted
    return image.convert("RGB")
