"""The drawings that the stand-in's models make of a photo: three visibly different styles.

Pillow makes them, without a model: an oil painting, a two-ink halftone print and a hatched pen drawing. Each style
has variants, so that a fourth output of a photo differs too.
"""

from __future__ import annotations

import functools
import io
import math
import random
from typing import TYPE_CHECKING

from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

if TYPE_CHECKING:
    from collections.abc import Callable

type Colour = tuple[int, int, int]

VARIANTS = 3  # of each style
EDGE = 1024  # longest edge of an output, in pixels
FLAT = 3  # below this slope of brightness a stroke follows no contour
FORMATS = {"png": "PNG", "jpg": "JPEG", "webp": "WEBP"}
INKS: tuple[tuple[Colour, Colour], ...] = (  # for light and for shadow
    ((255, 108, 90), (24, 58, 130)),
    ((255, 178, 46), (150, 36, 92)),
    ((64, 186, 172), (74, 40, 110)),
)
PAPER: Colour = (250, 243, 228)
PENS: tuple[Colour, ...] = ((38, 34, 52), (70, 40, 26), (20, 52, 66))


def painting(photo: Image.Image, variant: int) -> Image.Image:
    """Paint brush strokes along the contours: broad ones first, fine ones only where there is detail."""
    luck = random.Random(variant)
    width, height = photo.size
    vivid = ImageEnhance.Color(photo).enhance(1.45)
    canvas = vivid.filter(ImageFilter.GaussianBlur(12))
    draw = ImageDraw.Draw(canvas)
    blurred = ImageOps.autocontrast(photo.convert("L").filter(ImageFilter.GaussianBlur(4)))
    across = blurred.filter(ImageFilter.Kernel((3, 3), (-1, 0, 1, -2, 0, 2, -1, 0, 1), scale=2, offset=128))
    down = blurred.filter(ImageFilter.Kernel((3, 3), (-1, -2, -1, 0, 0, 0, 1, 2, 1), scale=2, offset=128))
    unit = max(photo.size) / EDGE
    slopes = across.tobytes(), down.tobytes()
    for brush, detail in ((20, 0), (11, 0), (6, 5), (3, 12)):
        broad = max(1, round(brush * unit))
        colours = vivid.filter(ImageFilter.BoxBlur(broad / 3)).tobytes()
        spots = [(x, y) for y in range(0, height, broad) for x in range(0, width, broad)]
        luck.shuffle(spots)
        for x, y in spots:
            at = y * width + x
            slope = slopes[0][at] - 128, 128 - slopes[1][at]  # Pillow applies kernels upside down
            strength = math.hypot(*slope)
            if strength < detail:
                continue
            swirl = 0.5 * math.sin(x / (90 * unit) + variant) + 0.5 * math.cos(y / (70 * unit))
            angle = math.atan2(slope[1], slope[0]) + math.pi / 2 if strength > FLAT else swirl
            reach, light = broad * luck.uniform(1.2, 2.4), luck.uniform(0.9, 1.1)
            dx, dy = reach * math.cos(angle), reach * math.sin(angle)
            colour = tuple(min(255, round(part * light)) for part in colours[3 * at : 3 * at + 3])
            draw.line((x - dx, y - dy, x + dx, y + dy), fill=colour, width=broad)
    relief = canvas.convert("L").filter(ImageFilter.EMBOSS).convert("RGB")
    flat = Image.new("RGB", photo.size, (128, 128, 128))
    return ImageChops.overlay(canvas, Image.blend(flat, relief, 0.35))


def halftone(photo: Image.Image, variant: int) -> Image.Image:
    """Print dots of two inks on cream paper, with plates that are slightly misaligned."""
    light, shadow = INKS[variant]
    size = photo.width * 2, photo.height * 2  # double size keeps the dots round
    plain = photo.filter(ImageFilter.UnsharpMask(40, 90, 0))
    dark = ImageOps.invert(ImageOps.autocontrast(plain.convert("L"), cutoff=2))
    red, _, blue = plain.split()
    warmth = ImageOps.autocontrast(ImageChops.subtract(red, blue, 2, 128), cutoff=2)
    printed = Image.new("RGB", size, PAPER)
    plates = (
        (Image.blend(dark, warmth, 0.65), light, 15, 0),
        (dark.point([round(255 * (v / 255) ** 1.6) for v in range(256)]), shadow, 45, 3),
    )
    for tone, colour, angle, off in plates:
        dots = ImageChops.offset(_dots(tone.resize(size), angle, 8), off)
        plate = Image.new("RGB", size, (255, 255, 255))
        plate.paste(colour, mask=dots)
        printed = ImageChops.multiply(printed, plate)
    return printed.resize(photo.size, Image.Resampling.BOX)


