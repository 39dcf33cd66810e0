"""Photos that are made to exhaust whoever opens them: small files, or legal ones, that ask for much CPU time or memory.

Each is generated: none is stored. They are made for the template's limits, 70 megapixels and 25 MiB.
"""

from __future__ import annotations

import functools
import itertools
import struct
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pillow_heif
from PIL import Image

from tests.support.photo_corpus import jpeg_head, jpeg_of_scans, jpeg_scan, jpeg_with, write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pillow_heif.register_heif_opener()

MOST_PIXELS = 70_000_000
MOST_BYTES = 25 * 2**20
SIDES = (10_000, 7_000)  # as many pixels as are allowed
SMALL = 64
HUGE = 16_384


@dataclass(frozen=True)
class Bomb:
    """A photo, its declared type, and the finding: `prepared` or the code of a failure."""

    data: Callable[[], bytes]
    announced: str
    ends: str


# ── JPEG ──


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _jpeg_of_restarts() -> bytes:
    """Write 8 million restart markers without data between them."""
    markers = b"".join(bytes([0xFF, 0xD0 + number]) for number in range(8))
    head = jpeg_head(SIDES) + _segment(0xDD, struct.pack(">H", 1))
    return head + jpeg_scan(0, 0, 0x01, markers * 1_000_000) + b"\xff\xd9"


def _jpeg_without_data() -> bytes:
    """Write a JPEG of 70 megapixels with an empty scan: the decoder fills the rest."""
    plain = write(Image.new("RGB", (SMALL, SMALL)), "JPEG", progressive=True)
    frame = plain.index(b"\xff\xc2") + 5
    return plain[:frame] + struct.pack(">HH", SIDES[1], SIDES[0]) + plain[frame + 4 :]


def tiff_of_tags(size: int, *, each: int, to: int = 8) -> bytes:
    """Write TIFF metadata of `size` bytes: 65,535 tags whose values, of `each` bytes, lie in the same place."""
    tags = b"".join(struct.pack(">HHII", tag, 7, each, to) for tag in range(65_535))
    body = b"MM\0*\0\0\0\x08" + struct.pack(">H", 65_535) + tags + b"\0\0\0\0"
    return body + bytes(max(0, size - len(body)))


def tiff_in_a_circle() -> bytes:
    """Write TIFF metadata whose directories, EXIF and GPS, point back to the first one."""
    tags = [struct.pack(">HHII", tag, 4, 1, 8) for tag in (0x014A, 0x8769, 0x8825, 0xA005)]
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", len(tags)) + b"".join(tags) + struct.pack(">I", 8)


def _mpo_of_frames() -> bytes:
    """Write a JPEG that claims 4 billion further images."""
    entry = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 0xFFFFFFFF)
    entry += struct.pack(">HHII", 0xB002, 7, 65_000, 50)
    body = b"MPF\0MM\0*\0\0\0\x08" + struct.pack(">H", 3) + entry + b"\0\0\0\0"
    return jpeg_with((0xE2, body + bytes(65_400 - len(body))))


def lut_profile(points: int = 47) -> bytes:
    """Write an ICC profile whose table has `points`³ entries, which makes each conversion slow."""
    table = b"mft2\0\0\0\0" + bytes([3, 3, points, 0])
    for number in (1, 0, 0, 0, 1, 0, 0, 0, 1):
        table += struct.pack(">i", number * 65_536)
    table += struct.pack(">HH", 2, 2) + struct.pack(">HH", 0, 65_535) * 3
    table += bytes(points**3 * 6) + struct.pack(">HH", 0, 65_535) * 3
    table += bytes(-len(table) % 4)
    head = b"\0\0\0\0" + b"\0\0\0\0" + struct.pack(">I", 0x02400000) + b"mntrRGB Lab " + b"\0" * 12 + b"acsp"
    head += b"\0" * 28 + struct.pack(">iii", 63_190, 65_536, 54_061) + b"\0" * 48
    index = struct.pack(">I", 1) + b"A2B0" + struct.pack(">II", 144, len(table))
    whole = head + index + table
    return struct.pack(">I", len(whole)) + whole[4:]


