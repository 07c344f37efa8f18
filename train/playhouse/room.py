"""Painting of a home: walls, floor, furniture, door, window and lamp, onto a canvas of 480 x 360 pixels.

What never moves is painted once a video. What is still for a while (an open door, a cup on the table) is
painted once for as long as it stays so: `RoomPainter.stage` keeps the last picture.
"""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from .figure import paint_bag, paint_ball, paint_cup, paint_shadow
from .layout import (
    CANVAS_HEIGHT,
    CANVAS_WIDTH,
    CHAIR_SEAT,
    CHAIR_Y,
    DOOR_TOP,
    DOOR_WIDTH,
    FLOOR_LINE,
    LAMP_HEIGHT,
    LAMP_Y,
    SOFA_SEAT,
    SOFA_WIDTH,
    SOFA_Y,
    TABLE_TOP,
    TABLE_WIDTH,
    TABLE_Y,
    WINDOW_HEIGHT,
    WINDOW_TOP,
    WINDOW_WIDTH,
    Layout,
)
from .looks import Color, Look, hsv, shade
from .motion import Point, Snapshot, leaf_edge

FRONT_Y = 286.0  # someone whose feet are above this y is behind the chair and the table

_SIZE = (CANVAS_WIDTH, CANVAS_HEIGHT)


class RoomPainter:
    """Paints everything but the people.

    Args:
        layout: where things stand.
        look: their appearance.
    """

    def __init__(self, layout: Layout, look: Look) -> None:
        self.layout = layout
        self.look = look
        self._dark = _background(layout, look)
        self._lit = _with_glow(self._dark, layout)
        self._front = _front_furniture(layout, look)
        self._furniture = Image.alpha_composite(_furniture(layout, look), self._front)
        self._front_box = self._front.getbbox()
        if self._front_box is not None:
            self._front = self._front.crop(self._front_box)
        self._key: tuple[object, ...] | None = None
        self._kept = self._dark

    def stage(self, snapshot: Snapshot) -> Image.Image:
        """The room without people; the caller owns the picture."""
        key = (snapshot.door, snapshot.window, snapshot.light, snapshot.cup, snapshot.bag, snapshot.ball)
        if key != self._key:
            self._kept = self._paint(snapshot)
            self._key = key
        return self._kept.copy()

    def paint_front(self, canvas: Image.Image, snapshot: Snapshot) -> None:
        """Paint what stands in front of someone at the back: chair, table, and what lies on the floor."""
        if self._front_box is not None:
            canvas.paste(self._front, self._front_box[:2], self._front)
        self._paint_small(canvas, snapshot)

    def doorway(self) -> tuple[int, int, int, int] | None:
        """Box of the doorway, through which someone behind the wall can be seen."""
        door = self.layout.door
        if door is None:
            return None
        half = DOOR_WIDTH / 2
        return round(door - half), round(DOOR_TOP), round(door + half), round(FLOOR_LINE)

    def _paint(self, snapshot: Snapshot) -> Image.Image:
        layout, objects = self.layout, self.look.objects
        if snapshot.light <= 0.0 or snapshot.light >= 1.0:
            canvas = (self._lit if snapshot.light > 0.5 else self._dark).copy()
        else:
            canvas = Image.blend(self._dark, self._lit, snapshot.light)
        draw = ImageDraw.Draw(canvas)
        if layout.window is not None:
            _window_leaves(draw, layout.window, snapshot.window, objects["window"])
        if layout.door is not None:
            _door_leaf(draw, layout.door, layout.hinge, snapshot.door, objects["door"])
        canvas.paste(self._furniture, (0, 0), self._furniture)
        if layout.lamp is not None:
            _shade_of_lamp(draw, layout.lamp, snapshot.light, self.look)
        self._paint_small(canvas, snapshot)
        return canvas

    def _paint_small(self, canvas: Image.Image, snapshot: Snapshot) -> None:
        draw, objects = ImageDraw.Draw(canvas), self.look.objects
        if snapshot.cup is not None:
            at = snapshot.cup[0], snapshot.cup[1] - 12
            paint_cup(draw, at, objects["cup"], 1.0, 0.0, self.layout.table_side)
        if snapshot.bag is not None:
            paint_shadow(canvas, snapshot.bag[0], snapshot.bag[1] + 2, 26)
            paint_bag(draw, snapshot.bag, objects["bag"])
        if snapshot.ball is not None:
            paint_shadow(canvas, snapshot.ball[0], 306, 16)
            paint_ball(draw, (snapshot.ball[0], snapshot.ball[1] - 10), objects["ball"])


