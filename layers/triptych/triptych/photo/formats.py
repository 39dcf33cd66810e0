"""Image formats: which one a file has, whether it is whole, and what it holds besides the image."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator
    from mmap import mmap

# Media type → extension of the keys in S3. Replicate's models name their input files after the URL's path.
EXTENSIONS = {
    "image/jpeg": "jpg",
    "image/png": "png",
    "image/webp": "webp",
    "image/gif": "gif",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/heif": "heif",
}
PHOTO_TYPES = ("image/jpeg", "image/png", "image/webp", "image/heic", "image/heif")
HEIF_SEQUENCE = "image/heif-sequence"
HEAD_BYTES = 32  # the beginning of a file that `content_type` needs
TAIL_BYTES = 32  # the end of a file that `is_whole` needs


def content_type(head: bytes) -> str | None:
    """Return the media type of a file that begins with `head`, or None if it is not a known image format."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return "image/png"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "image/gif"
    return _heif_type(head) if head[4:8] == b"ftyp" else None


def _heif_type(head: bytes) -> str | None:
    """Read the brands of ISO/IEC 23008-12, annex B: the major brand, four bytes of version, then the other brands."""
    major, others = head[8:12], {head[at : at + 4] for at in range(16, len(head), 4)}
    if major in {b"avif", b"avis"} or (major in {b"mif1", b"msf1"} and others & {b"avif", b"avis"}):
        return "image/avif"
    if major in {b"heic", b"heix", b"heim", b"heis"}:
        return "image/heic"
    if major == b"mif1":
        return "image/heif"
    return HEIF_SEQUENCE if major in {b"msf1", b"hevc", b"hevx", b"hevm", b"hevs"} else None


def is_whole(kind: str, head: bytes, tail: bytes, size: int) -> bool:
    """Return whether a file of `size` bytes ends as its format demands. Formats without a fixed end always pass."""
    match kind:
        case "image/jpeg":
            return b"\xff\xd9" in tail
        case "image/png":
            return b"IEND\xaeB`\x82" in tail
        case "image/webp":
            return size >= int.from_bytes(head[4:8], "little") + 8
        case "image/gif":
            return tail.rstrip(b"\0").endswith(b";")
        case _:
            return True


# ── the work of opening a file ──

# Each scan is a pass over all pixels, and can be as short as 10 bytes. libjpeg's own progressive scripts have 10 scans
# (CMYK: 18), and mozjpeg writes at most 16.
MOST_SCANS = 64
# Scans times pixels: 20 scans of 70 megapixels, or 64 of 21. They take up to 2 s of CPU.
MOST_PASSES = 1_400_000_000
# A segment holds up to 64 KiB, so real files have a few hundred at most.
MOST_SEGMENTS = 1_000
MOST_EXIF = 64  # segments. Pillow's time grows with the square of their number; cameras write one.
MOST_JUNK = 2**20  # bytes between the segments before the first scan; Pillow reads them one by one
# Pillow reads the chunks of a PNG one by one, in Python. Encoders write chunks of 8 KiB or more.
USUAL_CHUNK = 1_024  # bytes
# Frames with arithmetic coding. No camera writes them, and their decoder does not stop at the end of its data: 31 KB took
# 22 s of CPU.
_ARITHMETIC = frozenset({0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF})
_FRAMES = frozenset({0xC0, 0xC1, 0xC2})
_FIRST_MARKER = 0xC0
# Pillow skips the segments of these markers by their length. After filling and other markers it reads on.
_PILLOW_SEGMENT = re.compile(rb"\xff([\x01-\xc7\xc9-\xcf\xda-\xef\xfe])")
# libjpeg reads or skips the segments of these markers by their length; D9 is the end marker. At any other marker
# libjpeg stops or goes on to the next one.
_JPEG_SEGMENT = re.compile(rb"\xff([\xc0-\xcf\xd9-\xdd\xe0-\xef\xfe])")


def is_too_complex(kind: str, data: mmap | bytes) -> bool:
    """Return whether a file has more scans, segments, chunks or boxes than any camera or encoder writes.

    So has a JPEG with arithmetic coding. This decodes no pixel.
    """
    match kind:
        case "image/jpeg":
            return _is_complex_jpeg(data)
        case "image/png":
            return _has_many_parts(data, at=8, order="big", around=12)
        case "image/webp":
            return _has_many_parts(data, at=12, order="little", around=8)
        case _:
            return _has_many_boxes(data)


def _is_complex_jpeg(data: mmap | bytes) -> bool:
    """Read the file as libjpeg does and, up to the first scan, as Pillow does: they do not read the same markers."""
    scans = pixels = 0
    for segments, (marker, at) in enumerate(jpeg_segments(data), 1):
        scans += marker == _SOS
        if marker in _FRAMES:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            pixels = max(pixels, height * width)
        if scans > MOST_SCANS or segments > MOST_SEGMENTS or marker in _ARITHMETIC:
            return True
    if scans > 1 and scans * pixels > MOST_PASSES:
        return True
    junk = end = exif = 0
    for segments, (begin, after) in enumerate(_header_segments(data), 1):
        junk, end = junk + begin - end, after
        exif += data[begin + 1 : begin + 2] == b"\xe1" and data[begin + 4 : begin + 8] == b"Exif"
        if segments > MOST_SEGMENTS or junk > MOST_JUNK or exif > MOST_EXIF:
            return True
    return False