# ── PNG ──


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_with(*chunks: bytes, behind: bytes = b"") -> bytes:
    """Write a small PNG with further chunks before and behind its data."""
    plain = write(Image.new("RGB", (SMALL, SMALL)), "PNG")
    at, end = plain.index(b"IDAT") - 4, plain.index(b"IEND") - 4
    return plain[:at] + b"".join(chunks) + plain[at:end] + behind + plain[end:]


@functools.cache
def _block() -> tuple[bytes, bytes]:
    """Return the beginning of a zlib stream, and a MiB of zeros in it that can be repeated."""
    packer = zlib.compressobj(9)
    head = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    return head, packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)


def zeros(size: int) -> bytes:
    """Return a zlib stream of `size` zeros: a thousandth of them, in no time."""
    head, block = _block()
    packer = zlib.compressobj(9, wbits=-15)
    rest = packer.compress(bytes(size % 2**20)) + packer.flush()
    return head + block * (size // 2**20) + rest + struct.pack(">HH", size % 65_521, 1)


def _big_png(bits: int, colour: int, *, interlaced: bool = False) -> bytes:
    """Write a PNG of 70 megapixels in some kB."""
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    row = 1 + SIDES[0] * channels * bits // 8
    head = struct.pack(">IIBBBBB", *SIDES, bits, colour, 0, 0, interlaced)
    extra = 8 * SIDES[1] if interlaced else 0
    palette = _chunk(b"PLTE", bytes(768)) if colour == 3 else b""  # PNG's number for a palette
    data = zeros(row * SIDES[1] + extra)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + palette + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")
    )


def _png_of_frames(frames: int) -> bytes:
    """Write an animated PNG."""
    number, parts = itertools.count(), []
    for _ in range(frames):
        control = struct.pack(">IIIIIHHBB", next(number), SMALL, SMALL, 0, 0, 1, 1, 0, 0)
        parts.append(_chunk(b"fcTL", control))
        parts.append(_chunk(b"fdAT", struct.pack(">I", next(number)) + zeros(SMALL * SMALL * 3 + SMALL)))
    return png_with(_chunk(b"acTL", struct.pack(">II", frames, 0)), behind=b"".join(parts))


# ── WebP ──


