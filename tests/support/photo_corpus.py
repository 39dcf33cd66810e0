"""Photos of every kind that users upload, and of kinds that only an attacker uploads, from one scene."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import pillow_heif
from PIL import Image, ImageCms, ImageDraw
from PIL.PngImagePlugin import PngInfo

from triptych.photo.formats import MOST_SCANS

pillow_heif.register_heif_opener()

SECRET = b"Bahnhofstrasse 1"  # private metadata that must not leave the photo
SIZE = (96, 64)
RED, WHITE = (208, 40, 40), (255, 255, 255)


def scene() -> Image.Image:
    """Draw four different corners, so that every turn and mirror image looks different."""
    picture = Image.merge(
        "RGB",
        [
            Image.linear_gradient("L").resize(SIZE),
            Image.linear_gradient("L").transpose(Image.Transpose.ROTATE_90).resize(SIZE),
            Image.radial_gradient("L").resize(SIZE),
        ],
    )
    ImageDraw.Draw(picture).rectangle((0, 0, 40, 24), fill=RED)
    return picture


def see_through() -> Image.Image:
    """Draw the scene with a transparent corner instead of the red one."""
    alpha = Image.new("L", SIZE, 255)
    ImageDraw.Draw(alpha).rectangle((0, 0, 40, 24), fill=0)
    picture = scene()
    picture.putalpha(alpha)
    return picture


def on_white() -> Image.Image:
    picture = scene()
    ImageDraw.Draw(picture).rectangle((0, 0, 40, 24), fill=WHITE)
    return picture


def write(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int = 1) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = SECRET.decode()
    tags.get_ifd(0x8825)[1] = "N"  # GPSLatitudeRef
    return tags


# Orientation → how a camera turns the upright scene to store it, the inverse of how it is displayed.
STORED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def turned(orientation: int) -> Image.Image:
    return scene().transpose(STORED[orientation])


def _jpeg_turned(orientation: int) -> bytes:
    return write(turned(orientation), "JPEG", quality=95, exif=exif(orientation))


def png(width: int, height: int, depth: int, colour: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """Write a PNG that Pillow does not write: scanlines with filter bytes, and `more` chunks."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(data, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def png_of_16_bits() -> bytes:
    """Write the scene with 16 bits for each channel."""
    pixels, row = scene().tobytes(), 3 * SIZE[0]
    lines = (pixels[at : at + row] for at in range(0, len(pixels), row))
    return png(*SIZE, 16, 2, b"".join(b"\0" + b"".join(bytes((v, v)) for v in line) for line in lines))


def jpeg_with(*segments: tuple[int, bytes], behind: bytes = b"") -> bytes:
    """Write a JPEG of the scene with more marker segments after its start."""
    plain = write(scene(), "JPEG", quality=95)
    more = b"".join(struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body for marker, body in segments)
    return plain[:2] + more + plain[2:] + behind


def display_p3() -> bytes:
    """Build an ICC profile with Display P3's primaries (D50-adapted, as Apple's) and sRGB's curve."""

    def fixed(value: float) -> bytes:
        return struct.pack(">i", round(value * 65536))

    def xyz(*values: float) -> bytes:
        return b"XYZ \0\0\0\0" + b"".join(map(fixed, values))

    curve = b"para\0\0\0\0\0\3\0\0" + b"".join(
        map(fixed, (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045))
    )
    name = b"Not the usual one\0"
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name)) + name + b"\0" * 78,
        b"wtpt": xyz(0.96420, 1.0, 0.82491),
        b"rXYZ": xyz(0.51512, 0.24120, -0.00105),
        b"gXYZ": xyz(0.29198, 0.69225, 0.04189),
        b"bXYZ": xyz(0.15710, 0.06657, 0.78407),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    at, index, body = 128 + 4 + 12 * len(tags), b"", b""
    for tag, value in tags.items():
        padded = value + b"\0" * (-len(value) % 4)
        index += tag + struct.pack(">II", at + len(body), len(value))
        body += padded
    white = fixed(0.9642) + fixed(1.0) + fixed(0.8249)
    head = (
        b"\0\0\0\0"
        + struct.pack(">I", 0x02400000)
        + b"mntrRGB XYZ "
        + b"\0" * 12
        + b"acsp"
        + b"\0" * 28
        + white
    )
    head += b"\0" * 48 + struct.pack(">I", len(tags))
    return struct.pack(">I", 4 + len(head) + len(index) + len(body)) + head + index + body


