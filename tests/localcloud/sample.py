"""The sample photo, drawn by code: a mountain lake at sunset."""

from __future__ import annotations

import functools
import io
import math
import random
from itertools import pairwise

from PIL import Image, ImageChops, ImageDraw, ImageFilter

type Colour = tuple[int, int, int]

WIDTH, HEIGHT = 2048, 1536  # double size, so that scaling down smooths the edges
SHORE = 930  # y of the waterline
SUN = (1040, 596)

SKY: tuple[tuple[float, Colour], ...] = (
    (0.0, (38, 44, 104)),
    (0.35, (108, 72, 142)),
    (0.62, (226, 106, 118)),
    (0.85, (252, 168, 98)),
    (1.0, (255, 222, 148)),
)
# From the farthest range to the nearest: height of its foot above the shore, height, roughness, colour.
RANGES: tuple[tuple[int, int, float, Colour], ...] = (
    (190, 230, 0.56, (186, 110, 134)),
    (110, 170, 0.52, (134, 82, 124)),
    (50, 120, 0.50, (84, 58, 104)),
)
NEAR: Colour = (36, 32, 62)


@functools.cache
def photo() -> bytes:
    """Return a JPEG of 1024 x 768 pixels, always the same."""
    luck = random.Random(7)
    land = _land(luck)
    scene = Image.new("RGB", (WIDTH, HEIGHT))
    scene.paste(land)
    scene.paste(_lake(land, luck), (0, SHORE))
    draw = ImageDraw.Draw(scene)
    _boat(scene)
    for x, y, span in ((420, 300, 34), (500, 262, 26), (560, 330, 22), (352, 352, 18)):
        for wing in (x - span, x + span):
            around = (wing - span, y - span // 2, wing + span, y + span)
            draw.arc(around, 205, 335, fill=(60, 42, 84), width=5)
    out = io.BytesIO()
    scene.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.LANCZOS).save(out, "JPEG", quality=92)
    return out.getvalue()