def _dots(tone: Image.Image, angle: int, pitch: int) -> Image.Image:
    """Return a screen of dots, `pitch` pixels apart and turned by `angle` degrees. Brighter tones give larger dots."""
    cell = Image.new("L", (pitch * 2, pitch * 2))
    for x in range(pitch * 2):
        for y in range(pitch * 2):
            wave = math.cos(math.pi * (x + 0.5) / pitch) + math.cos(math.pi * (y + 0.5) / pitch)
            cell.putpixel((x, y), round(127.5 + 63.7 * wave))
    reach = math.ceil(math.hypot(*tone.size) / cell.width + 1) * cell.width
    screen = Image.new("L", (reach, reach))
    for x in range(0, reach, cell.width):
        screen.paste(cell, (x, 0))
    strip = screen.crop((0, 0, reach, cell.height))
    for y in range(0, reach, cell.height):
        screen.paste(strip, (0, y))
    screen = _middle(screen.rotate(angle, Image.Resampling.BILINEAR), tone.size)
    # The sum exceeds 255 where there is ink. A slope instead of a step smooths the edge.
    return ImageChops.add(tone, screen, 1, -255).point([min(255, v * 6) for v in range(256)])


def pen(photo: Image.Image, variant: int) -> Image.Image:
    """Draw contours in ink and hatch the shadows, over a thin wash of the photo's colours."""
    grey = ImageOps.autocontrast(photo.convert("L"), cutoff=1)
    soft = grey.filter(ImageFilter.GaussianBlur(3))
    contours = ImageChops.subtract(soft, grey.filter(ImageFilter.GaussianBlur(0.7)))
    ink = contours.point([min(255, max(0, v - 3) * 16) for v in range(256)])
    for angle, below, strength in ((-45, 130, 150), (40, 92, 170), (-20, 60, 200), (75, 38, 230)):
        shade = soft.point([min(strength, max(0, below - v) * 6) for v in range(256)])
        ink = ImageChops.lighter(ink, ImageChops.multiply(_hatching(photo.size, angle), shade))
    colours = photo.filter(ImageFilter.MedianFilter(5)).filter(ImageFilter.GaussianBlur(4))
    drawn = Image.blend(ImageEnhance.Color(colours).enhance(1.3), Image.new("RGB", photo.size, PAPER), 0.55)
    drawn.paste(PENS[variant], mask=ink)
    return drawn


def _hatching(size: tuple[int, int], angle: int) -> Image.Image:
    """Return white lines, six pixels apart, at `angle` degrees."""
    reach = math.ceil(math.hypot(*size))
    lines = Image.new("L", (reach, reach))
    draw = ImageDraw.Draw(lines)
    for y in range(0, reach, 6):
        draw.line((0, y, reach, y), fill=255, width=2)
    return _middle(lines.rotate(angle, Image.Resampling.BICUBIC), size)


def _middle(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    left, top = (image.width - size[0]) // 2, (image.height - size[1]) // 2
    return image.crop((left, top, left + size[0], top + size[1]))


STYLES: tuple[Callable[[Image.Image, int], Image.Image], ...] = (painting, halftone, pen)


def draw(photo: bytes, style: int, variant: int, extension: str) -> bytes:
    """Draw a photo (JPEG, PNG or WebP) in STYLES[style], at most EDGE pixels long; return it in the format `extension`.

    Raises:
        Exception: The photo cannot be opened. Pillow raises many types.
    """
    return _draw(photo, style, variant % VARIANTS, extension)


@functools.lru_cache(maxsize=16)  # a load test sends the same photo many times
def _draw(photo: bytes, style: int, variant: int, extension: str) -> bytes:
    with Image.open(io.BytesIO(photo), formats=("JPEG", "PNG", "WEBP")) as opened:
        opened.draft("RGB", (EDGE, EDGE))
        image = ImageOps.exif_transpose(opened).convert("RGB")
    image.thumbnail((EDGE, EDGE))
    out = io.BytesIO()
    STYLES[style](image, variant).save(out, FORMATS[extension], quality=90)
    return out.getvalue()