def _riff(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [kind + struct.pack("<I", len(body)) + body + bytes(len(body) % 2) for kind, body in chunks]
    body = b"WEBP" + b"".join(parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _webp_payload(size: int = SMALL) -> bytes:
    plain = write(Image.new("RGB", (size, size)), "WEBP", lossless=True)
    length = int.from_bytes(plain[16:20], "little")
    return plain[20 : 20 + length]


def _canvas(flags: int, width: int, height: int) -> tuple[bytes, bytes]:
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(
        3, "little"
    )


def _webp_of_frames(frames: int, sides: tuple[int, int]) -> bytes:
    """Write an animated WebP of small frames on a large canvas."""
    payload = _webp_payload()
    frame = bytes(6) + (SMALL - 1).to_bytes(3, "little") * 2 + b"\x01\0\0\0"
    frame += b"VP8L" + struct.pack("<I", len(payload)) + payload + bytes(len(payload) % 2)
    return _riff(_canvas(0x02, *sides), (b"ANIM", bytes(6)), *[(b"ANMF", frame)] * frames)


def webp_with(kind: bytes, flag: int, body: bytes) -> bytes:
    """Write a small WebP with another chunk."""
    image = (b"VP8L", _webp_payload())
    chunks = [(kind, body), image] if kind == b"ICCP" else [image, (kind, body)]
    return _riff(_canvas(flag, SMALL, SMALL), *chunks)


# ── HEIC and AVIF ──


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def _full(kind: bytes, version: int, *parts: bytes) -> bytes:
    return box(kind, struct.pack(">I", version << 24), *parts)


@dataclass(frozen=True)
class Item:
    """An item of a HEIF file. Its properties are numbers of the file's list, from 1 on."""

    kind: bytes
    data: bytes
    properties: Sequence[int]
    made_of: Sequence[int] = ()  # items
    times: int = 1  # how often its data are read, one after the other


def heif(
    brand: bytes,
    properties: Sequence[bytes],
    items: Sequence[Item],
    located: Callable[[int], bytes] | None = None,
) -> bytes:
    """Write a HEIF file. Items have the numbers from 1 on, and the first one is the image.

    Args:
        brand: The major brand.
        properties: The boxes of the list of properties.
        items: The items.
        located: If given, returns the content of the box that locates the items, for the place where the data begin.
    """
    start = box(b"ftyp", brand, bytes(4), b"mif1miaf" + brand)
    infos = [
        _full(b"infe", 2, struct.pack(">HH4s", number, 0, item.kind), b"\0")
        for number, item in enumerate(items, 1)
    ]
    references = [
        box(
            b"dimg",
            struct.pack(">HH", number, len(item.made_of)),
            struct.pack(f">{len(item.made_of)}H", *item.made_of),
        )
        for number, item in enumerate(items, 1)
        if item.made_of
    ]
    uses = b"".join(
        struct.pack(">HB", number, len(item.properties)) + bytes(item.properties)
        for number, item in enumerate(items, 1)
    )

    def locations(at: int) -> bytes:
        places = b"\x44\0" + struct.pack(">H", len(items))
        for number, item in enumerate(items, 1):
            places += (
                struct.pack(">HHH", number, 0, item.times)
                + struct.pack(">II", at, len(item.data)) * item.times
            )
            at += len(item.data)
        return places

    def meta(at: int) -> bytes:
        return _full(
            b"meta",
            0,
            _full(b"hdlr", 0, bytes(4), b"pict", bytes(12), b"\0"),
            _full(b"pitm", 0, struct.pack(">H", 1)),
            _full(b"iloc", 0, (located or locations)(at)),
            _full(b"iinf", 0, struct.pack(">H", len(items)), *infos),
            *([_full(b"iref", 0, *references)] if references else []),
            box(b"iprp", box(b"ipco", *properties), _full(b"ipma", 0, struct.pack(">I", len(items)), uses)),
        )

    begin = len(start) + len(meta(0)) + 8
    return start + meta(begin) + box(b"mdat", *[item.data for item in items])


def sides(width: int, height: int) -> bytes:
    return _full(b"ispe", 0, struct.pack(">II", width, height))


@functools.cache
def coded(kind: str, width: int, height: int) -> tuple[bytes, bytes]:
    """Return the decoder's configuration and the data of a black image."""
    options: dict[str, Any] = {"speed": 10} if kind == "AVIF" else {"enc_params": {"preset": "ultrafast"}}
    whole = write(Image.new("RGB", (width, height)), kind, **options)
    at = whole.index({"AVIF": b"av1C", "HEIF": b"hvcC"}[kind]) - 4
    configuration = whole[at : at + int.from_bytes(whole[at : at + 4])]
    return configuration, whole[whole.rindex(b"mdat") + 4 :]


BRANDS = {"AVIF": (b"avif", b"av01"), "HEIF": (b"heic", b"hvc1")}


def lying(kind: str, claimed: tuple[int, int], frame: tuple[int, int]) -> bytes:
    """Write an image whose container claims other sides than its frame has."""
    configuration, data = coded(kind, *frame)
    brand, item = BRANDS[kind]
    return heif(brand, [configuration, sides(*claimed)], [Item(item, data, [1, 2])])


def _grid_data(rows: int, columns: int, width: int, height: int) -> bytes:
    return bytes([0, 1, rows - 1, columns - 1]) + struct.pack(">II", width, height)


def grid(kind: str, rows: int, columns: int, tile: int = SMALL) -> bytes:
    """Write a grid that shows the same tile again and again."""
    configuration, data = coded(kind, tile, tile)
    brand, item = BRANDS[kind]
    whole = (columns * tile, rows * tile)
    return heif(
        brand,
        [configuration, sides(tile, tile), sides(*whole)],
        [
            Item(b"grid", _grid_data(rows, columns, *whole), [3], [2] * (rows * columns)),
            Item(item, data, [1, 2]),
        ],
    )


def grid_of_tiles(kind: str, rows: int, columns: int, tile: int = SMALL) -> bytes:
    """Write a grid of as many tiles."""
    configuration, data = coded(kind, tile, tile)
    brand, item = BRANDS[kind]
    whole, count = (columns * tile, rows * tile), rows * columns
    return heif(
        brand,
        [configuration, sides(tile, tile), sides(*whole)],
        [
            Item(b"grid", _grid_data(rows, columns, *whole), [3], range(2, 2 + count)),
            *[Item(item, data, [1, 2])] * count,
        ],
    )


def nested(kind: str, depth: int, width: int = 16) -> bytes:
    """Write overlays of overlays: each shows the next one `width` times, so the last is shown width**depth times."""
    configuration, data = coded("HEIF", SMALL, SMALL)
    overlay = bytes(2) + bytes(8) + struct.pack(">II", SMALL, SMALL) + bytes(8) * width
    table = _grid_data(width, 1, SMALL, SMALL)
    items = [
        Item(kind.encode(), overlay if kind == "iovl" else table, [2], [number + 1] * width)
        for number in range(1, depth + 1)
    ]
    return heif(b"heic", [configuration, sides(SMALL, SMALL)], [*items, Item(b"hvc1", data, [1, 2])])


def extents(times: int) -> bytes:
    """Write an image whose data are the same megabyte again and again."""
    configuration, data = coded("HEIF", SMALL, SMALL)
    item = Item(b"hvc1", data + bytes(2**20 - len(data)), [1, 2], times=times)
    return heif(b"heic", [configuration, sides(SMALL, SMALL)], [item])


def _avif_of_pieces() -> bytes:
    """Write an AVIF of 250 items, each of 65,535 pieces: their places and lengths take no byte."""
    configuration, data = coded("AVIF", SMALL, SMALL)
    items = b"".join(struct.pack(">HHH", number, 0, 65_535) for number in range(1, 251))
    return heif(
        b"avif",
        [configuration, sides(SMALL, SMALL)],
        [Item(b"av01", data, [1, 2])],
        lambda _: struct.pack(">HH", 0, 250) + items,
    )


def _avif_of_units(unit: bytes, times: int) -> bytes:
    """Write an AVIF whose AV1 data repeat a unit."""
    configuration, data = coded("AVIF", SMALL, SMALL)
    return heif(b"avif", [configuration, sides(SMALL, SMALL)], [Item(b"av01", data + unit * times, [1, 2])])


def _avif_of_shared_data() -> bytes:
    """Write an AVIF of 1,000 items, each with nearly all of the same 24 MB."""
    configuration, data = coded("AVIF", SMALL, SMALL)
    size = 24_000_000

    def located(at: int) -> bytes:
        places = [struct.pack(">HHHII", number, 0, 1, at, size - number) for number in range(1, 1_001)]
        return b"\x44\0" + struct.pack(">H", 1_000) + b"".join(places)

    first = Item(b"av01", data + bytes(size - len(data)), [1, 2])
    others = [Item(b"av01", b"", [1, 2])] * 999
    return heif(b"avif", [configuration, sides(SMALL, SMALL)], [first, *others], located)


def _avif_of_properties() -> bytes:
    configuration, data = coded("AVIF", SMALL, SMALL)
    properties = [configuration, sides(SMALL, SMALL), box(b"free") * 3_000_000]
    return heif(b"avif", properties, [Item(b"av01", data, [1, 2])])


def _long_header() -> bytes:
    """Return an AV1 sequence header with a number of 4,000 zeros."""
    bits = Bits(b"")
    # Profile, no still picture, no reduced header, timing, its 64 bits, equal intervals.
    bits.bits = "000" + "0" + "0" + "1" + "0" * 64 + "1" + "0" * 4_000 + "1" + "0" * 4_100
    body = bits.bytes()
    return b"\x0a" + bytes([len(body) & 127 | 128, len(body) >> 7]) + body


class Bits:
    def __init__(self, data: bytes) -> None:
        self.bits = "".join(f"{byte:08b}" for byte in data)

    def bytes(self) -> bytes:
        padded = self.bits + "0" * (-len(self.bits) % 8)
        return int(padded, 2).to_bytes(len(padded) // 8)


def av1_of_sides(width: int, height: int) -> bytes:
    """Write an AVIF of 64 pixels whose AV1 sequence header claims other sides."""
    configuration, data = coded("AVIF", SMALL, SMALL)

    def larger(units: bytes) -> bytes:
        at = 0
        while at < len(units):
            head, length = units[at], units[at + 1]
            body = units[at + 2 : at + 2 + length]
            if (head >> 3) & 15 == 1:  # a sequence header
                bits = Bits(body).bits
                # profile 3, still picture 1, reduced header 1, level 5; then the numbers of bits, and the sides
                begin = 10 if bits[4] == "1" else 24
                wide, high = int(bits[begin : begin + 4], 2) + 1, int(bits[begin + 4 : begin + 8], 2) + 1
                rest = bits[begin + 8 + wide + high :]
                new = Bits(b"")
                new.bits = bits[:begin] + "11111111" + f"{width - 1:016b}{height - 1:016b}" + rest
                written = new.bytes()
                return units[:at] + bytes([head, len(written)]) + written + units[at + 2 + length :]
            at += 2 + length
        return units

    configured = configuration[8:12] + larger(configuration[12:])
    return heif(
        b"avif", [box(b"av1C", configured), sides(SMALL, SMALL)], [Item(b"av01", larger(data), [1, 2])]
    )


COMPLEX, PIXELS, UNREADABLE = "photo_too_complex", "photo_too_many_pixels", "photo_unreadable"
JPEG, PNG, WEBP, HEIC, HEIF = "image/jpeg", "image/png", "image/webp", "image/heic", "image/heif"

BOMBS = {
    "JPEG, 12,000 scans": Bomb(lambda: jpeg_of_scans(12_000, SIDES), JPEG, COMPLEX),
    "JPEG, 64 scans of 70 MP": Bomb(lambda: jpeg_of_scans(64, SIDES), JPEG, COMPLEX),
    "JPEG, 8 million restarts": Bomb(_jpeg_of_restarts, JPEG, "prepared"),
    "JPEG, 70 MP without data": Bomb(_jpeg_without_data, JPEG, "prepared"),
    "JPEG, 65,500 segments": Bomb(lambda: jpeg_with(*[(0xE5, b"x")] * 65_500), JPEG, COMPLEX),
    "JPEG, arithmetic coding": Bomb(
        lambda: jpeg_head(SIDES).replace(b"\xff\xc2", b"\xff\xca") + jpeg_scan(0, 0, 1, b"") + b"\xff\xd9",
        JPEG,
        COMPLEX,
    ),
    "JPEG, 990 EXIF segments": Bomb(
        lambda: jpeg_with(*[(0xE1, b"Exif\0\0MM" + bytes(25_000))] * 990), JPEG, COMPLEX
    ),
    "JPEG, EXIF in a circle": Bomb(
        lambda: jpeg_with((0xE1, b"Exif\0\0" + tiff_in_a_circle())), JPEG, "prepared"
    ),
    "JPEG, 4 billion further images": Bomb(_mpo_of_frames, JPEG, "prepared"),
    "JPEG, a slow profile of 70 MP": Bomb(
        lambda: write(Image.new("RGB", SIDES), "JPEG", icc_profile=lut_profile()), JPEG, "prepared"
    ),
    "PNG, text that grows a thousand times": Bomb(
        lambda: png_with(*[_chunk(b"zTXt", b"t%d\0\0" % n + zeros(2**24)) for n in range(1_000)]),
        PNG,
        COMPLEX,
    ),
    "PNG, international text": Bomb(
        lambda: png_with(*[_chunk(b"iTXt", b"t%d\0\1\0\0\0" % n + zeros(2**24)) for n in range(1_000)]),
        PNG,
        COMPLEX,
    ),
    "PNG, a profile of 20 GB": Bomb(
        lambda: png_with(_chunk(b"iCCP", b"p\0\0" + zeros(20 * 2**30))), PNG, UNREADABLE
    ),
    "PNG, 64 bits": Bomb(lambda: _big_png(16, 6), PNG, "prepared"),
    "PNG, 64 bits interlaced": Bomb(lambda: _big_png(16, 6, interlaced=True), PNG, "prepared"),
    "PNG, 5,000 frames": Bomb(lambda: _png_of_frames(5_000), PNG, COMPLEX),
    "PNG, 2 million chunks": Bomb(lambda: png_with(_chunk(b"prVt", b"") * 2_000_000), PNG, COMPLEX),
    "PNG, 2 million empty pieces of data": Bomb(
        lambda: png_with(_chunk(b"IDAT", b"") * 2_000_000), PNG, COMPLEX
    ),
    "PNG, 65,535 tags of 20 MB": Bomb(
        lambda: png_with(_chunk(b"eXIf", tiff_of_tags(2 * 10**7, each=19_000_000))), PNG, "prepared"
    ),
    "WebP, 20,000 frames": Bomb(lambda: _webp_of_frames(20_000, (SMALL, SMALL)), WEBP, COMPLEX),
    "WebP, frames on 70 MP": Bomb(lambda: _webp_of_frames(2_000, SIDES), WEBP, COMPLEX),
    "WebP, a canvas of 268 MP": Bomb(lambda: _webp_of_frames(1, (HUGE, HUGE)), WEBP, PIXELS),
    "WebP, 65,535 tags of 20 MB": Bomb(
        lambda: webp_with(b"EXIF", 0x08, tiff_of_tags(2 * 10**7, each=19_000_000)), WEBP, "prepared"
    ),
    "WebP, a slow profile of 25 MB": Bomb(
        lambda: webp_with(b"ICCP", 0x20, lut_profile(150)), WEBP, "prepared"
    ),
    "AVIF, a frame larger than claimed": Bomb(
        lambda: lying("AVIF", (SMALL, SMALL), (2048, 2048)), HEIF, UNREADABLE
    ),
    "AVIF, a header of 268 MP": Bomb(lambda: av1_of_sides(HUGE, HUGE), HEIF, PIXELS),
    "AVIF, a header of 4,294 MP": Bomb(lambda: av1_of_sides(65_536, 65_536), HEIF, PIXELS),
    "AVIF, a frame smaller than claimed": Bomb(
        lambda: lying("AVIF", SIDES, (SMALL, SMALL)), HEIF, UNREADABLE
    ),
    "AVIF, a grid of one tile": Bomb(lambda: grid("AVIF", 109, 156), HEIF, UNREADABLE),
    "AVIF, a grid of 17,004 tiles": Bomb(lambda: grid_of_tiles("AVIF", 109, 156), HEIF, COMPLEX),
    "AVIF, 16 million pieces of no bytes": Bomb(_avif_of_pieces, HEIF, UNREADABLE),
    "AVIF, 12 million empty units": Bomb(lambda: _avif_of_units(b"\x12\0", 12_000_000), HEIF, UNREADABLE),
    "AVIF, 1,000 items of the same 24 MB": Bomb(_avif_of_shared_data, HEIF, UNREADABLE),
    "AVIF, 3 million properties": Bomb(_avif_of_properties, HEIF, UNREADABLE),
    "AVIF, 20,000 headers of 1 KB": Bomb(lambda: _avif_of_units(_long_header(), 20_000), HEIF, UNREADABLE),
    "HEIC, a frame larger than claimed": Bomb(
        lambda: lying("HEIF", (SMALL, SMALL), (2048, 2048)), HEIC, COMPLEX
    ),
    "HEIC, a frame smaller than claimed": Bomb(
        lambda: lying("HEIF", SIDES, (SMALL, SMALL)), HEIC, UNREADABLE
    ),
    "HEIC, a grid of one tile": Bomb(lambda: grid("HEIF", 109, 156), HEIC, UNREADABLE),
    "HEIC, a grid of 65,025 tiny tiles": Bomb(lambda: grid("HEIF", 255, 255, 32), HEIC, UNREADABLE),
    "HEIC, 961 tiles": Bomb(lambda: grid_of_tiles("HEIF", 31, 31), HEIC, "prepared"),
    "HEIC, 17,004 tiles": Bomb(lambda: grid_of_tiles("HEIF", 109, 156), HEIC, UNREADABLE),
    "HEIC, overlays of overlays": Bomb(lambda: nested("iovl", 8), HEIC, "prepared"),
    "HEIC, grids of grids": Bomb(lambda: nested("grid", 8), HEIC, UNREADABLE),
    "HEIC, 20,000 times the same data": Bomb(lambda: extents(20_000), HEIC, UNREADABLE),
    "HEIC, 3 million boxes": Bomb(
        lambda: write(Image.new("RGB", (SMALL, SMALL)), "HEIF") + box(b"free") * 3_000_000, HEIC, COMPLEX
    ),
}