@dataclass(frozen=True)
class Photo:
    """A photo, its declared type, and its upright look."""

    data: Callable[[], bytes]
    announced: str = "image/jpeg"
    looks: Callable[[], Image.Image] = scene


def _without_a_table() -> bytes:
    """Write a JPEG that uses an undefined quantisation table."""
    data = bytearray(write(scene(), "JPEG"))
    third_component = (
        data.index(b"\xff\xc0") + 10 + 2 * 3
    )  # after marker, length, depth, height, width and number of components
    data[third_component + 2] = 3
    return bytes(data)


def _with_a_wrong_bit() -> bytes:
    """Write a PNG with one wrong bit, so that a checksum fails."""
    data = bytearray(write(scene(), "PNG"))
    data[data.index(b"IDAT") + 1000] ^= 1
    return bytes(data)


def _frames() -> list[Image.Image]:
    return [scene().rotate(turn) for turn in (90, 180)]


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _comment() -> PngInfo:
    info = PngInfo()
    info.add_text("Comment", SECRET.decode())
    return info


# Photos that a model gets unchanged.
READY = {
    "JPEG": Photo(lambda: write(scene(), "JPEG")),
    "progressive JPEG": Photo(lambda: write(scene(), "JPEG", progressive=True)),
    "optimized progressive JPEG": Photo(lambda: write(scene(), "JPEG", progressive=True, optimize=True)),
    "JPEG with the most allowed scans": Photo(lambda: jpeg_of_scans(MOST_SCANS)),
    "grey JPEG": Photo(lambda: write(scene().convert("L"), "JPEG")),
    "JPEG with restarts": Photo(lambda: write(scene(), "JPEG", restart_marker_rows=1)),
    "JPEG with an sRGB profile": Photo(lambda: write(scene(), "JPEG", icc_profile=_srgb())),
    "PNG": Photo(lambda: write(scene(), "PNG", dpi=(72, 72)), "image/png"),
    "WebP": Photo(lambda: write(scene(), "WEBP"), "image/webp"),
    "lossless WebP": Photo(lambda: write(scene(), "WEBP", lossless=True), "image/webp"),
}