def _background(layout: Layout, look: Look) -> Image.Image:
    rng = np.random.default_rng(look.clutter_seed)
    canvas = Image.fromarray(_wall_and_floor(look))
    draw = ImageDraw.Draw(canvas)
    _wall_pattern(draw, look)
    _floor_pattern(draw, look, rng)
    draw.rectangle((0, FLOOR_LINE - 12, CANVAS_WIDTH, FLOOR_LINE), fill=look.trim)
    draw.line((0, FLOOR_LINE, CANVAS_WIDTH, FLOOR_LINE), fill=shade(look.floor, 0.6), width=2)
    if look.rug is not None:
        _rug(draw, look.rug, rng)
    _pictures(draw, layout, look, rng)
    if layout.window is not None:
        _window_hole(canvas, layout.window, look, rng)
    if layout.door is not None:
        _doorway(canvas, layout.door, look)
    if look.plant:
        _plant(draw, float(rng.choice([22.0, 458.0])) + float(rng.uniform(-6, 6)), rng)
    return canvas


def _wall_and_floor(look: Look) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = np.empty((CANVAS_HEIGHT, CANVAS_WIDTH, 3), np.float32)
    y = np.linspace(0, 1, CANVAS_HEIGHT, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, CANVAS_WIDTH, dtype=np.float32)[None, :]
    line = int(FLOOR_LINE)
    pixels[:line] = np.asarray(look.wall, np.float32)
    pixels[line:] = np.asarray(look.floor, np.float32)
    pixels *= (1.0 - 0.12 * x * x - 0.08 * np.abs(y - 0.45))[..., None]
    pixels[line : line + 14] *= np.linspace(0.82, 1.0, 14, dtype=np.float32)[:, None, None]
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _wall_pattern(draw: ImageDraw.ImageDraw, look: Look) -> None:
    faint = shade(look.wall, 0.93)
    if look.wall_pattern == "stripes":
        for x in range(0, CANVAS_WIDTH, 32):
            draw.rectangle((x, 0, x + 13, FLOOR_LINE - 12), fill=faint)
    elif look.wall_pattern == "dots":
        for row in range(9):
            for x in range(14 * (row % 2), CANVAS_WIDTH, 28):
                draw.ellipse((x - 3, 14 + 26 * row, x + 3, 20 + 26 * row), fill=faint)
    elif look.wall_pattern == "panels":
        draw.rectangle((0, 178, CANVAS_WIDTH, FLOOR_LINE - 12), fill=shade(look.wall, 0.86))
        draw.rectangle((0, 174, CANVAS_WIDTH, 179), fill=look.trim)
        for x in range(20, CANVAS_WIDTH, 60):
            draw.rectangle((x, 186, x + 44, 222), outline=shade(look.wall, 0.76), width=2)


def _floor_pattern(draw: ImageDraw.ImageDraw, look: Look, rng: np.random.Generator) -> None:
    line = shade(look.floor, 0.88)
    if look.planks:
        for x in range(-600, 1081, 40):
            draw.line((240 + (x - 240) * 0.62, FLOOR_LINE, x, CANVAS_HEIGHT), fill=line, width=2)
        return
    for y in (252, 268, 290, 320, 356):
        draw.line((0, y, CANVAS_WIDTH, y), fill=line, width=2)
        shift = float(rng.uniform(0, 60))
        for k in range(7):
            joint = shift + 74.0 * k
            draw.line((joint, y, joint + (joint - 240) * 0.1, y + 24), fill=line, width=2)


