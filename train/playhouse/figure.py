"""Painting of a person, and of the things that a hand holds, from joints in canvas pixels."""

import math

from PIL import Image, ImageDraw, ImageFilter

from .looks import Color, PersonLook, shade
from .motion import Figure, Point

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

    def paint(self, canvas: Image.Image, figure: Figure) -> None:
        """Paint the person onto the canvas, with a soft shadow on the floor."""
        draw = ImageDraw.Draw(canvas)
        s = figure.scale
        if not figure.behind_wall:
            paint_shadow(canvas, figure.x + (figure.hip[0] - figure.x) * 0.5, figure.y, 34.0 * s)
        self._arm(draw, figure.shoulder, figure.far_elbow, figure.far_hand, s, False)
        self._leg(draw, figure.hip, figure.far_knee, figure.far_foot, figure, False)
        self._leg(draw, figure.hip, figure.near_knee, figure.near_foot, figure, True)
        self._torso(draw, figure)
        self._head(draw, figure)
        if figure.carry == "bag":
            paint_bag(draw, (figure.near_hand[0], figure.near_hand[1] + 30 * s), self.objects["bag"], s)
        if figure.carry == "cup":
            self._cup(draw, figure)
        if figure.carry == "book":
            self._book(draw, figure)
        if figure.carry == "ball":
            dx = 7.0 * s * figure.facing
            paint_ball(draw, (figure.near_hand[0] + dx, figure.near_hand[1] - 4 * s), self.objects["ball"], s)
        self._arm(draw, figure.shoulder, figure.near_elbow, figure.near_hand, s, True)

    def _arm(
        self, draw: ImageDraw.ImageDraw, shoulder: Point, elbow: Point, hand: Point, s: float, near: bool
    ) -> None:
        look = self.look
        shirt, skin = (look.shirt, look.skin) if near else (self._shirt_far, self._skin_far)
        if near:
            shirt = shade(shirt, 0.9)  # an arm stands out from the torso behind it
        lower = shirt if look.long_sleeves else skin
        _limb(draw, shoulder, elbow, 12.5 * s, shirt)
        _limb(draw, elbow, hand, 10.5 * s, lower)
        _disc(draw, hand, 6.2 * s, skin)

    def _leg(
        self, draw: ImageDraw.ImageDraw, hip: Point, knee: Point, foot: Point, figure: Figure, near: bool
    ) -> None:
        look, s = self.look, figure.scale
        cloth = look.legs if near else self._legs_far
        lower = cloth if not look.skirt else (look.skin if near else self._skin_far)
        _limb(draw, knee, foot, 12.5 * s, lower)
        _limb(draw, hip, knee, 16.5 * s * look.girth, cloth)
        f = figure.facing
        # The shoe points away from the shin, so that it lies flat when standing and upright when lying.
        dx, dy = foot[0] - knee[0], foot[1] - knee[1]
        length = math.hypot(dx, dy) or 1.0
        px, py = dy / length * f, -dx / length * f
        toe = (foot[0] + 13 * s * px, foot[1] + 13 * s * py)
        _limb(draw, foot, toe, 9.5 * s, look.shoes)

    def _torso(self, draw: ImageDraw.ImageDraw, figure: Figure) -> None:
        look, s, f = self.look, figure.scale, figure.facing
        hip, shoulder = figure.hip, figure.shoulder
        w = look.girth * s
        dx, dy = shoulder[0] - hip[0], shoulder[1] - hip[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length * f, dx / length * f  # forward
        _disc(draw, hip, 12.0 * w, look.legs)
        _disc(draw, shoulder, 12.5 * w, look.shirt)
        belly = (hip[0] + dx * 0.12, hip[1] + dy * 0.12)
        draw.polygon(
            [
                (belly[0] + nx * 13 * w, belly[1] + ny * 13 * w),
                (shoulder[0] + nx * 13 * w, shoulder[1] + ny * 13 * w),
                (shoulder[0] - nx * 12 * w, shoulder[1] - ny * 12 * w),
                (belly[0] - nx * 12 * w, belly[1] - ny * 12 * w),
            ],
            fill=look.shirt,
        )
        draw.polygon(
            [
                (belly[0] - nx * 5 * w, belly[1] - ny * 5 * w),
                (shoulder[0] - nx * 6 * w, shoulder[1] - ny * 6 * w),
                (shoulder[0] - nx * 12 * w, shoulder[1] - ny * 12 * w),
                (belly[0] - nx * 12 * w, belly[1] - ny * 12 * w),
            ],
            fill=shade(look.shirt, 0.88),
        )
        if look.skirt:
            self._skirt(draw, figure)

    def _skirt(self, draw: ImageDraw.ImageDraw, figure: Figure) -> None:
        hip, s = figure.hip, figure.scale
        near = _towards(hip, figure.near_knee, 0.95)
        far = _towards(hip, figure.far_knee, 0.95)
        w = 12.0 * s * self.look.girth
        for knee in (far, near):
            _limb(draw, hip, knee, 2 * w, self.look.legs)
        draw.polygon([(hip[0] - w, hip[1]), (hip[0] + w, hip[1]), near, far], fill=self.look.legs)

    def _head(self, draw: ImageDraw.ImageDraw, figure: Figure) -> None:
        look, s, f = self.look, figure.scale, figure.facing
        (hx, hy), (ux, uy) = figure.head, figure.up
        fx, fy = -uy * f, ux * f  # forward

        def at(forward: float, up: float) -> Point:
            return hx + s * (fx * forward + ux * up), hy + s * (fy * forward + uy * up)

        _limb(draw, figure.shoulder, at(-1, -8), 9.0 * s, self._skin_far)
        style = look.hair_style
        if style == "long":
            _limb(draw, at(-7, 4), at(-9, -19), 17.0 * s, look.hair)
        if style == "bun":
            _disc(draw, at(-15, 9), 7.5 * s, look.hair)
        if style != "bald":
            _disc(draw, at(-2.5, 3.0), 16.8 * s, look.hair)
        _disc(draw, at(1.2, -0.5), 15.2 * s, look.skin)
        _disc(draw, at(15.0, -2.0), 3.4 * s, look.skin)  # nose
        if style == "cap":
            _limb(draw, at(-9, 8), at(9, 9), 11.0 * s, look.shoes)
            _limb(draw, at(8, 7), at(20, 6), 4.5 * s, look.shoes)
        elif style != "bald":
            _limb(draw, at(-10, 7), at(6, 11), 9.0 * s, look.hair)
            _disc(draw, at(-9, 0), 7.5 * s, look.hair)
        _disc(draw, at(-2.5, -2.0), 3.4 * s, self._skin_far)  # ear
        _disc(draw, at(8.0, 1.5), 2.1 * s, _EYE)
        mouth = at(9.5, -8.5), at(13.0, -7.5)
        draw.line(mouth, fill=(150, 70, 70), width=max(1, round(2 * s)))

    def _cup(self, draw: ImageDraw.ImageDraw, figure: Figure) -> None:
        s, f = figure.scale, figure.facing
        hand = (figure.near_hand[0] + 5 * s * f, figure.near_hand[1] - 3 * s)
        paint_cup(draw, hand, self.objects["cup"], s, -figure.tilt * f, f)

    def _book(self, draw: ImageDraw.ImageDraw, figure: Figure) -> None:
        """A book in front of the chest: one cover stays in the near hand, the other one turns over."""
        s, f, level = figure.scale, figure.facing, figure.book
        x, y = figure.near_hand
        w, h = 30.0 * s, 44.0 * s
        turn = math.cos(math.pi * level)  # 1 closed, -1 flat open
        spine = x - 2 * s * f
        lift = 10.0 * s * math.sin(math.pi * level)
        cover, inside = self.objects["book"], shade(_PAPER, 0.92)
        far_edge = spine + f * w
        draw.polygon(_page(spine, far_edge, y, h, 0.0, 2.0), fill=shade(cover, 0.72))
        draw.polygon(_page(spine, far_edge - f * 1.5, y, h - 4, 0.0, 0.0), fill=_PAPER)
        turned = spine + f * w * turn
        draw.polygon(_page(spine, turned, y, h, lift, 2.0), fill=cover if turn > 0 else shade(cover, 0.72))
        if turn < 0:
            draw.polygon(_page(spine, turned + f * 1.5, y, h - 4, lift, 0.0), fill=inside)
            for k in (0.3, 0.5, 0.7):
                line_y = y - h * (k - 0.5)
                draw.line(
                    [(spine + f * 4, line_y), (far_edge - f * 5, line_y)], fill=(150, 150, 150), width=1
                )
        draw.line([(spine, y - h / 2), (spine, y + h / 2)], fill=shade(cover, 0.55), width=3)


def _page(spine: float, edge: float, y: float, h: float, lift: float, grow: float) -> list[Point]:
    half = h / 2 + grow / 2
    return [(spine, y - half), (edge, y - half - lift), (edge, y + half - lift * 0.4), (spine, y + half)]


def _towards(a: Point, b: Point, w: float) -> Point:
    return a[0] + (b[0] - a[0]) * w, a[1] + (b[1] - a[1]) * w


def _disc(draw: ImageDraw.ImageDraw, center: Point, radius: float, color: Color) -> None:
    x, y = center
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=color)


