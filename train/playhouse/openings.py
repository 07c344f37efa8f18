"""What one can look or go through: the door, the window, and what is outside."""

import numpy as np
from PIL import Image

from .brush import Box, Brush, ordered
from .layout import (
    DOOR_TOP,
    DOOR_WIDTH,
    FLOOR_LINE,
    WINDOW_HEIGHT,
    WINDOW_TOP,
    WINDOW_WIDTH,
    Point,
    leaf_edge,
)
from .looks import Color, Look, hsv, shade


def _outside(brush: Brush, box: Box, scene: str, ground: bool) -> None:
    left, top, right, bottom = box
    if scene == "corridor":
        brush.rectangle(box, (62, 56, 74))
        brush.rectangle((left + 18, top + 16, right - 18, bottom), (44, 40, 54))
        if ground:
            low = bottom - 26
            brush.polygon(
                [(left, bottom), (left + 18, low), (right - 18, low), (right, bottom)], (92, 74, 66)
            )
        return
    brush.rectangle(box, (132, 196, 240))
    brush.rectangle((left, top, right, top + (bottom - top) * 0.3), (112, 182, 236))
    middle = (top + bottom) / 2
    brush.ellipse((left + 6, top + 10, left + 40, top + 24), (240, 248, 252))
    if scene == "street":
        brush.rectangle((left + 8, middle - 26, left + 34, bottom), (196, 128, 104))
        brush.rectangle((right - 32, middle - 8, right - 4, bottom), (214, 190, 140))
        low = bottom - (bottom - middle) * 0.5
        brush.rectangle((left, low, right, bottom), (128, 128, 132))
    else:
        brush.ellipse((left - 24, middle - 14, left + 42, middle + 60), (74, 150, 72))
        brush.ellipse((right - 40, middle - 26, right + 26, middle + 54), (92, 168, 78))
        low = middle + (bottom - middle) * 0.3
        brush.rectangle((left, low, right, bottom), (118, 188, 92))
    if ground:
        path = [(left + 14, bottom), (left + 30, low), (right - 30, low), (right - 14, bottom)]
        brush.polygon(path, (206, 188, 150))


def _paste_outside(brush: Brush, box: Box, scene: str, ground: bool) -> None:
    k = brush.scale
    left, top, right, bottom = (round(v * k) for v in box)
    view = Image.new("RGB", (right - left, bottom - top))
    _outside(Brush(view, k), (0.0, 0.0, (right - left) / k, (bottom - top) / k), scene, ground)
    brush.picture.paste(view, (left, top))


def window_hole(brush: Brush, x: float, look: Look, rng: np.random.Generator) -> None:
    """The window's frame, what is outside, and curtains."""
    half, bottom = WINDOW_WIDTH / 2, WINDOW_TOP + WINDOW_HEIGHT
    frame = look.objects["window"]
    brush.rectangle((x - half - 8, WINDOW_TOP - 8, x + half + 8, bottom + 8), shade(frame, 0.86))
    scene = "street" if look.outside == "street" else "garden"
    _paste_outside(brush, (x - half, WINDOW_TOP, x + half, bottom), scene, ground=False)
    brush.rectangle((x - half - 14, bottom + 6, x + half + 14, bottom + 14), frame)
    if rng.random() < 0.6:
        curtain = hsv(float(rng.random()), 0.35, 0.8)
        for side in (-1, 1):
            edge = x + side * (half + 26)
            for k in range(4):
                fold = shade(curtain, 0.88 if k % 2 else 1.0)
                inner = edge - side * 6 * k
                brush.rectangle(ordered(inner, WINDOW_TOP - 14, inner - side * 6, 190), fold)
        brush.rectangle((x - half - 32, WINDOW_TOP - 18, x + half + 32, WINDOW_TOP - 13), shade(curtain, 0.5))


def doorway(brush: Brush, x: float, look: Look) -> None:
    """The door's frame and what is outside."""
    half, frame = DOOR_WIDTH / 2, shade(look.objects["door"], 0.8)
    brush.rectangle((x - half - 8, DOOR_TOP - 8, x + half + 8, FLOOR_LINE), frame)
    _paste_outside(brush, (x - half, DOOR_TOP, x + half, FLOOR_LINE), look.outside, ground=True)


def door_leaf(brush: Brush, x: float, hinge: int, level: float, color: Color) -> None:
    """The door's leaf, as far open as `level` from 0 to 1."""
    still = x + hinge * DOOR_WIDTH / 2
    edge, bottom, top = leaf_edge(x, hinge, DOOR_WIDTH, FLOOR_LINE, DOOR_TOP, level)
    face = shade(color, 1.0 - 0.16 * level)
    corners = (still, FLOOR_LINE, DOOR_TOP, edge, bottom, top)
    brush.polygon(_patch(corners, 0.0, 1.0, 0.0, 1.0), face)
    for low, high in ((0.07, 0.44), (0.54, 0.93)):
        brush.polygon(_patch(corners, 0.16, 0.84, low, high), shade(face, 0.84))
        brush.polygon(_patch(corners, 0.22, 0.84, low, high - 0.025), shade(face, 1.1))
    brush.line((edge, bottom, edge, top), shade(color, 0.6), 4)
    knob = _patch(corners, 0.88, 0.88, 0.5, 0.5)[0]
    brush.ellipse((knob[0] - 5, knob[1] - 5, knob[0] + 5, knob[1] + 5), (224, 190, 90))


def _patch(
    corners: tuple[float, float, float, float, float, float], u0: float, u1: float, v0: float, v1: float
) -> list[Point]:
    """A rectangle on a leaf: u from the hinge to the free edge, v from bottom to top, both 0 to 1."""
    x0, bottom0, top0, x1, bottom1, top1 = corners

    def place(u: float, v: float) -> Point:
        bottom, top = bottom0 + (bottom1 - bottom0) * u, top0 + (top1 - top0) * u
        return x0 + (x1 - x0) * u, bottom + (top - bottom) * v

    return [place(u0, v0), place(u1, v0), place(u1, v1), place(u0, v1)]


def window_leaves(brush: Brush, x: float, level: float, color: Color) -> None:
    """Both leaves of the window, as far open as `level` from 0 to 1."""
    low = WINDOW_TOP + WINDOW_HEIGHT
    for side in (-1, 1):
        still = x + side * WINDOW_WIDTH / 2
        edge, bottom, top = leaf_edge(
            x + side * WINDOW_WIDTH / 4, side, WINDOW_WIDTH / 2, low, WINDOW_TOP, level
        )
        corners = (still, low, WINDOW_TOP, edge, bottom, top)
        brush.polygon(_patch(corners, 0.0, 1.0, 0.0, 1.0), shade(color, 1.0 - 0.12 * level))
        glass = (196, 212, 220)
        for v0, v1 in ((0.08, 0.47), (0.53, 0.92)):
            brush.polygon(_patch(corners, 0.14, 0.86, v0, v1), glass)
            brush.polygon(_patch(corners, 0.14, 0.45, v0, v1), (214, 227, 232))
        brush.line((edge, bottom, edge, top), shade(color, 0.7), 2)