def _land(luck: random.Random) -> Image.Image:
    """Draw everything above the waterline."""
    land = _gradient(SKY, (WIDTH, SHORE))
    for reach, strength in ((2600, 0.6), (900, 0.9)):
        # Pillow's gradient is 181 in the middle of its edges. The glow must be 0 there.
        fading = [round(max(0, 1 - v / 181) ** 1.5 * strength * 255) for v in range(256)]
        glow = Image.radial_gradient("L").resize((reach, reach)).point(fading)
        halo = Image.new("RGB", land.size)
        halo.paste((255, 186, 108), (SUN[0] - reach // 2, SUN[1] - reach // 2), glow)
        land = ImageChops.screen(land, halo)
    _clouds(land, luck)
    ImageDraw.Draw(land).circle(SUN, 74, fill=(255, 246, 214))
    for foot, rise, roughness, colour in RANGES:
        ridge = _ridge(luck, roughness, rise, SHORE - foot)
        mountains = Image.new("L", land.size)
        ImageDraw.Draw(mountains).polygon([*ridge, (WIDTH, SHORE), (0, SHORE)], fill=255)
        haze = _mix(colour, (255, 190, 140), 0.45)
        land.paste(_gradient(((0.0, colour), (0.55, colour), (1.0, haze)), land.size), mask=mountains)
    _forest(land, luck)
    return land


def _clouds(land: Image.Image, luck: random.Random) -> None:
    """Draw long thin clouds, lit from below."""
    mask = Image.new("L", land.size)
    draw = ImageDraw.Draw(mask)
    for _ in range(26):
        x, y = luck.randrange(-200, WIDTH), luck.randrange(150, 620)
        for _ in range(14):
            dx, dy, wide = luck.gauss(0, 190), luck.gauss(0, 9), luck.randrange(90, 320)
            draw.ellipse((x + dx - wide, y + dy - 8, x + dx + wide, y + dy + 8), fill=luck.randrange(40, 120))
    mask = mask.filter(ImageFilter.GaussianBlur(9))
    land.paste(
        _gradient(((0.0, (170, 110, 160)), (0.5, (255, 150, 130)), (1.0, (255, 214, 150))), land.size),
        mask=mask,
    )


def _forest(land: Image.Image, luck: random.Random) -> None:
    """Draw dark shores on both sides, with firs."""
    draw = ImageDraw.Draw(land)
    for side, reach, height in ((0, 900, 150), (WIDTH, 520, 100)):
        inward = 1 if side == 0 else -1
        bank = [
            (side + inward * reach * t, SHORE - height * (1 - t) ** 1.6 * (1 + 0.12 * math.sin(9 * t)))
            for t in (step / 40 for step in range(41))
        ]
        draw.polygon([*bank, (side, SHORE)], fill=NEAR)
        for _ in range(90):
            x, y = bank[int(40 * luck.random() ** 1.5 * 0.86)]
            tall = luck.uniform(60, 150) * (1 - 0.55 * abs(x - side) / reach)
            _fir(draw, x + luck.uniform(-14, 14), y + 16, tall)


def _fir(draw: ImageDraw.ImageDraw, x: float, y: float, tall: float) -> None:
    for tier in range(5):
        top, half = y - tall * (1 - tier * 0.17), tall * (0.07 + 0.045 * tier)
        draw.polygon([(x, top), (x - half, top + tall * 0.32), (x + half, top + tall * 0.32)], fill=NEAR)


def _lake(land: Image.Image, luck: random.Random) -> Image.Image:
    """Draw the lake: the mirrored land in moving water, darker in front, with the sun's reflection."""
    depth = HEIGHT - SHORE
    mirror = (
        land.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        .resize((WIDTH, int(SHORE * 0.8)))
        .crop((0, 0, WIDTH, depth))
    )
    lake = mirror.copy()
    for y in range(depth):
        sway = (1 + y / 26) * math.sin(y / (2.2 + y / 60) + 2 * math.sin(y / 17))
        row = mirror.crop((0, y, WIDTH, y + 1))
        lake.paste(ImageChops.offset(row, round(sway), 0), (0, y))
    lake = lake.filter(ImageFilter.GaussianBlur(1.6))
    deep = _gradient(((0.0, (255, 232, 226)), (0.4, (226, 178, 190)), (1.0, (88, 92, 150))), lake.size)
    lake = ImageChops.multiply(lake, deep)
    light = Image.new("L", lake.size)
    draw = ImageDraw.Draw(light)
    for _ in range(420):
        y = depth * luck.random() ** 1.4
        x = SUN[0] + luck.gauss(0, 26 + y * 0.16)
        half = luck.uniform(8, 26 + y * 0.09)
        draw.ellipse((x - half, y - 1 - y / 200, x + half, y + 1 + y / 200), fill=luck.randrange(90, 255))
    lake.paste((255, 214, 150), mask=light.filter(ImageFilter.GaussianBlur(1.5)))
    return lake


def _boat(scene: Image.Image) -> None:
    """Draw a small sailing boat and its reflection."""
    x, y = 1440, 1150
    boat = Image.new("RGBA", scene.size)
    draw = ImageDraw.Draw(boat)
    draw.line([(x, y), (x, y - 262)], fill=(52, 34, 44), width=7)
    draw.polygon([(x + 8, y - 258), (x + 8, y - 34), (x + 132, y - 34)], fill=(255, 240, 220))
    draw.polygon([(x + 8, y - 258), (x + 8, y - 34), (x + 48, y - 34)], fill=(238, 206, 190))
    draw.polygon([(x - 8, y - 236), (x - 8, y - 34), (x - 92, y - 34)], fill=(226, 92, 74))
    draw.polygon(
        [(x - 118, y - 22), (x + 142, y - 22), (x + 100, y + 24), (x - 84, y + 24)], fill=(70, 40, 48)
    )
    draw.polygon(
        [(x - 118, y - 22), (x + 142, y - 22), (x + 134, y - 12), (x - 110, y - 12)], fill=(196, 130, 92)
    )
    below = (
        boat.crop((0, y - 300, WIDTH, y + 24)).transpose(Image.Transpose.FLIP_TOP_BOTTOM).resize((WIDTH, 270))
    )
    water = Image.new("RGBA", below.size)
    for row in range(below.height):
        sway = round((2 + row / 14) * math.sin(row / 4.5))
        water.paste(ImageChops.offset(below.crop((0, row, WIDTH, row + 1)), sway, 0), (0, row))
    water.putalpha(water.getchannel("A").point(lambda v: int(v * 0.45)))
    scene.paste(water, (0, y + 22), water)
    scene.paste(boat, mask=boat)


def _ridge(luck: random.Random, roughness: float, rise: int, foot: int) -> list[tuple[float, float]]:
    """Return a mountain line from the left edge to the right, by midpoint displacement."""
    heights = [luck.random(), luck.random(), luck.random(), luck.random()]
    spread = 0.6
    while len(heights) < WIDTH // 6:
        between = [(a + b) / 2 + luck.uniform(-spread, spread) / 2 for a, b in pairwise(heights)]
        heights = [h for pair in zip(heights, between, strict=False) for h in pair] + heights[-1:]
        spread *= roughness
    return [(WIDTH * i / (len(heights) - 1), foot - rise * h) for i, h in enumerate(heights)]


def _gradient(stops: tuple[tuple[float, Colour], ...], size: tuple[int, int]) -> Image.Image:
    """Return a vertical gradient through stops of (position, colour)."""
    column = Image.new("RGB", (1, size[1]))
    for y in range(size[1]):
        at = y / (size[1] - 1)
        (start, above), (stop, below) = next((a, b) for a, b in pairwise(stops) if a[0] <= at <= b[0])
        column.putpixel((0, y), _mix(above, below, (at - start) / (stop - start)))
    return column.resize(size)


def _mix(a: Colour, b: Colour, share: float) -> Colour:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue
