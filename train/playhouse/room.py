"""Painting of a home, at any scale.

What never moves is painted once a video. What is still for a while (an open door, a cup on the table) is
painted once for as long as it stays so: `RoomPainter.stage` keeps the last picture.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from . import furniture, openings
from .brush import Brush, PixelBox
from .figure import paint_bag, paint_ball, paint_cup
from .layout import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    CHAIR_Y,
    DOOR_TOP,
    DOOR_WIDTH,
    FLOOR_LINE,
    LAMP_HEIGHT,
    LAMP_Y,
    SOFA_Y,
    TABLE_Y,
    Layout,
)
from .looks import Color, Look, hsv, shade
from .motion import Snapshot

FRONT_Y = 286.0  # someone whose feet are above this y is behind the chair and the table


class RoomPainter:
    """Paints everything but the people.

    Args:
        layout: where things stand.
        look: their appearance.
        scale: pixels to one unit of the canvas.
    """

    def __init__(self, layout: Layout, look: Look, scale: float) -> None:
        self.layout = layout
        self.look = look
        self.scale = scale
        self._dark = _background(layout, look, scale)
        self._lit = _with_glow(self._dark, layout, scale)
        size = self._dark.size
        front = _front_furniture(layout, look, size, scale)
        self._furniture, self._furniture_box = _cropped(
            Image.alpha_composite(_furniture(layout, look, size, scale), front)
        )
        self._front, self._front_box = _cropped(front)
        self._key: tuple[object, ...] | None = None
        self._kept = self._dark

    def stage(self, snapshot: Snapshot) -> Image.Image:
        """The room without people, not to be painted on: the same picture for as long as all is still."""
        key = (snapshot.door, snapshot.window, snapshot.light, snapshot.cup, snapshot.bag, snapshot.ball)
        if key != self._key:
            self._kept = self._paint(snapshot)
            self._key = key
        return self._kept

    def paint_front(self, brush: Brush, snapshot: Snapshot, people: list[PixelBox]) -> None:
        """Paint what stands in front of someone at the back: chair, table, and what lies on the floor.

        Args:
            people: boxes of those at the back. Where nobody was painted, this changes nothing.
        """
        left, top, right, bottom = self._front_box
        for box in people:
            both = max(left, box[0]), max(top, box[1]), min(right, box[2]), min(bottom, box[3])
            if both[0] < both[2] and both[1] < both[3]:
                part = self._front.crop((both[0] - left, both[1] - top, both[2] - left, both[3] - top))
                brush.picture.paste(part, both[:2], part)
        self._paint_small(brush, snapshot)

    def _paint(self, snapshot: Snapshot) -> Image.Image:
        layout, objects = self.layout, self.look.objects
        if snapshot.light <= 0.0 or snapshot.light >= 1.0:
            canvas = (self._lit if snapshot.light > 0.5 else self._dark).copy()
        else:
            canvas = Image.blend(self._dark, self._lit, snapshot.light)
        brush = Brush(canvas, self.scale)
        if layout.window is not None:
            openings.window_leaves(brush, layout.window, snapshot.window, objects["window"])
        if layout.door is not None:
            openings.door_leaf(brush, layout.door, layout.hinge, snapshot.door, objects["door"])
        canvas.paste(self._furniture, self._furniture_box[:2], self._furniture)
        if layout.lamp is not None:
            furniture.shade_of_lamp(brush, layout.lamp, snapshot.light, self.look)
        if snapshot.bag is not None:
            brush.shadow(snapshot.bag[0], snapshot.bag[1] + 2, 26)
        if snapshot.ball is not None:
            brush.shadow(snapshot.ball[0], 306, 16)
        self._paint_small(brush, snapshot)
        return canvas

    def _paint_small(self, brush: Brush, snapshot: Snapshot) -> None:
        objects = self.look.objects
        if snapshot.cup is not None:
            at = snapshot.cup[0], snapshot.cup[1] - 12
            paint_cup(brush, at, objects["cup"], 1.0, 0.0, self.layout.table_side)
        if snapshot.bag is not None:
            paint_bag(brush, snapshot.bag, objects["bag"])
        if snapshot.ball is not None:
            paint_ball(brush, (snapshot.ball[0], snapshot.ball[1] - 10), objects["ball"])


def doorway(layout: Layout, scale: float) -> PixelBox | None:
    """Box of the doorway in pixels, through which someone behind the wall can be seen."""
    door, k = layout.door, scale
    if door is None:
        return None
    half = DOOR_WIDTH / 2
    return round((door - half) * k), round(DOOR_TOP * k), round((door + half) * k), round(FLOOR_LINE * k)


def _cropped(layer: Image.Image) -> tuple[Image.Image, PixelBox]:
    """What is there of a layer, and its box; an empty one of a layer of nothing."""
    box = layer.getbbox() or (0, 0, 0, 0)
    return layer.crop(box), box


def _background(layout: Layout, look: Look, scale: float) -> Image.Image:
    rng = np.random.default_rng(look.clutter_seed)
    canvas = Image.fromarray(_wall_and_floor(look, scale))
    brush = Brush(canvas, scale)
    _wall_pattern(brush, look)
    _floor_pattern(brush, look, rng)
    brush.rectangle((0, FLOOR_LINE - 12, CANVAS_WIDTH, FLOOR_LINE), look.trim)
    brush.line((0, FLOOR_LINE, CANVAS_WIDTH, FLOOR_LINE), shade(look.floor, 0.6), 2)
    if look.rug is not None:
        _rug(brush, look.rug, rng)
    _pictures(brush, layout, look, rng)
    if layout.window is not None:
        openings.window_hole(brush, layout.window, look, rng)
    if layout.door is not None:
        openings.doorway(brush, layout.door, look)
    if look.plant:
        _plant(brush, float(rng.choice([22.0, 458.0])) + float(rng.uniform(-6, 6)), rng)
    return canvas


def _wall_and_floor(look: Look, scale: float) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    height, width = math.ceil(CANVAS_HEIGHT * scale), math.ceil(CANVAS_WIDTH * scale)
    pixels = np.empty((height, width, 3), np.float32)
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    line, soft = round(FLOOR_LINE * scale), round(14 * scale)
    pixels[:line] = np.asarray(look.wall, np.float32)
    pixels[line:] = np.asarray(look.floor, np.float32)
    pixels *= (1.0 - 0.12 * x * x - 0.08 * np.abs(y - 0.45))[..., None]
    pixels[line : line + soft] *= np.linspace(0.82, 1.0, soft, dtype=np.float32)[:, None, None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _wall_pattern(brush: Brush, look: Look) -> None:
    faint = shade(look.wall, 0.93)
    if look.wall_pattern == "stripes":
        for x in range(0, CANVAS_WIDTH, 32):
            brush.rectangle((x, 0, x + 13, FLOOR_LINE - 12), faint)
    elif look.wall_pattern == "dots":
        for row in range(9):
            for x in range(14 * (row % 2), CANVAS_WIDTH, 28):
                brush.ellipse((x - 3, 14 + 26 * row, x + 3, 20 + 26 * row), faint)
    elif look.wall_pattern == "panels":
        brush.rectangle((0, 178, CANVAS_WIDTH, FLOOR_LINE - 12), shade(look.wall, 0.86))
        brush.rectangle((0, 174, CANVAS_WIDTH, 179), look.trim)
        for x in range(20, CANVAS_WIDTH, 60):
            brush.frame((x, 186, x + 44, 222), shade(look.wall, 0.76), 2)


def _floor_pattern(brush: Brush, look: Look, rng: np.random.Generator) -> None:
    line = shade(look.floor, 0.88)
    if look.planks:
        for x in range(-600, 1081, 40):
            brush.line((240 + (x - 240) * 0.62, FLOOR_LINE, x, CANVAS_HEIGHT), line, 2)
        return
    for y in (252, 268, 290, 320, 356):
        brush.line((0, y, CANVAS_WIDTH, y), line, 2)
        shift = float(rng.uniform(0, 60))
        for k in range(7):
            joint = shift + 74.0 * k
            brush.line((joint, y, joint + (joint - 240) * 0.1, y + 24), line, 2)


def _rug(brush: Brush, color: Color, rng: np.random.Generator) -> None:
    x, half = float(rng.uniform(180, 300)), float(rng.uniform(90, 150))
    brush.ellipse((x - half, 272, x + half, 344), shade(color, 0.85))
    brush.ellipse((x - half + 8, 276, x + half - 8, 340), color)
    brush.ring((x - half + 24, 284, x + half - 24, 332), shade(color, 1.35), 3)


def _pictures(brush: Brush, layout: Layout, look: Look, rng: np.random.Generator) -> None:
    taken = [(x, 62.0) for x in (layout.door, layout.window) if x is not None]
    if layout.lamp is not None:
        taken.append((layout.lamp, 40.0))
    for _ in range(look.pictures):
        x, half = float(rng.uniform(40, 440)), float(rng.uniform(15, 26))
        if any(abs(x - other) < reach + half for other, reach in taken):
            continue
        taken.append((x, half + 4))
        top, height = float(rng.uniform(66, 96)), float(rng.uniform(30, 50))
        frame = hsv(0.08, 0.4, rng.uniform(0.3, 0.7))
        brush.rectangle((x - half - 4, top - 4, x + half + 4, top + height + 4), frame)
        brush.rectangle((x - half, top, x + half, top + height), hsv(rng.random(), 0.25, 0.92))
        hill = hsv(rng.random(), 0.45, 0.65)
        brush.polygon(
            [(x - half, top + height), (x - half * 0.2, top + height * 0.4), (x + half, top + height)],
            hill,
        )
        brush.ellipse((x + half * 0.2, top + 5, x + half * 0.2 + 9, top + 14), hsv(rng.random(), 0.5, 0.95))


def _plant(brush: Brush, x: float, rng: np.random.Generator) -> None:
    green = hsv(float(rng.uniform(0.28, 0.4)), 0.5, float(rng.uniform(0.35, 0.6)))
    for _ in range(9):
        tip = (x + float(rng.uniform(-34, 34)), 222 - float(rng.uniform(20, 70)))
        brush.line((x, 244, *tip), shade(green, float(rng.uniform(0.75, 1.2))), 9)
        brush.ellipse(
            (tip[0] - 8, tip[1] - 8, tip[0] + 8, tip[1] + 8), shade(green, float(rng.uniform(0.8, 1.2)))
        )
    pot = hsv(float(rng.uniform(0.02, 0.08)), 0.5, float(rng.uniform(0.5, 0.75)))
    brush.polygon([(x - 18, 236), (x + 18, 236), (x + 13, 272), (x - 13, 272)], pot)
    brush.rectangle((x - 20, 232, x + 20, 241), shade(pot, 0.85))


def _with_glow(dark: Image.Image, layout: Layout, scale: float) -> Image.Image:
    """The background with the lamp's light on the wall."""
    if layout.lamp is None:
        return dark
    y, x = np.mgrid[0 : dark.height, 0 : dark.width].astype(np.float32) / np.float32(scale)
    distance = np.hypot(x - layout.lamp, 1.1 * (y - (LAMP_Y - LAMP_HEIGHT + 16)))
    glow = np.exp(-((distance / 95.0) ** 2))[..., None] * np.asarray([70.0, 56.0, 22.0], np.float32)
    return Image.fromarray(np.clip(np.asarray(dark, np.float32) + glow, 0, 255).astype(np.uint8))


def _furniture(layout: Layout, look: Look, size: tuple[int, int], scale: float) -> Image.Image:
    layer = Image.new("RGBA", size, (30, 24, 24, 0))
    layer.putalpha(_soft_shadows(layout, size, scale))
    brush = Brush(layer, scale)
    if layout.sofa is not None:
        furniture.sofa(brush, layout.sofa, look.objects["sofa"])
    if layout.lamp is not None:
        furniture.lamp_stand(brush, layout.lamp, layout.lamp_side)
    return layer


def _soft_shadows(layout: Layout, size: tuple[int, int], scale: float) -> Image.Image:
    shadows = Image.new("L", size, 0)
    draw = ImageDraw.Draw(shadows)
    spots = (
        (layout.sofa, SOFA_Y, 96),
        (layout.lamp, LAMP_Y, 24),
        (layout.table, TABLE_Y, 48),
        (layout.chair, CHAIR_Y, 36),
    )
    for x, y, half in spots:
        if x is not None:
            box = (x - half, y - 9, x + half, y + 9)
            draw.ellipse([v * scale for v in box], fill=110)
    return shadows.filter(ImageFilter.GaussianBlur(4 * scale))


def _front_furniture(layout: Layout, look: Look, size: tuple[int, int], scale: float) -> Image.Image:
    layer = Image.new("RGBA", size, (0, 0, 0, 0))
    brush = Brush(layer, scale)
    if layout.table is not None:
        furniture.table(brush, layout.table, look.objects["table"])
    if layout.chair is not None:
        furniture.chair(brush, layout.chair, layout.chair_facing, look)
    return layer
