"""The box around what is drawn: a brush that measures instead of painting."""

from collections.abc import Sequence

from PIL import Image

from .brush import Box, Brush
from .layout import Point
from .looks import Color

_NOTHING = (float("inf"), float("inf"), float("-inf"), float("-inf"))


class Outline(Brush):
    """Takes what a `Brush` takes, paints nothing, and keeps the box around everything. Shadows do not count.

    Args:
        scale: pixels of the picture that would be painted to one unit of the canvas.
        within: the part of the picture that is seen, in pixels.

    Attributes:
        whole: box around all, in pixels; empty (left > right) as long as nothing is drawn.
        seen: box around what of it is seen; empty if nothing is.
    """

    def __init__(self, scale: float, within: Box) -> None:
        super().__init__(Image.new("1", (1, 1)), scale)
        self._within = within
        self.whole = self.seen = _NOTHING

    def disc(self, center: Point, radius: float, color: Color) -> None:
        x, y = center
        self._add((x - radius, y - radius, x + radius, y + radius))

    def limb(self, a: Point, b: Point, width: float, color: Color) -> None:
        r, (left, right), (top, bottom) = width / 2, sorted((a[0], b[0])), sorted((a[1], b[1]))
        self._add((left - r, top - r, right + r, bottom + r))

    def line(self, ends: Box, color: Color, width: float) -> None:
        self.polygon((ends[:2], ends[2:]), color)

    def polygon(self, points: Sequence[Point], color: Color) -> None:
        across, down = [x for x, _ in points], [y for _, y in points]
        self._add((min(across), min(down), max(across), max(down)))

    def rectangle(self, box: Box, color: Color) -> None:
        self._add(box)

    def ring(self, box: Box, color: Color, width: float) -> None:
        self._add(box)

    def arch(self, box: Box, color: Color, width: float) -> None:
        self._add((box[0], box[1], box[2], (box[1] + box[3]) / 2))

    def shadow(self, x: float, y: float, half_width: float) -> None:
        pass

    def _add(self, box: Box) -> None:
        # Pillow rounds down and paints the last pixel too: from half a pixel before to half a one behind.
        k = self.scale
        painted = box[0] * k - 0.5, box[1] * k - 0.5, box[2] * k + 0.5, box[3] * k + 0.5
        self.whole = _around(self.whole, painted)
        inner = common(painted, self._within)
        if inner[0] < inner[2] and inner[1] < inner[3]:
            self.seen = _around(self.seen, inner)


def common(a: Box, b: Box) -> Box:
    """What two boxes have in common; if nothing, a left beyond the right or a top below the bottom."""
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def area(box: Box) -> float:
    """0 for an empty box."""
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _around(a: Box, b: Box) -> Box:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])