# Photos that are replaced with a prepared JPEG.
PREPARED = {
    **{f"JPEG turned as {turn}": Photo(partial(_jpeg_turned, turn)) for turn in STORED},
    "PNG turned": Photo(lambda: write(turned(6), "PNG", exif=exif(6)), "image/png"),
    "WebP turned": Photo(lambda: write(turned(8), "WEBP", quality=95, exif=exif(8)), "image/webp"),
    "JPEG with a GPS position": Photo(lambda: write(scene(), "JPEG", quality=95, exif=exif())),
    "JPEG with an invalid orientation": Photo(lambda: write(scene(), "JPEG", quality=95, exif=exif(77))),
    "JPEG with broken EXIF": Photo(lambda: jpeg_with((0xE1, b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + SECRET))),
    "JPEG with XMP": Photo(lambda: jpeg_with((0xE1, b"http://ns.adobe.com/xap/1.0/\0<x>" + SECRET))),
    "JPEG with IPTC": Photo(lambda: jpeg_with((0xED, b"Photoshop 3.0\x008BIM\x04\x04" + SECRET))),
    "JPEG with a comment": Photo(lambda: write(scene(), "JPEG", quality=95, comment=SECRET)),
    "JPEG with a thumbnail": Photo(lambda: jpeg_with((0xE0, b"JFXX\0\x10" + SECRET))),
    "JPEG with a maker's segment": Photo(lambda: jpeg_with((0xE5, b"Samsung" + SECRET))),
    "JPEG that is also a ZIP": Photo(lambda: jpeg_with(behind=b"PK\3\4" + SECRET)),
    "JPEG that is also HTML": Photo(lambda: jpeg_with((0xFE, b"--><script>" + SECRET + b"</script>"))),
    "JPEG with more frames": Photo(
        lambda: write(scene(), "MPO", quality=95, save_all=True, append_images=_frames(), exif=exif())
    ),
    "JPEG in CMYK": Photo(lambda: write(scene().convert("CMYK"), "JPEG", quality=95)),
    "progressive JPEG in CMYK": Photo(
        lambda: write(scene().convert("CMYK"), "JPEG", quality=95, progressive=True)
    ),
    "motion photo": Photo(
        lambda: jpeg_with((0xE1, b"xmp"), behind=b"\0\0\0\x18ftypmp42" + SECRET + b"\xff\xda\0\2" * 999)
    ),
    "JPEG in wide gamut": Photo(
        lambda: write(Image.new("RGB", SIZE, (234, 51, 35)), "JPEG", quality=98, icc_profile=display_p3()),
        looks=lambda: Image.new("RGB", SIZE, (255, 0, 0)),
    ),
    "JPEG with a broken profile": Photo(
        lambda: write(scene(), "JPEG", quality=95, icc_profile=b"no profile" * 20)
    ),
    "PNG with text": Photo(lambda: write(scene(), "PNG", pnginfo=_comment()), "image/png"),
    "PNG that is also a PDF": Photo(lambda: write(scene(), "PNG") + b"%PDF-1.7" + SECRET, "image/png"),
    "PNG with alpha": Photo(lambda: write(see_through(), "PNG"), "image/png", on_white),
    "PNG in grey with alpha": Photo(
        lambda: write(see_through().convert("LA"), "PNG"), "image/png", lambda: on_white().convert("L")
    ),
    "PNG with a palette": Photo(lambda: write(scene().quantize(256), "PNG"), "image/png"),
    "PNG with a palette with alpha": Photo(
        lambda: write(see_through().quantize(256, Image.Quantize.FASTOCTREE), "PNG"),
        "image/png",
        on_white,
    ),
    "PNG with one transparent colour": Photo(
        lambda: write(scene(), "PNG", transparency=RED), "image/png", on_white
    ),
    "PNG in black and white": Photo(
        lambda: write(scene().convert("1"), "PNG"), "image/png", lambda: scene().convert("1")
    ),
    "PNG of 16 bits of grey": Photo(
        lambda: write(scene().convert("L").convert("I").point(lambda v: v * 257).convert("I;16"), "PNG"),
        "image/png",
        lambda: scene().convert("L"),
    ),
    "PNG of 16 bits": Photo(png_of_16_bits, "image/png"),
    "WebP with alpha": Photo(lambda: write(see_through(), "WEBP", lossless=True), "image/webp", on_white),
    "WebP with EXIF": Photo(lambda: write(scene(), "WEBP", quality=95, exif=exif()), "image/webp"),
    "HEIC": Photo(lambda: write(scene(), "HEIF", quality=95), "image/heic"),
    "HEIC called HEIF": Photo(lambda: write(scene(), "HEIF", quality=95), "image/heif"),
    "HEIC turned": Photo(lambda: write(turned(6), "HEIF", quality=95, exif=exif(6).tobytes()), "image/heic"),
    "HEIC in tiles": Photo(lambda: write(scene(), "HEIF", quality=95, tile_size=64), "image/heic"),
    "HEIC with alpha": Photo(
        lambda: write(see_through(), "HEIF", quality=-1, chroma=444), "image/heic", on_white
    ),
    "HEIC with more frames": Photo(
        lambda: write(scene(), "HEIF", quality=95, save_all=True, append_images=_frames()), "image/heic"
    ),
    "HEIC in wide gamut": Photo(
        lambda: write(Image.new("RGB", SIZE, (234, 51, 35)), "HEIF", quality=95, icc_profile=display_p3()),
        "image/heic",
        lambda: Image.new("RGB", SIZE, (255, 0, 0)),
    ),
    "AVIF": Photo(lambda: write(scene(), "AVIF", quality=95), "image/heif"),
    "AVIF turned": Photo(lambda: write(turned(5), "AVIF", quality=95, exif=exif(5)), "image/heif"),
}


