"""Drawing in the units of the canvas (see layout) on a picture of any scale."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFilter

from .layout import Point
from .looks import Color

Box = tuple[float, float, float, float]  # left, top, right, bottom
PixelBox = tuple[int, int, int, int]


class Brush:
    """Draws on one picture.

    Args:
        picture: what is drawn on.
        scale: pixels of the picture to one unit of the canvas.
    """

    def __init__(self, picture: Image.Image, scale: float) -> None:
        self.picture = picture
        self.scale = scale
        self._draw = ImageDraw.Draw(picture)

    def disc(self, center: Point, radius: float, color: Color) -> None:
        """A full circle."""
        k = self.scale
        x, y, r = center[0] * k, center[1] * k, radius * k
        self._draw.ellipse((x - r, y - r, x + r, y + r), color)

    def limb(self, a: Point, b: Point, width: float, color: Color) -> None:
        """A thick line with round ends."""
        k, draw = self.scale, self._draw
        ax, ay, bx, by, w = a[0] * k, a[1] * k, b[0] * k, b[1] * k, width * k
        draw.line((ax, ay, bx, by), color, max(1, round(w)))
        r = w / 2 - 0.4
        draw.ellipse((ax - r, ay - r, ax + r, ay + r), color)
        draw.ellipse((bx - r, by - r, bx + r, by + r), color)

    def line(self, ends: Box, color: Color, width: float) -> None:
        """A straight line from (x0, y0) to (x1, y1)."""
        self._draw.line(self._box(ends), color, self._width(width))

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        """A full polygon."""
        self._draw.polygon(self._scaled(points), color)

    def rectangle(self, box: Box, color: Color) -> None:
        """A full rectangle."""
        self._draw.rectangle(self._box(box), color)

    def frame(self, box: Box, color: Color, width: float) -> None:
        """The outline of a rectangle."""
        self._draw.rectangle(self._box(box), outline=color, width=self._width(width))

    def rounded(self, box: Box, radius: float, color: Color) -> None:
        """A full rectangle with round corners."""
        self._draw.rounded_rectangle(self._box(box), radius * self.scale, color)

    def ellipse(self, box: Box, color: Color) -> None:
        """A full ellipse."""
        self._draw.ellipse(self._box(box), color)

    def ring(self, box: Box, color: Color, width: float) -> None:
        """The outline of an ellipse."""
        self._draw.ellipse(self._box(box), outline=color, width=self._width(width))

    def dome(self, box: Box, color: Color) -> None:
        """The upper half of a full ellipse."""
        self._draw.pieslice(self._box(box), 180, 360, color)

    def arch(self, box: Box, color: Color, width: float) -> None:
        """The upper half of the outline of an ellipse."""
        self._draw.arc(self._box(box), 180, 360, color, self._width(width))

    def shadow(self, x: float, y: float, half_width: float) -> None:
        """A soft dark ellipse on the floor around (x, y)."""
        half = max(4, round(half_width * self.scale / 4) * 4)
        mask = _SHADOW_SIZES.get(half)
        if mask is None:
            size = (2 * half, max(4, half // 2))
            mask = _SHADOW_SIZES[half] = _SHADOW.resize(size, Image.Resampling.BILINEAR)
        at = round(x * self.scale) - half, round(y * self.scale) - mask.height // 2
        self.picture.paste((32, 24, 24), at, mask)

    def _scaled(self, points: Sequence[Point]) -> list[Point]:
        k = self.scale
        return [(x * k, y * k) for x, y in points]

    def _box(self, box: Box) -> Box:
        k = self.scale
        return box[0] * k, box[1] * k, box[2] * k, box[3] * k

    def _width(self, width: float) -> int:
        return max(1, round(width * self.scale))


def ordered(x0: float, y0: float, x1: float, y1: float) -> Box:
    """The box between two columns given in any order."""
    return min(x0, x1), y0, max(x0, x1), y1


def _shadow_mask() -> Image.Image:
    mask = Image.new("L", (128, 32), 0)
    ImageDraw.Draw(mask).ellipse((14, 7, 114, 25), fill=120)
    return mask.filter(ImageFilter.GaussianBlur(4))


_SHADOW = _shadow_mask()
_SHADOW_SIZES: dict[int, Image.Image] = {}