def _has_many_parts(data: mmap | bytes, *, at: int, order: Literal["big", "little"], around: int) -> bool:
    """Return whether a PNG or WebP has more than a thousand chunks, and most of them are tiny.

    In a PNG the length stands before the name of a chunk, in a WebP behind it.
    """
    most, length = max(MOST_SEGMENTS, len(data) // USUAL_CHUNK), at if order == "big" else at + 4
    for _ in range(most + 1):
        if length + 4 > len(data):
            return False
        size = int.from_bytes(data[length : length + 4], order)
        length += around + size + (size % 2 if order == "little" else 0)
    return True


def _has_many_boxes(data: mmap | bytes) -> bool:
    at = 0
    for _ in range(MOST_SEGMENTS):
        if at + 8 > len(data):
            return False
        size = int.from_bytes(data[at : at + 4])
        at += max(8, int.from_bytes(data[at + 8 : at + 16]) if size == 1 else size or len(data))
    return True


def _header_segments(data: mmap | bytes) -> Iterator[tuple[int, int]]:
    """Yield the begin and the end of each segment that Pillow reads, up to the first scan or the end of the file.

    This follows `JpegImageFile._open` of Pillow 13. Unlike libjpeg, Pillow reads on after an EOI, does not skip the
    segments of extension markers, and skips those of DHP and EXP.
    """
    at = 2
    while found := _PILLOW_SEGMENT.search(data, at):
        begin, marker = found.start(), found[1][0]
        if marker < _FIRST_MARKER:  # Pillow refuses the file
            return
        at = begin + 2 + max(2, int.from_bytes(data[begin + 2 : begin + 4]))
        yield begin, at
        if marker == _SOS:
            return
    yield len(data), len(data)


def jpeg_segments(data: mmap | bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker and the position of each segment that libjpeg may read (its jdmarker.c).

    As libjpeg does, this goes on at the next marker after damage and ends at the first EOI. Where libjpeg stops with an
    error, this goes on, so it may yield a segment too many but never one too few.
    """
    at = 2
    while found := _JPEG_SEGMENT.search(data, at):
        at, marker = found.start(), found[1][0]
        if marker == _EOI:
            return
        yield marker, at
        at += 2 + int.from_bytes(data[at + 2 : at + 4])


# ── metadata and other data besides the image ──

# A marker after entropy-coded data. There, FF00 is a plain FF, FFD0 to FFD7 are restarts, and FFFF is filling.
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_PICTURE = range(0xC0, 0xE0)  # frames, scans and their tables: all markers except APPn, COM and reserved ones
_SOS, _EOI = 0xDA, 0xD9
_PNG_CHUNKS = {
    *(b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"),
    *(b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs"),
}
_WEBP_CHUNKS = {b"VP8 ", b"VP8L", b"VP8X", b"ALPH", b"ICCP"}


def holds_only_the_picture(kind: str, data: mmap) -> bool:
    """Return whether a file holds only what is needed to show the image.

    Everything else (EXIF, XMP, IPTC, comments, thumbnails, further images, bytes after the end) can reveal where the
    photo was taken. Unknown data can reveal it too, so the result is False.
    """
    match kind:
        case "image/jpeg":
            return _is_bare_jpeg(data)
        case "image/png":
            return _is_bare_png(data)
        case "image/webp":
            return _is_bare_webp(data)
        case _:
            return False


def _is_bare_jpeg(data: mmap) -> bool:
    """Read the file as ITU-T T.81, annex B, describes it."""
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = int.from_bytes(data[at + 1 : at + 2])
        if marker == _EOI:
            return at + 2 == len(data)
        length = int.from_bytes(data[at + 2 : at + 4])
        if not (marker in _PICTURE or _is_about_colour(marker, data[at + 4 : at + 2 + length])):
            return False
        at += 2 + length
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, at)
            at = following.start() if following else len(data)
    return False


def _is_about_colour(marker: int, body: bytes) -> bool:
    match marker:
        case 0xE0:  # JFIF, without a thumbnail
            return body.startswith(b"JFIF\0") and len(body) == 14 and body.endswith(b"\0\0")  # noqa: PLR2004
        case 0xE2:
            return body.startswith(b"ICC_PROFILE\0")
        case 0xEE:
            return body.startswith(b"Adobe") and len(body) == 12  # noqa: PLR2004
        case _:
            return False


def _is_bare_png(data: mmap) -> bool:
    at = 8
    while (chunk := data[at + 4 : at + 8]) in _PNG_CHUNKS:
        at += 12 + int.from_bytes(data[at : at + 4])
        if chunk == b"IEND":
            return at == len(data)
    return False


def _is_bare_webp(data: mmap) -> bool:
    at = 12
    while data[at : at + 4] in _WEBP_CHUNKS:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        at += 8 + size + size % 2
    return at == len(data)


def is_whole_heif(data: mmap) -> bool:
    """Return whether all boxes of a HEIF image are there. The decoder would leave missing parts grey."""
    at, seen = 0, set()
    while header := data[at : at + 16]:
        size, box = int.from_bytes(header[:4]), header[4:8]
        if size == 1:
            size = int.from_bytes(header[8:16])
        elif size == 0:  # up to the end
            size = len(data) - at
        if box not in {b"ftyp", b"meta", b"mdat"}:
            if at + size > len(data) or size < 8:  # noqa: PLR2004  # not a box: bytes after the end
                break
        elif at + size > len(data):
            return False
        seen.add(box)
        at += max(8, size)
    return seen >= {b"meta", b"mdat"}