def heif_sequence() -> bytes:
    return b"\0\0\0\x18ftyphevc\0\0\0\0hevcmsf1" + write(scene(), "HEIF")[28:]


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def jpeg_head(size: tuple[int, int], components: int = 1) -> bytes:
    """Write a progressive JPEG up to its first scan.

    In its Huffman tables a bit of 0 means no difference (DC), or at least 16,384 empty blocks (AC).
    """
    parts = b"".join(bytes([number + 1, 0x11, 0]) for number in range(components))
    return (
        b"\xff\xd8"
        + _segment(0xDB, b"\0" + b"\1" * 64)
        + _segment(0xC2, struct.pack(">BHHB", 8, size[1], size[0], components) + parts)
        + _segment(0xC4, b"\x00\1" + b"\0" * 15 + b"\x00")
        + _segment(0xC4, b"\x10\1" + b"\0" * 15 + b"\xe0")
    )


def jpeg_scan(first: int, last: int, approximation: int, data: bytes, components: int = 1) -> bytes:
    """Write a scan of some coefficients with its entropy-coded data."""
    parts = b"".join(bytes([number + 1, 0]) for number in range(components))
    return _segment(0xDA, bytes([components]) + parts + bytes([first, last, approximation])) + data


def jpeg_of_scans(scans: int, size: tuple[int, int] = SIZE) -> bytes:
    """Write a small grey JPEG. In each of its scans the decoder visits every coefficient."""
    blocks = -(-size[0] // 8) * -(-size[1] // 8)
    runs = -(-blocks // 32_767)
    bits = ("0" + 14 * "1") * runs
    bits += "1" * (-len(bits) % 8)
    empty = int(bits, 2).to_bytes(len(bits) // 8).replace(b"\xff", b"\xff\0")
    dc = jpeg_scan(0, 0, 0x01, bytes(-(-blocks // 8)))
    ac = jpeg_scan(1, 63, 0x01, empty)
    refinement = jpeg_scan(1, 63, 0x10, empty)
    return jpeg_head(size) + dc + ac + refinement * (scans - 2) + b"\xff\xd9"


BOMB = png(20_000, 10_000, 1, 0, b"\0" * (2501 * 10_000))  # 200 megapixels in some kB


def _jpeg_of_sides(width: int, height: int) -> bytes:
    """Write a JPEG whose header claims this size."""
    plain = write(scene(), "JPEG")
    frame = plain.index(b"\xff\xc0") + 5
    return plain[:frame] + struct.pack(">HH", height, width) + plain[frame + 4 :]


# Photos that are rejected, each with the code of its failure.
REJECTED = {
    "empty file": (Photo(lambda: b""), "photo_empty"),
    "one byte": (Photo(lambda: b"\xff"), "photo_unsupported"),
    "PDF": (Photo(lambda: b"%PDF-1.7\n" + write(scene(), "JPEG")), "photo_unsupported"),
    "ZIP": (Photo(lambda: b"PK\3\4" + b"\0" * 100), "photo_unsupported"),
    "SVG": (Photo(lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/png"), "photo_unsupported"),
    "TIFF": (Photo(lambda: write(scene(), "TIFF")), "photo_unsupported"),
    "FITS bomb": (
        Photo(
            lambda: (
                b"".join(
                    line.ljust(80)
                    for line in (
                        b"SIMPLE  =  T",
                        b"BITPIX  =  8",
                        b"NAXIS   =  2",
                        b"NAXIS1  =  99999",
                        b"NAXIS2  =  99999",
                    )
                )
                + b"END"
            )
        ),
        "photo_unsupported",
    ),
    "GIF": (Photo(lambda: write(scene(), "GIF")), "photo_unsupported"),
    "video": (
        Photo(lambda: b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + b"\0" * 100, "image/heic"),
        "photo_unsupported",
    ),
    "PNG called JPEG": (Photo(lambda: write(scene(), "PNG")), "photo_type_mismatch"),
    "JPEG called HEIC": (Photo(lambda: write(scene(), "JPEG"), "image/heic"), "photo_type_mismatch"),
    "AVIF called HEIC": (Photo(lambda: write(scene(), "AVIF"), "image/heic"), "photo_type_mismatch"),
    "HEIC called JPEG": (Photo(lambda: write(scene(), "HEIF")), "photo_type_mismatch"),
    "JPEG header only": (Photo(lambda: b"\xff\xd8\xff\xe0"), "photo_unreadable"),
    "JPEG without a quantisation table": (Photo(_without_a_table), "photo_unreadable"),
    "JPEG with one scan too many": (Photo(lambda: jpeg_of_scans(MOST_SCANS + 1)), "photo_too_complex"),
    "JPEG with 12,000 scans": (Photo(lambda: jpeg_of_scans(12_000, (10_000, 7_000))), "photo_too_complex"),
    "JPEG with 2,000 EXIF segments": (
        Photo(lambda: jpeg_with(*[(0xE1, b"Exif\0\0MM")] * 2_000)),
        "photo_too_complex",
    ),
    "PNG with a wrong bit": (Photo(_with_a_wrong_bit, "image/png"), "photo_unreadable"),
    "PNG without pixels": (Photo(lambda: png(0, 0, 8, 2, b""), "image/png"), "photo_unreadable"),
    "animated PNG": (
        Photo(lambda: write(scene(), "PNG", save_all=True, append_images=_frames()), "image/png"),
        "photo_animated",
    ),
    "animated WebP": (
        Photo(lambda: write(scene(), "WEBP", save_all=True, append_images=_frames()), "image/webp"),
        "photo_animated",
    ),
    "animated AVIF": (
        Photo(lambda: write(scene(), "AVIF", save_all=True, append_images=_frames()), "image/heif"),
        "photo_animated",
    ),
    "HEIC sequence": (Photo(heif_sequence, "image/heic"), "photo_animated"),
    "PNG bomb": (Photo(lambda: BOMB, "image/png"), "photo_too_many_pixels"),
    "WebP bomb": (
        Photo(lambda: write(Image.new("RGB", (16_383, 900)), "WEBP", method=0), "image/webp"),
        "photo_too_many_pixels",
    ),
    "JPEG that claims a huge size": (Photo(lambda: _jpeg_of_sides(65_500, 65_500)), "photo_too_many_pixels"),
    "AVIF bomb": (
        Photo(lambda: write(Image.new("L", (4000, 2600)), "AVIF", speed=10), "image/heif"),
        "photo_too_many_pixels",
    ),
    "HEIC bomb": (
        Photo(lambda: write(Image.new("L", (4000, 2600)), "HEIF"), "image/heic"),
        "photo_too_many_pixels",
    ),
}

# One photo of each type, large enough to truncate.
WHOLE = {
    "image/jpeg": lambda: write(scene(), "JPEG"),
    "progressive": lambda: write(scene(), "JPEG", progressive=True),
    "image/png": lambda: write(scene(), "PNG"),
    "image/webp": lambda: write(scene(), "WEBP"),
    "image/heic": lambda: write(scene(), "HEIF"),
    "tiles": lambda: write(scene(), "HEIF", tile_size=64),
    "image/heif": lambda: write(scene(), "AVIF"),
}