def _rug(draw: ImageDraw.ImageDraw, color: Color, rng: np.random.Generator) -> None:
    x, half = float(rng.uniform(180, 300)), float(rng.uniform(90, 150))
    draw.ellipse((x - half, 272, x + half, 344), fill=shade(color, 0.85))
    draw.ellipse((x - half + 8, 276, x + half - 8, 340), fill=color)
    draw.ellipse((x - half + 24, 284, x + half - 24, 332), outline=shade(color, 1.35), width=3)


def _pictures(draw: ImageDraw.ImageDraw, layout: Layout, look: Look, rng: np.random.Generator) -> None:
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
        draw.rectangle((x - half - 4, top - 4, x + half + 4, top + height + 4), fill=frame)
        draw.rectangle((x - half, top, x + half, top + height), fill=hsv(rng.random(), 0.25, 0.92))
        hill = hsv(rng.random(), 0.45, 0.65)
        draw.polygon(
            [(x - half, top + height), (x - half * 0.2, top + height * 0.4), (x + half, top + height)],
            fill=hill,
        )
        draw.ellipse(
            (x + half * 0.2, top + 5, x + half * 0.2 + 9, top + 14), fill=hsv(rng.random(), 0.5, 0.95)
        )


def _plant(draw: ImageDraw.ImageDraw, x: float, rng: np.random.Generator) -> None:
    green = hsv(float(rng.uniform(0.28, 0.4)), 0.5, float(rng.uniform(0.35, 0.6)))
    for _ in range(9):
        tip = (x + float(rng.uniform(-34, 34)), 222 - float(rng.uniform(20, 70)))
        draw.line((x, 244, *tip), fill=shade(green, float(rng.uniform(0.75, 1.2))), width=9)
        draw.ellipse(
            (tip[0] - 8, tip[1] - 8, tip[0] + 8, tip[1] + 8), fill=shade(green, float(rng.uniform(0.8, 1.2)))
        )
    pot = hsv(float(rng.uniform(0.02, 0.08)), 0.5, float(rng.uniform(0.5, 0.75)))
    draw.polygon([(x - 18, 236), (x + 18, 236), (x + 13, 272), (x - 13, 272)], fill=pot)
    draw.rectangle((x - 20, 232, x + 20, 241), fill=shade(pot, 0.85))


def _outside(
    draw: ImageDraw.ImageDraw, box: tuple[float, float, float, float], scene: str, ground: bool
) -> None:
    left, top, right, bottom = box
    if scene == "corridor":
        draw.rectangle(box, fill=(62, 56, 74))
        draw.rectangle((left + 18, top + 16, right - 18, bottom), fill=(44, 40, 54))
        if ground:
            low = bottom - 26
            draw.polygon(
                [(left, bottom), (left + 18, low), (right - 18, low), (right, bottom)], fill=(92, 74, 66)
            )
        return
    draw.rectangle(box, fill=(132, 196, 240))
    draw.rectangle((left, top, right, top + (bottom - top) * 0.3), fill=(112, 182, 236))
    middle = (top + bottom) / 2
    draw.ellipse((left + 6, top + 10, left + 40, top + 24), fill=(240, 248, 252))
    if scene == "street":
        draw.rectangle((left + 8, middle - 26, left + 34, bottom), fill=(196, 128, 104))
        draw.rectangle((right - 32, middle - 8, right - 4, bottom), fill=(214, 190, 140))
        low = bottom - (bottom - middle) * 0.5
        draw.rectangle((left, low, right, bottom), fill=(128, 128, 132))
    else:
        draw.ellipse((left - 24, middle - 14, left + 42, middle + 60), fill=(74, 150, 72))
        draw.ellipse((right - 40, middle - 26, right + 26, middle + 54), fill=(92, 168, 78))
        low = middle + (bottom - middle) * 0.3
        draw.rectangle((left, low, right, bottom), fill=(118, 188, 92))
    if ground:
        path = [(left + 14, bottom), (left + 30, low), (right - 30, low), (right - 14, bottom)]
        draw.polygon(path, fill=(206, 188, 150))


