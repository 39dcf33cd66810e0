"""The pixels of an image: which decoder opens it, and how it becomes upright, opaque and sRGB."""

from __future__ import annotations

import importlib
import io
import warnings
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image, ImageCms, PngImagePlugin

from triptych.runtime.observability import logger

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST_TEXT = 16 * 2**20  # bytes in one text chunk of a PNG

# Only the decoder of its own type opens a file.
DECODERS = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/webp": "WEBP",
    "image/heic": "HEIF",
    "image/heif": "HEIF",
    "image/avif": "AVIF",
}
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SWAPPING = frozenset(UPRIGHT[tag] for tag in range(5, 9))  # width and height
ORIENTATION_TAG = 0x0112
WHITE = (255, 255, 255)


def import_decoder(kind: str) -> None:
    """Import what opens an image of this type, one of DECODERS."""
    Image.preinit()  # JPEG and PNG
    match DECODERS[kind]:
        case "HEIF":
            _register_heif()
        case "WEBP":
            importlib.import_module("PIL.WebPImagePlugin")
        case "AVIF":
            importlib.import_module("PIL.AvifImagePlugin")


@cache
def _register_heif() -> None:
    import pillow_heif  # noqa: PLC0415  # as slow to import as Pillow, and most photos have another type

    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)


@contextmanager
def refusing_above(max_pixels: int) -> Iterator[None]:
    """Let Pillow refuse larger images, for some formats before it allocates memory. It refuses from twice its setting on."""
    # Long text is no reason to reject a photo, and it is not kept. Pillow's own limit is 1 MiB.
    PngImagePlugin.MAX_TEXT_CHUNK = LONGEST_TEXT
    before = Image.MAX_IMAGE_PIXELS
    Image.MAX_IMAGE_PIXELS = (max_pixels + 1) // 2
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def upright_turn(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn the image upright. A HEIF decoder has turned it already and removed the EXIF orientation."""
    try:
        return UPRIGHT.get(image.getexif().get(ORIENTATION_TAG, 1))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001  # broken metadata fails in many ways, and the image itself is not damaged
        return None


def upright_size(image: Image.Image, turn: Image.Transpose | None) -> tuple[int, int]:
    """Return the width and height, in pixels, of the image after `turn`."""
    width, height = image.size
    return (height, width) if turn in SWAPPING else (width, height)


def without_transparency(image: Image.Image) -> Image.Image:
    """Return the image in L, RGB or CMYK. Transparent pixels become white, as on most pages."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow would clip at 255
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


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return the image in sRGB, which decoders assume without a profile. A profile that cannot be used is ignored."""
    if profile:
        try:
            embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            srgb = ImageCms.createProfile("sRGB")
            intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
            flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
            converted = ImageCms.profileToProfile(image, embedded, srgb, intent, "RGB", flags=flags)
        except (ImageCms.PyCMSError, OSError) as error:
            logger.info("the photo's colour profile cannot be used", reason=str(error)[:200])
        else:
            if converted is not None:
                return converted
    return image.convert("RGB")
