"""Painting of the furniture."""

from .brush import Brush, ordered
from .layout import (
    CHAIR_SEAT,
    CHAIR_Y,
    LAMP_HEIGHT,
    LAMP_Y,
    SOFA_SEAT,
    SOFA_WIDTH,
    SOFA_Y,
    TABLE_TOP,
    TABLE_WIDTH,
    TABLE_Y,
)
from .looks import Color, Look, shade


def sofa(brush: Brush, x: float, color: Color) -> None:
    """A sofa, seen from the front."""
    half, seat = SOFA_WIDTH / 2, SOFA_Y - SOFA_SEAT
    dark = shade(color, 0.8)
    brush.rounded((x - half + 8, seat - 40, x + half - 8, SOFA_Y - 6), 12, dark)
    for side in (-1, 1):
        box = ordered(x + side * 2, seat - 34, x + side * (half - 22), seat + 6)
        brush.rounded(box, 8, shade(color, 0.92))
    brush.rounded((x - half + 14, seat, x + half - 14, seat + 20), 7, shade(color, 1.12))
    brush.rectangle((x - half + 10, seat + 17, x + half - 10, SOFA_Y - 4), dark)
    for side in (-1, 1):
        arm = ordered(x + side * (half - 20), seat - 18, x + side * half, SOFA_Y - 2)
        brush.rounded(arm, 9, color)
        foot = x + side * (half - 10)
        brush.rectangle((foot - 4, SOFA_Y - 4, foot + 4, SOFA_Y + 3), (60, 44, 36))


def table(brush: Brush, x: float, color: Color) -> None:
    """A table, seen from the front."""
    half, top = TABLE_WIDTH / 2, TABLE_Y - TABLE_TOP
    for side in (-1, 1):
        leg = x + side * (half - 10)
        brush.rectangle((leg - 4, top, leg + 4, TABLE_Y), shade(color, 0.66))
    brush.rectangle((x - half + 6, top + 4, x + half - 6, top + 14), shade(color, 0.78))
    brush.rounded((x - half, top - 4, x + half, top + 6), 4, color)
    brush.line((x - half + 3, top - 3, x + half - 3, top - 3), shade(color, 1.4), 2)


def chair(brush: Brush, x: float, facing: int, look: Look) -> None:
    """A chair, seen from the side."""
    color, seat = look.objects["chair"], CHAIR_Y - CHAIR_SEAT + 8
    dark = shade(color, 0.72)
    back, front = x - facing * 24, x + facing * 20
    for leg, shift in ((back + facing * 6, 0.0), (front - facing * 6, 0.0)):
        brush.rectangle((leg - 3, seat, leg + 3, CHAIR_Y - 6 + shift), dark)
    brush.rectangle((back - 4, seat - 62, back + 4, CHAIR_Y), color)
    brush.rounded((back - 6, seat - 66, back + 6, seat - 22), 5, color)
    brush.rectangle((front - 4, seat, front + 4, CHAIR_Y), color)
    plank = ordered(back - facing * 4, seat - 3, front + facing * 6, seat + 8)
    brush.rounded(plank, 4, shade(color, 1.15))
    if look.armrests:
        brush.line((back, seat - 22, front, seat - 22), dark, 5)
        brush.line((front, seat - 22, front, seat), dark, 5)


def shade_of_lamp(brush: Brush, x: float, light: float, look: Look) -> None:
    """The shade of a standing lamp, as bright as `light` from 0 to 1."""
    color = look.objects["lamp"]
    off, on = shade(color, 0.72), shade(color, 1.55)
    red, green, blue = (round(a + (b - a) * light) for a, b in zip(off, on, strict=True))
    fill = red, green, blue
    top = LAMP_Y - LAMP_HEIGHT
    if look.round_shade:
        brush.dome((x - 27, top - 6, x + 27, top + 62), fill)
    else:
        brush.polygon([(x - 15, top - 6), (x + 15, top - 6), (x + 27, top + 30), (x - 27, top + 30)], fill)
    brush.line((x - 26, top + 29, x + 26, top + 29), shade(color, 0.6 + 0.5 * light), 3)


def lamp_stand(brush: Brush, x: float, side: int) -> None:
    """A standing lamp without its shade, the cord on the side of whoever uses it."""
    metal = (92, 84, 80)
    brush.rectangle((x - 2.5, LAMP_Y - LAMP_HEIGHT, x + 2.5, LAMP_Y - 3), metal)
    brush.ellipse((x - 17, LAMP_Y - 6, x + 17, LAMP_Y + 3), metal)
    cord = x - side * 8
    brush.line((cord, LAMP_Y - LAMP_HEIGHT + 28, cord, 148), (60, 54, 50), 2)
    brush.ellipse((cord - 3, 145, cord + 3, 151), (60, 54, 50))