def _paste_outside(
    canvas: Image.Image, box: tuple[float, float, float, float], scene: str, ground: bool
) -> None:
    left, top, right, bottom = (round(v) for v in box)
    view = Image.new("RGB", (right - left, bottom - top))
    _outside(ImageDraw.Draw(view), (0.0, 0.0, float(right - left), float(bottom - top)), scene, ground)
    canvas.paste(view, (left, top))


def _window_hole(canvas: Image.Image, x: float, look: Look, rng: np.random.Generator) -> None:
    draw = ImageDraw.Draw(canvas)
    half, bottom = WINDOW_WIDTH / 2, WINDOW_TOP + WINDOW_HEIGHT
    frame = look.objects["window"]
    draw.rectangle((x - half - 8, WINDOW_TOP - 8, x + half + 8, bottom + 8), fill=shade(frame, 0.86))
    scene = "street" if look.outside == "street" else "garden"
    _paste_outside(canvas, (x - half, WINDOW_TOP, x + half, bottom), scene, ground=False)
    draw.rectangle((x - half - 14, bottom + 6, x + half + 14, bottom + 14), fill=frame)
    if rng.random() < 0.6:
        curtain = hsv(float(rng.random()), 0.35, 0.8)
        for side in (-1, 1):
            edge = x + side * (half + 26)
            for k in range(4):
                fold = shade(curtain, 0.88 if k % 2 else 1.0)
                inner = edge - side * 6 * k
                draw.rectangle(_ordered(inner, WINDOW_TOP - 14, inner - side * 6, 190), fill=fold)
        draw.rectangle(
            (x - half - 32, WINDOW_TOP - 18, x + half + 32, WINDOW_TOP - 13), fill=shade(curtain, 0.5)
        )


