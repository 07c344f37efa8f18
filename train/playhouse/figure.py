"""Painting of a person, and of the things that a hand holds, from joints in canvas pixels."""

import math

from .body import Figure
from .brush import Box, Brush
from .layout import Point
from .looks import Color, PersonLook, shade

_EYE = (40, 32, 34)
_PAPER = (246, 242, 228)
_BAND = (52, 110, 190)  # a white cup has a blue band, to stand out from a light wall


class FigurePainter:
    """Paints one person.

    Args:
        look: the person's appearance.
        objects: colours of the things that can be held.
    """

    def __init__(self, look: PersonLook, objects: dict[str, Color]) -> None:
        self.look = look
        self.objects = objects
        self._shirt_far = shade(look.shirt, 0.78)
        self._legs_far = shade(look.legs, 0.74)
        self._skin_far = shade(look.skin, 0.82)

    def paint(self, brush: Brush, figure: Figure) -> None:
        """Paint the person, with a soft shadow on the floor."""
        s = figure.scale
        if not figure.behind_wall:
            brush.shadow(figure.x + (figure.hip[0] - figure.x) * 0.5, figure.y, 34.0 * s)
        self._arm(brush, figure.shoulder, figure.far_elbow, figure.far_hand, s, False)
        self._leg(brush, figure.hip, figure.far_knee, figure.far_foot, figure, False)
        self._leg(brush, figure.hip, figure.near_knee, figure.near_foot, figure, True)
        self._torso(brush, figure)
        self._head(brush, figure)
        if figure.carry == "bag":
            paint_bag(brush, (figure.near_hand[0], figure.near_hand[1] + 30 * s), self.objects["bag"], s)
        if figure.carry == "cup":
            self._cup(brush, figure)
        if figure.carry == "book":
            self._book(brush, figure)
        if figure.carry == "ball":
            dx = 7.0 * s * figure.facing
            paint_ball(
                brush, (figure.near_hand[0] + dx, figure.near_hand[1] - 4 * s), self.objects["ball"], s
            )
        self._arm(brush, figure.shoulder, figure.near_elbow, figure.near_hand, s, True)

    def bounds(self, figure: Figure) -> Box:
        """A box, in units of the canvas, outside of which `paint` changes nothing."""
        s, hand = figure.scale, 9.0 if figure.carry == "nothing" else 38.0
        spots = (
            (figure.hip, 20.0),
            (figure.shoulder, 18.0),
            (figure.head, 32.0),
            (figure.near_knee, 18.0),
            (figure.far_knee, 18.0),
            (figure.near_foot, 20.0),
            (figure.far_foot, 20.0),
            (figure.near_elbow, 9.0),
            (figure.far_elbow, 9.0),
            (figure.near_hand, hand),
            (figure.far_hand, 9.0),
        )
        shadow = figure.x + (figure.hip[0] - figure.x) * 0.5
        return (
            min(shadow - 38.0 * s, min(x - s * reach for (x, _), reach in spots)) - 2.0,
            min(y - s * reach for (_, y), reach in spots) - 2.0,
            max(shadow + 38.0 * s, max(x + s * reach for (x, _), reach in spots)) + 2.0,
            max(figure.y + 11.0 * s, max(y + s * reach for (_, y), reach in spots)) + 2.0,
        )

    def _arm(self, brush: Brush, shoulder: Point, elbow: Point, hand: Point, s: float, near: bool) -> None:
        look = self.look
        shirt, skin = (look.shirt, look.skin) if near else (self._shirt_far, self._skin_far)
        if near:
            shirt = shade(shirt, 0.9)  # an arm stands out from the torso behind it
        lower = shirt if look.long_sleeves else skin
        brush.limb(shoulder, elbow, 12.5 * s, shirt)
        brush.limb(elbow, hand, 10.5 * s, lower)
        brush.disc(hand, 6.2 * s, skin)

    def _leg(self, brush: Brush, hip: Point, knee: Point, foot: Point, figure: Figure, near: bool) -> None:
        look, s = self.look, figure.scale
        cloth = look.legs if near else self._legs_far
        lower = cloth if not look.skirt else (look.skin if near else self._skin_far)
        brush.limb(knee, foot, 12.5 * s, lower)
        brush.limb(hip, knee, 16.5 * s * look.girth, cloth)
        f = figure.facing
        # The shoe points away from the shin, so that it lies flat when standing and upright when lying.
        dx, dy = foot[0] - knee[0], foot[1] - knee[1]
        length = math.hypot(dx, dy) or 1.0
        px, py = dy / length * f, -dx / length * f
        toe = (foot[0] + 13 * s * px, foot[1] + 13 * s * py)
        brush.limb(foot, toe, 9.5 * s, look.shoes)

    def _torso(self, brush: Brush, figure: Figure) -> None:
        look, s, f = self.look, figure.scale, figure.facing
        hip, shoulder = figure.hip, figure.shoulder
        w = look.girth * s
        dx, dy = shoulder[0] - hip[0], shoulder[1] - hip[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length * f, dx / length * f  # forward
        brush.disc(hip, 12.0 * w, look.legs)
        brush.disc(shoulder, 12.5 * w, look.shirt)
        belly = (hip[0] + dx * 0.12, hip[1] + dy * 0.12)
        brush.polygon(
            [
                (belly[0] + nx * 13 * w, belly[1] + ny * 13 * w),
                (shoulder[0] + nx * 13 * w, shoulder[1] + ny * 13 * w),
                (shoulder[0] - nx * 12 * w, shoulder[1] - ny * 12 * w),
                (belly[0] - nx * 12 * w, belly[1] - ny * 12 * w),
            ],
            look.shirt,
        )
        brush.polygon(
            [
                (belly[0] - nx * 5 * w, belly[1] - ny * 5 * w),
                (shoulder[0] - nx * 6 * w, shoulder[1] - ny * 6 * w),
                (shoulder[0] - nx * 12 * w, shoulder[1] - ny * 12 * w),
                (belly[0] - nx * 12 * w, belly[1] - ny * 12 * w),
            ],
            shade(look.shirt, 0.88),
        )
        if look.skirt:
            self._skirt(brush, figure)

    def _skirt(self, brush: Brush, figure: Figure) -> None:
        hip, s = figure.hip, figure.scale
        near = _towards(hip, figure.near_knee, 0.95)
        far = _towards(hip, figure.far_knee, 0.95)
        w = 12.0 * s * self.look.girth
        for knee in (far, near):
            brush.limb(hip, knee, 2 * w, self.look.legs)
        brush.polygon([(hip[0] - w, hip[1]), (hip[0] + w, hip[1]), near, far], self.look.legs)

    def _head(self, brush: Brush, figure: Figure) -> None:
        look, s, f = self.look, figure.scale, figure.facing
        (hx, hy), (ux, uy) = figure.head, figure.up
        fx, fy = -uy * f, ux * f  # forward

        def at(forward: float, up: float) -> Point:
            return hx + s * (fx * forward + ux * up), hy + s * (fy * forward + uy * up)

        brush.limb(figure.shoulder, at(-1, -8), 9.0 * s, self._skin_far)
        style = look.hair_style
        if style == "long":
            brush.limb(at(-7, 4), at(-9, -19), 17.0 * s, look.hair)
        if style == "bun":
            brush.disc(at(-15, 9), 7.5 * s, look.hair)
        if style != "bald":
            brush.disc(at(-2.5, 3.0), 16.8 * s, look.hair)
        brush.disc(at(1.2, -0.5), 15.2 * s, look.skin)
        brush.disc(at(15.0, -2.0), 3.4 * s, look.skin)  # nose
        if style == "cap":
            brush.limb(at(-9, 8), at(9, 9), 11.0 * s, look.shoes)
            brush.limb(at(8, 7), at(20, 6), 4.5 * s, look.shoes)
        elif style != "bald":
            brush.limb(at(-10, 7), at(6, 11), 9.0 * s, look.hair)
            brush.disc(at(-9, 0), 7.5 * s, look.hair)
        brush.disc(at(-2.5, -2.0), 3.4 * s, self._skin_far)  # ear
        brush.disc(at(8.0, 1.5), 2.1 * s, _EYE)
        mouth = (*at(9.5, -8.5), *at(13.0, -7.5))
        brush.line(mouth, (150, 70, 70), 2 * s)

    def _cup(self, brush: Brush, figure: Figure) -> None:
        s, f = figure.scale, figure.facing
        hand = (figure.near_hand[0] + 5 * s * f, figure.near_hand[1] - 3 * s)
        paint_cup(brush, hand, self.objects["cup"], s, -figure.tilt * f, f)

    def _book(self, brush: Brush, figure: Figure) -> None:
        """A book in front of the chest: one cover stays in the near hand, the other one turns over."""
        s, f, level = figure.scale, figure.facing, figure.book
        x, y = figure.near_hand
        w, h = 30.0 * s, 44.0 * s
        turn = math.cos(math.pi * level)  # 1 closed, -1 flat open
        spine = x - 2 * s * f
        lift = 10.0 * s * math.sin(math.pi * level)
        cover, inside = self.objects["book"], shade(_PAPER, 0.92)
        far_edge = spine + f * w
        brush.polygon(_page(spine, far_edge, y, h, 0.0, 2.0), shade(cover, 0.72))
        brush.polygon(_page(spine, far_edge - f * 1.5, y, h - 4, 0.0, 0.0), _PAPER)
        turned = spine + f * w * turn
        brush.polygon(_page(spine, turned, y, h, lift, 2.0), cover if turn > 0 else shade(cover, 0.72))
        if turn < 0:
            brush.polygon(_page(spine, turned + f * 1.5, y, h - 4, lift, 0.0), inside)
            for k in (0.3, 0.5, 0.7):
                line_y = y - h * (k - 0.5)
                brush.line((spine + f * 4, line_y, far_edge - f * 5, line_y), (150, 150, 150), 1)
        brush.line((spine, y - h / 2, spine, y + h / 2), shade(cover, 0.55), 3)


def _page(spine: float, edge: float, y: float, h: float, lift: float, grow: float) -> list[Point]:
    half = h / 2 + grow / 2
    return [(spine, y - half), (edge, y - half - lift), (edge, y + half - lift * 0.4), (spine, y + half)]


def _towards(a: Point, b: Point, w: float) -> Point:
    return a[0] + (b[0] - a[0]) * w, a[1] + (b[1] - a[1]) * w


def paint_ball(brush: Brush, at: Point, color: Color, s: float = 1.0) -> None:
    """A ball around `at`, with a light spot."""
    brush.disc(at, 12.0 * s, shade(color, 0.8))
    brush.disc((at[0] - 1 * s, at[1] - 1.5 * s), 10.5 * s, color)
    brush.disc((at[0] - 4 * s, at[1] - 4.5 * s), 3.2 * s, shade(color, 1.55))


def paint_bag(brush: Brush, bottom: Point, color: Color, s: float = 1.0) -> None:
    """A handbag that stands on `bottom`, its handle 30 pixels above."""
    x, y = bottom
    brush.arch((x - 10 * s, y - 34 * s, x + 10 * s, y - 10 * s), shade(color, 0.6), 4)
    brush.polygon(
        [
            (x - 15 * s, y - 22 * s),
            (x + 15 * s, y - 22 * s),
            (x + 19 * s, y + 2 * s),
            (x - 19 * s, y + 2 * s),
        ],
        color,
    )
    brush.polygon(
        [
            (x - 15 * s, y - 22 * s),
            (x + 15 * s, y - 22 * s),
            (x + 16 * s, y - 14 * s),
            (x - 16 * s, y - 14 * s),
        ],
        shade(color, 0.75),
    )
    brush.rectangle((x - 3 * s, y - 17 * s, x + 3 * s, y - 12 * s), (232, 200, 90))


def paint_cup(
    brush: Brush, at: Point, color: Color, s: float = 1.0, turn: float = 0.0, facing: int = 1
) -> None:
    """A mug around `at`, turned by `turn` radians (clockwise on the screen), its handle towards the
    holder.
    """
    c, n = math.cos(turn), math.sin(turn)

    def place(dx: float, dy: float) -> Point:
        return at[0] + s * (c * dx - n * dy), at[1] + s * (n * dx + c * dy)

    hx, hy = place(-10 * facing, 0)
    brush.ring((hx - 6 * s, hy - 6 * s, hx + 6 * s, hy + 6 * s), shade(color, 0.75), 3)
    brush.polygon([place(-9, -11), place(9, -11), place(8, 11), place(-8, 11)], color)
    brush.polygon([place(3, -11), place(9, -11), place(8, 11), place(3, 11)], shade(color, 0.85))
    band = shade(color, 0.7) if sum(color) < 660 else _BAND
    brush.polygon([place(-8.7, -4), place(8.7, -4), place(8.3, 5), place(-8.3, 5)], band)
    brush.polygon([place(-9, -11), place(9, -11), place(8, -8), place(-8, -8)], shade(color, 0.6))