def _limb(draw: ImageDraw.ImageDraw, a: Point, b: Point, width: float, color: Color) -> None:
    """A thick line with round ends."""
    draw.line((a, b), fill=color, width=max(1, round(width)))
    r = width / 2 - 0.4
    draw.ellipse((a[0] - r, a[1] - r, a[0] + r, a[1] + r), fill=color)
    draw.ellipse((b[0] - r, b[1] - r, b[0] + r, b[1] + r), fill=color)


def _shadow_mask() -> Image.Image:
    mask = Image.new("L", (128, 32), 0)
    ImageDraw.Draw(mask).ellipse((14, 7, 114, 25), fill=120)
    return mask.filter(ImageFilter.GaussianBlur(4))


_SHADOW = _shadow_mask()
_SHADOW_SIZES: dict[int, Image.Image] = {}


def paint_shadow(canvas: Image.Image, x: float, y: float, half_width: float) -> None:
    """A soft dark ellipse on the floor."""
    half = max(4, round(half_width / 4) * 4)
    mask = _SHADOW_SIZES.get(half)
    if mask is None:
        mask = _SHADOW_SIZES[half] = _SHADOW.resize((2 * half, max(4, half // 2)), Image.Resampling.BILINEAR)
    canvas.paste((32, 24, 24), (round(x) - half, round(y) - mask.height // 2), mask)


def paint_ball(draw: ImageDraw.ImageDraw, at: Point, color: Color, s: float = 1.0) -> None:
    """A ball around `at`, with a light spot."""
    _disc(draw, at, 12.0 * s, shade(color, 0.8))
    _disc(draw, (at[0] - 1 * s, at[1] - 1.5 * s), 10.5 * s, color)
    _disc(draw, (at[0] - 4 * s, at[1] - 4.5 * s), 3.2 * s, shade(color, 1.55))


def paint_bag(draw: ImageDraw.ImageDraw, bottom: Point, color: Color, s: float = 1.0) -> None:
    """A handbag that stands on `bottom`, its handle 30 pixels above."""
    x, y = bottom
    draw.arc((x - 10 * s, y - 34 * s, x + 10 * s, y - 10 * s), 180, 360, fill=shade(color, 0.6), width=4)
    draw.polygon(
        [
            (x - 15 * s, y - 22 * s),
            (x + 15 * s, y - 22 * s),
            (x + 19 * s, y + 2 * s),
            (x - 19 * s, y + 2 * s),
        ],
        fill=color,
    )
    draw.polygon(
        [
            (x - 15 * s, y - 22 * s),
            (x + 15 * s, y - 22 * s),
            (x + 16 * s, y - 14 * s),
            (x - 16 * s, y - 14 * s),
        ],
        fill=shade(color, 0.75),
    )
    draw.rectangle((x - 3 * s, y - 17 * s, x + 3 * s, y - 12 * s), fill=(232, 200, 90))


def paint_cup(
    draw: ImageDraw.ImageDraw, at: Point, color: Color, s: float = 1.0, turn: float = 0.0, facing: int = 1
) -> None:
    """A mug around `at`, turned by `turn` radians (clockwise on the screen), its handle towards the
    holder.
    """
    c, n = math.cos(turn), math.sin(turn)

    def place(dx: float, dy: float) -> Point:
        return at[0] + s * (c * dx - n * dy), at[1] + s * (n * dx + c * dy)

    hx, hy = place(-10 * facing, 0)
    draw.ellipse((hx - 6 * s, hy - 6 * s, hx + 6 * s, hy + 6 * s), outline=shade(color, 0.75), width=3)
    draw.polygon([place(-9, -11), place(9, -11), place(8, 11), place(-8, 11)], fill=color)
    draw.polygon([place(3, -11), place(9, -11), place(8, 11), place(3, 11)], fill=shade(color, 0.85))
    band = shade(color, 0.7) if sum(color) < 660 else _BAND
    draw.polygon([place(-8.7, -4), place(8.7, -4), place(8.3, 5), place(-8.3, 5)], fill=band)
    draw.polygon([place(-9, -11), place(9, -11), place(8, -8), place(-8, -8)], fill=shade(color, 0.6))