def _ordered(x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
    return min(x0, x1), y0, max(x0, x1), y1


def _doorway(canvas: Image.Image, x: float, look: Look) -> None:
    draw = ImageDraw.Draw(canvas)
    half, frame = DOOR_WIDTH / 2, shade(look.objects["door"], 0.8)
    draw.rectangle((x - half - 8, DOOR_TOP - 8, x + half + 8, FLOOR_LINE), fill=frame)
    _paste_outside(canvas, (x - half, DOOR_TOP, x + half, FLOOR_LINE), look.outside, ground=True)


def _door_leaf(draw: ImageDraw.ImageDraw, x: float, hinge: int, level: float, color: Color) -> None:
    still = x + hinge * DOOR_WIDTH / 2
    edge, bottom, top = leaf_edge(x, hinge, DOOR_WIDTH, FLOOR_LINE, DOOR_TOP, level)
    face = shade(color, 1.0 - 0.16 * level)
    corners = (still, FLOOR_LINE, DOOR_TOP, edge, bottom, top)
    draw.polygon(_patch(corners, 0.0, 1.0, 0.0, 1.0), fill=face)
    for low, high in ((0.07, 0.44), (0.54, 0.93)):
        draw.polygon(_patch(corners, 0.16, 0.84, low, high), fill=shade(face, 0.84))
        draw.polygon(_patch(corners, 0.22, 0.84, low, high - 0.025), fill=shade(face, 1.1))
    draw.line((edge, bottom, edge, top), fill=shade(color, 0.6), width=4)
    knob = _patch(corners, 0.88, 0.88, 0.5, 0.5)[0]
    draw.ellipse((knob[0] - 5, knob[1] - 5, knob[0] + 5, knob[1] + 5), fill=(224, 190, 90))


def _patch(
    corners: tuple[float, float, float, float, float, float], u0: float, u1: float, v0: float, v1: float
) -> list[Point]:
    """A rectangle on a leaf: u from the hinge to the free edge, v from bottom to top, both 0 to 1."""
    x0, bottom0, top0, x1, bottom1, top1 = corners

    def place(u: float, v: float) -> Point:
        bottom, top = bottom0 + (bottom1 - bottom0) * u, top0 + (top1 - top0) * u
        return x0 + (x1 - x0) * u, bottom + (top - bottom) * v

    return [place(u0, v0), place(u1, v0), place(u1, v1), place(u0, v1)]


def _window_leaves(draw: ImageDraw.ImageDraw, x: float, level: float, color: Color) -> None:
    low = WINDOW_TOP + WINDOW_HEIGHT
    for side in (-1, 1):
        still = x + side * WINDOW_WIDTH / 2
        edge, bottom, top = leaf_edge(
            x + side * WINDOW_WIDTH / 4, side, WINDOW_WIDTH / 2, low, WINDOW_TOP, level
        )
        corners = (still, low, WINDOW_TOP, edge, bottom, top)
        draw.polygon(_patch(corners, 0.0, 1.0, 0.0, 1.0), fill=shade(color, 1.0 - 0.12 * level))
        glass = (196, 212, 220)
        for v0, v1 in ((0.08, 0.47), (0.53, 0.92)):
            draw.polygon(_patch(corners, 0.14, 0.86, v0, v1), fill=glass)
            draw.polygon(_patch(corners, 0.14, 0.45, v0, v1), fill=(214, 227, 232))
        draw.line((edge, bottom, edge, top), fill=shade(color, 0.7), width=2)


def _with_glow(dark: Image.Image, layout: Layout) -> Image.Image:
    """The background with the lamp's light on the wall."""
    if layout.lamp is None:
        return dark
    y, x = np.mgrid[0:CANVAS_HEIGHT, 0:CANVAS_WIDTH].astype(np.float32)
    distance = np.hypot(x - layout.lamp, 1.1 * (y - (LAMP_Y - LAMP_HEIGHT + 16)))
    glow = np.exp(-((distance / 95.0) ** 2))[..., None] * np.asarray([70.0, 56.0, 22.0], np.float32)
    return Image.fromarray(np.clip(np.asarray(dark, np.float32) + glow, 0, 255).astype(np.uint8))


def _shade_of_lamp(draw: ImageDraw.ImageDraw, x: float, light: float, look: Look) -> None:
    color = look.objects["lamp"]
    off, on = shade(color, 0.72), shade(color, 1.55)
    fill = tuple(round(a + (b - a) * light) for a, b in zip(off, on, strict=True))
    top = LAMP_Y - LAMP_HEIGHT
    if look.round_shade:
        draw.pieslice((x - 27, top - 6, x + 27, top + 62), 180, 360, fill=fill)
    else:
        draw.polygon(
            [(x - 15, top - 6), (x + 15, top - 6), (x + 27, top + 30), (x - 27, top + 30)], fill=fill
        )
    draw.line((x - 26, top + 29, x + 26, top + 29), fill=shade(color, 0.6 + 0.5 * light), width=3)


def _furniture(layout: Layout, look: Look) -> Image.Image:
    layer = Image.new("RGBA", _SIZE, (0, 0, 0, 0))
    shadows = Image.new("L", _SIZE, 0)
    soft = ImageDraw.Draw(shadows)
    draw = ImageDraw.Draw(layer)
    spots = (
        (layout.sofa, SOFA_Y, 96),
        (layout.lamp, LAMP_Y, 24),
        (layout.table, TABLE_Y, 48),
        (layout.chair, CHAIR_Y, 36),
    )
    for x, y, half in spots:
        if x is not None:
            soft.ellipse((x - half, y - 9, x + half, y + 9), fill=110)
    layer.paste((30, 24, 24), (0, 0), Image.new("L", _SIZE, 255))
    layer.putalpha(shadows.filter(ImageFilter.GaussianBlur(4)))
    draw = ImageDraw.Draw(layer)
    if layout.sofa is not None:
        _sofa(draw, layout.sofa, look.objects["sofa"])
    if layout.lamp is not None:
        x, metal = layout.lamp, (92, 84, 80)
        draw.rectangle((x - 2.5, LAMP_Y - LAMP_HEIGHT, x + 2.5, LAMP_Y - 3), fill=metal)
        draw.ellipse((x - 17, LAMP_Y - 6, x + 17, LAMP_Y + 3), fill=metal)
        cord = x - layout.lamp_side * 8
        draw.line((cord, LAMP_Y - LAMP_HEIGHT + 28, cord, 148), fill=(60, 54, 50), width=2)
        draw.ellipse((cord - 3, 145, cord + 3, 151), fill=(60, 54, 50))
    return layer


def _front_furniture(layout: Layout, look: Look) -> Image.Image:
    layer = Image.new("RGBA", _SIZE, (0, 0, 0, 0))
    draw = ImageDraw.Draw(layer)
    if layout.table is not None:
        _table(draw, layout.table, look.objects["table"])
    if layout.chair is not None:
        _chair(draw, layout.chair, layout.chair_facing, look)
    return layer


def _sofa(draw: ImageDraw.ImageDraw, x: float, color: Color) -> None:
    half, seat = SOFA_WIDTH / 2, SOFA_Y - SOFA_SEAT
    dark = shade(color, 0.8)
    draw.rounded_rectangle((x - half + 8, seat - 40, x + half - 8, SOFA_Y - 6), 12, fill=dark)
    for side in (-1, 1):
        box = _ordered(x + side * 2, seat - 34, x + side * (half - 22), seat + 6)
        draw.rounded_rectangle(box, 8, fill=shade(color, 0.92))
    draw.rounded_rectangle((x - half + 14, seat, x + half - 14, seat + 20), 7, fill=shade(color, 1.12))
    draw.rectangle((x - half + 10, seat + 17, x + half - 10, SOFA_Y - 4), fill=dark)
    for side in (-1, 1):
        arm = _ordered(x + side * (half - 20), seat - 18, x + side * half, SOFA_Y - 2)
        draw.rounded_rectangle(arm, 9, fill=color)
        foot = x + side * (half - 10)
        draw.rectangle((foot - 4, SOFA_Y - 4, foot + 4, SOFA_Y + 3), fill=(60, 44, 36))


def _table(draw: ImageDraw.ImageDraw, x: float, color: Color) -> None:
    half, top = TABLE_WIDTH / 2, TABLE_Y - TABLE_TOP
    for side in (-1, 1):
        leg = x + side * (half - 10)
        draw.rectangle((leg - 4, top, leg + 4, TABLE_Y), fill=shade(color, 0.66))
    draw.rectangle((x - half + 6, top + 4, x + half - 6, top + 14), fill=shade(color, 0.78))
    draw.rounded_rectangle((x - half, top - 4, x + half, top + 6), 4, fill=color)
    draw.line((x - half + 3, top - 3, x + half - 3, top - 3), fill=shade(color, 1.4), width=2)


def _chair(draw: ImageDraw.ImageDraw, x: float, facing: int, look: Look) -> None:
    color, seat = look.objects["chair"], CHAIR_Y - CHAIR_SEAT + 8
    dark = shade(color, 0.72)
    back, front = x - facing * 24, x + facing * 20
    for leg, shift in ((back + facing * 6, 0.0), (front - facing * 6, 0.0)):
        draw.rectangle((leg - 3, seat, leg + 3, CHAIR_Y - 6 + shift), fill=dark)
    draw.rectangle((back - 4, seat - 62, back + 4, CHAIR_Y), fill=color)
    draw.rounded_rectangle((back - 6, seat - 66, back + 6, seat - 22), 5, fill=color)
    draw.rectangle((front - 4, seat, front + 4, CHAIR_Y), fill=color)
    plank = _ordered(back - facing * 4, seat - 3, front + facing * 6, seat + 8)
    draw.rounded_rectangle(plank, 4, fill=shade(color, 1.15))
    if look.armrests:
        draw.line((back, seat - 22, front, seat - 22), fill=dark, width=5)
        draw.line((front, seat - 22, front, seat), fill=dark, width=5)
